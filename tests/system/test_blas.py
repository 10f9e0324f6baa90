"""Linear algebra on one thread while a structure is worked on."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from ase.build import bulk
from threadpoolctl import ThreadpoolController

from ase_wavescat import WaveScatCalculator
from ase_wavescat.system.blas import one_blas_thread

CONTROLLER = ThreadpoolController()


def threads() -> set[int]:
    return {info["num_threads"] for info in CONTROLLER.info() if info["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def two_threads():
    with CONTROLLER.limit(limits=2, user_api="blas"):
        if threads() != {2}:
            pytest.skip("this linear algebra library has one thread only")
        yield


def test_one_thread_inside_and_as_many_as_before_outside():
    with one_blas_thread():
        assert threads() == {1}
        with one_blas_thread():
            assert threads() == {1}
        assert threads() == {1}
    assert threads() == {2}


@pytest.mark.parametrize("first_out", [0, 1])
def test_calls_that_overlap_leave_as_many_as_before(first_out):
    both = [one_blas_thread(), one_blas_thread()]
    for one in both:
        one.__enter__()
    both[first_out].__exit__(None, None, None)
    assert threads() == {1}
    both[1 - first_out].__exit__(None, None, None)
    assert threads() == {2}


def test_calculators_of_several_threads_leave_as_many_as_before(small_ensemble):
    crystals = [bulk("Si"), bulk("Si", cubic=True), bulk("Li"), bulk("Li", cubic=True)] * 5
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda atoms: WaveScatCalculator(small_ensemble).get_potential_energy(atoms), crystals))
    assert threads() == {2}


def test_the_limit_goes_with_an_error():
    with pytest.raises(RuntimeError), one_blas_thread():
        raise RuntimeError
    assert threads() == {2}


def test_the_calculator_works_on_one_thread(small_ensemble, monkeypatch):
    seen = []
    predict = type(small_ensemble).predict

    def watched(self, *arguments):
        seen.append(threads())
        return predict(self, *arguments)

    monkeypatch.setattr(type(small_ensemble), "predict", watched)
    atoms = bulk("Si")
    atoms.calc = WaveScatCalculator(small_ensemble)
    atoms.get_potential_energy()
    assert seen == [{1}] and threads() == {2}
