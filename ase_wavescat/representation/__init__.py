"""How a structure becomes numbers: what specifications are made of. Names are imported when they are first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ase_wavescat.system.lazy import lazy_names

if TYPE_CHECKING:
    from ase_wavescat.representation.families.correlations.family import Correlations as Correlations
    from ase_wavescat.representation.families.moduli.family import Moduli as Moduli
    from ase_wavescat.representation.families.points.family import Points as Points
    from ase_wavescat.representation.lattice.bands import Bands as Bands
    from ase_wavescat.representation.maps import Maps as Maps
    from ase_wavescat.representation.specification import ScatteringSpec as ScatteringSpec
    from ase_wavescat.representation.specification_file import read_spec as read_spec
    from ase_wavescat.representation.specification_file import write_spec as write_spec

_MODULE_OF: dict[str, str] = {
    "Bands": "lattice.bands",
    "Correlations": "families.correlations.family",
    "Maps": "maps",
    "Moduli": "families.moduli.family",
    "Points": "families.points.family",
    "ScatteringSpec": "specification",
    "read_spec": "specification_file",
    "write_spec": "specification_file",
}

__all__ = list(_MODULE_OF)

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)
