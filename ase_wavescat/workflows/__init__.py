"""What users do with a calculator, any ASE calculator: one verb a module, a frozen result each.

Names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ase_wavescat.system.lazy import lazy_names

if TYPE_CHECKING:
    from ase_wavescat.workflows.barriers import Barrier as Barrier
    from ase_wavescat.workflows.barriers import neb as neb
    from ase_wavescat.workflows.demo import shipped_structure as shipped_structure
    from ase_wavescat.workflows.distribution import Distribution as Distribution
    from ase_wavescat.workflows.distribution import rdf as rdf
    from ase_wavescat.workflows.elasticity import ElasticConstants as ElasticConstants
    from ase_wavescat.workflows.elasticity import elastic as elastic
    from ase_wavescat.workflows.equation_of_state import EquationOfState as EquationOfState
    from ase_wavescat.workflows.equation_of_state import eos as eos
    from ase_wavescat.workflows.generation import random_packing as random_packing
    from ase_wavescat.workflows.generation import random_packings as random_packings
    from ase_wavescat.workflows.hops import Hop as Hop
    from ase_wavescat.workflows.hops import Void as Void
    from ase_wavescat.workflows.hops import find_hops as find_hops
    from ase_wavescat.workflows.hops import find_voids as find_voids
    from ase_wavescat.workflows.hull import Hull as Hull
    from ase_wavescat.workflows.hull import References as References
    from ase_wavescat.workflows.hull import convex_hull as convex_hull
    from ase_wavescat.workflows.hull import energies_above_hull as energies_above_hull
    from ase_wavescat.workflows.hull import formation_energies as formation_energies
    from ase_wavescat.workflows.hull import reference_energies as reference_energies
    from ase_wavescat.workflows.melting import MeltSchedule as MeltSchedule
    from ase_wavescat.workflows.melting import Quench as Quench
    from ase_wavescat.workflows.melting import melt_quench as melt_quench
    from ase_wavescat.workflows.paths import Band as Band
    from ase_wavescat.workflows.paths import path_energies as path_energies
    from ase_wavescat.workflows.random_cells import RandomCells as RandomCells
    from ase_wavescat.workflows.relaxation import Relaxation as Relaxation
    from ase_wavescat.workflows.relaxation import relax as relax
    from ase_wavescat.workflows.screening.result import Screening as Screening
    from ase_wavescat.workflows.screening.result import read_screening as read_screening
    from ase_wavescat.workflows.screening.run import screen as screen
    from ase_wavescat.workflows.structure_search import Search as Search
    from ase_wavescat.workflows.structure_search import search as search
    from ase_wavescat.workflows.tilings import Tiling as Tiling
    from ase_wavescat.workflows.tilings import tiling as tiling
    from ase_wavescat.workflows.voltages import VoltageCurve as VoltageCurve
    from ase_wavescat.workflows.voltages import voltage as voltage

_MODULE_OF: dict[str, str] = {
    "Barrier": "barriers",
    "neb": "barriers",
    "shipped_structure": "demo",
    "Distribution": "distribution",
    "rdf": "distribution",
    "Tiling": "tilings",
    "tiling": "tilings",
    "VoltageCurve": "voltages",
    "voltage": "voltages",
    "Hop": "hops",
    "Void": "hops",
    "find_hops": "hops",
    "find_voids": "hops",
    "Hull": "hull",
    "References": "hull",
    "convex_hull": "hull",
    "energies_above_hull": "hull",
    "formation_energies": "hull",
    "reference_energies": "hull",
    "Band": "paths",
    "path_energies": "paths",
    "ElasticConstants": "elasticity",
    "elastic": "elasticity",
    "EquationOfState": "equation_of_state",
    "eos": "equation_of_state",
    "Relaxation": "relaxation",
    "relax": "relaxation",
    "random_packing": "generation",
    "random_packings": "generation",
    "MeltSchedule": "melting",
    "Quench": "melting",
    "melt_quench": "melting",
    "screen": "screening.run",
    "Screening": "screening.result",
    "read_screening": "screening.result",
    "RandomCells": "random_cells",
    "Search": "structure_search",
    "search": "structure_search",
}

__all__ = list(_MODULE_OF)

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)
