"""Radial distribution functions: equal to ASE's, right where ASE's refuses, known coordination numbers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import ase
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.geometry.rdf import CellTooSmall, get_rdf
from packaging.version import Version

from ase_wavescat.system.errors import DataError
from ase_wavescat.workflows import rdf
from ase_wavescat.workflows.demo import shipped_structure

takes_frames_and_symbols = pytest.mark.skipif(
    Version(ase.__version__) < Version("3.29"), reason="get_rdf of this ASE takes one frame, and numbers for elements"
)


@pytest.fixture
def frames(make_structure: Callable[..., Atoms]) -> list[Atoms]:
    """Triclinic, of different compositions. Dense enough within 5 A that no atom has the first one as its only
    neighbour of an element: ASE (3.29) leaves that pair out."""
    return [make_structure(seed, 50 + seed, 12.0) for seed in range(3)]


@takes_frames_and_symbols
def test_it_is_ases_where_ase_can(frames: list[Atoms]) -> None:
    result = rdf(frames, cutoff=5.0, bins=100)
    assert result.pairs == ("Li-Li", "Li-Si", "Si-Li", "Si-Si")
    for pair in result.pairs:
        expected, middles = get_rdf(frames, 5.0, 100, elements=pair.split("-"))
        assert result.g[pair] == pytest.approx(expected, rel=1e-12)
        assert result.r == pytest.approx(middles)
    # The total of each frame is the mean over pairs, weighted by concentrations
    single = rdf(frames[0], cutoff=5.0, bins=100)
    share = {symbol: number / len(frames[0]) for symbol, number in frames[0].symbols.formula.count().items()}
    total = sum(share[a] * share[b] * single.g[f"{a}-{b}"] for a in share for b in share)
    assert total == pytest.approx(get_rdf(frames[0], 5.0, 100, no_dists=True), rel=1e-12)


@takes_frames_and_symbols
def test_small_cells_see_their_images(make_structure: Callable[..., Atoms]) -> None:
    small = make_structure(1, 6, 5.5)
    with pytest.raises(CellTooSmall):
        get_rdf(small, 9.0, 90)
    large = small.repeat(4)
    large.rattle(0.0)
    of_small, of_large = rdf(small, cutoff=9.0, bins=90), rdf(large, cutoff=9.0, bins=90)
    for pair in of_small.pairs:
        assert of_small.g[pair] == pytest.approx(of_large.g[pair], abs=1e-9)
    expected = get_rdf(large, 9.0, 90, elements=("Li", "Si"), no_dists=True)
    assert of_small.g["Li-Si"] == pytest.approx(expected, abs=1e-9)


def test_symmetric_g_and_numbers_that_balance(frames: list[Atoms]) -> None:
    result = rdf(frames[0])
    assert result.g["Li-Si"] == pytest.approx(result.g["Si-Li"])
    counts = frames[0].symbols.formula.count()
    assert counts["Li"] * result.running["Li-Si"] == pytest.approx(counts["Si"] * result.running["Si-Li"])


@pytest.mark.parametrize(
    "crystal, peak, number",
    [(bulk("Si"), 2.351, 4), (bulk("Cu"), 2.553, 12), (bulk("NaCl", "rocksalt", a=5.64), 2.82, 6)],
)
def test_crystals_have_their_coordination(crystal: Atoms, peak: float, number: int) -> None:
    result = rdf(crystal)
    pair = "Na-Cl" if "Na" in crystal.symbols else "-".join(2 * [str(crystal.symbols[0])])
    shell = result.shells[pair]
    assert shell is not None
    assert shell.number == pytest.approx(number) and shell.peak == pytest.approx(peak, abs=0.04)
    assert shell.minimum > shell.peak + 0.2


def test_an_ideal_gas_has_no_structure() -> None:
    rng = np.random.default_rng(0)
    gas = [Atoms("Ar500", rng.uniform(0, 20, (500, 3)), cell=[20] * 3, pbc=True) for _ in range(2)]
    result = rdf(gas, cutoff=7.0, bins=14)
    assert result.g["Ar-Ar"][5:] == pytest.approx(np.ones(9), abs=0.08)
    assert result.running["Ar-Ar"][-1] == pytest.approx(499 / 8000 * 4 / 3 * np.pi * 7**3, rel=0.02)
    assert result.shells["Ar-Ar"] is None and "no first shell" in result.summary()


def test_means_are_over_frames_that_hold_the_elements(frames: list[Atoms]) -> None:
    lithium = bulk("Li", cubic=True).repeat(3)
    both = rdf([frames[0], lithium], cutoff=4.0)
    assert both.g["Si-Si"] == pytest.approx(rdf(frames[0], cutoff=4.0).g["Si-Si"])
    alone = [rdf(atoms, cutoff=4.0).g["Li-Li"] for atoms in (frames[0], lithium)]
    assert both.g["Li-Li"] == pytest.approx(np.mean(alone, axis=0))


def test_thousands_of_atoms_take_seconds() -> None:
    rng = np.random.default_rng(0)
    large = bulk("Li", cubic=True).repeat(12)
    large.symbols[rng.permutation(len(large))[: len(large) // 2]] = "Si"
    start = time.perf_counter()
    result = rdf(large, cutoff=6.0)
    assert len(large) == 3456 and time.perf_counter() - start < 10
    assert sum(result.running[f"Li-{other}"][-1] for other in ("Li", "Si")) == pytest.approx(
        rdf(bulk("Li"), cutoff=6.0).running["Li-Li"][-1]
    )


def test_result_and_bad_input(frames: list[Atoms], tmp_path: Path) -> None:
    before = frames[0].positions.copy()
    path = rdf(frames).write(tmp_path, "rdf")
    assert path.with_suffix(".png").stat().st_size > 5000 and '"shells"' in path.read_text()
    assert np.array_equal(frames[0].positions, before)
    with pytest.raises(DataError, match="no frames"):
        rdf([])
    with pytest.raises(DataError, match="cutoff must be a positive length in A, got 0"):
        rdf(frames, cutoff=0.0)
    with pytest.raises(DataError, match="bins must be 1 to 100000, got 0"):
        rdf(frames, bins=0)
    with pytest.raises(DataError, match=r"frame 1 \(H2O\) has no volume"):
        rdf([frames[0], molecule("H2O")])


def test_bins_are_closed_on_the_right_and_numbers_are_counted_to_their_edges() -> None:
    pair = Atoms("Cu2", [[0, 0, 0], [2.0, 0, 0]], cell=20 * np.eye(3), pbc=True)
    found = rdf(pair, cutoff=4.0, bins=8)  # the distance is an edge: it belongs to the bin that ends there
    assert np.flatnonzero(found.g["Cu-Cu"]).tolist() == [3]
    assert found.running["Cu-Cu"].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("bins", [8, 20, 160, 1600])
@pytest.mark.parametrize(
    ("crystal", "number"), [(bulk("Si"), 4), (bulk("Li"), 8), (bulk("Cu"), 12), (bulk("Mg"), 12), (bulk("C"), 4)]
)
def test_the_first_shell_does_not_depend_on_the_bins(crystal: Atoms, number: int, bins: int) -> None:
    result = rdf(crystal, bins=bins)
    (shell,) = result.shells.values()
    assert shell is not None and shell.number == pytest.approx(number)
    assert len(result.r) == bins and len(result.running[result.pairs[0]]) == bins


def test_both_shells_of_warm_body_centred_lithium_are_one() -> None:
    frames = [bulk("Li").repeat(4) for _ in range(3)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.2, seed=seed)
    (shell,) = rdf(frames).shells.values()
    assert shell is not None and shell.number == pytest.approx(14, abs=0.1)


@pytest.mark.parametrize(
    ("structure", "cutoff", "pair", "number"),
    [
        (bulk("Si"), 3.5, "Si-Si", 4),  # the second shell, at 3.84 A, is beyond
        (bulk("Cu"), 3.5, "Cu-Cu", 12),
        (bulk("NaCl", "rocksalt", a=5.64), 4.0, "Na-Cl", 6),
        (molecule("H2O", vacuum=6.0), 8.0, "O-H", 2),  # there is no second shell
        (molecule("H2O", vacuum=6.0), 8.0, "H-H", 1),
    ],
)
def test_a_first_shell_without_a_second_within_the_range(
    structure: Atoms, cutoff: float, pair: str, number: int
) -> None:
    structure = structure.copy()
    structure.pbc = True
    shell = rdf(structure, cutoff=cutoff).shells[pair]
    assert shell is not None and shell.number == pytest.approx(number) and shell.peak < shell.minimum < cutoff


def test_a_shell_that_goes_on_at_the_end_of_the_range_is_not_counted() -> None:
    assert rdf(bulk("Cu"), cutoff=2.6).shells["Cu-Cu"] is None
    glass = rdf(shipped_structure(), cutoff=3.2).shells
    assert glass["Li-Li"] is None and glass["Si-Si"] is not None


def test_shells_of_a_glass() -> None:
    """Li55Si18: bond lengths of the crystals, and as many neighbours within a few tenths whatever the bins."""
    for bins in (20, 160, 800):
        shells = rdf(shipped_structure(), bins=bins).shells
        assert shells["Si-Si"].peak == pytest.approx(2.42, abs=0.05)  # type: ignore[union-attr]
        assert shells["Li-Si"].peak == pytest.approx(2.68, abs=0.05)  # type: ignore[union-attr]
        assert shells["Si-Li"].number == pytest.approx(10.8, abs=0.2)  # type: ignore[union-attr]
