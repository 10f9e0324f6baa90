"""Potentials in processes of their own, each an ASE calculator here: other interpreters, one thread, calls timed.

    PYTHON benchmarks/accuracy/peer_calculators.py NAME PLACE

is the process: structures come by standard input, energies, forces and stresses go back, one JSON object a line.
That interpreter needs ASE and the potential's own package, nothing else of this project, which so needs no torch.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


class PeerError(Exception):
    """A potential that its interpreter cannot load or evaluate; says why."""


# ---------------------------------------------------------------- in the other process


def _ours(place: str) -> tuple[Calculator, str]:
    from ase_wavescat import WaveScatCalculator, __version__

    return WaveScatCalculator(place), f"ase_wavescat {__version__}"


def _network(place: str) -> tuple[Calculator, str]:
    sys.path.insert(0, place)
    from annpot import default  # type: ignore[import-not-found]

    return default("04153"), "weights 04153"


def _chgnet(_: str) -> tuple[Calculator, str]:
    _one_thread()
    from chgnet.model.dynamics import CHGNetCalculator  # type: ignore[import-not-found]

    calculator = CHGNetCalculator(use_device="cpu")
    return calculator, f"chgnet {importlib.metadata.version('chgnet')}, weights {calculator.version}"


def _sevennet(name: str) -> Callable[[str], tuple[Calculator, str]]:
    def load(_: str) -> tuple[Calculator, str]:
        _one_thread()
        from sevenn.calculator import SevenNetCalculator  # type: ignore[import-not-found]

        return SevenNetCalculator(name, device="cpu"), f"sevenn {importlib.metadata.version('sevenn')}, weights {name}"

    return load


def _one_thread() -> None:
    import torch  # type: ignore[import-not-found]

    torch.set_num_threads(1)


@dataclass(frozen=True)
class Peer:
    """A published potential. label: in tables; packages: what its interpreter needs; load: the calculator and its
    version, given the folder of its files."""

    label: str
    packages: str
    load: Callable[[str], tuple[Calculator, str]]


PEERS = {
    "ann": Peer("ANN potential", "numba and a folder with annpot.py", _network),
    "chgnet": Peer("CHGNet", "chgnet", _chgnet),
    "sevennet-0": Peer("SevenNet-0", "sevenn", _sevennet("7net-0")),
    "sevennet-l3i5": Peer("SevenNet-l3i5", "sevenn", _sevennet("7net-l3i5")),
}
OURS = "ase_wavescat"


def serve(name: str, place: str) -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the packages print must not come between the answers

    def answer(what: dict[str, Any]) -> None:
        print(json.dumps(what), file=answers, flush=True)

    try:
        calculator, version = (_ours if name == OURS else PEERS[name].load)(place)
        answer({"version": version})
        atoms = Atoms()
        for line in sys.stdin:
            new = Atoms(**json.loads(line))
            if np.array_equal(new.numbers, atoms.numbers) and np.array_equal(new.cell, atoms.cell):
                atoms.positions = new.positions  # the same object: calculators may keep their neighbour lists
            else:
                atoms, atoms.calc = new, calculator
            start = time.process_time()  # not the clock on the wall: other work on the machine does not count
            energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
            seconds = time.process_time() - start
            answer({"energy": float(energy), "forces": forces.tolist(), "stress": stress.tolist(), "seconds": seconds})
    except Exception as error:  # packages that are there, but not fit for one another, fail in many ways
        answer({"failed": f"{type(error).__name__}: {error}"})


# ---------------------------------------------------------------- here


class RemoteCalculator(Calculator):
    """A potential in a process of its own: energy (eV), forces (eV/A) and stress (eV/A^3, ASE's order and sign).

    name: of PEERS, or OURS.  place: folder of the potential's files, or our model.  python: the interpreter.
    seconds: processor time of the last call there, for all three together.  version: of the package and its weights.

    Raises PeerError where the interpreter cannot load it, or its process ends. To be closed; a context manager does.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

    def __init__(self, name: str, place: str = "", python: str = sys.executable) -> None:
        super().__init__()
        self.seconds = float("nan")
        arguments: Sequence[str] = [python, "-W", "ignore", os.path.abspath(__file__), name, place]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        try:
            self._process = subprocess.Popen(arguments, text=True, env={**os.environ, **THREADS}, **pipes)
        except OSError as error:
            raise PeerError(f"{python} cannot be started: {error}") from error
        self.version: str = self._answer()["version"]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        super().calculate(atoms, list(properties), list(system_changes))
        known = self.atoms
        assert known is not None
        question = {"numbers": known.numbers, "positions": known.positions, "cell": known.cell.array, "pbc": known.pbc}
        assert self._process.stdin is not None
        line = json.dumps({key: value.tolist() for key, value in question.items()})
        with suppress(BrokenPipeError):  # of a process that ended: there will be no answer, which says so
            print(line, file=self._process.stdin, flush=True)
        found = self._answer()
        self.seconds = found["seconds"]
        energy = found["energy"]
        stress, forces = np.array(found["stress"]), np.array(found["forces"])
        self.results = {"energy": energy, "free_energy": energy, "forces": forces, "stress": stress}

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found = json.loads(line) if line else {"failed": f"its process ended with status {self._process.wait()}"}
        if "failed" in found:
            self.close()
            raise PeerError(found["failed"])
        return found

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def __enter__(self) -> RemoteCalculator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


if __name__ == "__main__":
    serve(*sys.argv[1:])
