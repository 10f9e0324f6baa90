"""A sum of potentials is a potential; so is a committee, of ours or of any ASE calculators."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from ase_wavescat import WaveScatCalculator
from ase_wavescat.capabilities import DomainCalculator, MemberCalculator, members_of
from ase_wavescat.potentials.ase_potential import ASEPotential
from ase_wavescat.potentials.card import model_card
from ase_wavescat.potentials.committee import Committee
from ase_wavescat.potentials.composition import AtomEnergies
from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.file.model_file import load_model, save_model
from ase_wavescat.potentials.linear import LinearPotential
from ase_wavescat.potentials.model import Model
from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.potentials.sum import PotentialSum
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import DataError, ModelFileError
from ase_wavescat.training import combine
from ase_wavescat.workflows import eos, path_energies
from linear_models import changed, linear, species_energies


@pytest.fixture
def close(make_structure: Callable[..., Atoms]) -> Structure:
    """Near enough for the repulsion."""
    atoms = make_structure()
    return Structure(0.7 * atoms.cell.array, 0.7 * atoms.positions, atoms.numbers)


def test_energies_and_derivatives_of_the_terms_add_up(small_ensemble: Model, close: Structure) -> None:
    terms = (
        linear(small_ensemble),
        AtomEnergies((3, 14), species_energies(small_ensemble)),
        PairRepulsion({(3, 14): 2.4}),
    )
    alone = [term.predict(close) for term in terms]
    together = PotentialSum(terms).predict(close)
    assert alone[2].energy > 0
    assert together.energy == pytest.approx(sum(one.energy for one in alone), rel=1e-12)
    np.testing.assert_allclose(together.gradient, sum(one.gradient for one in alone), rtol=1e-12)
    np.testing.assert_allclose(together.strain_gradient, sum(one.strain_gradient for one in alone), rtol=1e-12)
    expected = alone[0].member_energies + alone[1].member_energies + alone[2].energy
    np.testing.assert_allclose(together.member_energies, expected, rtol=1e-12)
    assert together.member_gradients.shape == (5, len(close), 3)
    np.testing.assert_allclose(together.member_gradients.mean(axis=0), together.gradient, rtol=1e-9, atol=1e-9)
    strains = together.member_strain_gradients
    np.testing.assert_allclose(strains.mean(axis=0), together.strain_gradient, rtol=1e-9, atol=1e-9)


def test_a_sum_of_two_ensembles_has_the_spread_of_its_members(small_ensemble: Model, close: Structure) -> None:
    own = linear(small_ensemble)
    other = LinearPotential(own.spec, own.keys[:40], own.weights[::-1, :40])
    together = PotentialSum((own, other)).predict(close)
    gradients = own.predict(close).member_gradients + other.predict(close).member_gradients
    np.testing.assert_allclose(together.gradient_spread, gradients.std(axis=0, ddof=1), rtol=1e-10)


def test_neighbours_are_searched_for_once_for_all_terms(
    small_ensemble: Model, close: Structure, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ase_wavescat.structure import structure as room

    searched, search = [], room.neighbour_pairs
    monkeypatch.setattr(
        room,
        "neighbour_pairs",
        lambda cell, positions, cutoff: searched.append(cutoff) or search(cell, positions, cutoff),
    )
    prediction = small_ensemble.predict(close)
    assert prediction.domain_messages == {} and np.isfinite(prediction.gradient).all()
    assert searched == [small_ensemble.neighbour_reach]


def test_sums_that_make_no_sense_are_refused(small_ensemble: Model) -> None:
    with pytest.raises(ValueError, match="at least one"):
        PotentialSum(())
    with pytest.raises(ValueError, match=r"different numbers of members: \[3, 5\]"):
        PotentialSum((linear(small_ensemble), AtomEnergies((3, 14), np.zeros((3, 2)))))


# ---------------------------------------------------------------- committees


def copper(*strengths: float) -> WaveScatCalculator:
    members = [ASEPotential(EMT()), *(ASEPotential(LennardJones(sigma=2.27, epsilon=e, rc=6.0)) for e in strengths)]
    return WaveScatCalculator(Committee(tuple(members)))


def test_a_committee_of_any_calculators_is_their_mean_and_has_their_spread() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.calc = calculator = copper(0.3, 0.5)
    foreign = [EMT(), *(LennardJones(sigma=2.27, epsilon=e, rc=6.0) for e in (0.3, 0.5))]
    energies = np.array([one.get_property("energy", atoms) for one in foreign])
    forces = np.array([one.get_property("forces", atoms) for one in foreign])
    stresses = np.array([one.get_property("stress", atoms) for one in foreign])
    assert atoms.get_potential_energy() == pytest.approx(energies.mean(), rel=1e-12)
    np.testing.assert_allclose(atoms.get_forces(), forces.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(atoms.get_stress(), stresses.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(calculator.get_member_energies(), energies, rtol=1e-12)
    np.testing.assert_allclose(calculator.get_member_stresses(), stresses, atol=1e-12)
    assert calculator.get_energy_uncertainty() == pytest.approx(energies.std(ddof=1), rel=1e-12)
    np.testing.assert_allclose(calculator.get_forces_uncertainty(), forces.std(axis=0, ddof=1), atol=1e-12)
    assert calculator.get_domain_messages() == {} and not calculator.has_grades
    assert isinstance(calculator, MemberCalculator) and isinstance(calculator, DomainCalculator)


def test_workflows_give_its_spread() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.calc = copper(0.3)
    curve = eos(atoms)
    assert curve.bulk_modulus_uncertainty is not None and curve.bulk_modulus_uncertainty > 0
    images = [atoms.copy() for _ in range(3)]
    for shift, image in enumerate(images):
        image.positions[0, 0] += 0.2 * shift
        image.calc = atoms.calc
    band = path_energies(images)
    assert band.energy_spreads is not None and band.energy_spreads[0] == 0 and band.energy_spreads[2] > 0


def test_ours_and_others_in_one_committee(small_ensemble: Model, close: Structure) -> None:
    both = Committee((small_ensemble, ASEPotential(LennardJones(), species=(3, 14))))
    assert both.species == (3, 14) and both.members == 6 and both.reach == small_ensemble.reach
    prediction = both.predict(close)
    assert prediction.member_energies.shape == (6,) and prediction.member_gradients.shape == (6, len(close), 3)
    assert both.digest != Committee((small_ensemble, ASEPotential(LennardJones(epsilon=2.0), (3, 14)))).digest
    with pytest.raises(ValueError, match="at least two potentials, got 1"):
        Committee((small_ensemble,))


def test_a_committee_warns_of_what_any_of_its_models_has_not_seen(
    small_ensemble: Model, wide_domain: Domain, close: Structure
) -> None:
    narrow = changed(small_ensemble, domain=dataclasses.replace(wide_domain, fractions={3: (0.0, 0.01)}))
    wide = changed(small_ensemble, domain=wide_domain)
    prediction = Model(Committee((wide, narrow))).predict(close)
    assert set(prediction.domain_messages) == {"composition"}
    assert Model(Committee((wide, wide))).predict(close).domain_messages == {}


def test_weights_of_a_committee(small_ensemble: Model, close: Structure) -> None:
    repulsion = PairRepulsion.from_species((3, 14))
    parts = [small_ensemble, repulsion]
    energies = [one.predict(close).energy for one in parts]
    weighted = Committee(tuple(parts), (3, 1))
    prediction = weighted.predict(close)
    assert weighted.weights == (0.75, 0.25)
    assert prediction.energy == pytest.approx(0.75 * energies[0] + 0.25 * energies[1], rel=1e-12)
    gradients = [one.predict(close).gradient for one in parts]
    np.testing.assert_allclose(prediction.gradient, 0.75 * gradients[0] + 0.25 * gradients[1], atol=1e-12)
    assert weighted.digest != Committee(tuple(parts)).digest
    for weights in ((1,), (1, 0), (1, -1), (1, np.nan)):
        with pytest.raises(ValueError, match="2 needs as many positive weights"):
            Committee(tuple(parts), weights)


def test_a_committee_of_models_is_stored_whole(
    small_ensemble: Model, wide_domain: Domain, close: Structure, tmp_path: Path
) -> None:
    narrow = changed(small_ensemble, domain=dataclasses.replace(wide_domain, fractions={3: (0.0, 0.01)}))
    both = combine([changed(small_ensemble, domain=wide_domain), narrow], (2, 1))
    save_model(tmp_path / "both.h5", both)
    again = load_model(tmp_path / "both.h5")
    assert again.digest == both.digest and again.members == 2 * small_ensemble.members
    one, other = (model.predict(close) for model in (both, again))
    assert one.energy == other.energy and np.array_equal(one.gradient, other.gradient)
    assert set(other.domain_messages) == {"composition"}
    assert "weight 0.667" in model_card(again) and "weight 0.333" in model_card(again)
    with pytest.raises(DataError, match="at least two potentials, got 1"):
        combine([both])


def test_a_calculator_without_members_has_no_spread() -> None:
    alone = WaveScatCalculator(ASEPotential(EMT()))
    assert alone.members == 1 and members_of(alone) is None and members_of(EMT()) is None
    assert alone.get_energy_uncertainty(bulk("Cu")) == 0.0 and not alone.get_forces_uncertainty(bulk("Cu")).any()


def test_files_hold_no_foreign_calculators(tmp_path) -> None:
    with pytest.raises(ModelFileError, match="a ASEPotential cannot be stored"):
        save_model(tmp_path / "m.h5", Model(Committee((ASEPotential(EMT()), ASEPotential(EMT())))))
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- every kind that files hold


def test_every_potential_of_the_registry_is_one(small_ensemble: Model, close: Structure) -> None:
    """A new kind is tested once it is listed in `examples`; each listed kind keeps its derivatives and its digest."""
    from ase_wavescat.potentials.network.potential import NetworkPotential
    from ase_wavescat.potentials.registry import POTENTIALS
    from small_networks import random_weights

    repulsion = PairRepulsion.from_species((3, 14))
    energies = AtomEnergies((3, 14), species_energies(small_ensemble))
    examples = {
        "linear": linear(small_ensemble),
        "network": NetworkPotential(random_weights("two orders")),
        "pair-repulsion": repulsion,
        "atom-energies": energies,
        "sum": PotentialSum((linear(small_ensemble), energies, repulsion)),
        "committee": Committee((linear(small_ensemble), repulsion), (2, 1)),
        "model": small_ensemble,
    }
    assert set(examples) == set(POTENTIALS)
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(len(close), 3))
    stretch = rng.normal(size=(3, 3))
    stretch = (stretch + stretch.T) / 2
    for kind, potential in examples.items():
        assert potential.kind == kind and type(potential) is POTENTIALS[kind] and potential.card()
        assert set(close.numbers.tolist()) <= set(potential.species)
        prediction = potential.predict(close)
        slopes = []
        for step in (1e-3, 3e-4, 1e-4):
            moved = [Structure(close.cell, close.positions + s * step * direction, close.numbers) for s in (1, -1)]
            strained = [
                Structure(close.cell @ f, close.positions @ f, close.numbers)
                for f in (np.eye(3) + step * stretch, np.eye(3) - step * stretch)
            ]
            along = [potential.predict(one, close.cell).energy for one in (*moved, *strained)]
            slopes.append([(along[0] - along[1]) / (2 * step), (along[2] - along[3]) / (2 * step)])
        expected = [np.sum(prediction.gradient * direction), np.sum(prediction.strain_gradient * stretch)]
        errors = np.abs(np.array(slopes) - expected).min(axis=0)
        assert (errors <= 1e-5 * (np.abs(expected) + 1e-3)).all(), (kind, errors, expected)
        assert pickle.loads(pickle.dumps(potential)).digest == copy.deepcopy(potential).digest == potential.digest
    assert len({one.digest for one in examples.values()}) == len(examples)
