"""scattering_features: labelled values and derivatives from ASE's structures."""

from __future__ import annotations

import builtins
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from ase_wavescat import ScatteringSpec, preset, scattering_features
from ase_wavescat.representation import Moduli
from ase_wavescat.representation.strains import unit_strains
from ase_wavescat.representation.transform import Transform
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import SpecError, StructureError, WaveScatError
from finite_difference import best_relative_error


@pytest.fixture(scope="module")
def mixed_spec(small_spec: ScatteringSpec) -> ScatteringSpec:
    """Correlations and moduli in one spec, so that both kinds of derivatives are needed."""
    moduli = Moduli(powers=(2, 4), second_input="squared", scale_step=1.0)  # type: ignore[arg-type]
    channels = (("valence", ((3, 1.0), (14, 4.0))),)
    families = (*small_spec.families, moduli)
    return dataclasses.replace(small_spec, families=families, channels=channels, tolerance=1e-6)


def test_one_structure_gives_the_numbers_of_the_transform(
    mixed_spec: ScatteringSpec, make_structure: Callable[..., Atoms]
) -> None:
    atoms = make_structure()
    features = scattering_features(atoms, mixed_spec)
    direct = Transform(mixed_spec).evaluate(Structure.from_atoms(atoms))
    np.testing.assert_allclose(features.values, direct.features, rtol=1e-12, atol=1e-12)
    assert features.keys == mixed_spec.keys and len(features.labels) == len(features.keys)
    assert features.by_positions is None and features.by_strain is None
    for i in (0, len(features.keys) - 1):
        assert features[features.keys[i]] == features.values[i]
        assert features.labels[i] == mixed_spec.features[i].label


def test_a_sequence_gives_a_row_each_and_a_preset_knows_all_their_species(
    make_structure: Callable[..., Atoms],
) -> None:
    structures = [make_structure(0), Atoms("Na2", [[0, 0, 0], [2.5, 1, 0]], cell=[5, 5, 6], pbc=True)]
    together = scattering_features(structures, "correlations", keys=("pair:Li-Na:2", "pair:Na-Na:0", "pair:Li-Li:0"))
    assert together.values.shape == (2, 3)
    alone = scattering_features(structures[1], "correlations", keys=("pair:Na-Na:0",))
    assert together["pair:Na-Na:0"] == pytest.approx([0.0, alone.values[0]])
    assert alone.values[0] > 0
    assert together.atom_counts.tolist() == [6, 2]


def test_a_tiling_has_the_same_features_per_atom(
    small_spec: ScatteringSpec, make_structure: Callable[..., Atoms]
) -> None:
    atoms = make_structure()
    rows = scattering_features([atoms, atoms.repeat((2, 1, 1))], small_spec).per_atom
    np.testing.assert_allclose(rows[1], rows[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(scattering_features(atoms, small_spec).per_atom, rows[0], rtol=1e-12)


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, False, False)])
def test_derivatives_of_both_kinds_against_finite_differences(
    mixed_spec: ScatteringSpec, make_structure: Callable[..., Atoms], pbc: tuple[bool, bool, bool]
) -> None:
    atoms = make_structure(3, atoms=3, side=3.6)
    atoms.pbc = pbc
    keys = mixed_spec.keys[:: len(mixed_spec.keys) // 25]
    assert any(key.startswith("modulus") for key in keys) and any(key.startswith("band") for key in keys)
    features = scattering_features(atoms, mixed_spec, keys, derivatives=True)
    assert isinstance(features.by_positions, np.ndarray) and features.by_strain is not None
    assert features.by_positions.shape == (len(keys), 3, 3) and features.by_strain.shape == (len(keys), 6)
    direction = np.random.default_rng(0).normal(size=(3, 3))

    def moved(t: float) -> np.ndarray:
        other = atoms.copy()
        other.positions += t * direction
        return scattering_features(other, mixed_spec, keys).values

    along = np.einsum("fna,na->f", features.by_positions, direction)
    size = np.abs(along) + 1e-3 * np.abs(along).max()
    assert best_relative_error(lambda t: moved(t) / size, along / size) < 1e-6
    if all(pbc):
        transform = Transform(mixed_spec, keys)

        def strained(t: float) -> np.ndarray:
            change = np.eye(3) + t * unit_strains()[3]
            cell, positions = atoms.cell.array @ change, atoms.positions @ change
            return transform.evaluate(
                Structure(cell, positions, atoms.numbers), reference_cell=atoms.cell.array
            ).features

        size = np.abs(features.by_strain[:, 3]) + 1e-3 * np.abs(features.by_strain[:, 3]).max()
        assert best_relative_error(lambda t: strained(t) / size, features.by_strain[:, 3] / size) < 1e-6


def test_derivatives_of_a_sequence_are_those_of_its_structures(
    small_spec: ScatteringSpec, make_structure: Callable[..., Atoms]
) -> None:
    structures = [make_structure(0, atoms=2), make_structure(1, atoms=3)]
    keys = small_spec.keys[::7]
    several = scattering_features(structures, small_spec, keys, derivatives=True)
    one = scattering_features(structures[1], small_spec, keys, derivatives=True)
    assert isinstance(several.by_positions, list) and several.by_strain is not None and one.by_strain is not None
    assert [d.shape for d in several.by_positions] == [(len(keys), 2, 3), (len(keys), 3, 3)]
    np.testing.assert_array_equal(several.by_positions[1], one.by_positions)
    np.testing.assert_array_equal(several.by_strain[1], one.by_strain)


def test_a_molecule_does_not_feel_its_box(small_spec: ScatteringSpec) -> None:
    water = molecule("H2O")
    assert not water.pbc.any() and water.cell.rank == 0
    spec = preset("correlations", ("H", "O"), beta=0.4)
    keys = spec.keys[::40]
    boxed = water.copy()
    boxed.set_cell([30.0, 31.0, 29.0])
    turned = water.copy()
    turned.rotate(50, (1, 2, 3))
    rows = scattering_features([water, boxed, turned], spec, keys).values
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_allclose(rows[2], rows[0], rtol=1e-3, atol=1e-5 * np.abs(rows[0]).max())


def test_data_frame_has_a_row_for_each_structure(
    small_spec: ScatteringSpec, make_structure: Callable[..., Atoms]
) -> None:
    pytest.importorskip("pandas")
    structures = [make_structure(0), make_structure(1)]
    features = scattering_features(structures, small_spec, small_spec.keys[:5])
    frame = features.to_dataframe()
    assert list(frame.columns) == list(features.keys) and frame.shape == (2, 5)
    np.testing.assert_array_equal(frame.to_numpy(), features.values)
    assert frame.attrs["labels"][features.keys[3]] == features.labels[3]
    assert scattering_features(structures[0], small_spec, small_spec.keys[:5]).to_dataframe().shape == (1, 5)


def test_without_pandas_the_message_says_what_to_install(
    small_spec: ScatteringSpec, make_structure: Callable[..., Atoms], monkeypatch: pytest.MonkeyPatch
) -> None:
    features = scattering_features(make_structure(), small_spec, small_spec.keys[:2])
    real = builtins.__import__

    def without_pandas(name: str, *rest: Any) -> Any:
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pandas)
    with pytest.raises(ImportError, match=r'pip install "ase_wavescat\[dataframe\]"') as caught:
        features.to_dataframe()
    assert isinstance(caught.value, WaveScatError)


def test_bad_input_is_named_before_any_work(
    small_spec: ScatteringSpec, make_structure: Callable[..., Atoms], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_work(*_: Any, **__: Any) -> None:
        raise AssertionError("work was done")

    good, nan, flat, foreign = (make_structure() for _ in range(4))
    nan.positions[2, 1] = np.nan
    flat.cell[2] = flat.cell[0]
    foreign.numbers[0] = 11
    monkeypatch.setattr(Transform, "evaluate", no_work)
    for structures, message in (
        ([], "there are no structures"),
        ([good, Atoms(cell=[4, 4, 4], pbc=True)], "structure 1 has no atoms"),
        (nan, r"the structure has atom 2 at \[.*nan.*\]: positions must be finite"),
        ([good, flat], "structure 1 is periodic along .* not finite and independent"),
        ([good, foreign], "structure 1 holds Na, the spec is made for Li, Si"),
        ([good, "glass.xyz"], "structure 1 is a str, not ase.Atoms"),
    ):
        with pytest.raises(StructureError, match=message):
            scattering_features(structures, small_spec)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="no preset 'correlation'; did you mean 'correlations'"):
        scattering_features(good, "correlation")
    with pytest.raises(SpecError, match="no feature 'pair:Li-Si:99'"):
        scattering_features(good, small_spec, keys=["pair:Li-Si:99"])


def test_an_unknown_key_of_the_result_is_a_key_error(
    small_spec: ScatteringSpec, make_structure: Callable[..., Atoms]
) -> None:
    features = scattering_features(make_structure(), small_spec, small_spec.keys[:3])
    with pytest.raises(KeyError, match="no feature 'pair:Li-Li:9' among these 3; did you mean"):
        features["pair:Li-Li:9"]
