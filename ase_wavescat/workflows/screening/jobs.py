"""What is done to one structure of a screening, in whatever process: relaxation, uncertainty, and what looks wrong."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from ase_wavescat.calculator import WaveScatCalculator
from ase_wavescat.io.structures import structure_bytes
from ase_wavescat.potentials.file.model_file import load_model
from ase_wavescat.system.errors import CalculatorError, WaveScatError, listening, unheard
from ase_wavescat.workflows.checks import calculator_of, evaluated, fresh
from ase_wavescat.workflows.extrapolation import grades_of, outside_of
from ase_wavescat.workflows.melting import MeltSchedule, melt_quench
from ase_wavescat.workflows.members import member_energies, spread
from ase_wavescat.workflows.relaxation import RUNAWAY, CellChoice, check_limits, relax

Model = str | os.PathLike[str] | Callable[[], BaseCalculator]
"""A model's path or name, or a function without arguments that makes a calculator."""

SINGLE_POINT = "single point"
CLOSE = 0.6
"""Of the sum of two covalent radii: bonds are longer."""
_NEIGHBOURHOOD = 1.5  # of that sum: where the shortest distance is looked for


@dataclass(frozen=True)
class ScreeningSettings:
    """What is done to every structure.

    Attributes:
        relax: Move the atoms until no force exceeds `fmax` (eV/A), by at most `steps` steps.
        cell: The cell as well, until no stress exceeds `smax` (GPa).
        melt: First melt and quench it by this schedule.
    """

    relax: bool = True
    cell: CellChoice = False
    fmax: float = 0.05
    smax: float = 0.1
    steps: int = 300
    melt: MeltSchedule | None = None

    def __post_init__(self) -> None:
        check_limits(self.cell, self.fmax, self.smax, self.steps)

    def plain(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class CalculatorSource:
    """How any process makes the calculator.

    Attributes:
        identity: Changes with the model and its parameters; of foreign calculators, whose parameters need not say all,
            with what the function that makes them carries along.
    """

    make: Callable[[], BaseCalculator]
    identity: str

    @staticmethod
    def of(model: Model) -> CalculatorSource:
        """The calculator of a worker.

        Raises:
            CalculatorError: For what makes no calculator, and what loading a model raises.
        """
        if not (callable(model) or isinstance(model, (str, os.PathLike))):
            raise CalculatorError(f"the model is a name, a path or a function that makes a calculator, got {model!r}")
        make = model if callable(model) else partial(WaveScatCalculator, load_model(model))
        calculator = make()
        if not isinstance(calculator, BaseCalculator):
            raise CalculatorError(f"the model {make!r} makes a {type(calculator).__name__}, not an ASE calculator")
        return CalculatorSource(make, _identity(calculator, make))


def _identity(calculator: BaseCalculator, make: Callable[[], BaseCalculator]) -> str:
    """The class, and a hash of its parameters; of our models, of all that their results depend on."""
    parameters = dict(getattr(calculator, "parameters", None) or {})
    digest = hashlib.sha256()
    if "model_digest" in parameters:
        del parameters["model"], parameters["ase_wavescat"]  # where it was and who reads it; its digest counts
    else:
        digest.update(_carried(make))
    digest.update(repr(sorted((str(key), _text(value)) for key, value in parameters.items())).encode())
    return f"{type(calculator).__name__} {digest.hexdigest()[:16]}"


def _carried(make: Callable[[], BaseCalculator]) -> bytes:
    """What a function that makes calculators carries along, as a partial does its arguments; of one that does not
    travel, only its name."""
    try:
        return pickle.dumps(make)
    except (pickle.PicklingError, AttributeError, TypeError):
        return getattr(make, "__qualname__", type(make).__name__).encode()


def _text(value: Any) -> str:
    """The same in every process: of objects, whose text may hold an address, the class."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    plain = isinstance(value, (str, int, float, complex, bool, list, tuple, dict, type(None)))
    return repr(value) if plain else type(value).__name__


@dataclass(frozen=True, eq=False)
class Job:
    """One structure of the pool.  key: of structure, settings and model, see `job_key`."""

    name: str
    atoms: Atoms
    key: str


def job_key(atoms: Atoms, settings: ScreeningSettings, identity: str) -> str:
    """Letters and digits that change with the structure, a setting or the model."""
    digest = hashlib.sha256(json.dumps([settings.plain(), identity], sort_keys=True).encode())
    digest.update(structure_bytes(atoms))
    return f"f{digest.hexdigest()[:24]}"  # the letter: databases would take some hexadecimal texts for numbers


@dataclass(frozen=True, eq=False)
class ScreenedStructure:
    """What came of one structure.

    Attributes:
        atoms: The last state with energy and forces; the structure as given where that failed.
        error: None, or what went wrong, in words.
        stop_reason: Of the dynamics or the relaxation, or "single point".
        uncertainty: eV, whole cell; None without members.
        members: (M,) eV, whole cell.
        outside: What lies outside the training domain, a sentence by kind (see `Prediction.domain_messages`).
        grades: (N,) extrapolation grades of the atoms; None for models that know of none.
        close: Whether two atoms are closer than `CLOSE`.
        shortest: A, of all distances; None without neighbours.
    """

    name: str
    job_key: str
    atoms: Atoms
    seconds: float = 0.0
    error: str | None = None
    stop_reason: str = ""
    converged: bool = False
    runaway: bool = False
    close: bool = False
    uncertainty: float | None = None
    members: np.ndarray | None = None
    outside: Mapping[str, str] = field(default_factory=dict)
    grades: np.ndarray | None = None
    shortest: float | None = None

    @property
    def flags(self) -> tuple[str, ...]:
        """What looks wrong: what ran away or did not converge, close atoms, and kinds of `outside`."""
        marks = {"runaway": self.runaway, "close": self.close, "unconverged": not (self.converged or self.runaway)}
        return (*(name for name, there in marks.items() if there), *self.outside)

    @staticmethod
    def failure(job: Job, error: str, seconds: float = 0.0) -> ScreenedStructure:
        return ScreenedStructure(job.name, job.key, job.atoms, seconds, error)


class _Tools:
    """A thread's own calculator."""

    def __init__(self, source: CalculatorSource) -> None:
        self.source = source
        self._calculator = source.make()

    def calculator(self) -> BaseCalculator:
        return fresh(self._calculator)


_of_thread = threading.local()


def _tools(source: CalculatorSource) -> _Tools:
    """Made once in each thread: threads of a cluster's process share no calculator."""
    tools: _Tools | None = getattr(_of_thread, "tools", None)
    if tools is None or tools.source is not source:
        tools = _of_thread.tools = _Tools(source)
    return tools


def screen_structure(job: Job, settings: ScreeningSettings, source: CalculatorSource) -> ScreenedStructure:
    """Whatever goes wrong with the structure is in the screened: no structure ends a screening."""
    start = time.perf_counter()
    try:
        with listening(unheard):  # in the screened, of each structure
            return _screened(job, settings, _tools(source), start)
    except WaveScatError as error:
        message = str(error)
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
    return ScreenedStructure.failure(job, message, time.perf_counter() - start)


def _screened(job: Job, settings: ScreeningSettings, tools: _Tools, start: float) -> ScreenedStructure:
    atoms, calculator = job.atoms.copy(), tools.calculator()
    atoms.calc = calculator
    final, stop_reason, converged, runaway = _final_state(atoms, settings, int(job.key[1:], 16))
    members = None if runaway else member_energies(calculator, [final])
    shortest, close = _distances(final)
    return ScreenedStructure(
        name=job.name,
        job_key=job.key,
        atoms=final,
        seconds=time.perf_counter() - start,
        stop_reason=stop_reason,
        converged=converged,
        runaway=runaway,
        close=close,
        uncertainty=None if members is None else float(spread(calculator, members[0])),
        members=None if members is None else members[0],
        outside={} if runaway else outside_of(calculator, final),
        grades=None if runaway else grades_of(calculator, final),
        shortest=shortest,
    )


def _final_state(atoms: Atoms, settings: ScreeningSettings, seed: int) -> tuple[Atoms, str, bool, bool]:
    """The structure with its results, the stop reason, and whether it converged and whether it ran away."""
    cell, fmax, smax, steps = settings.cell, settings.fmax, settings.smax, settings.steps
    if settings.melt is not None:
        quench = melt_quench(atoms, settings.melt, seed=seed, cell=cell, fmax=fmax, smax=smax, steps=steps)
        if quench.relaxation is None:
            return quench.structure, quench.stop_reason, False, True
        done = quench.relaxation
    elif settings.relax:
        done = relax(atoms, cell=cell, fmax=fmax, smax=smax, steps=steps)
    else:
        return _single_point(atoms)
    return done.structure, done.stop_reason, done.converged, done.runaway


def _single_point(atoms: Atoms) -> tuple[Atoms, str, bool, bool]:
    calculator = calculator_of(atoms)
    values = [atoms.get_potential_energy()]
    if "forces" in calculator.implemented_properties:
        values.extend(atoms.get_forces().ravel())
    if not np.isfinite(values).all():
        return evaluated(atoms), f"{RUNAWAY}: energy or forces are not finite", False, True
    return evaluated(atoms), SINGLE_POINT, True, False


def _distances(atoms: Atoms) -> tuple[float | None, bool]:
    """The shortest, and whether any is shorter than bonds are."""
    radii = covalent_radii[atoms.numbers]
    first, second, distances = neighbor_list("ijd", atoms, _NEIGHBOURHOOD * radii)
    if not len(distances):
        return None, False
    return float(distances.min()), bool(np.any(distances < CLOSE * (radii[first] + radii[second])))
