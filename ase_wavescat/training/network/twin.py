"""The network by torch: same specification, same weights, same numbers, and derivatives by all weights."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from ase_wavescat.potentials.network.couplings import triple_terms
from ase_wavescat.potentials.network.specification import NetworkSpecification
from ase_wavescat.potentials.network.weights import NetworkWeights
from ase_wavescat.training.network.batch import Batch
from ase_wavescat.training.network.functions import angular_functions, radial_functions


@dataclass(frozen=True)
class Prediction:
    """Of a batch of B structures with N atoms.

    Attributes:
        energies: (B,) eV.
        forces: (N, 3) eV/A.
        stresses: (B, 3, 3) eV/A^3; of open structures divided by a volume of 1.
    """

    energies: Tensor
    forces: Tensor
    stresses: Tensor


@dataclass(frozen=True)
class _Seen:
    """Harmonics (N, K, LM) of the pairs of each atom, and radial functions (n, P) of all pairs."""

    harmonics: Tensor
    radial: Tensor


class Twin(nn.Module):
    """Site energies of a batch; parameters and buffers have the names of `NetworkSpecification.shapes`."""

    def __init__(self, weights: NetworkWeights, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.specification: NetworkSpecification = weights.specification
        for name, array in weights.arrays.items():
            tensor = torch.tensor(array, dtype=dtype)
            if name.endswith(("_mean", "_deviation")):
                self.register_buffer(name, tensor)
            else:
                self.register_parameter(name, nn.Parameter(tensor))
        degrees = torch.arange(self.specification.l_max + 1)
        of_degree = degrees.repeat_interleave(2 * degrees + 1)[:, None] == degrees
        self.register_buffer("of_degree", of_degree[:, :, None].to(dtype), persistent=False)
        self.terms = triple_terms(self.specification.triples)

    def weights(self) -> NetworkWeights:
        """Its numbers, for the compiled network."""
        names = self.specification.shapes
        return NetworkWeights(self.specification, {name: self._named(name).detach().cpu().numpy() for name in names})

    def predict(self, batch: Batch, training: bool = False) -> Prediction:
        """Energies and their derivatives; training: so that these have derivatives by the weights."""
        vectors = batch.vectors.detach().requires_grad_(True)
        energies = self.energies(batch, vectors)
        (pulls,) = torch.autograd.grad(energies.sum(), vectors, create_graph=training)
        forces = pulls.new_zeros(len(batch.kinds), 3)
        forces = forces.index_add(0, batch.first, pulls).index_add(0, batch.second, -pulls)
        products = pulls[:, :, None] * batch.vectors[:, None, :]
        strain = pulls.new_zeros(len(batch), 3, 3).index_add(0, batch.owners[batch.first], products)
        stresses = strain / batch.volumes[:, None, None]
        return Prediction(energies if training else energies.detach(), forces, stresses)

    def energies(self, batch: Batch, vectors: Tensor) -> Tensor:
        """Of the structures (B,), eV."""
        sites = self(batch, vectors)
        return sites.new_zeros(len(batch)).index_add(0, batch.owners, sites)

    def forward(self, batch: Batch, vectors: Tensor) -> Tensor:
        """Site energies (N,), eV."""
        return self._sites(batch, *self._first(batch, vectors))

    def invariants(self, batch: Batch) -> tuple[Tensor, ...]:
        """Of each order, (N, I), as they are before standardisation."""
        with torch.no_grad():
            seen, fields, first = self._first(batch, batch.vectors)
            if self.specification.orders == 1:
                return (first,)
            _, scalars, _ = self._first_network(batch.kinds, first)
            return first, self._second(batch, seen, fields, scalars)

    def _named(self, name: str) -> Tensor:
        tensor: Tensor = getattr(self, name)
        return tensor

    def _of_kind(self, name: str, kinds: Tensor) -> Tensor:
        """Numbers of each atom's species."""
        return self._named(name).index_select(0, kinds)

    def _first(self, batch: Batch, vectors: Tensor) -> tuple[_Seen, Tensor, Tensor]:
        """What the pairs look like, fields (N, LM, Q), invariants (N, I)."""
        specification, distances = self.specification, vectors.norm(dim=1)
        harmonics = angular_functions(vectors, distances, specification.radial, specification.l_max)
        radial = radial_functions(distances, specification.radial, specification.cutoff)
        seen = _Seen(_by_atom(batch, harmonics), radial)
        fields = self._fields(batch, seen.harmonics, self._mixed(batch, radial, "first_mixing"))
        return seen, fields, self._first_invariants(fields)

    def _mixed(self, batch: Batch, radial: Tensor, name: str) -> Tensor:
        """sum_p g_p W (n, (l_max + 1) Q), by l, then channel."""
        mixing = self._named(name).flatten(0, 1).transpose(2, 3).flatten(1, 2)  # (S^2, (l_max + 1) Q, P)
        parts = radial.split(batch.alike)
        return torch.cat([part @ own.T for part, own in zip(parts, mixing, strict=True)])

    def _fields(self, batch: Batch, harmonics: Tensor, mixed: Tensor) -> Tensor:
        """sum over the pairs of each atom (N, LM, Q); harmonics (N, K, LM), mixed (n, (l_max + 1) Q)."""
        # of all l with all l, which is one call in place of many
        products = (harmonics.transpose(1, 2) @ _by_atom(batch, mixed)).unflatten(2, (self.specification.l_max + 1, -1))
        return (products * self._named("of_degree")).sum(dim=2)

    def _blocks(self, fields: Tensor) -> list[Tensor]:
        """By l, (N, 2l + 1, Q)."""
        return list(fields.split([2 * l + 1 for l in range(self.specification.l_max + 1)], dim=1))

    def _first_invariants(self, fields: Tensor) -> Tensor:
        parts = [fields[:, 0]]
        parts += [_squares(block) for block in self._blocks(fields)]
        if self.specification.triples:
            first, second, third = torch.as_tensor(self.terms.components).to(fields.device).T
            coefficients = torch.as_tensor(self.terms.coefficients).to(fields)
            products = fields[:, first] * fields[:, second] * fields[:, third] * coefficients[:, None]
            starts = self.terms.starts
            parts += [products[:, a:b].sum(dim=1) for a, b in pairwise(starts)]
        return torch.cat(parts, dim=1)

    def _second(self, batch: Batch, seen: _Seen, first: Tensor, scalars: Tensor) -> Tensor:
        """Invariants (N, I2)."""
        weights = scalars.repeat(1, self.specification.l_max + 1).index_select(0, batch.second)
        mixed = self._mixed(batch, seen.radial, "second_mixing") * weights
        fields = self._fields(batch, seen.harmonics, mixed)
        parts = []
        for ours, theirs in zip(self._blocks(fields), self._blocks(first), strict=True):
            parts += [_squares(ours), torch.einsum("amq,amr->aqr", ours, theirs).flatten(1)]
        return torch.cat(parts, dim=1)

    def _sites(self, batch: Batch, seen: _Seen, fields: Tensor, first: Tensor) -> Tensor:
        energies, scalars, hidden = self._first_network(batch.kinds, first)
        if self.specification.orders == 2:
            second = self._second(batch, seen, fields, scalars)
            standardised = self._standardised("second", batch.kinds, second)
            layers = self._layers("second", batch.kinds, torch.cat([standardised, hidden], dim=1))
            energies = energies + (layers[-1] * self._of_kind("second_energy_weight", batch.kinds)).sum(dim=1)
        return energies

    def _first_network(self, kinds: Tensor, invariants: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Site energies (N,), scalars h (N, Q2) or nothing, first hidden layer (N, width)."""
        layers = self._layers("first", kinds, self._standardised("first", kinds, invariants))
        energies = (layers[-1] * self._of_kind("first_energy_weight", kinds)).sum(dim=1)
        energies = energies + self._of_kind("first_energy_bias", kinds)
        scalars = energies[:, None]
        if self.specification.orders == 2:
            scalars = self._by_kind(kinds, layers[-1], "scalar_weight") + self._of_kind("scalar_bias", kinds)
        return energies, scalars, layers[0]

    def _standardised(self, order: str, kinds: Tensor, invariants: Tensor) -> Tensor:
        return (invariants - self._of_kind(f"{order}_mean", kinds)) / self._of_kind(f"{order}_deviation", kinds)

    def _layers(self, order: str, kinds: Tensor, inputs: Tensor) -> list[Tensor]:
        outputs: list[Tensor] = []
        for layer in range(len(self.specification.hidden)):
            summed = self._by_kind(kinds, inputs, f"{order}_weight_{layer}")
            inputs = nn.functional.silu(summed + self._of_kind(f"{order}_bias_{layer}", kinds))
            outputs.append(inputs)
        return outputs

    def _by_kind(self, kinds: Tensor, inputs: Tensor, name: str) -> Tensor:
        """inputs (N, width) times the matrix of each atom's species."""
        weight = self._named(name)
        result = inputs.new_zeros(len(inputs), weight.shape[2])
        for kind in range(len(weight)):
            rows = torch.nonzero(kinds == kind)[:, 0]
            result = result.index_add(0, rows, inputs.index_select(0, rows) @ weight[kind])
        return result


def _by_atom(batch: Batch, values: Tensor) -> Tensor:
    """(N, K, C) of values (n, C) of the pairs; 0 where there is no pair."""
    atoms, most = batch.slots.shape
    padded = torch.cat([values, values.new_zeros(1, values.shape[1])])
    return padded.index_select(0, batch.slots.flatten()).view(atoms, most, -1)


def _squares(block: Tensor) -> Tensor:
    """sum_m A_qm A_q'm for q <= q', (N, Q (Q + 1) / 2)."""
    channels = block.shape[2]
    first, second = torch.triu_indices(channels, channels, device=block.device)
    return torch.einsum("amq,amr->aqr", block, block)[:, first, second]
