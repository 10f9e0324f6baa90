"""A whole training run on a few tiny frames whose labels are an exact linear model."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from contextlib import nullcontext

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.morse import MorsePotential
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read

from ase_wavescat import WaveScatCalculator
from ase_wavescat.potentials.file.model_file import load_model
from ase_wavescat.potentials.held_out_errors import format_metrics
from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.representation import Bands, Correlations, Maps, Moduli, ScatteringSpec
from ase_wavescat.structure.neighbours import neighbour_pairs
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import DataError, WaveScatWarning
from ase_wavescat.training import labelled_frames
from ase_wavescat.training.data.frames import read_frames
from ase_wavescat.training.data.sources import Source
from ase_wavescat.training.fitting import train
from ase_wavescat.training.methods import trainer
from ase_wavescat.training.rows.observations import Observations
from ase_wavescat.training.rows.store import FeatureStore
from ase_wavescat.training.settings import Settings
from linear_models import linear, species_energies, whole

from .conftest import SPECIES_ENERGIES, make_structures, write_frames

LINEAR = ("ridge", "sparse", "greedy")
QUICK = {"members": 4, "folds": 3, "workers": 1, "progress": False}


@pytest.fixture(scope="module")
def trained(labelled, spec, tmp_path_factory):
    output = tmp_path_factory.mktemp("model") / "model.h5"
    given = {"citation": "nobody, nowhere", "licence": "CC0"}
    return output, train(labelled[0], output, spec, strengths=(1e-12, 1e-6), provenance=given, **QUICK)


def test_recovers_the_model_behind_the_labels(spec, tmp_path):
    """Without the repulsion, which brings close contacts that these made-up labels do not follow."""
    path = write_frames(tmp_path / "exact.extxyz.xz", make_structures(spec, repel=False)[0])
    ensemble = train(path, tmp_path / "model.h5", spec, strengths=(1e-12, 1e-6), repulsion=False, **QUICK)
    metrics = ensemble.provenance["metrics"]
    assert metrics["strength"] == 1e-12
    assert metrics["energy_mae_mev_per_atom"] < 0.1
    assert metrics["force_mae_ev_per_a"] < 1e-3
    np.testing.assert_allclose(species_energies(ensemble).mean(axis=0), SPECIES_ENERGIES, atol=1e-2)
    for frame in read_frames(path)[:3]:
        prediction = ensemble.predict(frame.structure)
        assert prediction.energy == pytest.approx(frame.energy, abs=1e-3)
        np.testing.assert_allclose(-prediction.gradient, frame.forces, atol=2e-3)
        stress = prediction.strain_gradient / frame.volume
        np.testing.assert_allclose(stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], frame.stress, atol=2e-4)


def test_the_baseline_is_subtracted_and_close_atoms_repel(trained, labelled):
    _, ensemble = trained
    frames = read_frames(labelled[0])
    store = FeatureStore(trained[0].with_suffix(".features"), linear(ensemble).spec, None, None)
    observation = Observations(frames, store, ensemble.term(PairRepulsion))[0]
    energy, gradient, _ = whole(ensemble.term(PairRepulsion).predict(frames[0].structure))
    assert observation.energy == pytest.approx(frames[0].energy - energy)
    np.testing.assert_allclose(observation.forces, (frames[0].forces + gradient).ravel())
    for pair, shortest in ensemble.domain.closest.items():
        positions = [np.array([[0.0, 0, 0], [share * shortest, 0, 0]]) for share in (0.9, 0.7, 0.5, 0.3)]
        energies = [ensemble.predict(Structure(12 * np.eye(3), p, np.array(pair))).energy for p in positions]
        assert (np.diff(energies) > 0).all()


def test_the_file_holds_the_model(trained):
    output, ensemble = trained
    loaded = load_model(output)
    np.testing.assert_array_equal(linear(loaded).weights, linear(ensemble).weights)
    assert linear(loaded).keys == linear(ensemble).spec.keys
    assert loaded.provenance == ensemble.provenance


def test_provenance_tells_where_the_model_comes_from(trained, labelled):
    provenance = trained[1].provenance
    digest = hashlib.sha256(labelled[0].read_bytes()).hexdigest()
    assert provenance["data"] == [{"name": "exact.extxyz.xz", "sha256": digest}]
    assert (provenance["citation"], provenance["licence"]) == ("nobody, nowhere", "CC0")
    assert (provenance["frames"], provenance["groups"]) == (12, 6)
    assert set(provenance["versions"]) >= {"ase_wavescat", "ase", "numpy"}
    metrics = provenance["metrics"]
    assert metrics["folds"] == 3
    assert {kind: row["frames"] for kind, row in metrics["by_kind"].items()} == {"liquid": 6, "relaxed": 6}
    assert sum(row["frames"] for row in metrics["by_composition"].values()) == 12


def test_the_domain_is_that_of_the_data(trained, labelled):
    domain = trained[1].domain
    fractions, closest = [], np.inf
    for frame in read_frames(labelled[0]):
        fractions.append(np.mean(frame.numbers == 3))
        _, _, vectors = neighbour_pairs(frame.cell, frame.positions, 4.0)
        closest = min(closest, np.linalg.norm(vectors, axis=1).min())
    assert domain.fractions[3] == (min(fractions), max(fractions))
    assert min(domain.closest.values()) == pytest.approx(closest)
    ranges = linear(trained[1]).ranges
    assert (ranges.minimum <= ranges.mean).all() and (ranges.mean <= ranges.maximum).all()


def test_a_second_run_reuses_the_features_and_agrees_to_the_bit(trained, labelled, spec, tmp_path):
    output, ensemble = trained
    store = output.with_suffix(".features")
    files = {path: path.stat().st_mtime_ns for path in store.rglob("*.h5")}
    again = train(labelled[0], tmp_path / "again.h5", spec, strengths=(1e-12, 1e-6), store=store, **QUICK)
    np.testing.assert_array_equal(linear(again).weights, linear(ensemble).weights)
    assert again.calibration == ensemble.calibration
    assert files == {path: path.stat().st_mtime_ns for path in store.rglob("*.h5")}


def test_the_seed_changes_the_members_not_their_mean(trained, labelled, spec, tmp_path):
    output, ensemble = trained
    other = train(labelled[0], tmp_path / "other.h5", spec, strengths=(1e-12, 1e-6), seed=1,
                  store=output.with_suffix(".features"), **QUICK)  # fmt: skip
    assert not np.allclose(linear(other).weights, linear(ensemble).weights, rtol=1e-9)
    np.testing.assert_allclose(linear(other).mean_weights, linear(ensemble).mean_weights, rtol=1e-7)


def test_random_directions_train_a_family_without_jacobian(labelled, moduli_spec, tmp_path):
    ensemble = train(labelled[0], tmp_path / "moduli.h5", moduli_spec, **QUICK)
    assert ensemble.provenance["settings"]["directions"] == 16
    assert np.isfinite(ensemble.provenance["metrics"]["force_mae_ev_per_a"])


def test_wavelets_wider_than_the_cells_do_not_spoil_the_fit(labelled, moduli_spec, tmp_path):
    """Their maps are zero to rounding here but not in the dimers' cells: they must get no weight."""
    family = Moduli(powers=(2, 4), second_input="squared")
    wide = dataclasses.replace(moduli_spec, families=(family,), scales=(0.0, 1.0, 3.0), tolerance=1e-12)
    ensemble = train(labelled[0], tmp_path / "wide.h5", wide, directions=8, **QUICK)
    assert np.isfinite(linear(ensemble).weights).all()
    wide_only = [key for key in linear(ensemble).keys if ":2:3,2,1" in key and ">" not in key]
    assert (
        wide_only and not linear(ensemble).mean_weights[[linear(ensemble).keys.index(key) for key in wide_only]].any()
    )
    errors, sizes = [], []
    for frame in read_frames(labelled[0]):
        prediction = ensemble.predict(frame.structure)
        errors.append((-prediction.gradient - frame.forces).ravel())
        sizes.append(frame.forces.ravel())
    assert np.std(np.concatenate(errors)) < 0.6 * np.std(np.concatenate(sizes))


def test_softening_is_measured_on_the_data(labelled, moduli_spec, tmp_path):
    family = dataclasses.replace(moduli_spec.families[0], softening=0.3)
    soft = dataclasses.replace(moduli_spec, families=(family,))
    ensemble = train(labelled[0], tmp_path / "soft.h5", soft, **QUICK)
    measured = dict(linear(ensemble).spec.families[0].softening_rms)
    assert len(measured) == 8  # two channels, two wavelets, two scales
    assert min(measured.values()) > 0
    assert linear(load_model(tmp_path / "soft.h5")).spec == linear(ensemble).spec


def test_mixed_labels_are_counted(labelled, spec, tmp_path, capsys):
    structures = read_structures(labelled[0])
    for atoms in structures[:2]:
        del atoms.calc.results["stress"]
    del structures[0].calc.results["forces"]
    path = write_frames(tmp_path / "mixed.extxyz.xz", structures)
    ensemble = train(path, tmp_path / "mixed.h5", spec, **{**QUICK, "progress": True})
    assert ensemble.provenance["frames_without"] == {"forces": 1, "stress": 2}
    said = capsys.readouterr().out
    assert "1 without forces; 2 without stress" in said
    assert str(tmp_path / "mixed.h5") in said.splitlines()[-2]


def read_structures(path):
    import io
    import lzma

    return read(io.StringIO(lzma.open(path, "rt").read()), ":", format="extxyz")


def test_a_single_group_is_refused(labelled, spec, tmp_path):
    path = write_frames(tmp_path / "one.extxyz.xz", read_structures(labelled[0])[:2])
    with pytest.raises(DataError, match=r"1 group \('melt-0'\).*'none' to treat every frame"):
        train(path, tmp_path / "one.h5", spec, **QUICK)
    assert not (tmp_path / "one.h5").exists()


def test_two_groups_make_two_folds(labelled, spec, tmp_path):
    path = write_frames(tmp_path / "two.extxyz.xz", read_structures(labelled[0])[:4])
    ensemble = train(path, tmp_path / "two.h5", spec, **QUICK)
    assert ensemble.provenance["metrics"]["folds"] == 2


@pytest.fixture(scope="module")
def exact(spec, tmp_path_factory):
    """Labels without the repulsion, which brings close contacts that these made-up labels do not follow."""
    return write_frames(tmp_path_factory.mktemp("exact") / "exact.extxyz.xz", make_structures(spec, repel=False)[0])


@pytest.fixture(scope="module")
def noisy(spec, tmp_path_factory):
    structures = make_structures(spec, groups=8, noise=0.01, repel=False)[0]
    return write_frames(tmp_path_factory.mktemp("noisy") / "noisy.extxyz.xz", structures)


def test_sources_have_zeros_of_their_own(exact, spec, tmp_path):
    """The same frames twice, the second time from another zero of energy and of less weight: nothing changes."""
    structures = read_structures(exact)
    for atoms in structures:
        atoms.calc.results["energy"] += 3.0 * np.count_nonzero(atoms.numbers == 3) - 7.0 * len(atoms)
    other = Source(write_frames(tmp_path / "other.extxyz.xz", structures), name="another code", weight=0.1)
    alone, both = (
        train(
            sources, tmp_path / "m.h5", spec, strengths=(1e-12,), repulsion=False, store=tmp_path / "features", **QUICK
        )
        for sources in ([Source(exact, name="code")], [Source(exact, name="code"), other])
    )
    assert both.provenance["data"][1]["source"] == "another code"
    assert both.provenance["metrics"]["frames"] == len(structures)  # errors of the first source alone
    np.testing.assert_allclose(species_energies(both)[0], SPECIES_ENERGIES, atol=2e-2)
    for frame in read_frames(exact)[:3]:
        energies = [m.predict(frame.structure).energy for m in (alone, both)]
        assert energies == pytest.approx([frame.energy] * 2, abs=2e-3)
    with pytest.raises(DataError, match="files and label sources are mixed"):
        train([exact, other], tmp_path / "mixed.h5", spec, **QUICK)


def test_sources_that_share_a_zero_share_the_species_energies(exact, spec, tmp_path):
    """Labels half an electron volt an atom higher drag the common zero along, where those with their own do not."""
    structures = read_structures(exact)
    for atoms in structures:
        atoms.calc.results["energy"] += 0.5 * len(atoms)
    higher = write_frames(tmp_path / "higher.extxyz.xz", structures)
    own, shared = (
        train(
            [Source(exact, name="code"), Source(higher, name="coarse", zero=zero)], tmp_path / "m.h5", spec,
            strengths=(1e-12,), repulsion=False, store=tmp_path / "features", **QUICK,
        )
        for zero in (None, "code")
    )  # fmt: skip
    np.testing.assert_allclose(species_energies(own)[0], SPECIES_ENERGIES, atol=2e-2)
    np.testing.assert_allclose(species_energies(shared)[0], np.array(SPECIES_ENERGIES) + 0.25, atol=2e-2)
    metrics = shared.provenance["metrics"]  # errors of all that share the zero
    assert metrics["frames"] == 2 * len(structures) == 2 * metrics["by_source"]["coarse"]["frames"]
    assert "by_source" not in own.provenance["metrics"] and own.provenance["metrics"]["frames"] == len(structures)
    assert "\ncoarse " in format_metrics(metrics)


def test_given_references_leave_one_energy_an_atom(labelled, spec, tmp_path):
    references = {"Li": -1.8, "Si": -5.5}
    ensemble = train(labelled[0], tmp_path / "model.h5", spec, references=references, **QUICK)
    bias = species_energies(ensemble) - [-1.8, -5.5]
    np.testing.assert_allclose(bias[:, 0], bias[:, 1], atol=1e-12)
    assert ensemble.provenance["settings"]["references"] == references
    with pytest.raises(DataError, match="no reference energy for Si"):
        train(labelled[0], tmp_path / "bad.h5", spec, references={"Li": -1.8}, **QUICK)


def test_a_prior_model_fills_in_what_the_data_do_not_say(exact, spec, tmp_path):
    """Four frames alone know little; drawn towards the model of all frames they get it right."""
    options = {"repulsion": False, "store": tmp_path / "features", **QUICK}
    known = train(exact, tmp_path / "known.h5", spec, strengths=(1e-12,), **options)
    few = write_frames(tmp_path / "few.extxyz.xz", read_structures(exact)[:4])
    errors = []
    few_of_the_prior = pytest.warns(WaveScatWarning, match="on 4 of these 4 structures as well, such as few")
    for prior, warned in ((None, nullcontext()), (tmp_path / "known.h5", few_of_the_prior)):
        with warned:
            model = train(few, tmp_path / "few.h5", spec, strengths=(1e-2,), prior=prior, **options)
        for frame in read_frames(exact)[6:7]:
            gradient = model.predict(frame.structure).gradient
            errors.append(np.abs(gradient + frame.forces).mean())
    assert errors[1] < 0.02 * errors[0]
    assert model.provenance["prior"] == known.provenance["data"]
    assert model.provenance["prior_digest"] == known.digest
    with pytest.warns(WaveScatWarning):
        assert train(few, tmp_path / "same.h5", prior=known, **options).species == spec.species
    with pytest.raises(DataError, match="another specification"):
        train(few, tmp_path / "bad.h5", dataclasses.replace(spec, beta=1.0), prior=known, **QUICK)
    with pytest.raises(DataError, match="the method greedy takes no prior model"):
        train(few, tmp_path / "bad.h5", spec, method="greedy", prior=known, **QUICK)


def test_a_sparse_model_keeps_few_features(noisy, spec, tmp_path):
    """The curve is there, the model holds the chosen size, and its error is about that of all features."""
    options = {"strengths": (1e-9, 1e-5), "store": tmp_path / "features", "repulsion": False, **QUICK}
    ridge = train(noisy, tmp_path / "ridge.h5", spec, **options).provenance["metrics"]
    ensemble = train(noisy, tmp_path / "sparse.h5", spec, method="sparse", size=12, **options)
    metrics = ensemble.provenance["metrics"]
    assert len(linear(ensemble).keys) == 12
    assert [point["features"] for point in metrics["size_curve"]] == [12]
    assert metrics["size_curve"][0]["milliseconds"] > 0
    assert metrics["force_mae_ev_per_a"] < 3 * ridge["force_mae_ev_per_a"]
    loaded = load_model(tmp_path / "sparse.h5")
    frame = read_frames(noisy)[0]
    prediction = loaded.predict(frame.structure)
    assert np.abs(prediction.gradient + frame.forces).mean() < 2 * metrics["force_mae_ev_per_a"]


@pytest.mark.parametrize("method", LINEAR)
def test_rows_are_read_twice_and_baselines_found_once(method, noisy, spec, tmp_path, monkeypatch):
    """Once for the fits and once for the errors, whatever the method; a third time only where memory is short."""
    frames = read_frames(noisy)
    reads, baselines = Counter(), Counter()
    load, baseline_of = FeatureStore.load, labelled_frames.baseline_of

    def counted_load(store, frame):
        reads[frame.name] += 1
        return load(store, frame)

    def counted_baseline(frame, *given):
        baselines[frame.name] += 1
        return baseline_of(frame, *given)

    monkeypatch.setattr(FeatureStore, "load", counted_load)
    monkeypatch.setattr(labelled_frames, "baseline_of", counted_baseline)
    train(noisy, tmp_path / "model.h5", spec, method=method, strengths=(1e-9, 1e-5), **QUICK)
    assert reads == {frame.name: 2 for frame in frames}
    assert baselines == {frame.name: 1 for frame in frames}


def test_every_method_has_a_trainer_of_its_name():
    for method in LINEAR:
        assert trainer(method).fewest_groups >= 2
        assert Settings(method=method).method == method
    with pytest.raises(ValueError, match="the method is one of ridge, sparse, greedy, network, got 'magic'"):
        trainer("magic")


def test_greedy_members_choose_features_of_their_own(labelled, spec, tmp_path):
    output = tmp_path / "greedy.h5"
    ensemble = train(labelled[0], output, spec, method="greedy", size=5, bagging=False, repulsion=False, **QUICK)
    sizes = ensemble.provenance["metrics"]["greedy"]["m_star"]
    assert [np.count_nonzero(weights) for weights in linear(ensemble).weights] == sizes
    assert max(sizes) <= 5
    assert set(linear(ensemble).keys) <= set(spec.keys)
    assert "force_mae_ev_per_a" not in ensemble.provenance["metrics"]
    frames = read_frames(labelled[0])
    errors = [ensemble.predict(Structure(f.cell, f.positions, f.numbers)).energy - f.energy for f in frames]
    spread = np.std([frame.energy - frame.count(spec.species) @ SPECIES_ENERGIES for frame in frames])
    assert np.std(errors) < 0.7 * spread


def test_noise_is_seen_by_the_spread(spec, tmp_path):
    structures, _ = make_structures(spec, groups=8, noise=0.02)
    path = write_frames(tmp_path / "noisy.extxyz.xz", structures)
    ensemble = train(path, tmp_path / "noisy.h5", spec, repulsion=True, **QUICK)
    frame = read_frames(path)[0]
    prediction = ensemble.predict(frame.structure)
    assert prediction.energy_uncertainty > 0
    assert prediction.forces_uncertainty.shape == (len(frame), 3)


CLUSTERS = ScatteringSpec(
    species=(3,),
    wavelets=((2, 0), (2, 1)),
    scales=(0.0,),
    beta=0.8,
    families=(Correlations(pair=Bands(10, 0.6), atom_maps=Maps(((2, 0), (2, 1)), (0.0,))),),
)


def jittered(rng, group, periodic):
    """Eight sites of a cubic lattice, jittered: a cluster, a slab or a crystal of Morse atoms."""
    sites = np.stack(np.meshgrid(*[np.arange(2)] * 3), axis=-1).reshape(-1, 3) * 2.8 * rng.uniform(0.95, 1.05)
    positions = sites + rng.uniform(-0.25, 0.25, sites.shape)
    atoms = Atoms("Li8", positions, cell=[6.2, 6.0, 6.4] if any(periodic) else None, pbc=periodic)
    atoms.info.update(group=f"g{group}", config_type="cluster" if not any(periodic) else "crystal")
    atoms.calc = MorsePotential(epsilon=0.6, r0=2.7, rho0=4.0, rcut1=4.0, rcut2=5.5)
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    stress = {"stress": atoms.get_stress()} if atoms.cell.rank == 3 else {}
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, **stress)
    return atoms


def test_clusters_slabs_and_crystals_train_one_model(tmp_path):
    """A Morse potential's labels: held-out clusters are predicted, alone and in a large box alike."""
    rng = np.random.default_rng(5)
    kinds = [(False, False, False), (True, True, False), (True, True, True)]
    structures = [jittered(rng, group, kinds[group % 3]) for group in range(18)]
    path = write_frames(tmp_path / "mixed.extxyz.xz", structures)
    ensemble = train(path, tmp_path / "mixed.h5", CLUSTERS, **QUICK)
    assert ensemble.provenance["frames_with_open_directions"] == 12
    assert ensemble.provenance["frames_without"] == {"forces": 0, "stress": 12}
    calculator = WaveScatCalculator(load_model(tmp_path / "mixed.h5"))
    new = [jittered(rng, 0, (False, False, False)) for _ in range(4)]
    errors = [calculator.get_forces(atoms) - atoms.get_forces() for atoms in new]
    assert np.std(errors) < 0.2 * np.std([atoms.get_forces() for atoms in new])
    for atoms in new:
        boxed = atoms.copy()
        boxed.center(vacuum=20.0)
        boxed.pbc = True
        assert calculator.get_potential_energy(boxed) == pytest.approx(calculator.get_potential_energy(atoms), abs=5e-4)
        np.testing.assert_allclose(calculator.get_forces(boxed), calculator.get_forces(atoms), atol=5e-4)


def test_settings_out_of_range():
    for settings, message in (
        ({"members": 0}, "at least one member"), ({"folds": 1}, "at least two folds"),
        ({"directions": -1}, "directions must not be negative"), ({"strengths": (0.0,)}, "strengths must be positive"),
        ({"members": 2.5}, "members must be a whole number, got 2.5"), ({"energy_weight": "a"}, "must be a number"),
        ({"strengths": (float("nan"),)}, "strengths must be positive"), ({"seed": -1}, "seed must not be negative"),
        ({"method": "magic"}, "ridge, sparse, greedy, network, got 'magic'"), ({"size": 5}, "ridge takes all features"),
        ({"references": {"Xx": 1.0}}, "by element symbol, got 'Xx'"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            Settings(**settings)


def test_a_missing_output_folder_is_found_before_the_work(labelled, spec, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        train(labelled[0], tmp_path / "absent" / "model.h5", spec, **QUICK)


def test_places_that_cannot_be_written_are_refused_before_any_work(labelled, spec, tmp_path):
    data = tmp_path / "data.extxyz.xz"
    data.write_bytes(labelled[0].read_bytes())
    (tmp_path / "file").touch()
    for output, store, message in (
        (tmp_path, None, "is a folder"), (tmp_path / "m.features", None, "that of the features"),
        (tmp_path / "m.h5", tmp_path / "file", "is a file; the features need a folder"),
        (data, None, "is one of the data files and would be overwritten"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=message):
            train(data, output, spec, store=store, **QUICK)
    assert data.read_bytes() == labelled[0].read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.extxyz.xz", "file"]


def test_sources_that_say_too_little_are_refused(exact, spec, tmp_path):
    """One group to be judged by; references for energies that are relative to the elements already."""
    one = write_frames(tmp_path / "one.extxyz.xz", read_structures(exact)[:2])
    sources = [Source(one, name="good"), Source(exact, name="cheap")]
    with pytest.raises(DataError, match="the source 'good' belong to 1 group"):
        train(sources, tmp_path / "m.h5", spec, **QUICK)
    with pytest.raises(DataError, match="has formation energies without"):
        train(Source(exact, energies="formation"), tmp_path / "m.h5", spec, references={"Li": 0.0, "Si": 0.0}, **QUICK)
    structures = read_structures(exact)
    structures[3].positions[1] = structures[3].positions[0] + 0.01
    fused = write_frames(tmp_path / "fused.extxyz.xz", structures)
    with pytest.raises(DataError, match=r"fused.extxyz.xz#3 has two atoms 0.0173 A apart"):
        train(fused, tmp_path / "m.h5", spec, **QUICK)
    two = write_frames(tmp_path / "two.extxyz.xz", read_structures(exact)[:4])
    with pytest.raises(DataError, match="the method greedy needs 3"):
        train(two, tmp_path / "m.h5", spec, method="greedy", **QUICK)
    assert not (tmp_path / "m.features").exists()


def test_a_prior_that_has_seen_the_data_is_noticed(exact, spec, tmp_path):
    options = {"repulsion": False, "store": tmp_path / "features", "strengths": (1e-6,), **QUICK}
    train(exact, tmp_path / "known.h5", spec, **options)
    with pytest.warns(WaveScatWarning, match=r"on 12 of these 12 structures as well, such as exact.extxyz.xz#0"):
        train(exact, tmp_path / "again.h5", spec, prior=tmp_path / "known.h5", **options)


def test_sparse_stops_where_features_add_nothing(noisy, spec, tmp_path):
    """More features asked for than there are: as many as help."""
    ensemble = train(noisy, tmp_path / "m.h5", spec, method="sparse", size=10_000, strengths=(1e-6,), **QUICK)
    assert 0 < len(linear(ensemble).keys) <= len(spec.keys)
