"""The network by torch: same specification, same weights, same numbers, and derivatives by all weights."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
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
        harmonics = self.specification.harmonics
        self.register_buffer("degree_of", torch.tensor(np.sqrt(np.arange(harmonics)).astype(int)), persistent=False)
        self.terms = triple_terms(self.specification.triples)

    def weights(self) -> NetworkWeights:
        """Its numbers, for the compiled network."""
        names = self.specification.shapes
        return NetworkWeights(self.specification, {name: self._named(name).detach().cpu().numpy() for name in names})

    def predict(self, batch: Batch, training: bool = False) -> Prediction:
        """Energies and their derivatives; training: so that these have derivatives by the weights."""
        vectors = batch.vectors.detach().requires_grad_(True)
        sites = self(batch, vectors)
        energies = sites.new_zeros(len(batch)).index_add(0, batch.owners, sites)
        (pulls,) = torch.autograd.grad(energies.sum(), vectors, create_graph=training)
        forces = sites.new_zeros(len(sites), 3).index_add(0, batch.first, pulls).index_add(0, batch.second, -pulls)
        products = pulls[:, :, None] * batch.vectors[:, None, :]
        strain = sites.new_zeros(len(batch), 3, 3).index_add(0, batch.owners[batch.first], products)
        stresses = strain / batch.volumes[:, None, None]
        return Prediction(energies if training else energies.detach(), forces, stresses)

    def forward(self, batch: Batch, vectors: Tensor) -> Tensor:
        """Site energies (N,), eV."""
        return self._sites(batch, *self._first(batch, vectors))

    def invariants(self, batch: Batch) -> tuple[Tensor, ...]:
        """Of each order, (N, I), as they are before standardisation."""
        with torch.no_grad():
            harmonics, radial, fields, first = self._first(batch, batch.vectors)
            if self.specification.orders == 1:
                return (first,)
            _, scalars, _ = self._first_network(batch.kinds, first)
            return first, self._second(batch, harmonics, radial, fields, scalars)

    def _named(self, name: str) -> Tensor:
        tensor: Tensor = getattr(self, name)
        return tensor

    def _first(self, batch: Batch, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Harmonics (n, LM), radial functions (n, P), fields (N, LM, Q), invariants (N, I)."""
        specification, distances = self.specification, vectors.norm(dim=1)
        harmonics = angular_functions(vectors, distances, specification.radial, specification.l_max)
        radial = radial_functions(distances, specification.radial, specification.cutoff)
        atoms, species = len(batch.kinds), len(specification.species)
        place = batch.first * species + batch.kinds[batch.second]
        products = harmonics[:, :, None] * radial[:, None, :]
        seen = products.new_zeros(atoms * species, *products.shape[1:]).index_add(0, place, products)
        seen = seen.reshape(atoms, species, *products.shape[1:])
        fields = products.new_zeros(atoms, specification.harmonics, specification.channels[0])
        for kind in range(species):
            rows = torch.nonzero(batch.kinds == kind)[:, 0]
            mixing = self._named("first_mixing")[kind][:, self._named("degree_of")]
            fields = fields.index_add(0, rows, torch.einsum("asmp,smpq->amq", seen[rows], mixing))
        return harmonics, radial, fields, self._first_invariants(fields)

    def _blocks(self, fields: Tensor) -> list[Tensor]:
        """By l, (N, 2l + 1, Q)."""
        return [fields[:, l * l : (l + 1) ** 2] for l in range(self.specification.l_max + 1)]

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

    def _second(self, batch: Batch, harmonics: Tensor, radial: Tensor, first: Tensor, scalars: Tensor) -> Tensor:
        """Invariants (N, I2)."""
        species, channels = len(self.specification.species), self.specification.channels[1]
        types = batch.kinds[batch.first] * species + batch.kinds[batch.second]
        mixed = radial.new_zeros(len(radial), self.specification.l_max + 1, channels)
        for kind in range(species * species):
            pairs = torch.nonzero(types == kind)[:, 0]
            mixing = self._named("second_mixing")[divmod(kind, species)]
            mixed = mixed.index_add(0, pairs, torch.einsum("np,lpq->nlq", radial[pairs], mixing))
        mixed = mixed * scalars[batch.second][:, None, :]
        products = harmonics[:, :, None] * mixed[:, self._named("degree_of")]
        fields = products.new_zeros(len(batch.kinds), *products.shape[1:]).index_add(0, batch.first, products)
        parts = []
        for ours, theirs in zip(self._blocks(fields), self._blocks(first), strict=True):
            parts += [_squares(ours), torch.einsum("amq,amr->aqr", ours, theirs).flatten(1)]
        return torch.cat(parts, dim=1)

    def _sites(self, batch: Batch, harmonics: Tensor, radial: Tensor, fields: Tensor, first: Tensor) -> Tensor:
        energies, scalars, hidden = self._first_network(batch.kinds, first)
        if self.specification.orders == 2:
            second = self._second(batch, harmonics, radial, fields, scalars)
            standardised = self._standardised("second", batch.kinds, second)
            layers = self._layers("second", batch.kinds, torch.cat([standardised, hidden], dim=1))
            energies = energies + (layers[-1] * self._named("second_energy_weight")[batch.kinds]).sum(dim=1)
        return energies

    def _first_network(self, kinds: Tensor, invariants: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Site energies (N,), scalars h (N, Q2) or nothing, first hidden layer (N, width)."""
        layers = self._layers("first", kinds, self._standardised("first", kinds, invariants))
        energies = (layers[-1] * self._named("first_energy_weight")[kinds]).sum(dim=1)
        energies = energies + self._named("first_energy_bias")[kinds]
        scalars = energies[:, None]
        if self.specification.orders == 2:
            scalars = self._by_kind(kinds, layers[-1], "scalar_weight") + self._named("scalar_bias")[kinds]
        return energies, scalars, layers[0]

    def _standardised(self, order: str, kinds: Tensor, invariants: Tensor) -> Tensor:
        return (invariants - self._named(f"{order}_mean")[kinds]) / self._named(f"{order}_deviation")[kinds]

    def _layers(self, order: str, kinds: Tensor, inputs: Tensor) -> list[Tensor]:
        outputs: list[Tensor] = []
        for layer in range(len(self.specification.hidden)):
            summed = self._by_kind(kinds, inputs, f"{order}_weight_{layer}")
            inputs = nn.functional.silu(summed + self._named(f"{order}_bias_{layer}")[kinds])
            outputs.append(inputs)
        return outputs

    def _by_kind(self, kinds: Tensor, inputs: Tensor, name: str) -> Tensor:
        """inputs (N, width) times the matrix of each atom's species."""
        weight = self._named(name)
        result = inputs.new_zeros(len(inputs), weight.shape[2])
        for kind in range(len(weight)):
            rows = torch.nonzero(kinds == kind)[:, 0]
            result = result.index_add(0, rows, inputs[rows] @ weight[kind])
        return result


def _squares(block: Tensor) -> Tensor:
    """sum_m A_qm A_q'm for q <= q', (N, Q (Q + 1) / 2)."""
    channels = block.shape[2]
    first, second = torch.triu_indices(channels, channels, device=block.device)
    return torch.einsum("amq,amr->aqr", block, block)[:, first, second]
