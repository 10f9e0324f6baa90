"""Pictures. Figures are made without pyplot: no display is needed and no global state is touched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ase_wavescat.system.atomic_write import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#1f5fa8", "#c8611a", "#8a8f98"


def sign(figure: Figure, text: str) -> None:
    """Say in a corner, in small letters, what the figure came from; no text, no mark."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if not text:
        return
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0, 0.02, 1, 0.98))  # room below the axes
    figure.text(0.995, 0.005, text, ha="right", va="bottom", fontsize=6, color=GREY, parse_math=False)


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a PNG; the file appears complete or not at all."""
    with atomic_path(path) as temporary:
        draw(figure, temporary)


def draw(figure: Figure, path: Path) -> None:
    """Write a PNG as it comes, into a file that is not in its place yet."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).print_figure(path, format="png", dpi=150)
