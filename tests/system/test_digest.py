"""Digests of models: of what results follow from, and of nothing else."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ase_wavescat import Calibration, Domain, Model, load_model, save_model
from ase_wavescat.cli import main
from ase_wavescat.system.digest import DIGITS, digest_of
from linear_models import changed, linear, species_energies, wide_ranges


@pytest.fixture
def whole(small_ensemble: Model, wide_domain: Domain) -> Model:
    """A model with all of its parts, numbers that have no short decimals among them."""
    ranges = wide_ranges(len(linear(small_ensemble).keys))
    return changed(small_ensemble, ranges=ranges, domain=wide_domain, calibration=Calibration(4 / 3, 2 / 3))


def test_a_model_saved_and_loaded_has_the_digest_of_the_one_in_memory(whole: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "one.h5", whole)
    loaded = load_model(tmp_path / "one.h5")
    save_model(tmp_path / "two.h5", loaded)
    again = load_model(tmp_path / "two.h5")
    assert loaded.digest == again.digest == whole.digest == pickle.loads(pickle.dumps(whole)).digest
    assert len(whole.digest) == DIGITS and set(whole.digest) <= set("0123456789abcdef")
    shown = CliRunner().invoke(main, ["info", str(tmp_path / "one.h5")]).output
    assert f"digest      {whole.digest}" in shown


def changes(model: Model) -> dict[str, Any]:
    """Models that differ in one thing."""
    weights, energies = linear(model).weights.copy(), species_energies(model).copy()
    weights[2, 3], energies[0, 0] = np.nextafter(weights[2, 3], 1), np.nextafter(energies[0, 0], 1)
    ranges = linear(model).ranges
    assert model.domain is not None and ranges is not None
    maximum = ranges.maximum.copy()
    maximum[1] += 1
    order = list(reversed(range(len(linear(model).keys))))
    return {
        "weight": {"weights": weights},
        "species energy": {"species_energies": energies},
        "repulsion": {"repulsion": None},
        "calibration": {"calibration": Calibration(4 / 3, 0.7)},
        "no domain": {"domain": None},
        "ranges": {"ranges": dataclasses.replace(ranges, maximum=maximum)},
        "closest": {"domain": dataclasses.replace(model.domain, closest={(3, 3): 1.0})},
        "wavelets": {"spec": dataclasses.replace(linear(model).spec, beta=0.61)},
        "features": {"keys": tuple(linear(model).keys[at] for at in order)},
    }


def test_whatever_results_follow_from_changes_the_digest(whole: Model) -> None:
    digests = {name: changed(whole, **change).digest for name, change in changes(whole).items()}
    assert len({whole.digest, *digests.values()}) == len(digests) + 1


def test_where_a_model_came_from_does_not(whole: Model) -> None:
    assert dataclasses.replace(whole, provenance={"label_source": "elsewhere"}).digest == whole.digest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2.5}, {"b": np.float64(2.5), "a": 1.0}),
        ([1, (2, "x")], (1, [2, "x"])),
        (np.arange(4.0), np.arange(8)[::2] / 2),
    ],
)
def test_equal_content_has_equal_digits(one: Any, other: Any) -> None:
    assert digest_of(one) == digest_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, [2]], [[1], 2]),
        (["ab", "c"], ["a", "bc"]),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        ({"a": None}, {"a": "None"}),
        ({"a": {"b": 1}}, {"a": {}, "b": 1}),
    ],
)
def test_other_content_has_others(one: Any, other: Any) -> None:
    assert digest_of(one) != digest_of(other)


def test_what_has_no_content_has_no_digest() -> None:
    for value in (object(), np.array(["text"])):
        with pytest.raises(TypeError, match="there is no digest of a"):
            digest_of(value)
