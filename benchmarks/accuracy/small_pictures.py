"""Pictures for documents: few colours, small files."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ase_wavescat.system.atomic_write import atomic_path

COLOURS = 64


def save_small(figure: Figure, path: Path) -> None:
    """Write a PNG of so many colours, complete or not at all."""
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(content, format="png", dpi=150)
    with atomic_path(path) as temporary:
        Image.open(content).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(temporary, optimize=True)
