"""Energy against hydrostatic strain: equilibrium volume and bulk modulus."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.eos import EquationOfState as BirchMurnaghanFit
from ase.eos import birchmurnaghan
from ase.units import GPa

from ase_wavescat.io.structures import without_results
from ase_wavescat.system.errors import DataError, StructureError, warn
from ase_wavescat.system.plotting import BLUE, GREY, ORANGE
from ase_wavescat.workflows.checks import calculator_of, evaluated, on_grids_of
from ase_wavescat.workflows.members import member_energies, spread
from ase_wavescat.workflows.relaxation import CONVERGED, settle
from ase_wavescat.workflows.result import Result
from ase_wavescat.workflows.runaway import FUSED, fused_pairs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINEAR_STRAINS = tuple(np.round(np.linspace(-0.09, 0.09, 9), 6).tolist())
PARABOLA_REACH = 0.04
FEWEST_POINTS = 5
ENERGY_RANGE = 10.0
"""eV/atom above or below the least strained point: beyond, a point means nothing."""


@dataclass(frozen=True)
class Parabola:
    """E = E0 + a (e - e0)^2 through the points within 4 % of the lowest, e the linear strain (Sinz et al. 2020).

    With V = V_u (1 + e)^3, V_u the unstrained volume, B = V d2E/dV2 = 2 a / (9 V_u (1 + e0)) at the minimum.

    Attributes:
        strain: e0.
        volume: A^3 at e0.
        energy: E0, eV.
        bulk_modulus: GPa.
        points: Fitted.
        residual: meV/atom, root mean square (0 for three points).
    """

    strain: float
    volume: float
    energy: float
    bulk_modulus: float
    points: int
    residual: float


@dataclass(frozen=True)
class BirchMurnaghan:
    """Third-order Birch-Murnaghan equation through all points, by `ase.eos`.

    Attributes:
        volume: A^3 of the minimum.
        energy: eV there.
        bulk_modulus: GPa.
        slope: dB/dP.
        residual: meV/atom, root mean square.
    """

    volume: float
    energy: float
    bulk_modulus: float
    slope: float
    residual: float

    def energy_at(self, volumes: np.ndarray) -> np.ndarray:
        """Energies (eV) at volumes (A^3)."""
        return birchmurnaghan(volumes, self.energy, self.bulk_modulus * GPa, self.slope, self.volume)


@dataclass(frozen=True, eq=False)
class EquationOfState(Result):
    """Energies along hydrostatic strain, and what follows from them.

    Attributes:
        points: The strained structures with their energies.
        linear_strains: Of the box side, L = L_u (1 + e): volumes are V_u (1 + e)^3.
        volumes: A^3.
        energies: eV, whole cell.
        relative_uncertainties: eV, calibrated spread over members of the energy less that of the lowest point; None
            without members.
        relaxed_ions: Whether ions moved to their equilibrium at each strain, or kept their fractional positions.
        parabola, birch_murnaghan: None where the curve has no minimum between its ends, or no such fit.
        volume_uncertainty, bulk_modulus_uncertainty: A^3 and GPa, calibrated spread over the members' own curves, of
            the parabola; None without members, or where a member's curve has no minimum between its ends.
        warnings: What is wrong with the curve, in words.
    """

    points: list[Atoms]
    linear_strains: np.ndarray
    volumes: np.ndarray
    energies: np.ndarray
    relative_uncertainties: np.ndarray | None
    relaxed_ions: bool
    parabola: Parabola | None
    birch_murnaghan: BirchMurnaghan | None
    volume_uncertainty: float | None
    bulk_modulus_uncertainty: float | None
    warnings: tuple[str, ...]

    @property
    def structures(self) -> list[Atoms]:
        return self.points

    @property
    def incomplete(self) -> str:
        return "; ".join(self.warnings)

    def summary(self) -> str:
        atoms = len(self.points[0])
        ions = "relaxed" if self.relaxed_ions else "at fixed fractional positions"
        low, high = 100 * self.linear_strains[[0, -1]]
        lines = [f"{len(self.points)} linear strains from {low:+.1f} % to {high:+.1f} %, ions {ions}"]
        if self.parabola is not None:
            fit = self.parabola
            lines += [
                f"parabola         V0 {fit.volume / atoms:.4f}{_plus_minus(self.volume_uncertainty, atoms)} Å³/atom,"
                f" E0 {fit.energy / atoms:.5f} eV/atom, B {fit.bulk_modulus:.2f}"
                f"{_plus_minus(self.bulk_modulus_uncertainty)} GPa,"
                f" residual {fit.residual:.3f} meV/atom of {fit.points} points"
            ]
        if self.birch_murnaghan is not None:
            curve = self.birch_murnaghan
            lines += [
                f"Birch-Murnaghan  V0 {curve.volume / atoms:.4f} Å³/atom, E0 {curve.energy / atoms:.5f} eV/atom,"
                f" B {curve.bulk_modulus:.2f} GPa, B' {curve.slope:.2f}, residual {curve.residual:.3f} meV/atom"
            ]
        return "\n".join(lines + [f"warning: {text}" for text in self.warnings])

    def plot(self) -> Figure:
        """Energies by volume with what was fitted."""
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        figure = Figure(figsize=(6, 4.4), layout=ConstrainedLayoutEngine())
        draw_equation_of_state(figure.subplots(), self)
        return figure


def _plus_minus(uncertainty: float | None, atoms: int = 1) -> str:
    return "" if uncertainty is None else f" ± {uncertainty / atoms:.2g}"


def eos(
    atoms: Atoms,
    *,
    strains: Sequence[float] | np.ndarray = LINEAR_STRAINS,
    relax_ions: bool = False,
    fmax: float = 0.02,
    steps: int = 500,
) -> EquationOfState:
    """Energies along hydrostatic strains of a periodic structure, equilibrium volume and bulk modulus.

    Points at which energies mean nothing (not finite, more than 10 eV/atom off, atoms fused) are left out, and that is
    said in `warnings` and by a WaveScatWarning, as is a minimum at the end of the strains, which gives no bulk modulus.
    All points are computed on the grids of the largest cell.

    Args:
        strains: Linear, of the box side, ascending, at least five, on both sides of zero or at zero; the default is
            that of Sinz et al. 2020 (J. Chem. Phys. 153, 084109), nine from -9 % to +9 %: volumes from 0.75 to 1.30 of
            the given.
        relax_ions: Relax positions at each strain (`fmax` in eV/A, at most `steps` steps), each strain beginning with
            the fractional positions of its neighbour nearer to zero; else fractional positions stay.

    Raises:
        CalculatorError: Without a calculator.
        DataError: For strains that are no such row, and where fewer than five points are left.
        StructureError: For a structure that is not periodic in all directions.
    """
    calculator = calculator_of(atoms, *(["forces"] if relax_ions else []))
    chosen = _checked(strains)
    if not atoms.pbc.all():
        raise StructureError(
            f"hydrostatic strain needs three directions that repeat, got pbc = {atoms.pbc.tolist()}; an equation of"
            " state is that of a bulk structure"
        )
    calculator = on_grids_of(calculator, atoms.cell.array * (1 + chosen[-1]))
    points, left_out = _points(atoms, calculator, chosen, relax_ions, fmax, steps)
    kept = np.array(sorted(points))
    if len(kept) < FEWEST_POINTS:
        raise DataError(
            f"{len(kept)} of {len(chosen)} strains are left, {FEWEST_POINTS} are needed: {'; '.join(left_out)};"
            " take smaller strains or relax the structure first"
        )
    frames = [points[strain] for strain in kept]
    members = member_energies(calculator, frames)
    result = _result(atoms, calculator, kept, frames, members, relax_ions, left_out)
    for text in result.warnings:
        warn(f"{atoms.get_chemical_formula()}: {text}", stacklevel=2)
    return result


def _checked(strains: Sequence[float] | np.ndarray) -> np.ndarray:
    values = np.array(strains, dtype=float)
    if values.ndim != 1 or len(values) < FEWEST_POINTS:
        raise DataError(f"an equation of state needs {FEWEST_POINTS} strains or more, got {values.tolist()}")
    if not np.all(np.isfinite(values)) or np.any(values <= -1):
        raise DataError(f"linear strains must be finite and above -1, got {values.tolist()}")
    if np.any(np.diff(values) <= 0):
        raise DataError(f"linear strains must ascend, each only once, got {values.tolist()}; sort them")
    if values[0] > 0 or values[-1] < 0:
        raise DataError(f"linear strains must have zero among or between them, got {values.tolist()}")
    return values


def _points(
    atoms: Atoms, calculator: BaseCalculator, strains: np.ndarray, relax_ions: bool, fmax: float, steps: int
) -> tuple[dict[float, Atoms], list[str]]:
    """Structures with energies by strain, and why others are left out.

    From the least strain outwards, so that relaxed ions go from strain to strain without a leap.
    """
    order = np.argsort(np.abs(strains), kind="stable")
    points: dict[float, Atoms] = {}
    left_out: list[str] = []
    for strain in strains[order].tolist():
        inner = [known for known in points if known * strain >= 0 and abs(known) <= abs(strain)]
        start = without_results(points[max(inner, key=abs)] if inner and relax_ions else atoms)
        start.set_cell(atoms.cell.array * (1 + strain), scale_atoms=True)
        start.calc = calculator
        try:
            point, problem = _point(start, relax_ions, fmax, steps)
        except StructureError as error:
            point, problem = start, str(error)
        middle = next(iter(points.values()), None)
        if problem is None and middle is not None:
            problem = _absurd(point, middle)
        if problem is None:
            points[strain] = point
        else:
            left_out.append(f"{100 * strain:+.2f} %: {problem}")
    return points, left_out


def _point(start: Atoms, relax_ions: bool, fmax: float, steps: int) -> tuple[Atoms, str | None]:
    """The structure with its energy, and what is wrong with it."""
    if fused_pairs(start):
        return start, f"atoms are fused: a distance is below {FUSED} of the sum of two covalent radii"
    if relax_ions:
        settled, stop_reason = settle(start, fmax=fmax, steps=steps)
        return settled, None if stop_reason == CONVERGED else f"relaxation of ions: {stop_reason}"
    energy = start.get_potential_energy()
    return evaluated(start), None if np.isfinite(energy) else f"the energy is {energy} eV"


def _absurd(point: Atoms, middle: Atoms) -> str | None:
    change = (point.get_potential_energy() - middle.get_potential_energy()) / len(point)
    return None if abs(change) <= ENERGY_RANGE else f"the energy changes by {change:+.1f} eV/atom"


def _result(
    atoms: Atoms, calculator: BaseCalculator, strains: np.ndarray, frames: list[Atoms], members: np.ndarray | None,
    relax_ions: bool, left_out: list[str],
) -> EquationOfState:  # fmt: skip
    volume, count = atoms.get_volume(), len(atoms)
    energies = np.array([frame.get_potential_energy() for frame in frames])
    problems = [f"left out {text}" for text in left_out]
    parabola = curve = None
    if (end := _end_of_minimum(strains, energies)) is not None:
        problems.append(f"the lowest energy is at the end of the strains ({end:+.2%}): no bulk modulus; strain further")
    else:
        parabola = fit_parabola(strains, energies, volume, count)
        curve = fit_birch_murnaghan(volume * (1 + strains) ** 3, energies, count)
        if parabola is None:
            problems.append("no parabola: fewer than three strains within 4 % of the lowest, or the curve bends down")
        if curve is None:
            problems.append("no Birch-Murnaghan equation fits the points")
    relative, of_volume, of_modulus = None, None, None
    if members is not None:
        relative = spread(calculator, members - members[np.argmin(energies)])
        of_volume, of_modulus = _member_spreads(calculator, strains, members, volume, count)
        if parabola is not None and of_modulus is None:
            problems.append("no spread: the curves of some members have no minimum between the ends")
    return EquationOfState(
        frames, strains, volume * (1 + strains) ** 3, energies, relative, relax_ions, parabola, curve,
        of_volume, of_modulus, tuple(problems),
    )  # fmt: skip


def _end_of_minimum(strains: np.ndarray, energies: np.ndarray) -> float | None:
    lowest = int(np.argmin(energies))
    return float(strains[lowest]) if lowest in (0, len(strains) - 1) else None


def fit_parabola(strains: np.ndarray, energies: np.ndarray, unstrained_volume: float, atoms: int) -> Parabola | None:
    """Least squares through the points within 4 % (linear) of the lowest; energies in eV, volume in A^3.

    None where fewer than three points are that near, or where the parabola has no minimum.
    """
    near = np.abs(strains - strains[np.argmin(energies)]) <= PARABOLA_REACH + 1e-9
    if np.count_nonzero(near) < 3:
        return None
    offset = energies[near].mean()
    bend, slope, level = np.polyfit(strains[near], energies[near] - offset, 2)
    if bend <= 0:
        return None
    strain = -slope / (2 * bend)
    residual = np.polyval((bend, slope, level), strains[near]) + offset - energies[near]
    return Parabola(
        strain=float(strain),
        volume=float(unstrained_volume * (1 + strain) ** 3),
        energy=float(level + offset - bend * strain**2),
        bulk_modulus=float(2 * bend / (9 * unstrained_volume * (1 + strain)) / GPa),
        points=int(np.count_nonzero(near)),
        residual=float(1000 * np.sqrt(np.mean(residual**2)) / atoms),
    )


def fit_birch_murnaghan(volumes: np.ndarray, energies: np.ndarray, atoms: int) -> BirchMurnaghan | None:
    """Through volumes (A^3) and energies (eV) by `ase.eos`; None where the fit fails."""
    equation = BirchMurnaghanFit(volumes, energies, eos="birchmurnaghan")
    # It is not used; the filter stays, as filters that come and go would be those of other threads as well
    warnings.filterwarnings("ignore", message="Covariance of the parameters", module=r"ase\.eos")
    try:
        with np.errstate(all="ignore"):
            volume, energy, modulus = equation.fit(warn=False)
    except (RuntimeError, ValueError, np.linalg.LinAlgError):
        return None
    if not (volumes[0] < volume < volumes[-1] and modulus > 0):
        return None
    slope = float(equation.eos_parameters[2])
    residual = birchmurnaghan(volumes, energy, modulus, slope, volume) - energies
    return BirchMurnaghan(
        float(volume), float(energy), float(modulus / GPa), slope,
        float(1000 * np.sqrt(np.mean(residual**2)) / atoms),
    )  # fmt: skip


def _member_spreads(
    calculator: BaseCalculator, strains: np.ndarray, members: np.ndarray, volume: float, atoms: int
) -> tuple[float, float] | tuple[None, None]:
    """Of V0 (A^3) and B (GPa): each member has its own curve, so errors that members share cancel."""
    if any(_end_of_minimum(strains, energies) is not None for energies in members.T):
        return None, None
    fits = [fit_parabola(strains, energies, volume, atoms) for energies in members.T]
    values = [(fit.volume, fit.bulk_modulus) for fit in fits if fit is not None]
    if len(values) < len(fits):
        return None, None
    of_volume, of_modulus = spread(calculator, np.array(values).T)
    return float(of_volume), float(of_modulus)


def draw_equation_of_state(axes: Axes, result: EquationOfState) -> None:
    """Energies with the spread over members about the curve, and the fits."""
    atoms = len(result.points[0])
    zero = result.energies.min()
    energies = 1000 * (result.energies - zero) / atoms
    # The spread that matters for a curve is that of energy differences
    spread = result.relative_uncertainties
    axes.errorbar(
        result.volumes / atoms,
        energies,
        yerr=None if spread is None else 1000 * spread / atoms,
        fmt="o",
        color=BLUE,
        ecolor=GREY,
        capsize=3,
        label="energy" if spread is None else "model, ±1σ of the\ndifference to the lowest",
    )
    volumes = np.linspace(result.volumes[0], result.volumes[-1], 200)
    if (curve := result.birch_murnaghan) is not None:
        label = f"Birch-Murnaghan, B = {curve.bulk_modulus:.1f} GPa"
        axes.plot(volumes / atoms, 1000 * (curve.energy_at(volumes) - zero) / atoms, color=ORANGE, label=label)
    if (parabola := result.parabola) is not None:
        # The fit's reach: 4 % of the side to both sides of the minimum
        strains = parabola.strain + np.linspace(-0.04, 0.04, 50)
        unstrained = parabola.volume / (1 + parabola.strain) ** 3
        bend = 4.5 * parabola.bulk_modulus * GPa * unstrained * (1 + parabola.strain)
        heights = 1000 * (parabola.energy - zero + bend * (strains - parabola.strain) ** 2) / atoms
        label = f"parabola, B = {parabola.bulk_modulus:.1f} GPa"
        axes.plot(unstrained * (1 + strains) ** 3 / atoms, heights, "--", color=GREY, label=label)
    axes.set_xlabel("volume (Å³/atom)")
    axes.set_ylabel("energy above the lowest (meV/atom)")
    axes.legend(frameon=False)
    axes.set_title("hydrostatic strain, " + ("ions relaxed" if result.relaxed_ions else "fractional positions fixed"))
