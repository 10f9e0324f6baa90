"""A network in a model file, as a term of a sum, behind the calculator."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from ase_wavescat import WaveScatCalculator, load_model, save_model
from ase_wavescat.potentials.composition import AtomEnergies
from ase_wavescat.potentials.file.storage import Reader
from ase_wavescat.potentials.model import Model
from ase_wavescat.potentials.network.potential import NetworkPotential
from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.potentials.sum import PotentialSum
from small_networks import SPECIFICATIONS, random_weights, structure

ENERGIES = {3: -2.0, 14: -5.0}


def whole(name: str = "two orders") -> PotentialSum:
    """A network that keeps atoms apart and knows their own energies."""
    network = NetworkPotential(random_weights(name))
    atoms = AtomEnergies(network.species, np.array([[ENERGIES.get(z, -1.0) for z in network.species]]))
    return PotentialSum((network, PairRepulsion.from_species(network.species), atoms))


@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_a_file_gives_back_the_same_potential(name: str, tmp_path: Path) -> None:
    potential = whole(name)
    save_model(tmp_path / "network.h5", Model(potential))
    read = load_model(tmp_path / "network.h5")
    assert read.potential.digest == potential.digest
    assert read.predict(structure()).energy == potential.predict(structure()).energy
    assert "point scattering" in read.potential.card()[0]


def test_the_calculator_knows_energies_forces_and_stress() -> None:
    potential, s = whole(), structure()
    atoms = Atoms(s.numbers, s.positions, cell=s.cell, pbc=True, calculator=WaveScatCalculator(potential))
    prediction = potential.predict(s)
    assert atoms.get_potential_energy() == pytest.approx(prediction.energy, rel=1e-13)  # its search has a skin
    assert np.allclose(atoms.get_forces(), -prediction.gradient, rtol=0, atol=1e-13)
    assert np.allclose(atoms.get_stress(voigt=False), prediction.strain_gradient / s.volume, atol=1e-14)
    open_atoms = molecule("Si2H6")
    open_atoms.numbers[open_atoms.numbers == 1] = 3
    open_atoms.calc = WaveScatCalculator(potential)
    assert np.abs(open_atoms.get_forces().sum(axis=0)).max() < 1e-10


def damaged(group: h5py.Group, change: str) -> None:
    if change == "a missing array":
        del group["members/0/first_mixing"]
    elif change == "an unknown array":
        group["members/0/third_mixing"] = np.zeros(3)
    elif change == "another shape":
        del group["members/0/scalar_bias"]
        group["members/0/scalar_bias"] = np.zeros((2, 2))
    elif change == "not finite":
        group["members/0/scalar_bias"][0, 0] = np.nan
    elif change == "a deviation of zero":
        group["members/0/first_deviation"][0, 0] = 0.0
    else:
        text = group["specification"][()].decode().replace('"l_max": 3', '"l_max": 3000')
        del group["specification"]
        group["specification"] = text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("a missing array", "lacks network/members/0/first_mixing"),
        ("an unknown array", "network/members/0/third_mixing"),
        ("another shape", r"scalar_bias must have the shape \(2, 3\), got \(2, 2\)"),
        ("not finite", "scalar_bias holds 1 values that are not finite"),
        ("a deviation of zero", "first_deviation must be positive"),
        ("a huge specification", "l_max is a whole number from 0 to 6, got 3000"),
    ],
)
def test_damaged_files_are_refused(change: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "network.h5"
    save_model(path, Model(NetworkPotential(random_weights("two orders"))))
    with h5py.File(path, "r") as stored, h5py.File(tmp_path / "copy.h5", "w") as copy:
        stored.copy("potential", copy, "network")
        damaged(copy["network"], change)
        with pytest.raises(ValueError, match=message):
            NetworkPotential.restore(Reader(copy["network"]))
