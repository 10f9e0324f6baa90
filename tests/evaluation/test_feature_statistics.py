"""Counts and shares of a model's features by their properties."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ase_wavescat import preset
from ase_wavescat.evaluation.feature_statistics import Breakdown, Part, feature_breakdowns
from ase_wavescat.potentials.model import Model, linear_model
from ase_wavescat.representation.families.moduli.features import ModulusFeature
from ase_wavescat.representation.registry import parse_key
from linear_models import changed, linear, wide_ranges


def by_title(ensemble: Model) -> dict[str, dict[str, Part]]:
    return {b.title: {part.label: part for part in b.parts} for b in feature_breakdowns(linear(ensemble))}


def model(name: str, count: int, **options: object) -> Model:
    """Two members of a preset: the first has all of the chosen features, the second the first half of them."""
    spec = preset(name, ("Li", "Si"), **options)
    rng = np.random.default_rng(3)
    keys = tuple(sorted(rng.choice(spec.keys, count, replace=False).tolist(), key=spec.index))
    weights = rng.normal(size=(2, count))
    weights[1, count // 2 :] = 0.0
    return linear_model(spec, keys, weights, np.zeros((2, 2)))


def test_moduli_are_counted_by_channel_power_and_scales() -> None:
    ensemble = model("sinz2020", 120)
    table = by_title(ensemble)
    features = [parse_key(key) for key in linear(ensemble).keys]
    assert all(isinstance(feature, ModulusFeature) for feature in features)
    have = (linear(ensemble).weights != 0).mean(axis=0)
    for channel, part in table["moduli: channel"].items():
        assert part.count == pytest.approx(sum(have[i] for i, f in enumerate(features) if f.channel == channel))
    assert set(table["moduli: power q"]) <= {"1", "4/3", "5/3", "2"}
    second = table["second order: scales (j1, j2)"]
    wanted = [i for i, f in enumerate(features) if [w.scale for w in f.path] == [0.0, 1.0]]
    assert second["0, 1"].count == pytest.approx(have[wanted].sum())
    importance = np.abs(linear(ensemble).weights).mean(axis=0)
    assert second["0, 1"].share == pytest.approx(importance[wanted].sum() / importance.sum())
    orders = table["moduli: order"]
    assert sum(part.count for part in orders.values()) == pytest.approx(have.sum())
    assert sum(part.share for part in orders.values()) == pytest.approx(1.0)
    assert sum(part.count for part in table["first order: (n, l)"].values()) == orders["1"].count


def test_correlations_are_counted_by_body_order_species_and_maps() -> None:
    ensemble = model("correlations", 150)
    table = by_title(ensemble)
    kinds = [key.split(":")[0] for key in linear(ensemble).keys]
    have = (linear(ensemble).weights != 0).mean(axis=0)
    pairs = [i for i, kind in enumerate(kinds) if kind == "pair"]
    assert table["correlations: body order"]["2-body"].count == have[pairs].sum()
    centres = table["features at the atoms: central species"]
    silicon = [i for i, key in enumerate(linear(ensemble).keys) if key.startswith("atom:Si:")]
    assert centres["Si"].count == have[silicon].sum()
    lithium = [i for i, key in enumerate(linear(ensemble).keys) if "Si" not in key]
    assert table["correlations: species"]["Li"].count == have[lithium].sum()
    assert sum(part.count for part in table["maps: scales j"].values()) == pytest.approx(have.sum() - have[pairs].sum())
    bands = [int(label) for label in table["4-body: radial band"]]
    assert bands == sorted(bands)


def test_shares_weigh_by_how_much_a_feature_varies(small_ensemble: Model) -> None:
    std = np.zeros(len(linear(small_ensemble).keys))
    std[0] = 1.0
    first = changed(small_ensemble, ranges=dataclasses.replace(wide_ranges(len(std)), std=std))
    parts = by_title(first)["correlations: body order"]
    assert parts["2-body"].share == 1.0 and parts["4-body"].share == 0.0
    assert parts["4-body"].count == sum(key.startswith("band:") for key in linear(small_ensemble).keys)


def test_a_model_without_weights_has_no_shares(small_ensemble: Model) -> None:
    empty = changed(small_ensemble, weights=np.zeros_like(linear(small_ensemble).weights))
    found = feature_breakdowns(linear(empty))
    assert all(isinstance(b, Breakdown) and part.share == part.count == 0 for b in found for part in b.parts)
