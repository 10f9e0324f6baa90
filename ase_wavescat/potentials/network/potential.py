"""The potential of a network: energies from site energies, forces and stress as exact derivatives."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.potentials.network.prepared import PreparedNetwork
from ase_wavescat.potentials.network.rows import AtomRows, species_indices
from ase_wavescat.potentials.network.specification import NetworkSpecification
from ase_wavescat.potentials.network.state import NetworkState
from ase_wavescat.potentials.network.weights import NetworkWeights
from ase_wavescat.representation.execution import Execution
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.digest import digest_of

if TYPE_CHECKING:
    from ase_wavescat.potentials.file.storage import Reader, Writer

Array = NDArray[np.float64]


class NetworkPotential:
    """E = sum of site energies, each of what an atom sees within the cutoff, and of what its neighbours see.

    Several networks of one specification are its members: energies and derivatives are the means over them. They share
    neighbours and what pairs look like.

    Attributes:
        weights: All numbers of each member.

    Raises:
        ValueError: For no weights, and for those of unlike specifications.
    """

    kind: ClassVar[str] = "network"

    def __init__(self, *weights: NetworkWeights) -> None:
        if not weights:
            raise ValueError("a network has at least one member, got none")
        if any(own.specification != weights[0].specification for own in weights):
            raise ValueError("the members of a network have unlike specifications; make a Committee of them")
        self.weights = weights
        self._prepared: dict[type[np.floating[Any]], tuple[PreparedNetwork, ...]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return NetworkPotential, self.weights

    @property
    def specification(self) -> NetworkSpecification:
        """Of all members."""
        return self.weights[0].specification

    @property
    def members(self) -> int:
        """How many networks there are."""
        return len(self.weights)

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers it knows."""
        return self.specification.species

    @property
    def neighbour_reach(self) -> float:
        """A, the cutoff of its search for neighbours."""
        return self.specification.cutoff

    @property
    def reach(self) -> float:
        """A, beyond which atoms do not matter to an atom's energy: the cutoff, twice that with a second order."""
        return self.specification.cutoff * self.specification.orders

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of all that results follow from."""
        return digest_of({"kind": self.kind, "members": [own.digest for own in self.weights]})

    def prepared(self, execution: Execution = Execution()) -> tuple[PreparedNetwork, ...]:
        """The members' numbers in the precision asked for."""
        if execution.real not in self._prepared:
            self._prepared[execution.real] = tuple(PreparedNetwork(own, execution.real) for own in self.weights)
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
        rows = AtomRows.of(structure, structure.neighbours(self.neighbour_reach), self.species)
        states: list[NetworkState] = []
        for network in self.prepared(execution):
            states.append(NetworkState(network, rows, execution, states[0] if states else None))
        return NetworkPrediction(structure, tuple(states), self.weights[0])

    def card(self) -> list[str]:
        """Lines of the model card."""
        specification = self.specification
        channels = " and ".join(map(str, specification.channels))
        hidden = " and ".join(map(str, specification.hidden))
        return [
            f"network     point scattering of order {specification.orders}, cutoff {specification.cutoff:g} Å, l up to"
            f" {specification.l_max}, {channels} channels, {sum(specification.invariants)} invariants an atom, hidden"
            f" layers of {hidden}: {specification.parameters} parameters",
            *([f"            {self.members} members"] if self.members > 1 else []),
        ]

    def store(self, writer: Writer) -> None:
        """Into a group of a model file."""
        writer.json("specification", self.specification.to_dict())
        for member, weights in enumerate(self.weights):
            numbers = writer.group(f"members/{member}")
            for name, array in weights.arrays.items():
                numbers.numbers(name, array)

    @classmethod
    def restore(cls, reader: Reader) -> NetworkPotential:
        """From a group of a model file. Raises ValueError for whatever is wrong in it."""
        reader.expect({"specification", "members"})
        specification, members = NetworkSpecification.from_dict(reader.json("specification")), reader.group("members")
        names = [str(member) for member in range(len(members.names))]
        members.expect(set(names))
        return cls(*(_restored(specification, members.group(name)) for name in names))


def _restored(specification: NetworkSpecification, numbers: Reader) -> NetworkWeights:
    numbers.expect(set(specification.shapes))
    return NetworkWeights(specification, {name: numbers.numbers(name) for name in specification.shapes})


class NetworkPrediction:
    """Of one structure.

    Attributes:
        structure: which.
        states: of each member the at-atom invariants, and derivatives of sums of them.
        weights: of the first member.
    """

    def __init__(self, structure: Structure, states: tuple[NetworkState, ...], weights: NetworkWeights) -> None:
        self.structure, self.states, self.weights = structure, states, weights

    @property
    def energy(self) -> float:
        """eV, of the whole cell."""
        return float(self.member_energies.mean())

    @cached_property
    def member_energies(self) -> Array:
        """(M,) eV."""
        return np.array([state.energy for state in self.states])

    @cached_property
    def atom_energies(self) -> Array:
        """(N,) eV."""
        return np.asarray(np.mean([state.atom_energies for state in self.states], axis=0))

    @cached_property
    def _gradients(self) -> tuple[Array, Array]:
        """(M, N, 3) and (M, 3, 3): a reverse pass for each member."""
        both = [state.gradient() for state in self.states]
        return np.array([own for own, _ in both]), np.array([own for _, own in both])

    @property
    def member_gradients(self) -> Array:
        """(M, N, 3), eV/A."""
        return self._gradients[0]

    @property
    def member_strain_gradients(self) -> Array:
        """(M, 3, 3), eV."""
        return self._gradients[1]

    @cached_property
    def gradient(self) -> Array:
        """dE/dR (N, 3), eV/A."""
        return np.asarray(self.member_gradients.mean(axis=0))

    @cached_property
    def strain_gradient(self) -> Array:
        """dE/dstrain (3, 3), eV."""
        return np.asarray(self.member_strain_gradients.mean(axis=0))

    @property
    def gradient_spread(self) -> Array:
        """(N, 3), eV/A: standard deviation over the members, 0 for a single one."""
        freedom = min(1, len(self.states) - 1)
        return np.asarray(self.member_gradients.std(axis=0, ddof=freedom))

    @cached_property
    def features(self) -> Array:
        """(S + I,): atoms of each species, and sums over the atoms of the first member's invariants, standardised."""
        state, weights = self.states[0], self.weights
        kinds = species_indices(self.structure, weights.specification.species)
        names = ("first", "second")[: weights.specification.orders]
        mean, deviation = (np.concatenate([weights[f"{o}_{n}"] for o in names], axis=1) for n in ("mean", "deviation"))
        sums = ((state.values - mean[kinds]) / deviation[kinds]).sum(axis=0)
        return np.concatenate([self.structure.count(weights.specification.species), sums])
