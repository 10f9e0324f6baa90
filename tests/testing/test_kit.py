"""The conformance kit: sound calculators pass, and each planted fault is found by the check that is meant for it."""

from __future__ import annotations

import json
import unittest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT

from ase_wavescat import save_model
from ase_wavescat.potentials.model import Model
from ase_wavescat.system.errors import CalculatorError, DataError
from ase_wavescat.testing import CHECKS, Subject, Tolerances, check_calculator, chosen_checks, model_subject
from ase_wavescat.testing.outcome import FAILS, NOT_APPLICABLE, PASSES, Check, Findings, Outcome
from faulty_calculators import (
    AfraidOfGold,
    AlwaysPeriodic,
    AntiFriction,
    BlindToTheCell,
    BoxesByTheExtent,
    CoarseCutoffOfForces,
    EggBox,
    FirstAtomCountsMore,
    GridsByTheCell,
    HandsOutItsOwnArrays,
    HardCutoff,
    HoleAtShortRange,
    Leaky,
    LikesShortVectors,
    LikesTheFirstAxis,
    LongMoleculesAreHeavy,
    LooksAtPositionsAsTheyAre,
    MovesTheStructure,
    Noisy,
    NoShearStress,
    NoStress,
    NotFinite,
    OneBufferForAll,
    OnlyPeriodic,
    OtherInOtherProcesses,
    QuadraticInSize,
    ReusesItsArrays,
    RightHanded,
    Sound,
    Unpicklable,
    WaitsBetweenStateAndResults,
    WrongForceSign,
)

SPECIES = ("Cu", "Au")
CALLS = 120


def outcome(name: str, make: Any, **settings: Any) -> Outcome:
    (check,) = chosen_checks([name])
    return check(Subject(make, SPECIES, calls=CALLS, **settings))


SOUND = Subject(Sound, SPECIES, calls=CALLS)


@pytest.mark.parametrize("check", [check for check in CHECKS if check.name != "foreign species"])
def test_lennard_jones_conforms(check: Check) -> None:
    """All but what it does not do: refuse elements."""
    check(SOUND).require()


@pytest.mark.parametrize("name", ["species", "foreign species", "boundaries", "extensivity", "changes", "threads"])
def test_emt_conforms(name: str) -> None:
    outcome(name, EMT).require()


def test_a_wavelet_model_conforms(small_ensemble: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "model.h5", small_ensemble)
    result = check_calculator(model_subject(tmp_path / "model.h5", calls=CALLS))
    assert result.passed, result.table()
    assert {one.verdict for one in result.outcomes} == {PASSES}, result.table()
    assert result.species == ("Li", "Si")


FAULTS = [
    ("species", AfraidOfGold),
    ("species", NotFinite),
    ("foreign species", Sound),  # Lennard-Jones takes any element for its own
    ("permutation", FirstAtomCountsMore),
    ("wrapping", LooksAtPositionsAsTheyAre),
    ("lattice shifts", LooksAtPositionsAsTheyAre),
    ("lattice vectors", LikesShortVectors),
    ("translation", EggBox),
    ("rotation", LikesTheFirstAxis),
    ("rotation of molecules", LongMoleculesAreHeavy),
    ("inversion", RightHanded),
    ("boundaries", AlwaysPeriodic),
    ("extensivity", QuadraticInSize),
    ("forces", WrongForceSign),
    ("forces", NotFinite),
    ("stress", NoShearStress),
    ("smoothness", GridsByTheCell),
    ("dimers", HardCutoff),
    ("dimers", CoarseCutoffOfForces),
    ("dimers", BoxesByTheExtent),
    ("holes", HoleAtShortRange),
    ("energy drift", AntiFriction),
    ("determinism", Noisy),
    ("results", HandsOutItsOwnArrays),
    ("results", ReusesItsArrays),
    ("results", MovesTheStructure),
    ("changes", BlindToTheCell),
    ("copies", Unpicklable),
    ("spawned process", OtherInOtherProcesses),
    ("threads", OneBufferForAll),
    ("memory", Leaky),
]


@pytest.mark.parametrize(("name", "faulty"), FAULTS)
def test_a_planted_fault_is_found(name: str, faulty: type[Calculator]) -> None:
    found = outcome(name, faulty)
    assert found.verdict == FAILS and (found.figures or found.note)
    with pytest.raises(AssertionError, match=f"^{name}: "):
        found.require()


def test_threads_that_share_a_calculator_are_found_out() -> None:
    assert outcome("shared by threads", WaitsBetweenStateAndResults, thread_safe=True).verdict == FAILS


def test_every_check_has_a_fault_that_it_finds() -> None:
    assert {name for name, _ in FAULTS} | {"shared by threads"} == {check.name for check in CHECKS}


@pytest.mark.parametrize(
    ("name", "make", "settings", "reason"),
    [
        ("boundaries", OnlyPeriodic, {}, "refused.*NotImplementedError: open directions are not implemented"),
        ("rotation of molecules", OnlyPeriodic, {}, "refused: NotImplementedError"),
        ("stress", NoStress, {}, "NoStress gives no stress"),
        ("copies", Unpicklable, {"picklable": False}, "not said to be picklable"),
        ("shared by threads", Sound, {}, "not said to be able to share"),
        ("spawned process", lambda: Sound(), {}, "cannot be sent to another process"),
    ],
)
def test_what_does_not_apply_is_said_with_its_reason(
    name: str, make: Any, settings: dict[str, Any], reason: str
) -> None:
    found = outcome(name, make, **settings)
    assert found.verdict == NOT_APPLICABLE and not found.figures
    with pytest.raises(unittest.SkipTest, match=reason):
        found.require()


def test_dimers_of_a_calculator_without_open_boundaries_are_computed_in_a_box() -> None:
    assert outcome("dimers", OnlyPeriodic).verdict == PASSES


def test_structures_can_be_given() -> None:
    asked: list[int] = []

    class Counting(Sound):
        def calculate(self, atoms: Any = None, *arguments: Any) -> None:
            asked.append(len(atoms))
            super().calculate(atoms, *arguments)

    own = SOUND.structures[2] * (1, 1, 2)
    assert outcome("permutation", Counting, given=[own]).verdict == PASSES
    assert set(asked) == {8}


def test_limits_can_be_given() -> None:
    found = outcome("permutation", FirstAtomCountsMore, tolerances=Tolerances(energy=0.1))
    assert found.verdict == PASSES and 1e-6 < found.figures[0].value < 0.1


def test_the_table_and_the_json_hold_every_figure() -> None:
    result = check_calculator(Subject(NoStress, SPECIES), chosen_checks(["stress", "permutation", "foreign species"]))
    assert not result.passed
    lines = result.table().splitlines()
    assert lines[0].split() == ["check", "quantity", "figure", "limit", "verdict"]
    assert lines[-1] == "NoStress: 1 passes, 1 fails, 1 not applicable"
    assert any("foreign species: Fe is given an energy of" in line for line in lines)
    content = json.loads(result.to_json())
    assert content["calculator"] == "NoStress" and content["passed"] is False
    verdicts = {one["check"]: one["verdict"] for one in content["checks"]}
    assert verdicts == {"foreign species": FAILS, "permutation": PASSES, "stress": NOT_APPLICABLE}
    (permutation,) = (one for one in content["checks"] if one["check"] == "permutation")
    assert [figure["quantity"] for figure in permutation["figures"]] == ["energy", "forces"]


def test_a_check_that_measures_nothing_does_not_pass() -> None:
    outcome = Check("nothing", lambda subject: Findings())(Subject(EMT, ["Cu"]))
    assert (outcome.verdict, outcome.note) == (NOT_APPLICABLE, "there was nothing to measure")


def test_a_figure_that_is_no_number_fails_and_stays() -> None:
    findings = Findings()
    findings.add("energy", 1.0, "eV", 2.0)
    findings.add("energy", np.nan, "eV", 2.0)
    findings.add("energy", 0.5, "eV", 2.0)
    (figure,) = findings.figures
    assert np.isnan(figure.value) and not figure.passes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"species": ()}, "species must be symbols"),
        ({"species": ("Cu", "Unobtainium")}, "species must be symbols"),
        ({"calls": 99}, "at least 100 calls"),
        ({"given": [Atoms("Cu")]}, "structure 0 is open"),
        ({"given": [Atoms(cell=np.eye(3), pbc=True)]}, "structure 0 has no atoms"),
    ],
)
def test_subjects_that_make_no_sense_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Subject(**{"make": EMT, "species": SPECIES, **arguments})


def test_other_nonsense_is_refused() -> None:
    with pytest.raises(DataError, match="tolerance forces must be a number"):
        Tolerances(forces=-1.0)
    with pytest.raises(DataError, match="no check 'rotations'; there are species, "):
        chosen_checks(["rotations"])
    with pytest.raises(CalculatorError, match="Calculator gives no energy"):
        check_calculator(Subject(Calculator, SPECIES))
