"""The voltage of an electrode against its ion's metal, from relaxed structures of several compositions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import numpy as np
from ase import Atoms
from ase.formula import Formula

from ase_wavescat.system.errors import DataError
from ase_wavescat.workflows.checks import calculator_of, with_energy
from ase_wavescat.workflows.hull import References, references_of
from ase_wavescat.workflows.members import energies_of, spread
from ase_wavescat.workflows.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SMOOTH_POINTS = 101


@dataclass(frozen=True, eq=False)
class VoltageCurve(Result):
    """Voltages of ion_x host against the ion's reference.

    Attributes:
        entries: The structures that have a host, with energies.
        ion, host: Element, and reduced formula of all the other atoms.
        reference, reference_source: Energy of the ion (eV/atom), and where it comes from.
        x: (K,) ions per host formula, ascending.
        samples: (K,) structures of each composition.
        energies: (K,) eV per host formula: mean over the composition's structures, or the lowest (`per_composition`).
        scatter: (K,) eV per host formula, standard deviation over the composition's structures; 0 for a single one.
        edges: (S + 1,) x of the compositions on the lower convex envelope of `energies`.
        voltages: (S,) V between them, falling.
        voltage_spread: (S,) V, calibrated spread over members of each step; None without members.
        smooth_x, smooth_voltages: (P,) x and V of the derivative of a polynomial through the energies; None where there
            are too few compositions for it.
        smooth_spread: (P,) V, calibrated spread over members.
        fit_residual: eV per (1 + x), which is per atom where the host formula is one atom: root mean square of the
            polynomial.
        published: (x, V) to be drawn beside.
    """

    entries: list[Atoms]
    ion: str
    host: str
    reference: float
    reference_source: str
    per_composition: str
    x: np.ndarray
    samples: np.ndarray
    energies: np.ndarray
    scatter: np.ndarray
    edges: np.ndarray
    voltages: np.ndarray
    voltage_spread: np.ndarray | None
    smooth_x: np.ndarray | None
    smooth_voltages: np.ndarray | None
    smooth_spread: np.ndarray | None
    fit_residual: float | None
    published: tuple[tuple[float, float], ...]

    @property
    def structures(self) -> list[Atoms]:
        return self.entries

    def summary(self) -> str:
        lines = [
            f"{self.ion}_x{self.host}: {len(self.entries)} structures, {len(self.x)} compositions, x = {self.x[0]:.3f}"
            f" to {self.x[-1]:.3f}",
            f"{self.ion}: {self.reference:.4f} eV/atom, {self.reference_source}",
        ]
        for step, voltage in enumerate(self.voltages):
            text = f"x = {self.edges[step]:.3f} to {self.edges[step + 1]:.3f}: {voltage:.3f}"
            error = "" if self.voltage_spread is None else f" ± {self.voltage_spread[step]:.3f}"
            lines.append(f"{text}{error} V")
        return "\n".join(lines)

    def plot(self) -> Figure:
        """Left: energies above the line from the first composition at 0 V; right: voltages."""
        from matplotlib.figure import Figure

        from ase_wavescat.system.plotting import BLUE, GREY, ORANGE

        figure = Figure(figsize=(10, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        gained = self.energies - self.x * self.reference
        gained -= gained[0]
        left.errorbar(self.x, gained, yerr=self.scatter, fmt="o", color=BLUE, ecolor=GREY, markersize=4)
        left.plot(self.edges, np.interp(self.edges, self.x, gained), color=ORANGE, label="lower convex envelope")
        left.set_ylabel(f"energy of insertion (eV per {self.host})")
        left.legend(frameon=False)
        right.stairs(
            self.voltages, self.edges, baseline=None, color=ORANGE, label="between compositions on the envelope"
        )
        if self.voltage_spread is not None:
            middles = (self.edges[1:] + self.edges[:-1]) / 2
            right.errorbar(middles, self.voltages, yerr=self.voltage_spread, fmt="none", ecolor=ORANGE, capsize=2)
        if self.smooth_x is not None and self.smooth_voltages is not None:
            right.plot(self.smooth_x, self.smooth_voltages, color=BLUE, label="derivative of the polynomial")
            if self.smooth_spread is not None:
                low, high = self.smooth_voltages - self.smooth_spread, self.smooth_voltages + self.smooth_spread
                right.fill_between(self.smooth_x, low, high, color=BLUE, alpha=0.2, linewidth=0)
        if self.published:
            right.plot(*zip(*self.published, strict=True), "s", color="black", markersize=5, label="published")
        right.set_ylabel(f"voltage against {self.ion} (V)")
        right.legend(frameon=False)
        for axes in (left, right):
            axes.set_xlabel(f"x in {self.ion}$_x${self.host}")
        return figure


def voltage(
    structures: Sequence[Atoms],
    *,
    ion: str = "Li",
    references: References | Mapping[str, float] | None = None,
    per_composition: Literal["mean", "lowest"] = "mean",
    order: int = 4,
    published: Sequence[tuple[float, float]] = (),
) -> VoltageCurve:
    """Voltages of ion_x host between compositions, from structures with a calculator, relaxed before.

    Between two compositions the average voltage is that of equation C1 of Sinz et al. (2020)::

        V = -[E(x2) - E(x1) - (x2 - x1) E_ion] / (x2 - x1),

    with energies per host formula; one electron an ion, entropy and pressure neglected. Differences of single glasses
    are noise where x2 is near x1. Two curves come without: steps between the compositions on the lower convex envelope
    of E(x), which is what equilibrium would take; and the smooth V = E_ion - dE/dx of the polynomial of degree `order`
    that fits E / (1 + x) against z = x / (1 + x).

    Args:
        ion: The element that moves; all others are the host, of one ratio in all structures.
        structures: Those of the ion alone are no part of the curve, which they would end at infinite x.
        references: Of the ion, eV/atom of the same method; None: the lowest of the structures of the ion alone or,
            where there is none, its crystal, relaxed with the calculator.
        per_composition: Of several structures, "mean" takes the mean energy, which does not depend on how many glasses
            were made; "lowest" is for crystals, where the lowest is the phase.
        published: Points (x, V) to be drawn beside.

    Raises:
        DataError: For structures of several hosts, of fewer than two compositions, and for a reference that is missing.
        CalculatorError: Without calculators.
    """
    _check(per_composition, order)
    metal = [atoms for atoms in structures if set(atoms.symbols) == {ion}]
    structures = [atoms for atoms in structures if set(atoms.symbols) != {ion}]
    compositions, formulas, host = _compositions(structures, ion)
    energies, members = energies_of(structures)
    calculator = calculator_of(structures[0], stored=True)
    named = references_of(references, calculator, [ion], metal)
    x = sorted(set(compositions))
    groups = [np.array([i for i, at in enumerate(compositions) if at == value]) for value in x]
    per_host = energies / formulas
    # The lowest is chosen by the mean of the members, whose energies are then those of the same structure
    chosen = groups if per_composition == "mean" else [group[[np.argmin(per_host[group])]] for group in groups]
    places, curve = np.array(x, dtype=float), _means(per_host, chosen)
    gained = curve - places * named.energies[ion]
    on = _lower_envelope(places, gained)
    smooth_x = smooth = residual = None
    if len(x) > order + 1:
        smooth_x, smooth, residual = _smooth(places, gained, order)
    steps_spread = smooth_spread = None
    if members is not None:
        reference = np.broadcast_to((named.members or named.energies)[ion], members.shape[1])
        by_members = _means(members / formulas[:, None], chosen) - np.outer(places, reference)
        steps_spread = spread(calculator, _steps(places[on], by_members[on]))
        if smooth is not None:
            smooth_spread = spread(calculator, _smooth(places, by_members, order)[1])
    return VoltageCurve(
        entries=[with_energy(*pair) for pair in zip(structures, energies, strict=True)],
        ion=ion,
        host=host,
        reference=named.energies[ion],
        reference_source=named.sources[ion],
        per_composition=per_composition,
        x=places,
        samples=np.array([len(group) for group in groups]),
        energies=curve,
        scatter=np.array([per_host[group].std(ddof=1) if len(group) > 1 else 0.0 for group in groups]),
        edges=places[on],
        voltages=_steps(places[on], gained[on]),
        voltage_spread=steps_spread,
        smooth_x=smooth_x,
        smooth_voltages=smooth,
        smooth_spread=smooth_spread,
        fit_residual=residual,
        published=tuple((float(at), float(volts)) for at, volts in published),
    )


def _check(per_composition: str, order: int) -> None:
    if per_composition not in ("mean", "lowest"):
        raise DataError(f"per_composition must be 'mean' or 'lowest', got {per_composition!r}")
    if order < 1:
        raise DataError(f"the polynomial's order must be positive, got {order}")


def _means(values: np.ndarray, groups: Sequence[np.ndarray]) -> np.ndarray:
    """Means over each group's rows."""
    return np.array([values[group].mean(axis=0) for group in groups])


def _compositions(structures: Sequence[Atoms], ion: str) -> tuple[list[Fraction], np.ndarray, str]:
    """Of each structure ions per host formula and host formulas, and the host's reduced formula."""
    compositions, formulas = [], []
    found: dict[str, Atoms] = {}
    for atoms in structures:
        counts = dict(atoms.symbols.formula.count())
        ions = counts.pop(ion, 0)
        units = math.gcd(*counts.values())
        host = str(Formula.from_dict({symbol: number // units for symbol, number in sorted(counts.items())}))
        found.setdefault(host, atoms)
        compositions.append(Fraction(ions, units))
        formulas.append(units)
    if len(found) > 1:
        named = ", ".join(f"{host} of {atoms.get_chemical_formula()}" for host, atoms in found.items())
        raise DataError(f"the structures have several hosts ({named}); a voltage is that of one host")
    if len(set(compositions)) < 2:
        given = ", ".join(str(float(value)) for value in set(compositions)) or "none"
        raise DataError(f"a voltage needs two compositions at least, got x = {given}; add structures of others")
    return compositions, np.array(formulas, dtype=float), next(iter(found))


def _lower_envelope(x: np.ndarray, energies: np.ndarray) -> list[int]:
    """Indices of the points on the lower convex envelope, x ascending (Andrew's monotone chain)."""
    on: list[int] = []
    for index in range(len(x)):
        while len(on) > 1:
            first, second = on[-2:]
            slope = (energies[index] - energies[first]) / (x[index] - x[first])
            if energies[second] < energies[first] + slope * (x[second] - x[first]):
                break
            on.pop()
        on.append(index)
    return on


def _steps(x: np.ndarray, gained: np.ndarray) -> np.ndarray:
    """(S, ...) V from (S + 1, ...) energies less those of the ions inserted."""
    return -(np.diff(gained, axis=0).T / np.diff(x)).T


def _smooth(x: np.ndarray, gained: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray, float]:
    """x (P,), V (P, ...) and the residual (eV per atom) of a polynomial of fewer coefficients than compositions.

    With e(z) = G / (1 + x), z = x / (1 + x), G the energy less that of the ions: V = -dG/dx = -[e + (1 - z) e'(z)].
    """
    fractions = x / (1 + x)
    per_atom = gained * (1 - fractions).reshape(-1, *[1] * (gained.ndim - 1))
    powers = np.vander(fractions, order + 1, increasing=True)
    coefficients = np.linalg.lstsq(powers, per_atom, rcond=None)[0]
    residual = float(np.sqrt(np.mean((per_atom - powers @ coefficients) ** 2)))
    at = np.linspace(x[0], x[-1], _SMOOTH_POINTS)
    z = at / (1 + at)
    values = np.vander(z, order + 1, increasing=True)
    slopes = np.hstack([np.zeros((len(z), 1)), values[:, :-1] * np.arange(1, order + 1)])
    return at, -(values + (1 - z)[:, None] * slopes) @ coefficients, residual
