"""The pictures of docs/explanation/transform.md: run `python docs/make_pictures.py` in the repository's root.

wavelets.png  radial parts of wavelets in reciprocal and in real space, slices through them
fields.png    the valence density of the shipped glass seen through four wavelets
moduli.png    first- and second-order moduli of the same density
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from ase import Atoms
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from ase_wavescat import ScatteringSpec, preset
from ase_wavescat.representation.lattice.filters import Filter, wavelet_cutoff
from ase_wavescat.representation.lattice.fourier import workspace
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.representation.lattice.structure_factor import Phases
from ase_wavescat.representation.presets import papers_channels
from ase_wavescat.representation.wavelets import Wavelet, direct_coefficients, fourier_radial, solid_harmonics_at
from ase_wavescat.workflows.demo import shipped_structure

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

CHANNEL = "valence"
WAVELETS = ((3, 0), (3, 1), (3, 2), (4, 3))
COLOURS = ("#1f5fa8", "#c8611a", "#3f8f4f", "#8a4fa3")
ATOM_COLOURS = {3: "#d9d9d9", 14: "#f2c14e"}
SLICE = 0.5  # the plane through the middle of the cell, in fractions of its third vector


class Scene:
    """Fields of one structure on one fine grid, made of the package's own filters and transforms."""

    def __init__(self, atoms: Atoms, spec: ScatteringSpec, points: int = 120) -> None:
        self.atoms, self.spec = atoms, spec
        cutoff = max(wavelet_cutoff(spec, Wavelet(j, n, l)) for j in spec.scales for n, l in spec.wavelets)
        self.lattice = ReciprocalLattice(atoms.cell.array, cutoff)
        self.shape = self.lattice.shape(2 * cutoff, minimum=points)
        self.places = self.lattice.places(self.shape, len(self.lattice))

    def density(self, channel: dict[int, float]) -> ComplexArray:
        """rho^(G) = sum_k f(Z_k) exp(-iG.R_k) of a channel's weights f."""
        return sum(
            weight * Phases(self.lattice, self.atoms.positions[self.atoms.numbers == number]).structure_factor()
            for number, weight in channel.items()
        )

    def fields(self, density: ComplexArray, wavelet: Wavelet) -> Array:
        """rho * psi_m for all m, (2l+1, n1, n2, n3), 1/A^3."""
        chosen = Filter(self.spec, wavelet, self.lattice, max(l for _, l in self.spec.wavelets))
        space = workspace(self.shape)
        fields = np.empty((2 * wavelet.l + 1, *self.shape))
        for m, field in enumerate(fields):
            space.flat[:] = 0
            factors = chosen.phase * chosen.value * chosen.harmonics[m]
            space.flat[self.places[: chosen.count]] = factors * density[: chosen.count]
            space.inverse()
            field[:] = space.real
        return fields

    def modulus(self, density: ComplexArray, wavelet: Wavelet) -> Array:
        """sigma = (sum_m |rho * psi_m|^2)^(1/2), (n1, n2, n3)."""
        return np.sqrt(np.square(self.fields(density, wavelet)).sum(axis=0))

    def spectrum(self, field: Array) -> ComplexArray:
        """Integral of a field times exp(-iGu), on the lattice's vectors."""
        space = workspace(self.shape)
        space.real[:] = field
        space.forward()
        return space.flat[self.places] * (self.lattice.volume / space.points)

    def plane(self, field: Array) -> Array:
        """A field (n1, n2, n3) in the plane of the pictures."""
        return field[:, :, round(SLICE * self.shape[2])]


# ------------------------------------------------------------ wavelets


def wavelet_figure(spec: ScatteringSpec) -> Figure:
    figure = Figure(figsize=(11, 7.2), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.15, 1))
    reciprocal, real = top.subplots(1, 2)
    g, r = np.linspace(1e-6, 9.5, 500), np.linspace(0, 5.5, 500)
    for (n, l), colour in zip(WAVELETS, COLOURS, strict=True):
        for scale, style in ((0.0, "-"), (1.0, "--")):
            width = spec.beta * 2**scale
            label = f"n = {n}, l = {l}" if scale == 0 else None
            thick = 3.5 if (n, l) == (3, 1) else 1.5  # in reciprocal space it lies under n = 4, l = 3
            value = fourier_radial(n, l, width * g)[0] * (width * g) ** l
            reciprocal.plot(g, value, style, color=colour, label=label, linewidth=thick)
            radial = radial_part(n, l, r / width)
            real.plot(r, radial / np.abs(radial).max(), style, color=colour, label=label)
    reciprocal.set(xlabel="|G| (1/Å)", ylabel="R$_{nl}$(b|G|)", title="reciprocal space: bands")
    real.set(xlabel="r (Å)", ylabel="radial part / its largest value", title="real space: shells")
    real.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    for axes in (reciprocal, real):
        axes.plot([], [], "-", color="0.3", label="j = 0, b = β = 0.6 Å")
        axes.plot([], [], "--", color="0.3", label="j = 1, b = 2β = 1.2 Å")
        axes.set_xlim(left=0)
    reciprocal.legend(frameon=False, loc="upper right")
    for axes, (n, l) in zip(bottom.subplots(1, 4, sharey=True), WAVELETS, strict=True):
        image = draw_wavelet(axes, n, l, spec.beta)
    bottom.axes[0].set_ylabel("y (Å)")
    bottom.colorbar(image, ax=bottom.axes, label="ψ / its largest value", shrink=0.85, ticks=[-1, -0.5, 0, 0.5, 1])
    bottom.suptitle("slices z = 0 through ψ$_{nlm}$ with m = l, j = 0")
    return figure


def radial_part(n: int, l: int, s: Array) -> Array:
    """The radial part of psi_nl at s = r/b, times b^3."""
    polynomial = direct_coefficients(n, l)[::-1]
    return np.polyval(polynomial, s * s / 2) * np.exp(-s * s / 2) * s**l


def draw_wavelet(axes: Axes, n: int, l: int, width: float) -> object:
    edge = 3.0
    x = np.linspace(-edge, edge, 241)
    points = np.stack(np.meshgrid(x, x, [0.0], indexing="ij"), axis=-1).reshape(-1, 3) / width
    s = np.linalg.norm(points, axis=1)
    harmonic = solid_harmonics_at(points, l)[0][l * l + 2 * l]
    values = np.polyval(direct_coefficients(n, l)[::-1], s * s / 2) * np.exp(-s * s / 2) * harmonic
    values = values.reshape(len(x), len(x)) / np.abs(values).max()
    image = axes.contourf(x, x, values.T, levels=levels_of(values), cmap="RdBu_r")
    axes.set(xlabel="x (Å)", title=f"n = {n}, l = {l}", aspect="equal")
    return image


# ------------------------------------------------------------ fields and moduli


def field_figure(scene: Scene) -> Figure:
    figure = Figure(figsize=(9.2, 8.2), layout="constrained")
    density = scene.density(dict(dict(papers_channels(scene.spec.species))[CHANNEL]))
    for row, l in zip(figure.subplots(2, 2, sharex=True, sharey=True), (0, 2), strict=True):
        for axes, scale in zip(row, (0.0, 1.0), strict=True):
            field = scene.plane(scene.fields(density, Wavelet(scale, 3, l))[-1])
            draw_map(axes, scene, field, "RdBu_r", "ρ * ψ (1/Å³)")
            axes.set_title(f"j = {scale:g}, n = 3, l = {l}" + (", m = 2" if l else ""))
    label_edges(figure, 2)
    return figure


def moduli_figure(scene: Scene) -> Figure:
    figure = Figure(figsize=(9.2, 8.2), layout="constrained")
    density = scene.density(dict(dict(papers_channels(scene.spec.species))[CHANNEL]))
    first = {scale: scene.modulus(density, Wavelet(scale, 3, 1)) for scale in (0.0, 1.0)}
    second = {scale: scene.modulus(scene.spectrum(first[0.0]), Wavelet(scale, 3, 1)) for scale in (0.0, 1.0)}
    rows = figure.subplots(2, 2, sharex=True, sharey=True)
    for axes, (scale, field) in zip(rows[0], first.items(), strict=True):
        draw_map(axes, scene, scene.plane(field), "magma", "σ$_1$ (1/Å³)")
        axes.set_title(f"first order, j = {scale:g}, l = 1")
    for axes, (scale, field) in zip(rows[1], second.items(), strict=True):
        draw_map(axes, scene, scene.plane(field), "magma", "σ$_2$ (1/Å³)")
        axes.set_title(f"second order, j = 0 then {scale:g}, l = 1 then 1")
    label_edges(figure, 2)
    return figure


def draw_map(axes: Axes, scene: Scene, plane: Array, colours: str, label: str) -> None:
    """A field in the plane with the atoms within 1 A of it; the glass's cell is a cube."""
    edge = scene.atoms.cell.lengths()[0]
    # the first point of the next cell closes the picture
    closed = np.pad(plane, ((0, 1), (0, 1)), mode="wrap")
    x, y = (np.linspace(0, edge, size) for size in closed.shape)
    levels = levels_of(plane)
    image = axes.contourf(x, y, closed.T, levels=levels, cmap=colours)
    ticks = MaxNLocator(6).tick_values(levels[0], levels[-1])
    axes.figure.colorbar(image, ax=axes, label=label, shrink=0.9, ticks=ticks, format="%.4g")
    fractions = scene.atoms.get_scaled_positions(wrap=True)
    near = np.abs(fractions[:, 2] - SLICE) * edge < 1.0
    for number, colour in ATOM_COLOURS.items():
        chosen = near & (scene.atoms.numbers == number)
        x, y = (fractions[chosen, :2] * edge).T
        size = 60 if number == 14 else 25
        axes.scatter(x, y, s=size, color=colour, edgecolor="black", linewidth=0.8, label=Atoms([number]).symbols[0])
    axes.set(xlim=(0, edge), ylim=(0, edge), aspect="equal")


def levels_of(values: Array) -> Array:
    """Some ten round steps up to the largest size; with two signs, the step about zero has a colour of its own.

    Steps, not gradients: flat colours make small files.
    """
    most = np.abs(values).max()
    step = np.diff(MaxNLocator(12).tick_values(0, most))[0]
    if values.min() >= 0:
        return step * np.arange(np.ceil(most / step) + 1)
    count = np.ceil(most / step - 0.5)
    return step * (np.arange(-count, count + 2) - 0.5)


def label_edges(figure: Figure, columns: int) -> None:
    maps = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    for axes in maps[-columns:]:
        axes.set_xlabel("x (Å)")
    for axes in maps[::columns]:
        axes.set_ylabel("y (Å)")
    handles, labels = maps[0].get_legend_handles_labels()
    figure.legend(handles, [f"{name} within 1 Å of the plane" for name in labels], loc="outside lower center", ncols=2)


def save(figure: Figure, path: Path) -> None:
    """A PNG of 128 colours: a third of the usual size."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, dpi=110)
    Image.open(buffer).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the pictures of docs/explanation/transform.md.")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "pictures")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    atoms = shipped_structure()
    spec = preset("correlations", ("Li", "Si"))
    scene = Scene(atoms, spec)
    for name, figure in (
        ("wavelets", wavelet_figure(spec)),
        ("fields", field_figure(scene)),
        ("moduli", moduli_figure(scene)),
    ):
        save(figure, folder / f"{name}.png")


if __name__ == "__main__":
    main()
