"""Energies and barriers along a path of structures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.mep import NEBTools

from ase_wavescat.system.errors import PathError, warn
from ase_wavescat.workflows.checks import calculator_of, store_results
from ase_wavescat.workflows.endpoints import farthest, matched
from ase_wavescat.workflows.members import member_energies, spread
from ase_wavescat.workflows.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEPTH = 0.02
"""eV: minima of the images between the ends count when that deep."""
FAR = 1.0
"""A: an atom that goes as far has moved to another site."""


@dataclass(frozen=True, eq=False)
class Band(Result):
    """Energies along a path.

    Attributes:
        images: The states, with energies and forces; atoms go the shortest way from one to the next.
        lengths: (images,) A, length of the path so far, in all coordinates together.
        energies: (images,) eV, whole cell.
        energy_spreads: (images,) eV, of the energies less that of the first image; None without members.
        highest: Index of the image of the highest energy.
        forward, backward: eV, energy of that image less that of the first, and of the last.
        reaction: eV, energy of the last image less that of the first.
        forward_fit, backward_fit: eV, the same with the top of ASE's cubic fit through energies and forces.
        forward_spread, backward_spread, reaction_spread: eV, calibrated standard deviations over the members of their
            own values at the same images; None without members, and where that end is the highest image. At a minimum
            and at a saddle the energy does not change with the place, so that to first order these are the spreads of
            every member's own barrier on its own path.
        movers: Indices of the atoms that are more than 1 A apart in the first and the last image: one, for a hop.
        minima: Indices of images between the ends that are minima along the path: the path is several hops then.
    """

    images: list[Atoms]
    lengths: np.ndarray
    energies: np.ndarray
    energy_spreads: np.ndarray | None
    highest: int
    forward: float
    backward: float
    reaction: float
    forward_fit: float
    backward_fit: float
    forward_spread: float | None
    backward_spread: float | None
    reaction_spread: float | None
    movers: list[int]
    minima: list[int]

    @property
    def structures(self) -> list[Atoms]:
        return self.images

    def summary(self) -> str:
        rows = (
            ("barrier forward", self.forward, self.forward_spread, self.forward_fit),
            ("barrier backward", self.backward, self.backward_spread, self.backward_fit),
            ("reaction energy", self.reaction, self.reaction_spread, None),
        )
        lines = [f"{len(self.images)} images over {self.lengths[-1]:.2f} Å, the highest is {self.highest}"]
        for name, value, deviation, fit in rows:
            line = f"{name:<16} {value:7.3f}" + ("" if deviation is None else f" ± {deviation:.3f}") + " eV"
            lines.append(line + ("" if fit is None else f" (top of the fit {fit:.3f})"))
        if len(self.movers) > 1:
            lines.append(f"atoms that move by more than {FAR} Å: {', '.join(map(str, self.movers))}")
        return "\n".join(lines)

    def remarks(self) -> list[str]:
        """What a reader of the barrier should know, a line each."""
        found = []
        if self.highest in (0, len(self.images) - 1):
            found.append(
                "no image between the ends is above both of them: there is no barrier, or it needs more images"
            )
        if self.minima:
            images = ", ".join(map(str, self.minima))
            found.append(
                f"minimum between the ends at image {images}: the path is several hops; a band for each is more exact"
            )
        return found

    def plot(self) -> Figure:
        """Energies with their spreads, and the fit through energies and forces."""
        from ase.utils.forcecurve import fit_images
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        from ase_wavescat.system.plotting import BLUE, GREY, ORANGE

        figure = Figure(figsize=(6, 4.4), layout=ConstrainedLayoutEngine())
        axes = figure.subplots()
        fit = fit_images(self.images)
        axes.plot(fit.fit_path, fit.fit_energies, color=ORANGE, label="fit through energies and forces")
        label = "images" if self.energy_spreads is None else "images, ±1σ of the\ndifference to the first"
        axes.errorbar(
            self.lengths, self.energies - self.energies[0], yerr=self.energy_spreads,
            fmt="o", color=BLUE, ecolor=GREY, capsize=3, label=label,
        )  # fmt: skip
        axes.set_xlabel("length of the path (Å)")
        axes.set_ylabel("energy above the first image (eV)")
        axes.set_title(f"forward {self.forward:.3f} eV, backward {self.backward:.3f} eV")
        axes.legend(frameon=False)
        return figure


def path_energies(images: Sequence[Atoms], calculator: BaseCalculator | None = None) -> Band:
    """Energies and barriers along a path as it is given; nothing moves.

    Args:
        images: At least three, the same atoms in the same order and cell.
        calculator: For all of them; None: each image's own, so that stored energies and forces are taken as they are.

    Raises:
        PathError: For images that make no path.
        CalculatorError: For images without a calculator.
        DataError: For structures that no code could evaluate.

    Warns:
        WaveScatWarning: Where the result's `remarks` have something to say.
    """
    images = list(images)
    if len(images) < 3:
        raise PathError(f"a path needs at least three images, got {len(images)}")
    path: list[Atoms] = []
    sources = []
    for given in images:
        source = _with(given, given.calc if calculator is None else calculator)
        source.calc = calculator_of(source, "forces", stored=True)
        sources.append(source)
    for number, source in enumerate(sources):
        place = matched(path[-1], source) if path else source.copy()
        if path and farthest(path[-1], place) < 1e-6:
            raise PathError(f"images {number - 1} and {number} of the path are equal; leave one of them out")
        path.append(with_results_of(source, place))
    band = Band(**band_fields(path, images[0].calc if calculator is None else calculator))
    warn_of_remarks(band)
    return band


def _with(given: Atoms, calculator: BaseCalculator | None) -> Atoms:
    """A copy with its info and arrays, and a calculator."""
    copy = given.copy()
    copy.calc = calculator
    return copy


def with_results_of(source: Atoms, place: Atoms) -> Atoms:
    """A copy of `place` with the energy and forces of `source`, of which it is another image."""
    result = place.copy()
    energy, forces = source.get_potential_energy(), source.get_forces(apply_constraint=False)
    store_results(result, source.calc, energy=energy, forces=forces)
    return result


def band_fields(path: list[Atoms], calculator: BaseCalculator) -> dict[str, Any]:
    """The fields of a Band; the path's images have energies and forces."""
    energies = np.array([image.get_potential_energy() for image in path])
    steps = [np.linalg.norm(path[i + 1].positions - path[i].positions) for i in range(len(path) - 1)]
    travelled = np.linalg.norm(path[-1].positions - path[0].positions, axis=1)
    highest, last = int(np.argmax(energies)), len(path) - 1
    top, reaction = NEBTools(path).get_barrier(fit=True)
    members = member_energies(calculator, path)
    names = ("energy_spreads", "forward_spread", "backward_spread", "reaction_spread")
    deviations: dict[str, Any] = dict.fromkeys(names)
    if members is not None:
        deviations = {
            "energy_spreads": spread(calculator, members - members[0]),
            # An end is not lifted above itself by any member: that is no barrier, not a certain one
            "forward_spread": float(spread(calculator, members[highest] - members[0])) if highest > 0 else None,
            "backward_spread": float(spread(calculator, members[highest] - members[-1])) if highest < last else None,
            "reaction_spread": float(spread(calculator, members[-1] - members[0])),
        }
    return {
        "images": path,
        "lengths": np.concatenate([[0.0], np.cumsum(steps)]),
        "energies": energies,
        "highest": highest,
        "forward": float(energies[highest] - energies[0]),
        "backward": float(energies[highest] - energies[-1]),
        "reaction": float(reaction),
        "forward_fit": float(top),
        "backward_fit": float(top - reaction),
        "movers": [int(i) for i in np.flatnonzero(travelled > FAR)],
        "minima": _minima(energies),
        **deviations,
    }


def _minima(energies: np.ndarray) -> list[int]:
    """Images between the ends below both neighbours, and by more than DEPTH below what comes before and after."""
    return [
        i
        for i in range(1, len(energies) - 1)
        if energies[i] < min(energies[i - 1], energies[i + 1])
        and energies[i] < min(max(energies[:i]), max(energies[i + 1 :])) - DEPTH
    ]


def warn_of_remarks(band: Band) -> None:
    for remark in band.remarks():
        warn(remark, stacklevel=3)
