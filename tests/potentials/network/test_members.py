"""Several networks as one potential: means, spreads, what they share, and their file."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from ase_wavescat import load_model, save_model
from ase_wavescat.potentials.composition import AtomEnergies
from ase_wavescat.potentials.model import Model
from ase_wavescat.potentials.network import pairs, potential
from ase_wavescat.potentials.network.potential import NetworkPotential
from ase_wavescat.potentials.network.prepared import HEAD
from ase_wavescat.potentials.network.state import NetworkState
from ase_wavescat.potentials.network.weights import NetworkWeights
from ase_wavescat.potentials.protocol import HasMembers
from ase_wavescat.potentials.sum import PotentialSum
from ase_wavescat.representation.execution import Execution
from ase_wavescat.system.errors import ModelFileError
from small_networks import SPECIFICATIONS, STRUCTURES, random_weights, structure


def members(name: str = "two orders", count: int = 3) -> tuple[NetworkPotential, list[NetworkPotential]]:
    """The committee, and each member alone."""
    weights = [random_weights(name, seed) for seed in range(count)]
    return NetworkPotential(*weights), [NetworkPotential(own) for own in weights]


@pytest.mark.parametrize("where", [name for name, s in STRUCTURES.items() if set(s.numbers) <= {3, 14}])
@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_members_are_what_they_are_alone(name: str, where: str) -> None:
    committee, alone = members(name)
    together, each = committee.predict(STRUCTURES[where]), [one.predict(STRUCTURES[where]) for one in alone]
    assert isinstance(committee, HasMembers) and committee.members == 3
    for member, own in enumerate(each):
        assert together.member_energies[member] == own.energy
        assert np.array_equal(together.member_gradients[member], own.gradient)
        assert np.array_equal(together.member_strain_gradients[member], own.strain_gradient)
    assert together.energy == pytest.approx(np.mean([own.energy for own in each]), rel=1e-14)
    assert together.gradient == pytest.approx(np.mean([own.gradient for own in each], axis=0), abs=1e-14)
    assert together.atom_energies.sum() == pytest.approx(together.energy, rel=1e-12)
    expected = np.std([own.gradient for own in each], axis=0, ddof=1)
    assert together.gradient_spread == pytest.approx(expected, abs=1e-14)


def test_pairs_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    look = pairs.look_at_pairs

    def counted(begin: int, *given: object) -> None:
        looked.append(begin)
        look(begin, *given)

    monkeypatch.setattr(pairs, "look_at_pairs", counted)
    committee, alone = members()
    alone[0].predict(structure())
    once = len(looked)
    committee.predict(structure())
    assert len(looked) == 2 * once


def heads(name: str, counts: tuple[int, ...]) -> list[NetworkWeights]:
    """So many networks on each trunk, in turn, that differ in their last layers alone."""
    generator, made = np.random.default_rng(9), []
    for trunk, count in enumerate(counts):
        weights = random_weights(name, trunk)
        for _ in range(count):
            last = {
                key: weights[key] + generator.normal(size=weights[key].shape) for key in HEAD if key in weights.arrays
            }
            made.append(NetworkWeights(weights.specification, {**weights.arrays, **last}))
    return made[::2] + made[1::2]


@pytest.mark.parametrize("execution", [Execution(), Execution(2, "single")])
@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_heads_are_networks_on_a_trunk_that_is_evaluated_once(
    name: str, execution: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = heads(name, (3, 1, 2))
    where = structure()
    alone = [NetworkPotential(own).predict(where, execution=execution) for own in given]
    made: list[int] = []
    monkeypatch.setattr(potential, "NetworkState", lambda *of: made.append(1) or NetworkState(*of))
    together = NetworkPotential(*given).predict(where, execution=execution)
    assert len(made) == 3
    tight = 1e-12 if execution.real is np.float64 else 1e-5
    np.testing.assert_allclose(together.member_energies, [own.energy for own in alone], rtol=1e-12)
    np.testing.assert_allclose(together.member_gradients, [own.gradient for own in alone], atol=1e-12)
    np.testing.assert_allclose(together.member_strain_gradients, [own.strain_gradient for own in alone], atol=1e-12)
    np.testing.assert_allclose(together.gradient, np.mean([own.gradient for own in alone], axis=0), atol=tight)
    strains = [own.strain_gradient for own in alone]
    np.testing.assert_allclose(together.strain_gradient, np.mean(strains, axis=0), atol=10 * tight)
    assert together.atom_energies.sum() == pytest.approx(together.energy, rel=1e-12)


def test_a_file_holds_a_trunk_once(tmp_path: Path) -> None:
    def size(*weights: NetworkWeights) -> int:
        save_model(tmp_path / "m.h5", Model(NetworkPotential(*weights)))
        return (tmp_path / "m.h5").stat().st_size

    given = heads("two orders", (4,))
    others = [random_weights("two orders", seed) for seed in range(4)]
    assert size(*given) < 0.6 * size(*others)
    size(*given)
    read = load_model(tmp_path / "m.h5")
    assert read.potential.digest == NetworkPotential(*given).digest
    assert any("4 members, heads on one trunk" in line for line in read.card())
    with h5py.File(tmp_path / "m.h5") as file:
        assert set(file["potential/members/2"]) == {key for key in HEAD if key in given[0].arrays}


def test_files_of_too_many_members_are_refused(tmp_path: Path) -> None:
    save_model(tmp_path / "m.h5", Model(NetworkPotential(*heads("one order", (101,)))))
    with pytest.raises(ModelFileError, match="101 members, the limit is 100"):
        load_model(tmp_path / "m.h5")


def test_a_single_network_has_no_spread() -> None:
    _, (one, *_) = members()
    assert one.members == 1
    assert not one.predict(structure()).gradient_spread.any()


@pytest.mark.parametrize("execution", [Execution(2), Execution(1, "single"), Execution(2, "single")])
def test_threads_and_precision_hold_for_members(execution: Execution) -> None:
    committee, _ = members()
    expected, found = committee.predict(structure()), committee.predict(structure(), execution=execution)
    tolerance = 1e-5 if execution.real is np.float32 else 0.0
    assert np.abs(found.member_gradients - expected.member_gradients).max() <= tolerance
    assert np.abs(found.member_energies - expected.member_energies).max() <= tolerance


def test_a_file_and_a_pickle_give_back_all_members(tmp_path: Path) -> None:
    committee, _ = members()
    atoms = AtomEnergies(committee.species, np.array([[-2.0, -5.0], [-2.1, -5.0], [-2.0, -5.2]]))
    model = Model(PotentialSum((committee, atoms)))
    save_model(tmp_path / "committee.h5", model)
    read = load_model(tmp_path / "committee.h5")
    assert read.digest == model.digest == pickle.loads(pickle.dumps(model)).digest
    expected, found = model.predict(structure()), read.predict(structure())
    assert np.array_equal(found.member_energies, expected.member_energies)
    assert found.energy_uncertainty == pytest.approx(expected.member_energies.std(ddof=1), rel=1e-12)
    assert found.forces_uncertainty == pytest.approx(expected.gradient_spread, rel=1e-12)
    assert any("3 members" in line for line in committee.card())


def test_members_are_alike_and_at_least_one() -> None:
    with pytest.raises(ValueError, match="at least one member, got none"):
        NetworkPotential()
    with pytest.raises(ValueError, match="unlike specifications; make a Committee"):
        NetworkPotential(random_weights("two orders"), random_weights("one order"))
