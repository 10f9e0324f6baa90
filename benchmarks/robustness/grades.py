"""Which numbers of an atom tell best that its surroundings are unlike any seen: grades by three kinds of vectors.

    python benchmarks/robustness/grades.py [--model lisi-fast.h5] [--json FILE] [--document FILE ...]

Leverages among the training atoms of an atom's own species, as the domain of a model judges them, of: the
environments that the domain has; roots of the squared moduli of a network's own first-order fields; its last hidden
layers. Each limit is what the worst atom of 99 of 100 training cells stays below. Told are how many of the held-out
cells are beyond, how many of the unlike structures are found, and the rank correlation of an atom's grade with its
error of the force.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from domain import LABELS, unlike_structures
from scipy.stats import spearmanr

from ase_wavescat import load_model
from ase_wavescat.potentials.environments import leverages, moments
from ase_wavescat.potentials.model import Model
from ase_wavescat.potentials.network.potential import NetworkPotential
from ase_wavescat.structure.structure import Structure
from ase_wavescat.training.data.frames import Frame, read_frames

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, standard_options, table, update_documents, write_json

QUIET = 0.99
Vectors = Callable[[Structure], np.ndarray]


def kinds_of_vectors(model: Model) -> dict[str, Vectors]:
    """By name, (N, D) of a structure's atoms."""
    trained, domain = model.term(NetworkPotential), model.domain
    assert trained is not None and domain is not None and domain.environments is not None
    network = NetworkPotential(trained.weights[0])
    channels, degrees = network.specification.channels[0], network.specification.l_max + 1
    offsets = np.arange(channels) * channels - np.arange(channels) * (np.arange(channels) - 1) // 2  # of q = q'
    per_degree = channels * (channels + 1) // 2
    diagonal = np.concatenate([channels + l * per_degree + offsets for l in range(degrees)])

    def moduli(structure: Structure) -> np.ndarray:
        return np.sqrt(np.maximum(network.predict(structure).states[0].values[:, diagonal], 0))

    return {
        "environments": domain.environments.vectors,
        "moduli of the network's fields": moduli,
        "last hidden layers": lambda structure: network.predict(structure).states[0].hidden,
    }


def measure(
    model: Model, vectors: Vectors, learned: Sequence[Frame], held: Sequence[Frame], errors: Sequence[np.ndarray]
) -> dict[str, Any]:
    """Figures of one kind; errors: (N,) eV/A of each held-out frame's forces."""
    species = np.array(model.species)

    def kinds(numbers: np.ndarray) -> np.ndarray:
        return np.searchsorted(species, numbers)

    values = [vectors(frame.structure) for frame in learned]
    found = moments(np.concatenate(values), kinds(np.concatenate([f.numbers for f in learned])), len(species))
    worst = [leverages(v, kinds(f.numbers), *found).max() for v, f in zip(values, learned, strict=True)]
    limit = float(np.quantile(worst, QUIET))

    def grades(structure: Structure) -> np.ndarray:
        return leverages(vectors(structure), kinds(structure.numbers), *found) / limit

    of_held = [grades(frame.structure) for frame in held]
    unlike = {name: float(grades(Structure.from_atoms(a)).max()) for name, a in unlike_structures().items()}
    return {
        "held_out_beyond": sum(bool(own.max() > 1) for own in of_held),
        "held_out": len(held),
        "unlike": unlike,
        "unlike_found": sum(grade > 1 for grade in unlike.values()),
        "rank_correlation": float(spearmanr(np.concatenate(of_held), np.concatenate(errors)).statistic),
    }


def report(found: dict[str, dict[str, Any]]) -> str:
    """A row a kind of vectors."""
    rows = [
        [name, f"{one['held_out_beyond']} of {one['held_out']}", f"{one['unlike_found']} of {len(one['unlike'])}",
         f"{one['rank_correlation']:.2f}"] for name, one in found.items()
    ]  # fmt: skip
    header = ["leverage of", "held-out cells beyond the limit", "unlike structures found"]
    return table([*header, "rank correlation with errors of forces"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="lisi-fast.h5", help="a network")
    standard_options(parser, "grades")
    chosen = parser.parse_args()
    model = load_model(chosen.model)
    learned = [f for name in ("converged", "cheap") for f in read_frames(LABELS / f"{name}.extxyz.xz")]
    held = [f for name in ("test", "extrapolations") for f in read_frames(LABELS / f"{name}.extxyz.xz")]
    errors = [np.linalg.norm(model.predict(f.structure).gradient + f.forces, axis=1) for f in held]
    kinds = kinds_of_vectors(model)
    found = {name: measure(model, vectors, learned, held, errors) for name, vectors in kinds.items()}
    text = f"{machine()}\n\n{report(found)}"
    print(text)
    write_json(chosen.json, {"vectors": found})
    update_documents(chosen.document, "grades", text)


if __name__ == "__main__":
    main()
