"""Which structures are worth a label."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write
from click.testing import CliRunner

from ase_wavescat import WaveScatCalculator, save_model
from ase_wavescat.active_learning.selection import Limits, assess, held_out_limits, select
from ase_wavescat.cli import main
from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.model import Model
from ase_wavescat.system.errors import DataError

ALL = Limits(1e-12, 1e-12)


@pytest.fixture
def ensemble(small_ensemble: Model, wide_domain: Domain) -> Model:
    return dataclasses.replace(small_ensemble, domain=wide_domain)


@pytest.fixture
def pool(make_structure: Callable[..., Atoms]) -> dict[str, Atoms]:
    """Twelve structures of Li4Si2, four of Li3Si3."""
    pool = {f"rich-{seed}": make_structure(seed) for seed in range(12)}
    for seed in range(4):
        atoms = make_structure(20 + seed)
        atoms.numbers[1] = 14
        pool[f"poor-{seed}"] = atoms
    return pool


def names(selection) -> list[str]:
    return [selection.candidates[index].name for index in selection.chosen]


def test_what_the_model_says_is_what_the_calculator_says(ensemble: Model, pool: dict[str, Atoms]) -> None:
    candidates, failed = assess(pool, ensemble, workers=1, progress=False)
    assert not failed and [candidate.name for candidate in candidates] == list(pool)
    atoms = pool["rich-3"].copy()
    atoms.calc = WaveScatCalculator(ensemble)
    candidate = candidates[3]
    assert candidate.energy_spread == pytest.approx(atoms.calc.get_energy_uncertainty(atoms) / 6, rel=1e-12)
    spread = atoms.calc.get_forces_uncertainty(atoms)
    assert candidate.force_spread == pytest.approx(np.sqrt((spread**2).mean()), rel=1e-12)


def test_the_first_is_the_most_uncertain_and_compositions_take_turns(ensemble: Model, pool: dict[str, Atoms]) -> None:
    selection = select(pool, 6, ensemble, ALL, workers=1, progress=False)
    needs = [candidate.need(ALL) for candidate in selection.candidates]
    assert selection.chosen[0] == int(np.argmax(needs))
    assert Counter(name[:4] for name in names(selection)) == {"rich": 3, "poor": 3}
    assert selection.uncertain == len(pool) and "chosen: 6" in selection.summary()
    infos = [atoms.info for atoms in selection.structures]
    assert [info["name"] for info in infos] == names(selection) and all(info["energy_spread"] > 0 for info in infos)
    assert "energy_spread" not in pool["rich-0"].info


def test_copies_are_not_taken_twice_while_others_are_left(ensemble: Model, pool: dict[str, Atoms]) -> None:
    rich = {name: atoms for name, atoms in pool.items() if name.startswith("rich")}
    candidates, _ = assess(rich, ensemble, workers=1, progress=False)
    first = max(candidates, key=lambda candidate: candidate.need(ALL))
    twins = {f"twin-{k}": first.structure for k in range(4)} | {k: rich[k] for k in list(rich)[:4]}
    selection = select(twins, 4, ensemble, ALL, workers=1, progress=False)
    assert sum(name.startswith("twin") or name == first.name for name in names(selection)) == 1
    known = select(twins, 9, ensemble, ALL, known=[first.structure], workers=1, progress=False)
    assert known.repeated >= 4 and "passed over" in known.summary() and len(names(known)) >= 3
    ranked = sorted(rich, key=lambda name: next(c.need(ALL) for c in candidates if c.name == name), reverse=True)
    later = select(rich, 2, ensemble, ALL, known=[rich[name] for name in ranked[:9]], workers=1, progress=False)
    assert set(names(later)) <= set(ranked[9:]) and len(names(later)) == 2 and later.repeated == 9
    assert not any(name.startswith("twin") or name == first.name for name in names(known))


def test_structures_that_are_certain_enough_are_not_chosen(ensemble: Model, pool: dict[str, Atoms]) -> None:
    candidates, _ = assess(pool, ensemble, workers=1, progress=False)
    ranked = sorted((candidate.energy_spread, candidate.name) for candidate in candidates)
    limits = Limits(energy=ranked[-3][0], forces=1e6)
    selection = select(pool, 10, ensemble, limits, workers=1, progress=False)
    assert set(names(selection)) == {name for _, name in ranked[-2:]}
    assert "holds no other uncertain structure" in selection.summary()
    nothing = select(pool, 10, ensemble, Limits(1e6, 1e6), workers=1, progress=False)
    assert nothing.chosen == () and nothing.uncertain == 0


def test_processes_choose_alike_and_a_bad_structure_is_named(ensemble: Model, pool: dict[str, Atoms]) -> None:
    pool["xenon"] = Atoms("Xe", cell=5 * np.eye(3), pbc=True)
    one = select(pool, 5, ensemble, ALL, workers=1, progress=False)
    two = select(pool, 5, ensemble, ALL, workers=2, progress=False)
    assert names(one) == names(two)
    assert list(two.failed) == ["xenon"] and "xenon" in two.summary()


def test_bad_input(ensemble: Model, small_ensemble: Model, pool: dict[str, Atoms]) -> None:
    with pytest.raises(DataError, match="at least one"):
        select(pool, 0, ensemble, ALL)
    with pytest.raises(DataError, match="pool is empty"):
        select({}, 3, ensemble, ALL)
    with pytest.raises(DataError, match="no members or no training domain"):
        select(pool, 3, small_ensemble, ALL)
    with pytest.raises(DataError, match="records no held-out errors"):
        select(pool, 3, ensemble)
    with pytest.raises(DataError, match="no structure of the pool can be evaluated; xenon"):
        select({"xenon": Atoms("Xe", cell=5 * np.eye(3), pbc=True)}, 3, ensemble, ALL, workers=1, progress=False)
    with pytest.raises(DataError, match="positive number, got -1"):
        Limits(-1.0, 0.1)


def test_limits_come_from_held_out_errors(ensemble: Model) -> None:
    metrics = {"energy_rmse_mev_per_atom": 8.0, "force_rmse_ev_per_a": 0.14}
    model = dataclasses.replace(ensemble, provenance={"metrics": metrics})
    assert held_out_limits(model) == Limits(0.008, 0.14)


def test_the_command_writes_structures_figures_and_a_picture(
    ensemble: Model, pool: dict[str, Atoms], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "model.h5", ensemble)
    write(tmp_path / "pool.extxyz", list(pool.values()))
    write(tmp_path / "known.extxyz", [pool["rich-0"]])
    arguments = ["--model", "model.h5", "-n", "4", "--workers", "1", "--quiet", "--known", "known.extxyz"]
    done = CliRunner().invoke(main, ["select", "pool.extxyz", *arguments, "-o", "out"])
    assert done.exit_code == 1 and "records no held-out errors" in done.output
    limits = ["--energy-limit", "1e-9", "--force-limit", "1e-9"]
    done = CliRunner().invoke(main, ["select", "pool.extxyz", *arguments, *limits, "-o", "out"])
    assert done.exit_code == 0 and "chosen: 4" in done.output
    chosen = read(tmp_path / "out" / "select.extxyz", ":")
    figures = json.loads((tmp_path / "out" / "select.json").read_text())
    ranks = {one["name"]: one["chosen"] for one in figures["candidates"] if one["chosen"]}
    assert [atoms.info["name"] for atoms in chosen] == sorted(ranks, key=ranks.__getitem__) and len(ranks) == 4
    assert "pool-00" not in ranks and (tmp_path / "out" / "select.png").stat().st_size > 10_000


def test_features_are_an_atom(ensemble: Model, pool: dict[str, Atoms]) -> None:
    atoms = pool["rich-0"]
    one, two = assess({"one": atoms, "two": atoms * (2, 1, 1)}, ensemble, workers=1, progress=False)[0]
    np.testing.assert_allclose(one.features, two.features, atol=1e-6 * np.abs(one.features).max())
