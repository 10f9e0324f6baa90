"""Model files: the round trip, every kind of damage, and where models are looked for."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.file import search
from ase_wavescat.potentials.file.model_file import load_model, save_model
from ase_wavescat.potentials.file.search import find_model
from ase_wavescat.potentials.model import Model, linear_model
from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.representation.presets import preset
from ase_wavescat.system.errors import ModelFileError, ModelNotFoundError
from linear_models import changed, linear, species_energies, wide_ranges

LINEAR, ATOMS = "potential/terms/0", "potential/terms/1"


@pytest.fixture
def ensemble(small_ensemble: Model, wide_domain: Domain) -> Model:
    return changed(small_ensemble, domain=wide_domain, ranges=wide_ranges(len(linear(small_ensemble).keys)))


@pytest.fixture
def path(tmp_path: Path, ensemble: Model) -> Path:
    target = tmp_path / "model.h5"
    save_model(target, ensemble)
    return target


def test_round_trip(path: Path, ensemble: Model) -> None:
    loaded = load_model(path)
    assert linear(loaded).spec == linear(ensemble).spec and linear(loaded).keys == linear(ensemble).keys
    np.testing.assert_array_equal(linear(loaded).weights, linear(ensemble).weights)
    np.testing.assert_array_equal(species_energies(loaded), species_energies(ensemble))
    assert loaded.term(PairRepulsion) == ensemble.term(PairRepulsion)
    assert loaded.calibration == ensemble.calibration
    assert loaded.provenance == ensemble.provenance
    assert loaded.domain is not None and ensemble.domain is not None
    for name in ("minimum", "maximum", "mean", "std"):
        np.testing.assert_array_equal(getattr(linear(loaded).ranges, name), getattr(linear(ensemble).ranges, name))
    assert loaded.domain.fractions == ensemble.domain.fractions
    assert loaded.domain.closest == ensemble.domain.closest


def test_round_trip_of_a_bare_model(tmp_path: Path, small_ensemble: Model) -> None:
    bare = changed(small_ensemble, repulsion=None, provenance={})
    save_model(tmp_path / "bare.h5", bare)
    loaded = load_model(tmp_path / "bare.h5")
    assert loaded.term(PairRepulsion) is None and loaded.domain is None and loaded.provenance == {}


@pytest.mark.parametrize("name", ["brumwell2018", "solid-harmonic", "sinz2020"])
def test_round_trip_of_moduli(tmp_path: Path, name: str) -> None:
    spec = preset(name, ["Li", "Si"], scales=(0.0, 1.0), wavelets=((1, 0), (2, 1)))
    keys = spec.keys[::7]
    weights = np.random.default_rng(0).normal(size=(2, len(keys)))
    save_model(tmp_path / "moduli.h5", linear_model(spec, keys, weights, np.zeros((2, 2))))
    loaded = load_model(tmp_path / "moduli.h5")
    assert linear(loaded).spec == spec and linear(loaded).keys == keys
    np.testing.assert_array_equal(linear(loaded).weights, weights)


def test_provenance_takes_numpy_values_and_turns_infinities_to_null(tmp_path: Path, ensemble: Model) -> None:
    odd = {"mae": np.float64(1.5), "condition": float("inf"), "list": np.arange(2), "pair": (1, 2)}
    save_model(tmp_path / "odd.h5", dataclasses.replace(ensemble, provenance=odd))
    assert load_model(tmp_path / "odd.h5").provenance == {"mae": 1.5, "condition": None, "list": [0, 1], "pair": [1, 2]}


def test_files_can_be_read_by_all_who_can_read_the_folder(path: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.7, 0.99, 0.9999])
def test_truncated_files_are_named(path: Path, part: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ModelFileError, match=r"model\.h5 is (truncated or damaged|empty)"):
        load_model(path)


def test_a_flipped_byte_in_the_weights_is_noticed(path: Path, ensemble: Model) -> None:
    content = bytearray(path.read_bytes())
    at = content.find(linear(ensemble).weights.tobytes())
    assert at > 0
    content[at + 5] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"model\.h5 is truncated or damaged .*checksum"):
        load_model(path)


def test_text_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    path.write_text("this is no model\n" * 100)
    with pytest.raises(ModelFileError, match="not an HDF5 file"):
        load_model(path)


def test_foreign_files_are_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["weights"] = np.zeros(3)
    with pytest.raises(ModelFileError, match="no model"):
        load_model(tmp_path / "foreign.h5")


def _set(name: str, values: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = values

    return change


def _attribute(name: str, value: object) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.__setitem__(name, value)


def _delete(name: str) -> Callable[[h5py.File], None]:
    return lambda file: file.__delitem__(name)


def _poison(name: str, index: tuple[int, ...], value: float) -> Callable[[h5py.File], None]:
    return lambda file: file[name].__setitem__(index, value)


def _unknown_key(file: h5py.File) -> None:
    table = file[f"{LINEAR}/features"][()]
    table[0] = ("pair:Li-Li:77", "no such band")
    file[f"{LINEAR}/features"][...] = table


def _kind(name: str) -> Callable[[h5py.File], None]:
    return lambda file: file[LINEAR].attrs.__setitem__("kind", name)


DAMAGE = {
    "newer": (_attribute("version", 4), "version 4, this ase_wavescat reads versions up to 3; upgrade"),
    "older": (_attribute("version", 1), "version 1, whose features were defined otherwise; train it again"),
    "version is text": (_attribute("version", "one"), "version 'one'"),
    "other format": (_attribute("format", "other"), "no model"),
    "NaN weight": (_poison(f"{LINEAR}/weights", (2, 3), np.nan), "member weights holds 1 values that are not finite"),
    "infinite energy": (_poison(f"{ATOMS}/energies", (0, 0), np.inf), "species energies"),
    "NaN in the domain": (_poison(f"{LINEAR}/ranges/std", (0,), np.nan), "features' std"),
    "weights missing": (_delete(f"{LINEAR}/weights"), f"lacks {LINEAR}/weights"),
    "spec missing": (_delete(f"{LINEAR}/spec"), f"lacks {LINEAR}/spec"),
    "half the ranges": (_delete(f"{LINEAR}/ranges/std"), f"lacks {LINEAR}/ranges/std"),
    "extra dataset": (lambda file: file.__setitem__(f"{LINEAR}/biases", [1.0]), f"unknown there: {LINEAR}/biases"),
    "extra group": (lambda file: file.create_group("notes"), "unknown there: notes"),
    "weights as text": (_set(f"{LINEAR}/weights", "many"), "expected numbers"),
    "weights of other shape": (_set(f"{LINEAR}/weights", np.zeros((5, 2))), "member weights must have the shape"),
    "energies of other shape": (_set(f"{ATOMS}/energies", np.zeros((5, 3))), "species energies must have"),
    "broken spec": (_set(f"{LINEAR}/spec", "{'not': json"), "not a valid model"),
    "spec of another kind": (_set(f"{LINEAR}/spec", "[1, 2]"), "spec must be a JSON object"),
    "unknown key in the spec": (_set(f"{LINEAR}/spec", '{"speceis": []}'), "'speceis'"),
    "features as numbers": (_set(f"{LINEAR}/features", np.arange(3)), "features must be a table"),
    "feature unknown to the spec": (_unknown_key, "'pair:Li-Li:77'"),
    "kind of another time": (_kind("tensor"), "kind 'tensor', known are atom-energies, committee, linear, model"),
    "half a sum": (_delete(f"{ATOMS}"), "terms"),
    "half a domain": (_delete("domain/closest"), "lacks domain/closest"),
    "provenance as number": (_set("provenance", 3), "provenance must be JSON text"),
    "no scale": (lambda file: file["calibration"].attrs.__delitem__("energy_scale"), "lacks energy_scale"),
    "negative calibration": (lambda file: file["calibration"].attrs.__setitem__("force_scale", -1.0), "force_scale"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named(path: Path, name: str) -> None:
    damage, message = DAMAGE[name]
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(ModelFileError) as caught:
        load_model(path)
    assert message in str(caught.value) and "model.h5" in str(caught.value)


# ---------------------------------------------------------------- writing all or nothing


def test_a_failure_midway_leaves_the_old_file_and_nothing_else(
    path: Path, ensemble: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Domain, "store", fail)
    with pytest.raises(OSError, match="no space"):
        save_model(path, ensemble)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_missing_folder_is_an_error_at_once(tmp_path: Path, ensemble: Model) -> None:
    with pytest.raises(FileNotFoundError):
        save_model(tmp_path / "nowhere" / "model.h5", ensemble)


# ---------------------------------------------------------------- finding


def test_order_path_then_variable_then_bundled(
    tmp_path: Path, ensemble: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, first, second, bundled = (tmp_path / name for name in ("here", "first", "second", "bundled"))
    for folder in (here, first, second, bundled):
        folder.mkdir()
        save_model(folder / "a.h5", ensemble)
    monkeypatch.setattr(search, "bundled_folder", lambda: bundled)
    monkeypatch.setenv("WAVESCAT_MODELS", os.pathsep.join([str(tmp_path / "gone"), "", str(first), str(second)]))
    monkeypatch.chdir(here)
    assert find_model("a.h5").resolve() == here / "a.h5"
    (here / "a.h5").unlink()
    assert find_model("a.h5") == first / "a.h5"
    (first / "a.h5").unlink()
    assert find_model("a.h5") == second / "a.h5"
    monkeypatch.delenv("WAVESCAT_MODELS")
    assert find_model("a.h5") == bundled / "a.h5"
    assert linear(load_model("a.h5")).keys == linear(ensemble).keys


def test_a_miss_says_where_it_looked_and_what_there_is(
    tmp_path: Path, ensemble: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    save_model(tmp_path / "mine" / "lithium.h5", ensemble)
    monkeypatch.setattr(search, "bundled_folder", lambda: tmp_path / "bundled")
    monkeypatch.setenv("WAVESCAT_MODELS", str(tmp_path / "mine"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelNotFoundError) as caught:
        find_model("lithum.h5")
    message = str(caught.value)
    assert "no model 'lithum.h5'" in message and str(tmp_path) in message
    assert f"{tmp_path / 'mine'}: lithium.h5" in message
    assert f"{tmp_path / 'bundled'}: no such folder" in message
    assert "did you mean 'lithium.h5'?" in message
    with pytest.raises(ModelNotFoundError, match="is a folder"):
        find_model("mine")
    assert isinstance(caught.value, FileNotFoundError)


def test_the_bundled_folder_lies_in_the_package_or_beside_it() -> None:
    package = Path(search.__file__).parents[2]
    assert search.bundled_folder() in (package / "models", package.parent / "models")
