"""Threads change nothing; single precision changes little."""

import multiprocessing
import pickle

import numpy as np
import pytest

from ase_wavescat.representation.direct import pairs
from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.families.correlations import state as correlations
from ase_wavescat.representation.presets import preset
from ase_wavescat.representation.transform import Transform
from ase_wavescat.structure.structure import Structure

SPEC = preset("correlations", ["Li", "Si"])
CELL = np.array([[7.0, 0, 0], [1.2, 6.4, 0], [-0.8, 0.7, 6.9]])
POSITIONS = np.random.default_rng(0).random((14, 3)) @ CELL
NUMBERS = np.where(np.arange(14) % 3, 3, 14)


def results(execution, spec=SPEC):
    evaluation = Transform(spec, execution=execution).evaluate(Structure(CELL, POSITIONS, NUMBERS))
    weights = np.random.default_rng(1).normal(size=len(spec.keys)) / (np.abs(evaluation.features) + 1e-3)
    return evaluation.features, *evaluation.gradient(weights)


@pytest.mark.parametrize(
    ("name", "value"), [("threads", 0), ("threads", 1.5), ("threads", True), ("threads", None), ("precision", "half")]
)
def test_other_values_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}.*got {value!r}"):
        Execution(**{name: value})


def test_items_keep_their_order_and_errors_come_through():
    for execution in (Execution(), Execution(3)):
        assert execution.map(lambda x: x * x, range(20)) == [x * x for x in range(20)]
        with pytest.raises(ZeroDivisionError):
            execution.map(lambda x: 1 / x, [1, 0, 2])


@pytest.mark.parametrize("name", ["correlations", "point-scattering"])
def test_the_results_do_not_depend_on_the_number_of_threads(monkeypatch, name):
    monkeypatch.setattr(pairs, "_ATOMS", 4)  # several parts in a small structure
    spec = preset(name, ["Li", "Si"])
    expected = results(Execution(), spec)
    for threads in (2, 3):
        for found, wanted in zip(results(Execution(threads), spec), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_single_precision_keeps_six_digits():
    features, gradient, strain = results(Execution())
    found = results(Execution(precision="single"))
    assert np.any(found[0] != features)
    np.testing.assert_allclose(found[0], features, rtol=1e-5, atol=1e-6 * np.abs(features).max())
    for single, double in zip(found[1:], (gradient, strain), strict=True):
        np.testing.assert_allclose(single, double, atol=1e-5 * np.abs(double).max())


def test_fields_that_are_made_again_give_the_same(monkeypatch):
    transform = Transform(SPEC)
    rng = np.random.default_rng(3)
    moves, strains = rng.normal(size=(2, *POSITIONS.shape)), rng.normal(size=(2, 3, 3))

    def everything():
        evaluation = transform.evaluate(Structure(CELL, POSITIONS, NUMBERS))
        weights = np.random.default_rng(1).normal(size=len(SPEC.keys)) / (np.abs(evaluation.features) + 1e-3)
        return [
            evaluation.features,
            *evaluation.gradient(weights),
            evaluation.tangent(moves, strains),
            *evaluation.jacobian(),
        ]

    kept = everything()
    monkeypatch.setattr(correlations, "_KEPT_BYTES", 0)
    for again, first in zip(everything(), kept, strict=True):
        np.testing.assert_array_equal(again, first)


def _in_a_child(transform, queue):
    queue.put(transform.evaluate(Structure(CELL, POSITIONS, NUMBERS)).features)


def test_pickled_and_forked_transforms_have_threads_of_their_own():
    transform = Transform(SPEC, execution=Execution(2))
    features = transform.evaluate(Structure(CELL, POSITIONS, NUMBERS)).features
    assert pickle.loads(pickle.dumps(transform)).execution == Execution(2)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_a_child, args=(transform, queue))
    child.start()
    np.testing.assert_array_equal(queue.get(timeout=60), features)
    child.join()
