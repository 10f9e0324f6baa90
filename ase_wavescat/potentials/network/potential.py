"""The potential of a network: energies from site energies, forces and stress as exact derivatives."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.potentials.network.prepared import PreparedNetwork
from ase_wavescat.potentials.network.rows import Rows
from ase_wavescat.potentials.network.specification import NetworkSpecification
from ase_wavescat.potentials.network.state import NetworkState
from ase_wavescat.potentials.network.weights import NetworkWeights
from ase_wavescat.representation.execution import Execution
from ase_wavescat.structure.structure import Structure

if TYPE_CHECKING:
    from ase_wavescat.potentials.file.storage import Reader, Writer

Array = NDArray[np.float64]


class NetworkPotential:
    """E = sum of site energies, each of what an atom sees within the cutoff, and of what its neighbours see.

    Attributes:
        weights: all of its numbers.
    """

    kind: ClassVar[str] = "network"

    def __init__(self, weights: NetworkWeights) -> None:
        self.weights = weights
        self._prepared: dict[type[np.floating[Any]], PreparedNetwork] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return NetworkPotential, (self.weights,)

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers it knows."""
        return self.weights.specification.species

    @property
    def neighbour_reach(self) -> float:
        """A, the cutoff of its search for neighbours."""
        return self.weights.specification.cutoff

    @property
    def reach(self) -> float:
        """A, beyond which atoms do not matter to an atom's energy: the cutoff, twice that with a second order."""
        return self.weights.specification.cutoff * self.weights.specification.orders

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of all that results follow from."""
        return self.weights.digest

    def prepared(self, execution: Execution = Execution()) -> PreparedNetwork:
        """Its numbers in the precision asked for."""
        if execution.real not in self._prepared:
            self._prepared[execution.real] = PreparedNetwork(self.weights, execution.real)
        return self._prepared[execution.real]

    def predict(
        self, structure: Structure, reference_cell: Array | None = None, execution: Execution = Execution()
    ) -> NetworkPrediction:
        """The forward pass; forces and stress are computed when asked for.

        Args:
            structure: with any of the eight kinds of boundaries, and cells of any size.
            reference_cell: has no meaning for a potential without grids.
            execution: threads and precision.

        Raises:
            StructureError: for elements it does not know and two atoms at the same place.
        """
        rows = Rows.of(structure, structure.neighbours(self.neighbour_reach), self.species)
        return NetworkPrediction(structure, NetworkState(self.prepared(execution), rows, execution))

    def card(self) -> list[str]:
        """Lines of the model card."""
        specification = self.weights.specification
        channels = " and ".join(map(str, specification.channels))
        hidden = " and ".join(map(str, specification.hidden))
        return [
            f"network     point scattering of order {specification.orders}, cutoff {specification.cutoff:g} Å, l up to"
            f" {specification.l_max}, {channels} channels, {sum(specification.invariants)} invariants an atom, hidden"
            f" layers of {hidden}: {specification.parameters} parameters"
        ]

    def store(self, writer: Writer) -> None:
        """Into a group of a model file."""
        writer.json("specification", self.weights.specification.to_dict())
        numbers = writer.group("weights")
        for name, array in self.weights.arrays.items():
            numbers.numbers(name, array)

    @classmethod
    def restore(cls, reader: Reader) -> NetworkPotential:
        """From a group of a model file. Raises ValueError for whatever is wrong in it."""
        reader.expect({"specification", "weights"})
        specification, numbers = NetworkSpecification.from_dict(reader.json("specification")), reader.group("weights")
        numbers.expect(set(specification.shapes))
        return cls(NetworkWeights(specification, {name: numbers.numbers(name) for name in specification.shapes}))


class NetworkPrediction:
    """Of one structure.

    Attributes:
        structure: which.
        state: the at-atom invariants, and derivatives of sums of them.
    """

    def __init__(self, structure: Structure, state: NetworkState) -> None:
        self.structure, self.state = structure, state

    @property
    def energy(self) -> float:
        """eV, of the whole cell."""
        return self.state.energy

    @property
    def atom_energies(self) -> Array:
        """(N,) eV."""
        return self.state.atom_energies

    @cached_property
    def _gradients(self) -> tuple[Array, Array]:
        return self.state.gradient()

    @property
    def gradient(self) -> Array:
        """dE/dR (N, 3), eV/A."""
        return self._gradients[0]

    @property
    def strain_gradient(self) -> Array:
        """dE/dstrain (3, 3), eV."""
        return self._gradients[1]
