"""Warnings: whoever wants none of the package's gets none, and takes none from other threads."""

from __future__ import annotations

import dataclasses
import re
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ase import Atoms

import ase_wavescat
from ase_wavescat import Domain, Model, WaveScatCalculator, WaveScatWarning
from ase_wavescat.system.errors import listening, unheard, warn
from ase_wavescat.workflows import relax
from own_warnings import no_warnings


def test_a_listener_has_the_texts_and_nobody_else() -> None:
    heard: list[WaveScatWarning] = []
    with no_warnings(), listening(heard.append):
        assert warn("one")
        with listening(unheard):
            assert not warn("two")
        assert warn("three")
    assert [str(warning) for warning in heard] == ["one", "three"]
    with pytest.warns(WaveScatWarning, match="four") as caught:
        assert warn("four")
    assert caught[0].filename == __file__


def test_a_listener_goes_with_an_error() -> None:
    with pytest.raises(RuntimeError), listening(unheard):
        raise RuntimeError
    with pytest.warns(WaveScatWarning, match="again"):
        warn("again")


def test_threads_listen_each_for_itself() -> None:
    """The one that began first ends first: filters of the process would be those of the other from then on."""
    first, second, done = threading.Event(), threading.Event(), threading.Event()

    def early() -> None:
        with listening(unheard):
            first.set()
            second.wait()
        done.set()

    def late() -> None:
        first.wait()
        with listening(unheard):
            second.set()
            done.wait()

    with ThreadPoolExecutor(2) as pool, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        both = [pool.submit(early), pool.submit(late)]
        first.wait()
        warn("meanwhile")
        for one in both:
            one.result()
        warn("afterwards")
    assert [str(one.message) for one in caught] == ["meanwhile", "afterwards"]


def test_what_nobody_heard_is_said_again(
    small_ensemble: Model, wide_domain: Domain, make_structure: Callable[..., Atoms]
) -> None:
    """Silent work with a calculator does not use up its warnings."""
    narrow = dataclasses.replace(wide_domain, fractions={3: (0.0, 0.1)})
    atoms = make_structure()
    atoms.calc = WaveScatCalculator(dataclasses.replace(small_ensemble, domain=narrow))
    with no_warnings(), listening(unheard):
        relax(atoms, steps=1)
    with pytest.warns(WaveScatWarning, match="outside the training domain: the fraction of Li"):
        atoms.get_potential_energy()
    with no_warnings():
        relax(atoms, steps=1)


def test_the_package_leaves_the_filters_of_the_process_alone() -> None:
    """But for those of other packages' warnings, which are set and stay."""
    folder = Path(ase_wavescat.__file__).parent
    used = re.compile(r"warnings\.(catch_warnings|simplefilter|resetwarnings|filterwarnings|showwarning|warn\b)")
    found = [
        (path.relative_to(folder).as_posix(), use)
        for path in sorted(folder.rglob("*.py"))
        for use in used.findall(path.read_text(encoding="utf-8"))
    ]
    assert found == [
        ("system/errors.py", "warn"),
        ("system/errors.py", "warn"),
        ("workflows/crystal_axes.py", "filterwarnings"),
        ("workflows/equation_of_state.py", "filterwarnings"),
        ("workflows/relaxation.py", "filterwarnings"),
    ]
