"""Minimum-energy paths by nudged elastic bands."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, Calculator, all_changes
from ase.mep import NEB
from ase.optimize import FIRE
from tqdm import tqdm

from ase_wavescat.system.errors import DataError, PathError, warn
from ase_wavescat.system.progress import hidden
from ase_wavescat.workflows.checks import calculator_of, check_constraints, evaluated, with_calculator
from ase_wavescat.workflows.endpoints import SAME, farthest, matched, turned, warn_of_exchange
from ase_wavescat.workflows.paths import Band, band_fields, warn_of_remarks, with_results_of
from ase_wavescat.workflows.relaxation import relax

ROUGH = 0.2
"""eV/A: residual force of the band from which on the highest image climbs. Earlier it may be the wrong one."""

SOFT = 0.5
"""A: relaxed ends that near to one another are one minimum if the energy halfway is below their mean."""
RUNAWAY = 3.0
"""Times the force of the band when an image begins to climb: one that comes to more leaves the path for ever."""


@dataclass(frozen=True, eq=False)
class Barrier(Band):
    """A band that was relaxed towards a minimum-energy path.

    Attributes:
        converged: Whether no force is larger than fmax, of the band and of both ends.
        fmax: eV/A, what was asked for.
        residual_force: eV/A, largest force on an atom of the band, across the path (at the climbing image: reversed
            along it), springs included.
        endpoint_forces: (2,) eV/A, largest force on an atom of the first and the last image.
        climbed: Whether the highest image climbed; else the saddle is only as high as the images have it.
        steps: Of the band, both stages together.
        residual_forces: (steps + 1,) eV/A, by step.
    """

    converged: bool
    fmax: float
    residual_force: float
    endpoint_forces: np.ndarray
    climbed: bool
    steps: int
    residual_forces: np.ndarray

    def summary(self) -> str:
        state = "converged" if self.converged else "not converged"
        moving = f"images that move: {len(self.images) - 2} of {len(self.images)}"
        force = f"residual force {self.residual_force:.3f} eV/Å"
        return f"{state} after {self.steps} steps, {force}; {moving}\n{super().summary()}"

    @property
    def incomplete(self) -> str:
        return "" if self.converged else f"not converged after {self.steps} steps"

    def remarks(self) -> list[str]:
        found = super().remarks()
        if self.residual_force > self.fmax:
            found.append(
                f"the band did not converge: force {self.residual_force:.3f} of {self.fmax} eV/Å after"
                f" {self.steps} steps; allow more steps"
            )
        for name, force in zip(("initial", "final"), self.endpoint_forces, strict=True):
            if force > self.fmax:
                found.append(
                    f"the {name} structure is not relaxed: force {force:.3f} of {self.fmax} eV/Å; relax it before, or"
                    " allow more steps"
                )
        return found


def neb(
    initial: Atoms,
    final: Atoms,
    *,
    images: int | Sequence[Atoms] = 7,
    fmax: float = 0.05,
    steps: int = 500,
    climb: bool = True,
    relax_endpoints: bool = True,
    shared: bool = True,
    progress: bool = False,
) -> Barrier:
    """Minimum-energy path between two minima, by a nudged elastic band with the calculator of `initial`.

    The band is ASE's, with improved tangents and springs of 0.1 eV/A^2. The ends are brought into one frame (every atom
    at its nearest image, common drift taken away) and relaxed at fixed cell; the images between them begin on ASE's
    image-dependent pair potential (IDPP) and relax by FIRE, from a residual force of 0.2 eV/A on with a climbing image.
    Where that runs away, which happens beside shallow minima, the band relaxes without it.

    The result says whether it converged.

    G. Henkelman, H. Jonsson, J. Chem. Phys. 113, 9978 (2000); G. Henkelman, B. P. Uberuaga, H. Jonsson, J. Chem. Phys.
    113, 9901 (2000); S. Smidstrup, A. Pedersen, K. Stokbro, H. Jonsson, J. Chem. Phys. 140, 214106 (2014).

    Args:
        images: How many, both ends included; or the images between the ends to begin with.
        fmax: eV/A, largest force on an atom of the ends and of the band.
        steps: At most so many for each end, and for the band.
        shared: One calculator for all images, or (False) a copy for each; the path is the same.
        progress: Show a bar.

    Raises:
        PathError: For ends that are equal, differ in atoms, order or cell, run away or relax into one minimum.
        CalculatorError: Without a calculator with forces; before any work.
        DataError: For numbers of images, limits and structures that make no sense; before any work.

    Warns:
        WaveScatWarning: Where the result's `remarks` have something to say, and where like atoms change places.
    """
    calculator = calculator_of(initial, "forces")
    images = list(images) if isinstance(images, Iterable) else int(images)
    for structure in [final, *(images if isinstance(images, list) else [])]:
        check_constraints(structure)
    _check_settings(images, fmax, steps)
    first, last = _ends(initial, final, calculator, fmax, steps, relax_endpoints)
    path = _start(first, last, images)
    for image in path[1:-1]:
        image.calc = _Remembering(calculator) if shared else copy.deepcopy(calculator)
    band = NEB(path, k=0.1, method="improvedtangent")
    residuals = _relax_band(band, fmax, steps, climb, progress)
    endpoint_forces = np.array([_largest_force(image) for image in (path[0], path[-1])])
    barrier = Barrier(
        **band_fields([evaluated(image) for image in path], calculator),
        converged=bool(residuals[-1] <= fmax and endpoint_forces.max() <= fmax),
        fmax=fmax,
        residual_force=residuals[-1],
        endpoint_forces=endpoint_forces,
        climbed=bool(band.climb),
        steps=len(residuals) - 1,
        residual_forces=np.array(residuals),
    )
    warn_of_remarks(barrier)
    return barrier


class _Remembering(Calculator):
    """What a shared calculator said of one image: optimisers ask for a band's forces several times a step."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012  ASE declares it as a list on the class

    def __init__(self, shared: BaseCalculator) -> None:
        super().__init__()
        self._shared = shared
        self.parameters.update(getattr(shared, "parameters", None) or {})

    def _get_name(self) -> str:
        return self._shared.name

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        super().calculate(atoms, list(properties), list(system_changes))
        self.results = {name: self._shared.get_property(name, self.atoms) for name in ("forces", "energy")}


def _check_settings(images: int | Sequence[Atoms], fmax: float, steps: int) -> None:
    count = images if isinstance(images, int) else len(images) + 2
    if count < 3:
        raise DataError(f"a band needs at least three images, one of them between the ends, got {count}")
    if not (np.isfinite(fmax) and fmax > 0):
        raise DataError(f"fmax must be a positive number, got {fmax}")
    if steps < 0:
        raise DataError(f"steps must not be negative, got {steps}")


def _ends(
    initial: Atoms, final: Atoms, calculator: BaseCalculator, fmax: float, steps: int, relaxed: bool
) -> tuple[Atoms, Atoms]:
    """Both ends in one frame, relaxed when asked for, with energies and forces."""
    differ = final.constraints and len(initial) == len(final)
    if differ and not np.allclose(_moved(initial, initial.constraints), _moved(initial, final.constraints), atol=1e-4):
        raise PathError(
            "the constraints of the final structure are not those of the initial one, which count for the whole path;"
            " set the same in both"
        )
    final = turned(initial, matched(initial, final))
    moved = farthest(initial, final)
    if moved < SAME:
        raise PathError(
            f"initial and final structure are equal: no atom moves by more than {moved:.3f} A (below {SAME} A counts as"
            " equal); give two different minima"
        )
    warn_of_exchange(initial, final)
    first = _end(initial, calculator, "initial", fmax, steps, relaxed)
    last = _end(final, calculator, "final", fmax, steps, relaxed)
    if relaxed:
        _check_two_minima(first, last, calculator)
    return first, last


def _check_two_minima(first: Atoms, last: Atoms, calculator: BaseCalculator) -> None:
    """Relaxed to usual forces, one soft minimum can be two structures: then no barrier is halfway between them."""
    last = with_results_of(last, turned(first, matched(first, last)))
    moved = farthest(first, last)
    halfway = first.copy()
    halfway.set_positions(0.5 * (first.positions + last.positions))
    halfway.calc = calculator
    mean = 0.5 * (first.get_potential_energy() + last.get_potential_energy())
    if moved < SAME or (moved < SOFT and halfway.get_potential_energy() < mean):
        raise PathError(
            f"initial and final structure relax into the same minimum: then no atom moves by more than {moved:.3f} A,"
            " and no barrier is halfway; one of the two is no minimum of this potential"
        )


def _moved(atoms: Atoms, constraints: list[Any]) -> np.ndarray:
    """(N, 3) A: where atoms come that are all moved a little, under constraints."""
    moved = atoms.copy()
    moved.set_constraint(constraints)
    moved.set_positions(atoms.positions + np.random.default_rng(0).normal(scale=0.05, size=atoms.positions.shape))
    return moved.positions


def _end(atoms: Atoms, calculator: BaseCalculator, name: str, fmax: float, steps: int, relaxed: bool) -> Atoms:
    end = with_calculator(atoms, calculator)
    if relaxed:
        relaxation = relax(end, fmax=fmax, steps=steps)
        if relaxation.runaway:
            raise PathError(f"the {name} structure does not relax: {relaxation.stop_reason}; check its distances")
        return relaxation.structure
    end.get_forces()
    end.get_potential_energy()
    return evaluated(end)


def _start(first: Atoms, last: Atoms, images: int | Sequence[Atoms]) -> list[Atoms]:
    """All images before the band relaxes, those between the ends without calculators."""
    if isinstance(images, int):
        last = with_results_of(last, matched(first, last))
        path = [first, *(first.copy() for _ in range(images - 2)), last]
        with np.errstate(divide="ignore", invalid="ignore"):
            NEB(path, method="improvedtangent").interpolate(method="idpp", mic=True, apply_constraint=True)
        if not all(np.isfinite(image.positions).all() for image in path):
            raise PathError(
                "atoms run into each other on the way from the initial to the final structure; give images around that"
                " to begin with, or reorder like atoms that change places"
            )
        return path
    path = [first]
    for image in images:
        path.append(matched(path[-1], image))
    return [*path, with_results_of(last, matched(path[-1], last))]


def _relax_band(band: NEB, fmax: float, steps: int, climb: bool, progress: bool) -> list[float]:
    """Residual forces by step; at first no image climbs, nor later one that runs away."""
    residuals: list[float] = []
    with tqdm(desc="band", unit="step", disable=hidden(progress)) as bar:
        _stage(band, max(fmax, ROUGH), steps, residuals, bar)
        band.climb = climb and len(residuals) <= steps and _has_top(band)
        start = band.get_positions()
        limit = RUNAWAY * max(float(np.linalg.norm(band.get_forces(), axis=1).max()), ROUGH)
        if not _stage(band, fmax, steps, residuals, bar, limit if band.climb else np.inf):
            warn(
                f"the climbing image ran away (force above {limit:.2f} eV/Å): the band was relaxed without it, and the"
                " barrier is that of its highest image; more images may help",
                stacklevel=3,
            )
            band.climb = False
            band.set_positions(start)
            _stage(band, fmax, steps, residuals, bar)
    return residuals


def _stage(
    band: NEB, target: float, steps: int, residuals: list[float], bar: tqdm, limit: float = np.inf
) -> bool:  # fmt: skip
    """Relax until the residual force is below target (eV/A), or so many steps are done in all; False above `limit`."""
    done = max(len(residuals) - 1, 0)
    del residuals[-1:]  # the state comes again, perhaps with another force on the climbing image
    for _ in FIRE(band, logfile=None).irun(fmax=target, steps=steps - done):
        residuals.append(float(np.linalg.norm(band.get_forces(), axis=1).max()))
        if not np.isfinite(residuals[-1]):
            raise PathError(
                f"the band's forces are not finite after {len(residuals) - 1} steps; look at the path it began with"
            )
        bar.set_postfix_str(f"force {residuals[-1]:.3f} eV/Å")
        bar.update(len(residuals) - 1 - bar.n)
        if residuals[-1] > limit:
            return False
    return True


def _has_top(band: NEB) -> bool:
    """Whether an image between the ends is above both: one below would climb to an end and not come to rest."""
    energies = np.asarray(band.energies)
    return bool(energies[1:-1].max() > max(energies[0], energies[-1]))


def _largest_force(atoms: Atoms) -> float:
    return float(np.linalg.norm(atoms.get_forces(), axis=1).max())
