"""The potential of a network: energies from site energies, forces and stress as exact derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.potentials.network.prepared import HEAD, Head, Trunk
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

_MOST_MEMBERS = 100  # of one file, in which those after the first may take few bytes


class NetworkPotential:
    """E = sum of site energies, each of what an atom sees within the cutoff, and of what its neighbours see.

    Several networks of one specification are its members: energies and derivatives are the means over them. They share
    neighbours and what pairs look like. Those that differ in their last layers only are heads on one trunk, which is
    evaluated once: their mean costs what one network does.

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
        self._of_trunks = _by_trunk(weights)
        self._prepared: dict[type[np.floating[Any]], tuple[Trunk, ...]] = {}

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

    def prepared(self, execution: Execution = Execution()) -> tuple[Trunk, ...]:
        """All numbers in the precision asked for."""
        if execution.real not in self._prepared:
            self._prepared[execution.real] = tuple(
                Trunk.of({member: self.weights[member] for member in own}, execution.real) for own in self._of_trunks
            )
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
        for trunk in self.prepared(execution):
            states.append(NetworkState(trunk.network, rows, execution, states[0] if states else None))
        return NetworkPrediction(structure, tuple(states), self.prepared(execution), self.weights[0])

    def card(self) -> list[str]:
        """Lines of the model card."""
        specification = self.specification
        channels = " and ".join(map(str, specification.channels))
        hidden = " and ".join(map(str, specification.hidden))
        return [
            f"network     point scattering of order {specification.orders}, cutoff {specification.cutoff:g} Å, l up to"
            f" {specification.l_max}, {channels} channels, {sum(specification.invariants)} invariants an atom, hidden"
            f" layers of {hidden}: {specification.parameters} parameters",
            *([f"            {self._told}"] if self.members > 1 else []),
        ]

    @property
    def _told(self) -> str:
        trunks = len(self._of_trunks)
        shared = f", heads on {'one trunk' if trunks == 1 else f'{trunks} trunks'}" if trunks < self.members else ""
        return f"{self.members} members{shared}"

    def store(self, writer: Writer) -> None:
        """Into a group of a model file; what a member has in common with the first is there once."""
        writer.json("specification", self.specification.to_dict())
        for member, weights in enumerate(self.weights):
            numbers = writer.group(f"members/{member}")
            for name, array in weights.arrays.items():
                if member == 0 or not np.array_equal(array, self.weights[0][name]):
                    numbers.numbers(name, array)

    @classmethod
    def restore(cls, reader: Reader) -> NetworkPotential:
        """From a group of a model file. Raises ValueError for whatever is wrong in it."""
        reader.expect({"specification", "members"})
        specification, members = NetworkSpecification.from_dict(reader.json("specification")), reader.group("members")
        names = members.numbered()
        if len(names) > _MOST_MEMBERS:
            raise ValueError(f"a network has {len(names)} members, the limit is {_MOST_MEMBERS}")
        weights: list[NetworkWeights] = []
        for name in names:
            weights.append(_restored(specification, members.group(name), weights[0] if weights else None))
        return cls(*weights)


def _restored(specification: NetworkSpecification, numbers: Reader, first: NetworkWeights | None) -> NetworkWeights:
    names = set(specification.shapes)
    numbers.expect(names) if first is None else numbers.expect(set(), names)
    arrays = {} if first is None else dict(first.arrays)
    return NetworkWeights(specification, arrays | {name: numbers.numbers(name) for name in names & numbers.names})


def _by_trunk(weights: Sequence[NetworkWeights]) -> tuple[tuple[int, ...], ...]:
    """Members that differ in their last layers at most, together."""
    trunks: list[list[int]] = []
    for member, own in enumerate(weights):
        found = [trunk for trunk in trunks if _same_trunk(own, weights[trunk[0]])]
        if found:
            found[0].append(member)
        else:
            trunks.append([member])
    return tuple(map(tuple, trunks))


def _same_trunk(one: NetworkWeights, other: NetworkWeights) -> bool:
    return all(np.array_equal(array, other[name]) for name, array in one.arrays.items() if name not in HEAD)


class NetworkPrediction:
    """Of one structure.

    Attributes:
        structure: which.
        states: of each trunk the at-atom invariants, and derivatives of sums of them.
        trunks: and the members that are heads on them.
        weights: of the first member.
    """

    def __init__(
        self, structure: Structure, states: tuple[NetworkState, ...], trunks: tuple[Trunk, ...], weights: NetworkWeights
    ) -> None:
        self.structure, self.states, self.trunks, self.weights = structure, states, trunks, weights

    @property
    def energy(self) -> float:
        """eV, of the whole cell."""
        return float(self.member_energies.mean())

    @cached_property
    def member_energies(self) -> Array:
        """(M,) eV."""
        return np.array(self._of_members(lambda state, head: state.energy(head)))

    @cached_property
    def atom_energies(self) -> Array:
        """(N,) eV."""
        return np.asarray(np.mean(self._of_members(lambda state, head: state.atom_energies(head)), axis=0))

    @cached_property
    def _gradients(self) -> tuple[Array, Array]:
        """(M, N, 3) and (M, 3, 3): a reverse pass for each member."""
        both = self._of_members(lambda state, head: state.gradient(head))
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
    def _mean_gradients(self) -> tuple[Array, Array]:
        """(N, 3) and (3, 3): a reverse pass for each trunk, with the mean of its heads."""
        if len(self.trunks) == sum(len(trunk.heads) for trunk in self.trunks):
            return self.member_gradients.mean(axis=0), self.member_strain_gradients.mean(axis=0)
        both = [state.gradient(Head.mean(trunk.heads)) for state, trunk in zip(self.states, self.trunks, strict=True)]
        shares = [len(trunk.heads) for trunk in self.trunks]
        gradient, strain = (np.average([own[part] for own in both], axis=0, weights=shares) for part in (0, 1))
        return gradient, strain

    @property
    def gradient(self) -> Array:
        """dE/dR (N, 3), eV/A."""
        return self._mean_gradients[0]

    @property
    def strain_gradient(self) -> Array:
        """dE/dstrain (3, 3), eV."""
        return self._mean_gradients[1]

    @property
    def gradient_spread(self) -> Array:
        """(N, 3), eV/A: standard deviation over the members, 0 for a single one."""
        if len(self.member_energies) == 1:
            return np.zeros_like(self.gradient)
        return np.asarray(self.member_gradients.std(axis=0, ddof=1))

    def _of_members(self, value: Callable[[NetworkState, Head], Any]) -> list[Any]:
        """In their order."""
        found: dict[int, Any] = {}
        for state, trunk in zip(self.states, self.trunks, strict=True):
            found |= {member: value(state, head) for member, head in zip(trunk.members, trunk.heads, strict=True)}
        return [found[member] for member in sorted(found)]

    @cached_property
    def features(self) -> Array:
        """(S + I,): atoms of each species, and sums over the atoms of the first member's invariants, standardised."""
        state, weights = self.states[0], self.weights
        kinds = species_indices(self.structure, weights.specification.species)
        names = ("first", "second")[: weights.specification.orders]
        mean, deviation = (np.concatenate([weights[f"{o}_{n}"] for o in names], axis=1) for n in ("mean", "deviation"))
        sums = ((state.values - mean[kinds]) / deviation[kinds]).sum(axis=0)
        return np.concatenate([self.structure.count(weights.specification.species), sums])
