"""What results write: plain JSON, structures, a picture, complete or not at all."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from ase_wavescat import Model, WaveScatCalculator, __version__, save_model
from ase_wavescat.active_learning.exploration import Plan, explore
from ase_wavescat.workflows import convex_hull, elastic, eos, neb, relax, tiling
from ase_wavescat.workflows.result import Result


@dataclasses.dataclass(frozen=True)
class Fit:
    modulus: float
    start: Atoms


@dataclasses.dataclass(frozen=True, eq=False)
class Example(Result):
    path: list[Atoms]
    numbers: np.ndarray
    scalar: np.float64
    integer: np.int64
    flag: np.bool_
    nothing: float | None
    unbounded: float
    table: dict[int, np.ndarray]
    fit: Fit
    file: Path
    empty: list[Atoms]
    points: tuple[tuple[float, float], ...] = ((1.0, 2.0),)

    @property
    def structures(self) -> list[Atoms]:
        return self.path

    def summary(self) -> str:
        return "an example"

    def plot(self) -> Any:
        from matplotlib.figure import Figure

        figure = Figure()
        figure.subplots().plot(self.numbers[0])
        return figure


@pytest.fixture
def example() -> Example:
    silicon = bulk("Si")
    silicon.calc = SinglePointCalculator(silicon, energy=-10.0)
    return Example(
        path=[silicon, bulk("Li")],
        numbers=np.array([[1.0, np.nan], [np.inf, 4.0]]),
        scalar=np.float64(2.5),
        integer=np.int64(3),
        flag=np.bool_(True),
        nothing=None,
        unbounded=-np.inf,
        table={14: np.arange(2)},
        fit=Fit(90.0, bulk("Si")),
        file=Path("a") / "b",
        empty=[],
    )


def test_figures_are_plain_and_leave_structures_out(example: Example) -> None:
    figures = json.loads(example.to_json())
    assert figures == {
        "calculators": [],
        "numbers": [[1.0, None], [None, 4.0]],
        "scalar": 2.5,
        "integer": 3,
        "flag": True,
        "nothing": None,
        "unbounded": None,
        "table": {"14": [0, 1]},
        "fit": {"modulus": 90.0},
        "file": str(Path("a") / "b"),
        "empty": [],
        "points": [[1.0, 2.0]],
    }


def test_everything_is_written_in_a_folder_that_is_made(example: Example, tmp_path: Path) -> None:
    path = example.write(tmp_path / "new" / "folder", "name", {"inputs": "0f"})
    assert sorted(file.name for file in path.parent.iterdir()) == ["name.extxyz", "name.json", "name.png"]
    figures = json.loads(path.read_text())
    assert figures["inputs"] == "0f" and figures["scalar"] == 2.5
    frames = read(path.with_suffix(".extxyz"), ":")
    assert frames[0].get_potential_energy() == -10.0 and frames[1].calc is None
    assert path.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"


def test_an_old_result_stays_until_the_new_one_is_whole(example: Example, tmp_path: Path) -> None:
    class Unfinished(Example):
        def plot(self) -> Any:
            raise RuntimeError("no picture")

    example.write(tmp_path, "name")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    fields = {part.name: getattr(example, part.name) for part in dataclasses.fields(example)}
    with pytest.raises(RuntimeError, match="no picture"):
        Unfinished(**fields).write(tmp_path, "name")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_json_comes_last_so_that_it_stands_for_all(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also beside the files of an earlier result."""
    record, replaced = example.write(tmp_path, "name"), []

    def replace(source: Path, target: Path, real: Any = os.replace) -> None:
        assert not record.exists()
        replaced.append(target.suffix)
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    example.write(tmp_path, "name")
    assert sorted(replaced) == [".extxyz", ".json", ".png"] and replaced[-1] == ".json"


# ---------------------------------------------------------------- what a result came from


PLAN = Plan(temperatures=(300.0,), picoseconds=0.002, snapshots=1, strains=(), hops=0)


def band(atoms: Atoms) -> Result:
    other = atoms.copy()
    other.positions[0, 0] += 0.5
    return neb(atoms, other, images=3, steps=0, relax_endpoints=False)


@pytest.mark.filterwarnings("ignore::ase_wavescat.WaveScatWarning")
@pytest.mark.parametrize(
    "workflow",
    [
        eos,
        tiling,
        band,
        lambda atoms: relax(atoms, steps=1),
        lambda atoms: elastic(atoms, relax_ions=False),
        lambda atoms: convex_hull([atoms], {"Li": -7.0, "Si": -160.0}),
        lambda atoms: explore(atoms, PLAN),
    ],
    ids=["eos", "tiling", "neb", "relax", "elastic", "hull", "explore"],
)
def test_results_name_the_model_that_made_them(
    small_ensemble: Model, make_structure: Any, tmp_path: Path, workflow: Callable[[Atoms], Result]
) -> None:
    """By name and digest in JSON, in a corner of the picture, and in trajectories."""
    save_model(tmp_path / "some_$model$.h5", small_ensemble)
    atoms = make_structure()
    atoms.calc = WaveScatCalculator(tmp_path / "some_$model$.h5")
    result = workflow(atoms)
    wanted = {
        "name": "wavescat", "model": str(tmp_path / "some_$model$.h5"), "model_digest": small_ensemble.digest,
        "ase_wavescat": __version__,
    }  # fmt: skip
    assert json.loads(result.write(tmp_path, "out").read_text())["calculators"] == [wanted]
    (mark,) = [text for text in result._signed_plot().texts if "h5" in text.get_text()]
    assert mark.get_text() == f"some_$model$.h5 {small_ensemble.digest[:8]}"
    for structure in result.structures:
        if structure.calc is not None:
            write(tmp_path / "one.traj", structure)
            again = read(tmp_path / "one.traj").calc
            assert again.name == "wavescat" and again.parameters["model_digest"] == small_ensemble.digest


def test_other_calculators_are_named_and_unknown_ones_are_not(example: Example) -> None:
    assert example._signed_plot().texts == []
    copper = bulk("Cu", cubic=True)
    copper.calc = EMT()
    result = relax(copper, steps=0)
    assert result.calculators == [{"name": "emt"}] and result._signed_plot().texts[0].get_text() == "emt"
