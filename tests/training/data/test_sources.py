"""Label sources: weights, kinds of energy, files and structures that are there twice."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from ase_wavescat.system.errors import DataError, WaveScatWarning
from ase_wavescat.training.data.sources import Source, read_sources
from own_warnings import ignore_deprecations_of_ase


def structure(seed: int, energy: float = -10.0, group: str | None = None, kind: str = "liquid") -> Atoms:
    positions = np.random.default_rng(seed).uniform(0, 4, (3, 3))
    info = {"group": group or f"melt-{seed}", "config_type": kind}
    atoms = Atoms("LiLiSi", positions, cell=[4, 4.2, 4.4], pbc=True, info=info)
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.zeros((3, 3)))
    return atoms


def store(path: Path, *structures: Atoms) -> Path:
    write(path, structures, format="extxyz")
    return path


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return store(tmp_path / "good.xyz", structure(0), structure(1, kind="relaxed"))


@pytest.fixture
def cheap(tmp_path: Path) -> Path:
    return store(tmp_path / "cheap.xyz", structure(2, -1.0), structure(3, -2.0), structure(4, -3.0, kind="md"))


def test_names_and_weights(good: Path, cheap: Path) -> None:
    frames = read_sources(
        [
            Source(good, "PBE", weight=4.0, config_type_weights={"relaxed": 0.5}),
            Source([cheap], "tight binding", weight=0.3, config_type_weights={"md": 0.0}),
        ]
    )
    assert [frame.source for frame in frames] == ["PBE", "PBE", "tight binding", "tight binding"]
    assert [frame.weight for frame in frames] == [4.0, 2.0, 0.3, 0.3]
    assert [frame.name for frame in frames] == ["good.xyz#0", "good.xyz#1", "cheap.xyz#0", "cheap.xyz#1"]


def test_a_plain_source_changes_nothing(good: Path) -> None:
    frames = read_sources([Source(good)])
    assert {(frame.source, frame.weight, frame.energy) for frame in frames} == {("labels", 1.0, -10.0)}


def test_zeros_are_shared_on_request(good: Path, cheap: Path) -> None:
    frames = read_sources([Source(good, "fine"), Source(cheap, "coarse", zero="fine")])
    assert [(frame.source, frame.zero) for frame in frames] == [("fine", "fine")] * 2 + [("coarse", "fine")] * 3
    with pytest.raises(DataError, match=r"the zero of source 'coarse' is that of 'fin', .*did you mean 'fine'"):
        read_sources([Source(good, "fine"), Source(cheap, "coarse", zero="fin")])
    with pytest.raises(DataError, match=r"is that of 'coarse', which is no source .* there are none"):
        read_sources([Source(good, "fine", zero="coarse"), Source(cheap, "coarse", zero="fine")])
    with pytest.raises(DataError, match="sources with the zero of 'fine' mix total and"):
        read_sources([Source(good, "fine"), Source(cheap, "coarse", energies="formation", zero="fine")])
    with pytest.raises(DataError, match="sources named 'fine' have several zeros of energy: 'fine', 'other'"):
        read_sources([Source(good, "fine"), Source(good, "other"), Source(cheap, "fine", zero="other")])
    several = [Source(good, "a"), Source(good, "b"), Source(cheap, "c", zero="a"), Source(cheap, "c", zero="b")]
    with pytest.raises(DataError, match="sources named 'c' have several zeros of energy: 'a', 'b'"):
        read_sources(several)
    same = [Source(good, "fine"), Source(cheap, "fine", zero="fine")]
    assert {frame.zero for frame in read_sources(same)} == {"fine"}


def test_formation_energies_become_totals(good: Path, cheap: Path) -> None:
    references = {"Li": -1.5, "Si": -5.0, "O": 7.0}
    frames = read_sources([Source(good), Source(cheap, energies="formation", references=references)])
    assert [frame.energy for frame in frames] == pytest.approx([-10, -10, -1 - 8, -2 - 8, -3 - 8])
    assert [frame.energy for frame in read_sources([Source(cheap, energies="formation")])] == [-1.0, -2.0, -3.0]
    with pytest.raises(DataError, match=r"cheap.xyz#0 holds Si, for which source 'labels' has no reference"):
        read_sources([Source(cheap, energies="formation", references={"Li": -1.5})])
    with pytest.raises(DataError, match="sources with the zero of 'PBE' mix total and formation energies without"):
        read_sources([Source(good, "PBE"), Source(cheap, "PBE", energies="formation")])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight": 0.0}, r"the weight of source 'labels' must be above 0, got 0.0; leave it out"),
        ({"weight": -1.0}, r"must be above 0, got -1.0"),
        ({"weight": float("nan")}, r"must be above 0, got nan"),
        ({"config_type_weights": {"liquid": -1.0}}, r"the weight of config_type 'liquid' .* at least 0 .* got -1.0"),
        ({"config_type_weights": {"liquid": float("inf")}}, r"config_type 'liquid' .* got inf"),
        ({"energies": "formations"}, r"not 'formations'; did you mean 'formation'"),
        ({"references": {"Li": -1.0}}, r"has references but total energies"),
        ({"energies": "formation", "references": {"Lj": -1.0}}, r"an unknown element 'Lj'"),
        ({"energies": "formation", "references": {"Li": float("nan")}}, r"the reference of Li .* is not finite"),
        ({"name": ""}, r"needs a name"),
    ],
)
def test_fields_that_make_no_sense_are_refused_before_reading(fields: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Source("nowhere.xyz", **fields)


def test_unknown_config_types_are_refused(good: Path) -> None:
    with pytest.raises(DataError, match=r"config_type 'liqid', .*did you mean 'liquid'.*'liquid', 'relaxed'"):
        read_sources([Source(good, config_type_weights={"liqid": 0.3})])
    with pytest.raises(DataError, match="leave the source out"):
        read_sources([Source(good, config_type_weights={"liquid": 0, "relaxed": 0})])
    with pytest.raises(DataError, match="no label sources"):
        read_sources([])


def test_a_file_belongs_to_one_source(good: Path, cheap: Path) -> None:
    assert len(read_sources([Source([good.parent, good, good.parent / "*.xyz"])])) == 5
    with pytest.raises(DataError, match=r"good.xyz is in two sources, 'labels' .* and 'other'"):
        read_sources([Source(good), Source(good.parent, "other")])


def test_files_of_one_name_keep_their_groups_apart(tmp_path: Path) -> None:
    for seed, folder in enumerate(("a", "b")):
        (tmp_path / folder).mkdir()
        store(tmp_path / folder / "data.xyz", structure(seed))
    frames = read_sources([Source(tmp_path / "a", group_key="none"), Source(tmp_path / "b", group_key="none")])
    assert len({frame.group for frame in frames}) == 2


def test_structures_that_are_there_twice(tmp_path: Path, good: Path) -> None:
    def warnings_of(*sources: Source) -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ignore_deprecations_of_ase()
            read_sources(sources)
        assert all(issubclass(warning.category, WaveScatWarning) for warning in caught)
        return [str(warning.message) for warning in caught]

    same = Source(store(tmp_path / "same.xyz", structure(0)))
    other_energy = Source(store(tmp_path / "energy.xyz", structure(0, -10.3)))
    other_group = Source(store(tmp_path / "group.xyz", structure(0, group="melt-7")))
    assert warnings_of(Source(good)) == []
    assert warnings_of(Source(good), Source(tmp_path / "energy.xyz", "another code")) == []
    (twice,) = warnings_of(Source(good), same)
    assert "1 structure is there more than once, such as good.xyz#0, and will weigh so much more" in twice
    (differing,) = warnings_of(Source(good), other_energy)
    assert "different energies, good.xyz#0 and energy.xyz#0 by 100 meV/atom" in differing
    (leak,) = warnings_of(Source(good), other_group)
    assert "in different groups, such as good.xyz#0 and group.xyz#0" in leak


def test_structures_of_two_sources_in_different_groups_leak(tmp_path: Path, good: Path) -> None:
    """Another source's copy of a held-out structure would be trained on."""
    structures = read(good, ":")
    for index, atoms in enumerate(structures):
        atoms.info["group"] = f"other {index}"
    write(tmp_path / "copy.xyz", structures, format="extxyz")
    with pytest.warns(WaveScatWarning, match="in different groups, such as good.xyz#0 and copy.xyz#0"):
        read_sources([Source(good, "good"), Source(tmp_path / "copy.xyz", "cheap")])
