"""Lennard-Jones with one fault each, for the conformance kit to find; and without."""

from __future__ import annotations

import multiprocessing
import threading
import time
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError, all_changes
from ase.calculators.lj import LennardJones


class Sound(LennardJones):
    """Smooth, with a cutoff between the shells of most structures."""

    def __init__(self) -> None:
        super().__init__(sigma=2.2, epsilon=0.3, rc=6.0, ro=4.0, smooth=True)

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.spoil(self.atoms, self.results)

    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        """What is wrong: nothing."""

    @staticmethod
    def add(results: dict[str, Any], energy: float) -> None:
        results["energy"] = results["free_energy"] = results["energy"] + float(energy)


class WrongForceSign(Sound):
    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        results["forces"] *= -1


class NoShearStress(Sound):
    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        if "stress" in results:
            results["stress"][3:] = 0


class BlindToTheCell(Sound):
    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        return [change for change in super().check_state(atoms, tol) if change != "cell"]


class HandsOutItsOwnArrays(Sound):
    def get_property(self, name: str, atoms: Any = None, allow_calculation: bool = True) -> Any:
        super().get_property(name, atoms, allow_calculation)
        return self.results[name]


class ReusesItsArrays(HandsOutItsOwnArrays):
    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        self.buffer = getattr(self, "buffer", None)
        if self.buffer is None or len(self.buffer) != len(atoms):
            self.buffer = np.empty((len(atoms), 3))
        self.buffer[:] = results["forces"]
        results["forces"] = self.buffer


class MovesTheStructure(Sound):
    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        atoms.positions += 1e-9
        super().calculate(atoms, properties, system_changes)


class FirstAtomCountsMore(Sound):
    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        self.add(results, 0.01 * results["energies"][0])


class QuadraticInSize(Sound):
    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        self.add(results, 1e-4 * len(atoms) ** 2)


class HardCutoff(Sound):
    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        distances = atoms.get_all_distances(mic=bool(atoms.pbc.any()))
        self.add(results, -0.01 * np.count_nonzero(distances[np.triu_indices(len(atoms), 1)] < 4.321))


class CoarseCutoffOfForces(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.parameters.update(smooth=False, rc=5.0)


class Noisy(Sound):
    noise = np.random.default_rng(0)

    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        self.add(results, self.noise.normal(scale=1e-9))


class Leaky(Sound):
    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        self.hoard = [*getattr(self, "hoard", []), np.ones(50_000)]


class OneBufferForAll(Sound):
    """Writes into an array of the class, and copies from there what another thread may have written since."""

    shared = np.zeros((100, 3))

    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        self.shared[: len(atoms)] = results["forces"]
        time.sleep(1e-4)
        results["forces"] = self.shared[: len(atoms)].copy()


class WaitsBetweenStateAndResults(Sound):
    """Sound in one thread; of two that share it, one gets the other's results."""

    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        time.sleep(1e-4)


class Unpicklable(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class OtherInOtherProcesses(Sound):
    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        self.add(results, 0.01 * (multiprocessing.parent_process() is not None))


class EggBox(Sound):
    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        self.add(results, 1e-5 * np.cos(2 * np.pi * atoms.positions / 0.3).sum())


class LooksAtPositionsAsTheyAre(Sound):
    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        self.add(results, 1e-4 * np.ptp(atoms.positions, axis=0).sum())


class LikesTheFirstAxis(Sound):
    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        self.add(results, 1e-4 * len(atoms) * atoms.cell[0, 0])


class LongMoleculesAreHeavy(Sound):
    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        if not atoms.pbc.any():
            self.add(results, 1e-2 * np.ptp(atoms.positions[:, 0]))


class BoxesByTheExtent(Sound):
    """As a method on grids that leaves too little vacuum."""

    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        if not atoms.pbc.any():
            self.add(results, 2e-4 * np.ceil(np.ptp(atoms.positions, axis=0)).sum())


class RightHanded(Sound):
    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        if len(atoms) > 3:
            self.add(results, 1e-4 * np.linalg.det(atoms.positions[1:4] - atoms.positions[0]))


class LikesShortVectors(Sound):
    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        self.add(results, 1e-4 * len(atoms) * atoms.cell.lengths().sum())


class AlwaysPeriodic(Sound):
    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        periodic = atoms.copy()
        periodic.pbc = atoms.cell.rank == 3
        super().calculate(periodic, properties, system_changes)
        self.atoms = atoms.copy()


class OnlyPeriodic(Sound):
    """No fault: it says what it does not do."""

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        if not atoms.pbc.all():
            raise NotImplementedError("open directions are not implemented")
        super().calculate(atoms, properties, system_changes)


class NoStress(Sound):
    """No fault either."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def get_property(self, name: str, atoms: Any = None, allow_calculation: bool = True) -> Any:
        if name not in self.implemented_properties:
            raise PropertyNotImplementedError(name)
        return super().get_property(name, atoms, allow_calculation)


class GridsByTheCell(Sound):
    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        self.add(results, 1e-4 * len(atoms) * np.floor(100 * atoms.get_volume() / len(atoms)))


class HoleAtShortRange(Sound):
    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        if results["energy"] > 100:
            self.add(results, -2 * results["energy"])


class AntiFriction(Sound):
    """Forces that push where atoms go already."""

    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        results["forces"] += 0.02 * atoms.get_momenta()


class AfraidOfGold(Sound):
    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        if set(atoms.symbols) == {"Au"}:
            raise KeyError("Au")


class NotFinite(Sound):
    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        results["forces"][:] = np.nan
