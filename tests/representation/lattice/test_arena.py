"""Work arrays come back, and only when nobody uses them."""

import gc

import numpy as np
import pytest

from ase_wavescat.representation.lattice import arena


class User:
    pass


@pytest.fixture(autouse=True)
def empty(monkeypatch):
    monkeypatch.setattr(arena, "_spares", [])


def test_an_array_is_used_again_once_its_user_is_gone():
    first, second = User(), User()
    one = arena.take(first, 1000)
    two = arena.take(second, 1000)
    assert not np.shares_memory(one, two)
    del first
    gc.collect()
    third = User()
    assert np.shares_memory(arena.take(third, 800), one)
    assert len(arena.take(User(), 500)) == 500


def test_spares_are_few_and_not_large():
    users = [User() for _ in range(9)]
    for user in users:
        arena.take(user, 10)
    arena.take(users[0], arena._SPARE_VALUES + 1)
    users.clear()
    del user
    gc.collect()
    assert [len(spare) for spare in arena._spares] == [10] * 4


@pytest.mark.parametrize("dtype", [np.complex128, np.complex64, np.float32])
def test_a_borrowed_array_fits_any_spare_and_comes_back(dtype):
    user = User()
    spare = arena.take(user, 1001)  # an odd number of values
    del user
    gc.collect()
    with arena.borrowed((3, 7), dtype) as mine:
        assert mine.shape == (3, 7) and mine.dtype == dtype
        assert np.shares_memory(mine, spare)
        with arena.borrowed((3, 7), dtype) as other:
            assert not np.shares_memory(mine, other)
    with arena.borrowed((3, 7), dtype) as again:
        assert np.shares_memory(again, spare) or np.shares_memory(again, other)


def test_spares_together_stay_below_their_limit(monkeypatch):
    monkeypatch.setattr(arena, "_SPARE_VALUES", 100)
    for size in (40, 50, 60):
        user = User()
        arena.take(user, size)[:] = 0.0
        with arena.borrowed((size + 20,), np.float64):
            del user
            gc.collect()
        assert sum(map(len, arena._spares)) <= 100
    assert arena._spares
