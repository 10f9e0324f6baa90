"""The rooms of the package: what each is for, in the order in which they may import one another.

`python docs/rooms.py` draws pictures/rooms.png from this list and from the imports as they are; a test holds the
imports against the list.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

PACKAGE = "ase_wavescat"
SOURCE = Path(__file__).parent.parent / PACKAGE

ROOMS = {
    "system": "errors, files, locks, processes, threads",
    "structure": "cell, positions, numbers, pbc; neighbours",
    "io": "structures in files",
    "representation": "from structures to features",
    "potentials": "from structures to energies; models and their files",
    "capabilities": "what a calculator may offer",
    "calculator": "a model as an ASE calculator",
    "ase_plugin": "what ASE finds by itself",
    "training": "from labels to a model",
    "evaluation": "how good a model is",
    "workflows": "what users do with a calculator",
    "active_learning": "what to label next",
    "testing": "what every calculator must keep",
    "cli": "the command wavescat",
}
"""From the lowest to the highest: a room imports from those before it in this list, and from no other."""

PARTS = {
    "representation": "protocol, registry, transform; lattice, direct\nfamilies: atoms, correlations, moduli, points",
    "potentials": "protocol, registry, sum, linear, repulsion, composition\n"
    "committee, model, domain, calibration, file",
    "training": "data, rows, one trainer a method",
}
PLACES = {
    "system": (1.5, 0),
    "structure": (1.5, 1),
    "representation": (0.65, 2),
    "io": (3.1, 2),
    "potentials": (0.65, 3),
    "capabilities": (2.03, 3.2),
    "training": (0.25, 4),
    "calculator": (1.2, 4),
    "evaluation": (0.25, 5),
    "workflows": (1.35, 5),
    "testing": (2.5, 5),
    "active_learning": (0.8, 6),
    "cli": (1.5, 7),
    "ase_plugin": (3.1, 7),
}
"""Of the boxes of the picture: from left to right, and from the lowest upwards."""


class Import(NamedTuple):
    """An import of one room by another.

    Attributes:
        file: Path inside the package.
        importer, imported: Names of the rooms.
    """

    file: str
    line: int
    importer: str
    imported: str


def imports() -> Iterator[Import]:
    """Every import between rooms that a run may execute: also those inside functions, not those for type checkers."""
    for path in sorted(SOURCE.rglob("*.py")):
        file = path.relative_to(SOURCE)
        importer = room_of((PACKAGE, *file.with_suffix("").parts))
        for node in _executed(ast.parse(path.read_text(encoding="utf-8"))):
            for module in _modules(node):
                imported = room_of(module)
                if importer and imported and imported != importer:
                    yield Import(str(file), node.lineno, importer, imported)


def room_of(module: tuple[str, ...]) -> str:
    """The room of a module's path; "" for the package itself, which has the version and lazy names."""
    return module[1] if len(module) > 1 and module[1] not in ("__init__", "__main__") else ""


def _executed(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            yield from _executed(ast.Module(child.orelse, []))
        else:
            yield from _executed(child)


def _modules(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, ...]]:
    """The modules that are imported, or of which names are: `from ase_wavescat import x` may mean either."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif node.module == PACKAGE:
        names = [f"{PACKAGE}.{alias.name}" for alias in node.names if alias.name in ROOMS]
    else:
        names = [node.module or ""]
    for name in names:
        if name.split(".")[0] == PACKAGE:
            yield tuple(name.split("."))


# ------------------------------------------------------------ the picture


def direct(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Edges that do not follow from others: what a room imports through another one as well is left out."""

    def reached(start: str) -> set[str]:
        found = {end for begin, end in edges if begin == start}
        return found.union(*map(reached, found))

    return {
        (begin, end)
        for begin, end in edges
        if not any(end in reached(other) for first, other in edges if first == begin and other != end)
    }


def figure() -> Figure:
    """A box a room; arrows point to what a room imports, but for what follows from other arrows."""
    order = list(ROOMS)
    there = {path.stem for path in SOURCE.iterdir()}
    down = {(one.importer, one.imported) for one in imports() if order.index(one.imported) < order.index(one.importer)}
    drawing = Figure(figsize=(10.5, 7.2), layout="constrained")
    axes = drawing.subplots()
    axes.set(xlim=(-0.2, 3.5), ylim=(-0.45, 7.45))
    axes.axis("off")
    boxes = {room: _box(axes, room) for room in ROOMS if room in there}
    for begin, end in sorted(direct(down)):
        axes.annotate(
            "", PLACES[end], PLACES[begin],
            arrowprops={"arrowstyle": "-|>", "color": "0.45", "patchA": boxes[begin], "patchB": boxes[end]}, zorder=1,
        )  # fmt: skip
    return drawing


def _box(axes: Axes, room: str) -> object:
    x, y = PLACES[room]
    parts = f"\n{PARTS[room]}" if room in PARTS else ""
    text = axes.text(
        x, y, f"$\\bf{{{room.replace('_', chr(92) + '_')}}}$\n{ROOMS[room]}{parts}", ha="center", va="center",
        fontsize=9, linespacing=1.25, zorder=3,
        bbox={"boxstyle": "round,pad=0.45", "facecolor": "#eaf1f8", "edgecolor": "#1f5fa8"},
    )  # fmt: skip
    return text.get_bbox_patch()


def main() -> None:
    FigureCanvasAgg(figure()).print_figure(Path(__file__).parent / "pictures" / "rooms.png", dpi=100)


if __name__ == "__main__":
    main()
