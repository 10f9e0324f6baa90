"""The ASE calculator: checks, asks the model, converts."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import (
    Calculator,
    PropertyNotImplementedError,
    all_changes,
    external_calculators,
    register_calculator_class,
)
from ase.stress import full_3x3_to_voigt_6_stress

from ase_wavescat import __version__
from ase_wavescat.potentials.file.model_file import load_model
from ase_wavescat.potentials.model import Model, ModelPrediction
from ase_wavescat.potentials.protocol import Potential
from ase_wavescat.representation.execution import Execution
from ase_wavescat.structure.neighbour_list import NeighbourList
from ase_wavescat.structure.periodicity import independent
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.blas import one_blas_thread
from ase_wavescat.system.errors import CalculatorError, ModelNotFoundError, StructureError, did_you_mean, warn
from ase_wavescat.system.forks import renew_in_child

NAME = "wavescat"
"""What ASE calls it."""

_REMEDY = {
    "composition": "train with such compositions or do not trust the energies",
    "distance": "the repulsion keeps atoms apart, but the energies there are not trained; check the structure",
    "boundaries": "train with such structures before trusting energies and forces near a boundary",
    "environments": "label such structures and train with them; get_extrapolation_grades() has all atoms",
    "features": "look at get_energy_uncertainty() and get_forces_uncertainty() before trusting the result",
    "spread": "the members disagree: do not trust the result",
}
_FORCES = ("analytic", "finite-difference")


class WaveScatCalculator(Calculator):
    """Energy, forces and stress of crystals, slabs, wires and molecules from a wavelet-scattering model.

    Each direction along which `atoms.pbc` is False is open: the structure is alone there, whatever the cell. Energy and
    forces then need no cell vector along it; the stress, (1/V) dE/dstrain with V the volume of `atoms.cell`, needs all
    three, and raises PropertyNotImplementedError without.

    Threads may share one calculator, and forked children use it whatever these were at; pickles and copies carry the
    model and the results, not the caches. `parameters` record the model's file, its digest and the package's version.

    Args:
        model: Name of a bundled model ("lisi.h5"), a path, a Model or any potential;
            there is no default.
        atoms: Get this calculator.
        label, directory: As ASE hands them to every calculator; no file is written.
        forces: "analytic" (exact derivatives by reverse mode) or "finite-difference" (central differences of the
            energy, for checking: 6 N + 12 energies).
        reference_cell: (3, 3) cell (A) whose grids and reciprocal vectors are kept, so that energies along a strain or
            a volume scan are comparable to the last digit; None: each cell has its own. Its rows along open directions
            do not matter and may be zero. Structures whose cell is no moderate strain of it are refused.
        step: Of the finite differences, in A for positions, without unit for strains.
        threads: That share the work of one structure; worth it from some hundred atoms on, results are the same.
        precision: "double", or "single" for fields and FFTs in 32 bits: for large cells, errors below 0.1 meV/A.

    Raises:
        ModelNotFoundError: For a name that is no model's.
        ModelFileError: For a file that holds no model.
        StructureError: Later, when a structure cannot be evaluated.

    Warns:
        WaveScatWarning: Each kind once, outside the domain that the model has recorded.
    """

    # ASE declares these as lists and dicts on the class
    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012
    default_parameters = {  # noqa: RUF012
        "forces": "analytic",
        "reference_cell": None,
        "step": 1e-4,
        "threads": 1,
        "precision": "double",
    }
    discard_results_on_any_change = True

    def __init__(
        self,
        model: str | os.PathLike[str] | Potential | None = None,
        *,
        atoms: Atoms | None = None,
        label: str | None = None,
        directory: str | os.PathLike[str] = ".",
        forces: str = "analytic",
        reference_cell: Sequence[Sequence[float]] | np.ndarray | None = None,
        step: float = 1e-4,
        threads: int = 1,
        precision: str = "double",
    ) -> None:
        if model is None:
            raise ModelNotFoundError(
                'a model must be named: WaveScatCalculator("lisi.h5"), or with ase run: -p model=lisi.h5'
            )
        self.model = load_model(model) if isinstance(model, (str, os.PathLike)) else _judged(model)
        self._prepare(Execution(threads, precision))
        super().__init__(
            label=label, atoms=atoms, directory=directory, forces=forces, reference_cell=reference_cell, step=step,
            threads=threads, precision=precision,
        )  # fmt: skip
        # What databases, trajectories and results record of this calculator
        self.parameters["model"] = os.fspath(model) if isinstance(model, (str, os.PathLike)) else "in memory"
        self.parameters["model_digest"] = self.model.digest
        self.parameters["ase_wavescat"] = __version__
        if isinstance(version := self.model.provenance.get("version"), (str, int, float)):
            self.parameters["model_version"] = version

    def _prepare(self, execution: Execution) -> None:
        """Everything that a pickle does not carry."""
        self._execution = execution
        self._prediction: ModelPrediction | None = None
        self._warned: set[str] = set()
        self._neighbours = NeighbourList(self.model.neighbour_reach)
        self._lock_anew()

    def _lock_anew(self) -> None:
        self._lock = threading.RLock()
        renew_in_child(self)

    def renew(self) -> None:
        """In a forked child: what another thread was half-way through is forgotten, and its lock replaced."""
        if self._lock.acquire(blocking=False):  # no thread had it, or the one that forked
            self._lock.release()
            return
        self._lock_anew()
        self.reset()

    def _get_name(self) -> str:
        return NAME

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_lock", "_execution", "_prediction", "_warned", "_neighbours")
        return {key: value for key, value in self.__dict__.items() if key not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare(Execution(self.parameters["threads"], self.parameters["precision"]))

    def set(self, **kwargs: Any) -> dict[str, Any]:
        """Change any parameter but the model; results are forgotten when something changed."""
        known = list(self.default_parameters)
        for key in kwargs:
            if key not in known:
                hint = did_you_mean(key, known)
                raise ValueError(f"unknown parameter {key!r}{hint} (known: {', '.join(known)}; the model is fixed)")
        if kwargs.get("forces", "analytic") not in _FORCES:
            raise ValueError(f"forces must be one of {', '.join(map(repr, _FORCES))}, got {kwargs['forces']!r}")
        if not 0 < kwargs.get("step", 1e-4) < 0.1:
            raise ValueError(f"step must lie between 0 and 0.1, got {kwargs['step']}")
        if kwargs.get("reference_cell") is not None:
            cell = np.array(kwargs["reference_cell"], dtype=float)
            if cell.shape != (3, 3) or not np.all(np.isfinite(cell)) or not independent(cell[cell.any(axis=1)]):
                raise ValueError(
                    f"reference_cell must be three independent vectors (3, 3) in A, got {cell.tolist()}; "
                    "those along open directions may be zero"
                )
            kwargs["reference_cell"] = cell
        current = self._execution
        execution = Execution(kwargs.get("threads", current.threads), kwargs.get("precision", current.precision))
        with self._lock:
            self._execution = execution
            return super().set(**kwargs)

    def reset(self) -> None:
        super().reset()
        self._prediction = None

    def twin(self, **parameters: Any) -> WaveScatCalculator:
        """A calculator of the same model that shares what is prepared for cells (grids, filters) and costs next to
        nothing, with parameters, results and a lock of its own: for work that must neither change this one nor wait.

        What one has warned of, the other does not warn of again.

        Args:
            parameters: Those that differ, as for `set`.
        """
        with self._lock:
            twin = type(self).__new__(type(self))
            twin.__dict__.update(self.__dict__, parameters=copy.copy(self.parameters))
        twin._neighbours = NeighbourList(self.model.neighbour_reach)
        twin._lock_anew()
        twin.reset()
        twin.set(**parameters)
        return twin

    # ------------------------------------------------------------ ASE's own way in

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        with self._lock:
            structure = self.atoms if atoms is None else atoms
            if structure is not None:
                _refuse_masked(structure)
            if name == "stress" and allow_calculation and structure is not None:
                _require_volume(structure)
            return super().get_property(name, atoms, allow_calculation)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Energies by a forward pass; forces and stress, both at once, by one reverse pass when one is asked for.

        Stress is left out of the results where an open structure's cell has no volume.
        """
        with self._working():
            prediction = self._predict(atoms)
            super().calculate(atoms, list(properties), list(system_changes))
            structure = self.atoms
            assert structure is not None
            results: dict[str, Any] = {"energy": prediction.energy, "free_energy": prediction.energy}
            if "forces" in properties or "stress" in properties:
                numerical = self.parameters["forces"] == "finite-difference"
                gradient, strain_gradient = self._differences(prediction) if numerical else _analytic(prediction)
                results["forces"] = -gradient
                if _has_stress(structure):
                    stress = strain_gradient / structure.get_volume()
                    results["stress"] = full_3x3_to_voigt_6_stress(stress)
            _check_finite(results)
            self.results = results

    # ------------------------------------------------------------ uncertainties

    @property
    def members(self) -> int:
        """How many members the model has."""
        return self.model.members

    @property
    def energy_scale(self) -> float:
        """What the standard deviation over members of an energy, or of what follows from energies, is times to be an
        expected error."""
        return self.model.calibration.energy_scale

    @property
    def has_grades(self) -> bool:
        """Whether the model judges single atoms."""
        return self.model.domain is not None and self.model.domain.environments is not None

    def get_member_energies(self, atoms: Atoms | None = None) -> np.ndarray:
        """(M,) eV, whole cell."""
        with self._working():
            return self._predict(atoms).member_energies.copy()

    def get_member_stresses(self, atoms: Atoms | None = None) -> np.ndarray:
        """(M, 6) eV/A^3 in ASE's order (xx, yy, zz, yz, xz, xy): the analytic stress of each member.

        A reverse pass for each.

        Raises:
            PropertyNotImplementedError: Without a volume, as the stress does.
        """
        with self._working():
            structure = self.atoms if atoms is None else atoms
            if structure is not None:
                _require_volume(structure)
            gradients = self._predict(structure).member_strain_gradients
            assert structure is not None  # or there was no prediction
            return np.array([full_3x3_to_voigt_6_stress(own) for own in gradients / structure.get_volume()])

    def get_energy_uncertainty(self, atoms: Atoms | None = None) -> float:
        """Calibrated standard deviation over members, eV, whole cell."""
        with self._working():
            return self._predict(atoms).energy_uncertainty

    def get_forces_uncertainty(self, atoms: Atoms | None = None) -> np.ndarray:
        """(N, 3) eV/A: calibrated standard deviation over members."""
        with self._working():
            return self._predict(atoms).forces_uncertainty.copy()

    def get_domain_messages(self, atoms: Atoms | None = None) -> dict[str, str]:
        """What lies outside the domain of the model's training set, a sentence by kind: composition, distance,
        boundaries, environments, features, spread. Empty inside, and for models that record no domain."""
        with self._working():
            return dict(self._predict(atoms).domain_messages)

    def get_extrapolation_grades(self, atoms: Atoms | None = None) -> np.ndarray:
        """(N,) how unlike the environment of each atom is to those of the training set; beyond 1, unlike any seen.

        A leverage, see `ase_wavescat.potentials.environments`.

        Raises:
            CalculatorError: For a model that records none.
        """
        with self._working():
            grades = self._predict(atoms).grades
        if grades is None:
            raise CalculatorError("the model records no environments of its training set; train it again")
        return grades.copy()

    def forget_warnings(self) -> None:
        """Warn again of what lies outside the training domain: for a structure that has nothing to do with the last."""
        self._warned.clear()

    def annotate(self, atoms: Atoms) -> None:
        """Write the uncertainties into atoms.info["energy_uncertainty"] and atoms.arrays["forces_uncertainty"], and the
        atoms' grades, where the model has them, into atoms.arrays["extrapolation_grade"]."""
        with self._lock:
            atoms.info["energy_uncertainty"] = self.get_energy_uncertainty(atoms)
            atoms.arrays["forces_uncertainty"] = self.get_forces_uncertainty(atoms)
            if (grades := self._predict(atoms).grades) is not None:
                atoms.arrays["extrapolation_grade"] = grades.copy()

    # ------------------------------------------------------------ inside

    @contextmanager
    def _working(self) -> Iterator[None]:
        """One caller at a time, and one thread for its linear algebra."""
        with self._lock, one_blas_thread():
            yield

    def _predict(self, atoms: Atoms | None) -> ModelPrediction:
        """The last prediction where the structure is the same, else a new one."""
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise StructureError("the calculator has not seen a structure yet; pass one")
        _refuse_masked(atoms)
        last = self._prediction
        if last is None or not _same_structure(last.structure, atoms):
            last = self._forward(atoms)
            self._warn(last)
            self._prediction = last
        return last

    def _forward(self, atoms: Atoms) -> ModelPrediction:
        structure = Structure.from_atoms(atoms)
        if self._neighbours.cutoff > 0:
            self._neighbours.serve(structure)
        return self.model.predict(structure, self.parameters["reference_cell"], self._execution)

    def _warn(self, prediction: ModelPrediction) -> None:
        for kind, message in prediction.domain_messages.items():
            if kind not in self._warned and warn(
                f"outside the training domain: {message}; {_REMEDY[kind]}", stacklevel=2
            ):
                self._warned.add(kind)

    def _differences(self, prediction: ModelPrediction) -> tuple[np.ndarray, np.ndarray]:
        """dE/dR (N, 3) and dE/dstrain (3, 3) by central differences.

        The grids stay those of the undeformed cell, and so does the vacuum along open directions.
        """
        alone = prediction.structure.padded(self.model.reach)
        cell, positions, numbers = alone.cell, alone.positions, alone.numbers
        reference = cell
        if self.parameters["reference_cell"] is not None:
            reference = np.where(np.array(prediction.structure.pbc)[:, None], self.parameters["reference_cell"], cell)
        step = self.parameters["step"]

        def energy(new_cell: np.ndarray, new_positions: np.ndarray) -> float:
            structure = Structure(new_cell, new_positions, numbers)
            return self.model.predict(structure, reference, self._execution).energy

        gradient = np.zeros_like(positions)
        for index in np.ndindex(positions.shape):
            shift = np.zeros_like(positions)
            shift[index] = step
            gradient[index] = (energy(cell, positions + shift) - energy(cell, positions - shift)) / (2 * step)
        strain_gradient = np.zeros((3, 3))
        for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
            strain = np.zeros((3, 3))
            strain[a, b] += 0.5 * step
            strain[b, a] += 0.5 * step
            larger, smaller = np.eye(3) + strain, np.eye(3) - strain
            change = energy(cell @ larger, positions @ larger) - energy(cell @ smaller, positions @ smaller)
            strain_gradient[a, b] = strain_gradient[b, a] = change / (2 * step)
        return gradient, strain_gradient


def _judged(potential: Potential) -> Model:
    return potential if isinstance(potential, Model) else Model(potential)


def _analytic(prediction: ModelPrediction) -> tuple[np.ndarray, np.ndarray]:
    return prediction.gradient, prediction.strain_gradient


def _refuse_masked(atoms: Atoms) -> None:
    """Comparing structures looks at the values behind the mask, so that results of others would be taken for theirs."""
    for name in ("positions", "numbers"):
        if np.ma.is_masked(atoms.arrays[name]):
            raise StructureError(f"the {name} of some atoms are masked; fill them or drop the atoms")


def _check_finite(results: dict[str, Any]) -> None:
    wrong = [name for name, value in results.items() if not np.isfinite(value).all()]
    if wrong:
        raise StructureError(
            f"the {wrong[0]} of this structure is not finite; are atoms too close, or the model's weights senseless?"
        )


def _require_volume(atoms: Atoms) -> None:
    if not _has_stress(atoms):
        raise PropertyNotImplementedError(
            f"no stress without a volume: the cell {atoms.cell.array.tolist()} has none, with pbc = "
            f"{atoms.pbc.tolist()}; energy and forces need no cell along open directions, for a stress set "
            "three independent cell vectors (atoms.center(vacuum=5) makes those that are missing)"
        )


def _has_stress(atoms: Atoms) -> bool:
    """Fully periodic structures have, or an error of their own; open ones need a volume to divide by."""
    return bool(np.all(atoms.pbc)) or independent(atoms.cell.array)


def _same_structure(structure: Structure, atoms: Atoms) -> bool:
    return (
        np.array_equal(structure.pbc, atoms.pbc)
        and np.array_equal(structure.numbers, atoms.numbers)
        and np.array_equal(structure.positions, atoms.positions)
        and np.array_equal(structure.cell[atoms.pbc], atoms.cell.array[atoms.pbc])
    )


if NAME not in external_calculators:  # where `ase.io`, which reads the package's entry points, is not imported
    register_calculator_class(NAME, WaveScatCalculator)
