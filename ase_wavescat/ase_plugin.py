"""What ASE finds of this package by itself: the calculator by its name, and a reader of structure files.

ASE 3.24 to 3.29 have no hook by which a package adds to `get_calculator_class` and `ase run`: the plugins of 3.29
(`ase.plugins`, experimental) are shown by `ase info --plugins`, and looked up nowhere. But all of them import, with
`ase.io`, what is named under `ase.ioformats`, and `ase run` reads a structure before it asks for the calculator: so the
name is registered where the reader is. Nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase.calculators.calculator import external_calculators, register_calculator_class
from ase.utils.plugins import ExternalIOFormat

if TYPE_CHECKING:
    from ase import Atoms

    from ase_wavescat.calculator import WaveScatCalculator

NAME = "wavescat"

structure_format = ExternalIOFormat(
    desc="Structure files, read as wavescat reads them", code="+S", module="ase_wavescat.ase_plugin"
)
"""`ase.io.read(name, format="wavescat")`: by suffix and content, whatever the name of the file looks like."""


def read_wavescat(filename: str, index: slice) -> Iterator[Atoms]:
    """The structures of a file, for `ase.io.read`.  Raises DataError, which says what is wrong with it."""
    from ase_wavescat.io.structures import structures_of

    yield from structures_of(Path(filename))[index]


def calculator(*arguments: Any, **parameters: Any) -> WaveScatCalculator:
    """A WaveScatCalculator: what ASE has by this name, as some of its own are functions."""
    from ase_wavescat.calculator import WaveScatCalculator

    return WaveScatCalculator(*arguments, **parameters)


def _plugins() -> set[Any]:
    try:
        from ase._4.plugins.plugin import CalculatorPlugin
    except ImportError:  # before ASE 3.29, or it moved its experimental interface
        return set()
    return {
        CalculatorPlugin(
            NAME,
            citation="P. Sinz et al., J. Chem. Phys. 153, 084109 (2020)",
            implementation="ase_wavescat.calculator.WaveScatCalculator",
        )
    }


def __getattr__(name: str) -> Any:
    """`__ase_plugins__`, when ASE asks for it: its interface of plugins imports half of ASE."""
    if name == "__ase_plugins__":
        return _plugins()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if NAME not in external_calculators:
    register_calculator_class(NAME, calculator)
