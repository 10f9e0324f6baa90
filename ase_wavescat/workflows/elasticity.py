"""Elastic constants from the stress under small strains, with clamped ions and with ions that answer the strain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.stress import voigt_6_to_full_3x3_strain
from ase.units import GPa

from ase_wavescat.system.errors import CalculatorError, DataError, StructureError, warn
from ase_wavescat.workflows.checks import calculator_of, evaluated, on_grids_of, with_calculator
from ase_wavescat.workflows.crystal_axes import CrystalConstants, crystal_constants, has_symmetry_finder
from ase_wavescat.workflows.ion_response import IonResponse, ion_response
from ase_wavescat.workflows.members import member_stresses, spread
from ase_wavescat.workflows.relaxation import CONVERGED, settle
from ase_wavescat.workflows.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STRAINS = (-0.01, -0.005, 0.005, 0.01)
LARGEST_STRAIN = 0.1
LARGE_STRESS = 1.0
"""GPa of the unstrained cell, beyond which its elastic constants are not those at zero stress."""
UNBALANCED = 0.1
"""GPa of the relaxed constants, which forces left on moved ions may change before that is a warning."""
_KELVIN = np.array([1, 1, 1, np.sqrt(2), np.sqrt(2), np.sqrt(2)])


@dataclass(frozen=True, eq=False)
class ElasticTensor:
    """Stiffness and its isotropic averages (Voigt, Reuss, Hill: R. Hill, Proc. Phys. Soc. A 65, 349, 1952).

    Hill's means and what follows from them are nan where the tensor is not positive definite.

    Attributes:
        stiffness: (6, 6) GPa, symmetric, order xx, yy, zz, yz, xz, xy with engineering shear strains (2 e_yz ...).
        bulk_modulus, shear_modulus: GPa, Hill's means of the bounds.
        youngs_modulus: GPa.
        poisson_ratio: No unit.
        bulk_bounds, shear_bounds: GPa, Reuss (equal stress) and Voigt (equal strain).
        eigenvalues: (6,) GPa, ascending, in Kelvin's notation, where they do not depend on the axes.
        residual: GPa, root mean square of the stresses of clamped ions about the fit.
        asymmetry: GPa, largest |C_ij - C_ji| / 2 of clamped ions before the fit was made symmetric.
    """

    stiffness: np.ndarray
    bulk_modulus: float
    shear_modulus: float
    youngs_modulus: float
    poisson_ratio: float
    bulk_bounds: tuple[float, float]
    shear_bounds: tuple[float, float]
    eigenvalues: np.ndarray
    residual: float
    asymmetry: float

    @property
    def stable(self) -> bool:
        """Whether every small strain costs energy: the tensor is positive definite."""
        return bool(self.eigenvalues[0] > 0)


@dataclass(frozen=True, eq=False)
class ElasticSpread:
    """Calibrated standard deviations over members, each with its own tensor of clamped ions, in the units above.

    Attributes:
        unstable_members: How many have a tensor that is not positive definite; if any, those of the averages are nan.
    """

    stiffness: np.ndarray
    bulk_modulus: float
    shear_modulus: float
    youngs_modulus: float
    poisson_ratio: float
    unstable_members: int


@dataclass(frozen=True, eq=False)
class ElasticConstants(Result):
    """Elastic constants of a structure, and the stresses they come from.

    Attributes:
        structure: Unstrained, its ions relaxed where relaxed ions were asked for.
        strains: (S,) of each of the six kinds (engineering shear strains).
        clamped_stresses: (6, S, 6) GPa with fractional positions fixed, by kind of strain, strain and component.
        clamped: Fractional positions fixed.
        relaxed: Ions at rest in the strained cell; None where not asked for.
        ions: How far ions move, and how well that is known; None where not asked for.
        crystal: `best` in the conventional axes of the crystal; None without symmetry and without spglib.
        clamped_uncertainty: None without members.
        residual_stress: (6,) GPa of the unstrained structure.
        residual_force: eV/A, its largest force on an atom; None where ions stay clamped.
        warnings: What limits the constants, in words.
        unconverged: Those of them that say which relaxations did not converge.
    """

    structure: Atoms
    strains: np.ndarray
    clamped_stresses: np.ndarray
    clamped: ElasticTensor
    relaxed: ElasticTensor | None
    ions: IonResponse | None
    crystal: CrystalConstants | None
    clamped_uncertainty: ElasticSpread | None
    residual_stress: np.ndarray
    residual_force: float | None
    warnings: tuple[str, ...]
    unconverged: tuple[str, ...] = ()

    @property
    def structures(self) -> list[Atoms]:
        return [self.structure]

    @property
    def incomplete(self) -> str:
        return "; ".join(self.unconverged)

    @property
    def best(self) -> ElasticTensor:
        """With relaxed ions where there is one."""
        return self.relaxed or self.clamped

    def summary(self) -> str:
        lines = []
        kinds = [("relaxed ions", self.relaxed, None), ("clamped ions", self.clamped, self.clamped_uncertainty)]
        for name, tensor, uncertainty in kinds:
            if tensor is not None:
                lines.append(f"{name}: {_moduli(tensor, uncertainty)}")
                lines += _rows(tensor.stiffness)
                lines.append(
                    f"  GPa; lowest eigenvalue {tensor.eigenvalues[0]:.2f}, residual {tensor.residual:.3f},"
                    f" asymmetry {tensor.asymmetry:.3f}"
                )
        if self.crystal is not None:
            ions = "clamped" if self.relaxed is None else "relaxed"
            if np.allclose(self.crystal.axes, np.eye(3), atol=1e-4):
                lines.append(f"the axes are the conventional ones of the crystal, {self.crystal.space_group}")
            else:
                lines.append(f"{ions} ions in the conventional axes of the crystal, {self.crystal.space_group}:")
                lines += [*_rows(self.crystal.stiffness), "  GPa"]
        elif not has_symmetry_finder():
            lines.append("constants in the axes of the crystal need spglib: pip install spglib")
        if self.ions is not None:
            lines.append(_movement(self.ions))
        stress = " ".join(f"{value:.3f}" for value in np.round(self.residual_stress, 3) + 0.0)
        lines.append(f"stress of the unstrained cell {stress} GPa")
        return "\n".join(lines + [f"warning: {text}" for text in self.warnings])

    def plot(self) -> Figure:
        """The tensor in numbers, and the stresses of clamped ions with the slopes of the diagonal."""
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        figure = Figure(figsize=(11, 4.6), layout=ConstrainedLayoutEngine(wspace=0.05))
        matrix, slopes = figure.subplots(1, 2)
        names = ("xx", "yy", "zz", "yz", "xz", "xy")
        tensor = self.best
        largest = float(np.abs(tensor.stiffness).max())
        matrix.imshow(tensor.stiffness, cmap="RdBu_r", vmin=-1.5 * largest, vmax=1.5 * largest)
        for (row, column), value in np.ndenumerate(tensor.stiffness):
            matrix.text(column, row, f"{value:.1f}".replace("-0.0", "0.0"), ha="center", va="center")
        matrix.set_xticks(range(6), names)
        matrix.set_yticks(range(6), names)
        ions = "clamped" if self.relaxed is None else "relaxed"
        matrix.set_title(f"C (GPa), ions {ions}: K {tensor.bulk_modulus:.1f}, G {tensor.shear_modulus:.1f} GPa")
        for kind, name in enumerate(names):
            # Crystals have equal ones: each marker is smaller than those before
            change = self.clamped_stresses[kind, :, kind] - self.residual_stress[kind]
            (points,) = slopes.plot(
                100 * self.strains, change, "o", markersize=13 - 2 * kind, fillstyle="none", label=name
            )
            for shown, style in ((self.clamped, ":"), (self.relaxed, "-")):
                if shown is not None:
                    line = shown.stiffness[kind, kind] * self.strains
                    slopes.plot(100 * self.strains, line, style, color=points.get_color(), linewidth=2.5 - 0.3 * kind)
        slopes.set_xlabel("strain (%)")
        slopes.set_ylabel("change of the stress of the same component (GPa)")
        slopes.set_title("clamped ions: points, dotted" + ("" if self.relaxed is None else "; relaxed: lines"))
        slopes.legend(frameon=False)
        return figure


def _rows(stiffness: np.ndarray) -> list[str]:
    return ["  " + " ".join(f"{value:8.2f}" for value in row) for row in np.round(stiffness, 2) + 0.0]  # no -0.00


def _movement(ions: IonResponse) -> str:
    farthest = float(np.linalg.norm(ions.displacements, axis=-1).max())
    if ions.softest is None or farthest < 1e-6:
        return "no ion moves beside the cell: symmetry or constraints hold all of them"
    return (
        f"ions move by up to {farthest:.3f} Å per unit of strain; lowest force constant {ions.softest:.3f} eV/Å²,"
        f" forces left change the constants by {ions.unbalanced:.1e} GPa"
    )


def _moduli(tensor: ElasticTensor, uncertainty: ElasticSpread | None) -> str:
    parts = []
    for letter, name in {"K": "bulk_modulus", "G": "shear_modulus", "E": "youngs_modulus"}.items():
        known = uncertainty is not None and not uncertainty.unstable_members
        error = f" ± {getattr(uncertainty, name):.2f}" if known else ""
        parts.append(f"{letter} {getattr(tensor, name):.2f}{error} GPa")
    return ", ".join([*parts, f"nu {tensor.poisson_ratio:.3f} (Hill)"])


def elastic(
    atoms: Atoms,
    *,
    strains: Sequence[float] | np.ndarray = STRAINS,
    relax_ions: bool = True,
    fmax: float = 0.001,
    steps: int = 1000,
    progress: bool = False,
) -> ElasticConstants:
    """Elastic constants C_ij = d sigma_i / d e_j (GPa) of a periodic structure in its present cell.

    The cell becomes cell (1 + e) with a symmetric strain e, one Voigt component at a time, and the Cauchy stress is
    taken. Strains come in pairs +-e: the slope of (sigma(e) - sigma(-e)) / 2 has no error of second order. The tensor
    is the symmetric one nearest to those slopes by least squares.

    A stress s of the unstrained cell changes the constants by as much: beyond 1 GPa a WaveScatWarning says so; relax
    the cell first (`relax(atoms, cell=True)`). Others say that ions are at no minimum, that some are loose, and that
    forces left on moved ions would change a constant by more than 0.1 GPa.

    With spglib, the constants are given in the conventional axes of a crystal as well (`crystal_constants`).

    Args:
        strains: Pairs of opposite numbers, for shear the engineering strain 2 e_yz.
        relax_ions: The constants that experiment sees, with ions at rest in the strained cell. The unstrained structure
            is relaxed first (`fmax` in eV/A, at most `steps` steps); then ions answer by linear response, with force
            constants from central differences of forces (6N evaluations for N atoms),
            `C_ij = C_ij(clamped) - L_i K^-1 L_j / V`, with L = dF/de from the clamped strains, of which forces left on
            the unstrained structure drop out, and K = -dF/dR. That is the limit of small strains, which relaxing ions
            at each strain approaches as `fmax` becomes small beside the forces of the strain. Clamped ions are reported
            in any case.
        progress: Show a bar.

    Raises:
        CalculatorError: Without a calculator that gives stress.
        DataError: For strains that are large or do not pair, and for constraints that change strains or have energies.
        StructureError: For a structure that is not periodic in all directions.
    """
    calculator = _checked_calculator(atoms, relax_ions)
    chosen = _checked(strains)
    problems: list[str] = []
    calculator = on_grids_of(calculator, atoms.cell.array * (1 + chosen[-1]))
    base = with_calculator(atoms, calculator)
    if relax_ions:
        settled, stop_reason = settle(base, fmax=fmax, steps=steps)
        if stop_reason != CONVERGED:
            problems.append(f"relaxation of the unstrained structure: {stop_reason}")
        base.positions = settled.positions
    residual_stress = base.get_stress() / GPa
    residual_force = float(np.linalg.norm(base.get_forces(), axis=1).max()) if relax_ions else None
    structure = evaluated(base)
    frames = [[_strained(base, kind, strain) for strain in chosen] for kind in range(6)]
    clamped, forces = _answers(frames, relax_ions)
    members = member_stresses(calculator, [frame for row in frames for frame in row])
    ions = None if forces is None else _response(base, chosen, forces, progress)
    unconverged = tuple(problems)
    uncertainty = None if members is None else _spread(calculator, chosen, members / GPa)
    if uncertainty is not None and uncertainty.unstable_members:
        problems.append(
            f"no spread of the averages: {uncertainty.unstable_members} members have tensors that are not positive"
            " definite"
        )
    tensor = fit_tensor(chosen, clamped)
    relaxed = None if ions is None else _softened(tensor, ions)
    problems += _doubts(residual_stress, relaxed or tensor) + ([] if ions is None else _doubts_of_ions(structure, ions))
    for text in problems:
        warn(f"{atoms.get_chemical_formula()}: {text}", stacklevel=2)
    return ElasticConstants(
        structure=structure,
        strains=chosen,
        clamped_stresses=clamped,
        clamped=tensor,
        relaxed=relaxed,
        ions=ions,
        crystal=crystal_constants(structure, (relaxed or tensor).stiffness),
        clamped_uncertainty=uncertainty,
        residual_stress=residual_stress,
        residual_force=residual_force,
        warnings=tuple(problems),
        unconverged=unconverged,
    )


def _checked_calculator(atoms: Atoms, relax_ions: bool) -> BaseCalculator:
    if atoms.calc is not None and "stress" not in atoms.calc.implemented_properties:
        raise CalculatorError(
            f"{type(atoms.calc).__name__} gives no stress, from which elastic constants are taken; where it gives"
            " free_energy, wrap it in ase.calculators.fd.FiniteDifferenceCalculator, which takes differences"
        )
    if not atoms.pbc.all():
        raise StructureError(
            f"elastic constants need three directions that repeat, got pbc = {atoms.pbc.tolist()}; stress has no"
            " meaning along open ones"
        )
    adjusting = [type(one).__name__ for one in atoms.constraints if hasattr(one, "adjust_cell")]
    if adjusting:
        raise DataError(
            f"{' and '.join(adjusting)} would change the strains and stresses that elastic constants come from; remove"
            " it: atoms.set_constraint()"
        )
    return calculator_of(atoms, "stress", *(["forces"] if relax_ions else []))


def _checked(strains: Sequence[float] | np.ndarray) -> np.ndarray:
    values = np.array(strains, dtype=float)
    if values.ndim != 1 or len(values) < 2 or not np.all(np.isfinite(values)):
        raise DataError(f"elastic constants need pairs of strains +-e, got {values.tolist()}")
    values = np.sort(values)
    if np.any(values == 0) or np.any(np.diff(values) <= 0) or not np.allclose(values, -values[::-1], rtol=1e-9):
        raise DataError(
            f"strains must be pairs +-e of different sizes, none zero, got {values.tolist()}; one-sided strains have"
            " errors of second order"
        )
    if values[-1] > LARGEST_STRAIN:
        raise DataError(f"strains must be small, at most {LARGEST_STRAIN}, got {values[-1]}")
    return values


def _strained(base: Atoms, kind: int, strain: float) -> Atoms:
    """With the same calculator; `kind` is the Voigt component, shears are engineering strains."""
    strained = base.copy()
    strained.calc = base.calc
    # ASE's conversion halves the shears and adds the identity
    strained.set_cell(base.cell.array @ voigt_6_to_full_3x3_strain(strain * np.eye(6)[kind]), scale_atoms=True)
    return strained


def _answers(frames: list[list[Atoms]], with_forces: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """(6, S, 6) GPa and (6, S, N, 3) eV/A, one after the other: most calculators compute both at once."""
    stresses, forces = [], []
    for frame in [frame for row in frames for frame in row]:
        stresses.append(frame.get_stress() / GPa)
        if with_forces:
            forces.append(frame.get_forces(apply_constraint=False))
    shape = len(frames), len(frames[0])
    of_ions = np.array(forces).reshape(*shape, -1, 3) if with_forces else None
    return np.array(stresses).reshape(*shape, 6), of_ions


def _response(base: Atoms, strains: np.ndarray, forces: np.ndarray, progress: bool) -> IonResponse:
    """From forces (6, S, N, 3) under strain; those of the unstrained structure drop out of the odd part."""
    slopes, _ = _slopes(strains, forces.reshape(6, len(strains), -1))
    return ion_response(base, slopes.reshape(6, -1, 3), progress=progress)


def fit_tensor(strains: np.ndarray, stresses: np.ndarray) -> ElasticTensor:
    """The symmetric tensor nearest to stresses (6, S, 6) in GPa at pairs of strains (S,), ascending."""
    slopes, odd = _slopes(strains, stresses)
    stiffness = (slopes + slopes.T) / 2
    left = odd - stiffness[:, None, :] * strains[None, :, None]
    return _tensor(stiffness, float(np.sqrt(np.mean(left**2))), float(np.abs(slopes - slopes.T).max() / 2))


def _softened(clamped: ElasticTensor, ions: IonResponse) -> ElasticTensor:
    """With ions at rest in the strained cell."""
    return _tensor(clamped.stiffness - ions.softening, clamped.residual, clamped.asymmetry)


def _tensor(stiffness: np.ndarray, residual: float, asymmetry: float) -> ElasticTensor:
    eigenvalues = np.linalg.eigvalsh(stiffness * np.outer(_KELVIN, _KELVIN))
    return ElasticTensor(stiffness, *_averages(stiffness), eigenvalues, residual=residual, asymmetry=asymmetry)


def _slopes(strains: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """d values_i / d e_j by j and i, of values (6, S, n), and the odd part of the values."""
    odd = (values - values[:, ::-1]) / 2
    return np.einsum("k,jki->ji", strains, odd) / np.sum(strains**2), odd


def _averages(
    stiffness: np.ndarray,
) -> tuple[float, float, float, float, tuple[float, float], tuple[float, float]]:
    """K, G, E, nu after Hill, and the bounds of K and of G after Reuss and Voigt."""
    bulk_voigt = stiffness[:3, :3].sum() / 9
    diagonal, off = np.trace(stiffness[:3, :3]), stiffness[0, 1] + stiffness[0, 2] + stiffness[1, 2]
    shear_voigt = (diagonal - off + 3 * np.trace(stiffness[3:, 3:])) / 15
    bulk_reuss = shear_reuss = np.nan
    if np.linalg.eigvalsh(stiffness)[0] > 0:
        compliance = np.linalg.inv(stiffness)
        bulk_reuss = 1 / compliance[:3, :3].sum()
        diagonal, off = np.trace(compliance[:3, :3]), compliance[0, 1] + compliance[0, 2] + compliance[1, 2]
        shear_reuss = 15 / (4 * diagonal - 4 * off + 3 * np.trace(compliance[3:, 3:]))
    bulk, shear = (bulk_reuss + bulk_voigt) / 2, (shear_reuss + shear_voigt) / 2
    youngs, poisson = 9 * bulk * shear / (3 * bulk + shear), (3 * bulk - 2 * shear) / (2 * (3 * bulk + shear))
    bounds = (float(bulk_reuss), float(bulk_voigt)), (float(shear_reuss), float(shear_voigt))
    return float(bulk), float(shear), float(youngs), float(poisson), *bounds


def _spread(calculator: BaseCalculator, strains: np.ndarray, members: np.ndarray) -> ElasticSpread:
    """From the members' stresses (6 S, M, 6) in GPa."""
    by_member = np.moveaxis(members, 1, 0).reshape(members.shape[1], 6, len(strains), 6)
    tensors = [fit_tensor(strains, stresses) for stresses in by_member]
    names = ("bulk_modulus", "shear_modulus", "youngs_modulus", "poisson_ratio")
    values = spread(calculator, np.array([[getattr(tensor, name) for tensor in tensors] for name in names]))
    stiffness = spread(calculator, np.stack([tensor.stiffness for tensor in tensors], axis=-1))
    bulk, shear, youngs, poisson = values.tolist()
    return ElasticSpread(stiffness, bulk, shear, youngs, poisson, sum(not tensor.stable for tensor in tensors))


def _doubts(residual_stress: np.ndarray, tensor: ElasticTensor) -> list[str]:
    found = []
    largest = float(np.abs(residual_stress).max())
    if largest > LARGE_STRESS:
        found.append(
            f"the unstrained cell has a stress of {largest:.2f} GPa: the constants are those of the stressed cell,"
            " which differ from those at zero stress by about as much; relax the cell first"
        )
    if not tensor.stable:
        found.append(
            f"the tensor is not positive definite (lowest eigenvalue {tensor.eigenvalues[0]:.2f} GPa): the structure is"
            " not stable in this cell, and Reuss and Hill averages have no meaning"
        )
    return found


def _doubts_of_ions(atoms: Atoms, ions: IonResponse) -> list[str]:
    found = []
    if ions.softest is None and atoms.constraints:
        found.append("constraints hold all ions: the constants of relaxed ions are those of clamped ones")
    if ions.softest is not None and ions.softest < 0:
        found.append(
            f"ions are at no minimum of the energy (lowest force constant {ions.softest:.3f} eV/Å²): they would leave"
            " these places, and the constants of relaxed ions are those of a structure that does not last; move atoms"
            " a little and relax"
        )
    if ions.loose:
        found.append(
            f"{ions.loose} directions of ions have no force constant to speak of (loose atoms or molecules): their part"
            " in the relaxed constants is left out"
        )
    if ions.unbalanced > UNBALANCED:
        found.append(
            f"forces left on moved ions would change the relaxed constants by {ions.unbalanced:.2f} GPa (of"
            f" {UNBALANCED} at most): the forces are not smooth, or the ions not relaxed; take a smaller fmax"
        )
    return found
