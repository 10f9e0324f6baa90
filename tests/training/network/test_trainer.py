"""Training by torch learns, stops, goes on after being killed, and says what it cannot do."""

# ruff: noqa: E402 - what follows torch needs it

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ase_wavescat.potentials.network.potential import NetworkPotential
from ase_wavescat.potentials.network.radial import Gaussians
from ase_wavescat.potentials.network.specification import NetworkSpecification
from ase_wavescat.potentials.network.weights import NetworkWeights
from ase_wavescat.potentials.protocol import WholePrediction
from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import DataError, WaveScatError
from ase_wavescat.training.data.frames import Frame
from ase_wavescat.training.network.examples import Example, atom_energies, less_atoms
from ase_wavescat.training.network.loss import Errors, Labels, push_loss
from ase_wavescat.training.network.pushes import Push, drawn, pushes_of
from ase_wavescat.training.network.settings import NetworkSettings, Stage
from ase_wavescat.training.network.standardisation import standardised
from ase_wavescat.training.network.trainer import Epoch, _optimiser, _Run, train_network
from ase_wavescat.training.network.twin import Prediction, Twin
from small_networks import random_weights, structure

SPECIFICATION = NetworkSpecification((3, 14), 4.0, Gaussians(5), 2, (3, 2), ((1, 1, 2),), (6, 5))
SETTINGS = NetworkSettings(batch=4, averaging=0.8, precision="double", seed=3)
ATOMS = {3: -2.0, 14: -5.0}


def examples(count: int = 16, zero: str = "labels", shift: float = 0.0) -> list[Example]:
    """Labels of another network of another make, and energies of the atoms; two a group."""
    teacher, made = NetworkPotential(random_weights("one order", 4)), []
    for index in range(count):
        s = structure(seed=index)
        numbers = np.roll(s.numbers, index)[: 5 - index % 2]
        s = Structure(s.cell, s.positions[: len(numbers)], numbers)
        prediction = teacher.predict(s)
        energy = prediction.energy + sum(ATOMS[int(z)] + shift for z in numbers)
        stress = prediction.strain_gradient / s.volume
        made.append(Example(s, energy, -prediction.gradient, stress, f"melt {index // 2}", zero))
    return made


def staged(name: str, given: list[Example], epochs: int, learning_rate: float = 5e-3) -> Stage:
    """Every fourth group is held out."""
    groups = list(dict.fromkeys(example.group for example in given))
    held = [example for example in given if groups.index(example.group) % 4 == 0]
    return Stage(name, [example for example in given if example not in held], held, epochs, learning_rate)


def same_bits(one: NetworkWeights, two: NetworkWeights) -> bool:
    return all(np.array_equal(array, two[name]) for name, array in one.arrays.items())


def test_it_learns_what_another_network_says() -> None:
    stage = staged("teacher", examples(), 40, 1e-2)
    trained = train_network(SPECIFICATION, [stage], SETTINGS)
    first, last = trained.history[0], min(trained.history, key=lambda epoch: epoch.held_out_loss)
    assert last.held_out_loss < 0.3 * first.held_out_loss
    assert last.held_out["forces"] < 0.6 * first.held_out["forces"]
    assert trained.atom_energies.shape == (2,)

    held = less_atoms(stage.held_out, atom_energies(stage.examples, SPECIFICATION.species), SPECIFICATION.species)
    potential = NetworkPotential(trained.weights)
    found = [np.abs(potential.predict(e.structure).energy - e.energy) / len(e.structure) for e in held]
    assert np.mean(found) == pytest.approx(last.held_out["energy"], rel=1e-9)


def test_a_killed_run_ends_in_the_same_bits(tmp_path: Path) -> None:
    stages = [staged("cheap", examples(8, "cheap"), 2), staged("good", examples(), 3)]
    whole = train_network(SPECIFICATION, stages, SETTINGS)

    class Killed(Exception):
        pass

    for last in (1, 2, 4):  # within the first stage, at its end, within the second
        checkpoint, seen = tmp_path / f"{last}.npz", []

        def report(epoch: Epoch, last: int = last, seen: list[Epoch] = seen) -> None:
            seen.append(epoch)
            if len(seen) == last:
                raise Killed

        with pytest.raises(Killed):
            train_network(SPECIFICATION, stages, SETTINGS, checkpoint, report)
        again = train_network(SPECIFICATION, stages, SETTINGS, checkpoint)
        assert same_bits(again.weights, whole.weights)
        assert again.history == whole.history
    assert [epoch.stage for epoch in whole.history] == ["cheap"] * 2 + ["good"] * 3


def test_seeds_matter_and_nothing_else_does() -> None:
    stage = [staged("good", examples(8), 1)]
    one, two = (train_network(SPECIFICATION, stage, SETTINGS).weights for _ in range(2))
    assert same_bits(one, two)
    assert not same_bits(one, train_network(SPECIFICATION, stage, replace(SETTINGS, seed=4)).weights)


def test_a_stage_ends_when_held_out_groups_gain_no_more() -> None:
    stage = staged("good", examples(8), 200, 0.3)
    trained = train_network(SPECIFICATION, [stage], replace(SETTINGS, patience=3))
    losses = [epoch.held_out_loss for epoch in trained.history]
    assert len(losses) < 200
    assert int(np.argmin(losses)) == len(losses) - 4


def test_single_precision_is_enough() -> None:
    stage = [staged("good", examples(8), 2)]
    single, double = (
        train_network(SPECIFICATION, stage, replace(SETTINGS, precision=p)).history[-1] for p in ("single", "double")
    )
    assert single.held_out_loss == pytest.approx(double.held_out_loss, rel=1e-3)


def test_checkpoints_of_other_runs_and_other_files_are_refused(tmp_path: Path) -> None:
    checkpoint, stage = tmp_path / "run.npz", [staged("good", examples(8), 1)]
    train_network(SPECIFICATION, stage, SETTINGS, checkpoint)
    with pytest.raises(DataError, match="belongs to another training"):
        train_network(SPECIFICATION, stage, replace(SETTINGS, seed=9), checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    with pytest.raises(DataError, match="is no checkpoint of a training"):
        train_network(SPECIFICATION, stage, SETTINGS, checkpoint)


def test_a_loss_that_explodes_is_named() -> None:
    wild = [replace(example, energy=example.energy * 1e200) for example in examples(8)]
    with pytest.raises(WaveScatError, match="no longer finite in epoch 1 of stage 'good'"):
        train_network(SPECIFICATION, [staged("good", wild, 2)], replace(SETTINGS, precision="single"))


def test_gradients_of_outliers_are_shortened() -> None:
    """To twice the usual norm, which they hardly change; usual ones stay as they are."""
    run = _Run(SPECIFICATION, [staged("good", examples(8), 2)], SETTINGS, None)
    run.next_epoch()
    usual, parameters = run._usual_gradient, list(run._twin.parameters())
    size = sum(parameter.numel() for parameter in parameters) ** 0.5

    def norm_after(length: float) -> float:
        for parameter in parameters:
            parameter.grad = torch.full_like(parameter, length / size)
        run._limit_gradient()
        return float(sum((parameter.grad**2).sum() for parameter in parameters) ** 0.5)

    assert usual > 0
    assert norm_after(1e6 * usual) == pytest.approx(2 * usual, rel=1e-5)
    assert run._usual_gradient == pytest.approx(1.02 * usual, rel=1e-9)
    assert norm_after(usual) == pytest.approx(usual, rel=1e-9)


def pushes() -> list[Push]:
    frames = [Frame(e.structure, e.energy, None, None, e.group, "glass", "a.xyz") for e in examples(4)]
    return pushes_of(frames, {(3, 14): 1.9}, PairRepulsion.from_species(SPECIFICATION.species))


def test_close_contacts_are_learned_beside_the_labels() -> None:
    """What a network makes of them is nearer to what is asked than that of one that has not seen any."""
    stage, asked = [staged("good", examples(8), 30, 1e-2)], pushes()
    lost = {}
    for name, given in (("without", []), ("with", asked)):
        potential = NetworkPotential(train_network(SPECIFICATION, stage, SETTINGS, pushes=given).weights)
        squares = []
        for push in asked:
            energies = np.array([potential.predict(structure).energy for structure in push.structures])
            squares.append(((energies[1:] - energies[0] - push.changes) / push.errors) ** 2)
        lost[name] = np.mean(np.concatenate(squares))
    assert lost["with"] < 0.2 * lost["without"]


def test_the_loss_of_a_push_is_that_of_the_compiled_network() -> None:
    weights, push = random_weights("two orders", 2), pushes()[1]
    potential = NetworkPotential(weights)
    energies = np.array([potential.predict(structure).energy for structure in push.structures])
    expected = np.mean(((energies[1:] - energies[0] - push.changes) / push.errors) ** 2)
    found = push_loss(push, Twin(weights), SETTINGS, torch.float64)
    assert float(found.detach()) == pytest.approx(expected, rel=1e-9)


def test_all_pushes_are_drawn_in_turn() -> None:
    asked = pushes()
    some = list(islice(drawn(asked, [1, 2]), 2 * len(asked)))
    starts = [id(push.structures[0]) for push in some]
    assert set(starts[: len(asked)]) == set(starts[len(asked) :]) == {id(push.structures[0]) for push in asked}
    assert all(len(push.changes) == len(push.errors) == len(push.structures) - 1 == 3 for push in some)
    again = list(islice(drawn(asked, [1, 2]), 2 * len(asked)))
    assert all(np.array_equal(one.changes, two.changes) for one, two in zip(some, again, strict=True))
    assert list(drawn([], [1])) == pushes_of([], {}, None) == []


def test_a_killed_run_with_pushes_ends_in_the_same_bits(tmp_path: Path) -> None:
    stage, checkpoint = [staged("good", examples(8), 3)], tmp_path / "run.npz"
    whole = train_network(SPECIFICATION, stage, SETTINGS, pushes=pushes())

    def report(epoch: Epoch) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_network(SPECIFICATION, stage, SETTINGS, checkpoint, report, pushes())
    with pytest.raises(DataError, match="belongs to another training"):
        train_network(SPECIFICATION, stage, SETTINGS, checkpoint, pushes=pushes()[1:])
    assert same_bits(train_network(SPECIFICATION, stage, SETTINGS, checkpoint, pushes=pushes()).weights, whole.weights)


def test_weights_decay_and_biases_do_not() -> None:
    """In a step without gradient."""
    twin = Twin(random_weights("two orders", 2))
    before, optimiser = twin.weights(), _optimiser(twin, 0.5)
    for parameter in twin.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for group in optimiser.param_groups:
        group["lr"] = 0.1
    optimiser.step()
    for name, parameter in twin.named_parameters():
        kept = 1.0 if "_bias" in name else 0.95
        assert parameter.detach().numpy() == pytest.approx(kept * before[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 0}, "batch must be a whole number of at least 1, got 0"),
        ({"averaging": 1.0}, "below 1, got 1.0"),
        ({"energy_weight": -1.0}, "energy_weight must be finite and not negative, got -1.0"),
        ({"weight_decay": -0.1}, "weight_decay must be finite and not negative, got -0.1"),
        ({"strong_force": 0.0}, "strong_force must be positive"),
        ({"precision": "half"}, "got 'half'"),
    ],
)
def test_settings_that_make_no_sense(change: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(SETTINGS, **change)


def test_stages_and_groups_that_make_no_sense() -> None:
    with pytest.raises(DataError, match="no examples"):
        Stage("good", [], examples(2), 1)
    with pytest.raises(DataError, match="at least one epoch, got 0"):
        Stage("good", examples(2), examples(2), 0)
    with pytest.raises(DataError, match="at least two groups"):
        Stage("good", examples(2), [], 1)


def test_atom_energies_of_several_zeros_are_found() -> None:
    mixed = examples(12) + examples(12, "cheap", 1.5)
    found = atom_energies(mixed, (3, 14))
    assert found["cheap"] - found["labels"] == pytest.approx([1.5, 1.5])
    left = less_atoms(mixed, found, (3, 14))
    assert left[0].energy == pytest.approx(left[12].energy, abs=1e-9)


def test_the_loss_is_that_of_the_linear_fit() -> None:
    some = examples(3)
    some[1] = replace(some[1], forces=None, weight=0.5)
    some[2] = replace(some[2], stress=None)
    settings = replace(SETTINGS, strong_force=0.5)
    generator = np.random.default_rng(0)
    atoms = [len(e.structure) for e in some]
    energies, forces = generator.normal(size=3), generator.normal(size=(sum(atoms), 3))
    stresses = generator.normal(size=(3, 3, 3))
    stresses = stresses + stresses.transpose(0, 2, 1)
    expected, parts = 0.0, np.split(forces, np.cumsum(atoms)[:-1])
    for e, energy, force, stress in zip(some, energies, parts, stresses, strict=True):
        own = (settings.energy_weight * (energy - e.energy) / len(e.structure)) ** 2
        if e.forces is not None:
            share = 1 / (1 + (np.linalg.norm(e.forces, axis=1) / 0.5) ** 2)
            own += settings.force_weight**2 * (share[:, None] * (force - e.forces) ** 2).sum()
        if e.stress is not None:
            own += settings.stress_weight**2 * ((stress - e.stress)[np.triu_indices(3)] ** 2).sum()
        expected += e.weight * own / 3
    labels = Labels.of(some, settings, torch.float64)
    prediction = Prediction(*map(torch.as_tensor, (energies, forces, stresses)))
    assert float(labels.loss(prediction)) == pytest.approx(expected, rel=1e-12)
    errors = Errors()
    errors.add(labels, prediction)
    assert errors.loss == pytest.approx(expected)
    difference = [np.abs(parts[index] - some[index].forces).mean() for index in (0, 2)]
    assert errors.summary["forces"] == pytest.approx(np.average(difference, weights=[atoms[0], atoms[2]]))


def test_examples_of_frames_are_less_the_baseline() -> None:
    s = structure()
    frame = Frame(s, 3.0, np.ones((5, 3)), np.arange(6.0), "melt", "glass", "a.xyz")
    strain = np.arange(9.0).reshape(3, 3) + np.arange(9.0).reshape(3, 3).T
    example = Example.of(frame, WholePrediction(1.0, np.full((5, 3), 0.25), strain))
    assert example.energy == 2.0 and np.all(example.forces == 1.25)
    assert np.allclose(example.stress, np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]]) - strain / s.volume)


def test_invariants_are_standardised_over_atoms_of_each_species() -> None:
    weights = standardised(NetworkWeights.random(SPECIFICATION, 0), examples())
    potential = NetworkPotential(weights)
    values = np.concatenate([potential.predict(e.structure).states[0].values for e in examples()])
    numbers = np.concatenate([e.structure.numbers for e in examples()])
    first = SPECIFICATION.invariants[0]
    for kind, number in enumerate(SPECIFICATION.species):
        for name, columns in (("first", slice(None, first)), ("second", slice(first, None))):
            own = values[numbers == number][:, columns]
            scaled = (own - weights[f"{name}_mean"][kind]) / weights[f"{name}_deviation"][kind]
            assert np.abs(scaled.mean(axis=0)).max() < 1e-9
            assert scaled.std(axis=0) == pytest.approx(1.0, abs=1e-6)
