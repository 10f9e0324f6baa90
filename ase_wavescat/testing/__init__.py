"""Checks that any ASE calculator should pass: symmetries, derivatives, sizes, copies, threads, memory.

    from ase.calculators.emt import EMT
    from ase_wavescat.testing import Subject, check_calculator

    print(check_calculator(Subject(EMT, ["Cu", "Au"], picklable=False)).table())

In the tests of a calculator, with pytest:

    from ase_wavescat import testing

    SUBJECT = testing.Subject(MyCalculator, species=["Cu", "Au"], calls=500)

    @pytest.mark.parametrize("check", testing.CHECKS)
    def test_conformance(check):
        check(SUBJECT).require()     # fails with the figures, skips where a check does not apply
"""

from __future__ import annotations

from ase_wavescat.testing.kit import CHECKS, check_calculator, chosen_checks
from ase_wavescat.testing.models import model_subject
from ase_wavescat.testing.outcome import Check, Conformance, Figure, Findings, Outcome
from ase_wavescat.testing.structures import usual_structures
from ase_wavescat.testing.subject import Answer, NotApplicable, Subject, ask
from ase_wavescat.testing.tolerances import Tolerances

__all__ = [
    "CHECKS",
    "Answer",
    "Check",
    "Conformance",
    "Figure",
    "Findings",
    "NotApplicable",
    "Outcome",
    "Subject",
    "Tolerances",
    "ask",
    "check_calculator",
    "chosen_checks",
    "model_subject",
    "usual_structures",
]
