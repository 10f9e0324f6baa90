"""Settings of the whole process that overlap in time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ase_wavescat.system.process_setting import ProcessSetting

value = "usual"


@contextmanager
def changed() -> Iterator[None]:
    """As most such contexts do: remember what was there, put it back."""
    global value
    before, value = value, "changed"
    yield
    value = before


@pytest.mark.parametrize("first_out", [0, 1])
def test_the_last_one_out_puts_back_what_was_there(first_out: int) -> None:
    setting = ProcessSetting(changed)
    both = [setting.held(), setting.held()]
    for one in both:
        one.__enter__()
        assert value == "changed"
    both[first_out].__exit__(None, None, None)
    assert value == "changed"
    both[1 - first_out].__exit__(None, None, None)
    assert value == "usual"


def test_threads_that_come_and_go_leave_it_as_it_was() -> None:
    setting = ProcessSetting(changed)
    seen = set()

    def work() -> None:
        for _ in range(200):
            with setting.held():
                seen.add(value)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"changed"} and value == "usual"


def test_it_goes_with_an_error_and_can_be_nested() -> None:
    setting = ProcessSetting(changed)
    with pytest.raises(RuntimeError), setting.held(), setting.held():
        raise RuntimeError
    assert value == "usual"
    with setting.held():
        assert value == "changed"
    assert value == "usual"
