"""How good a model is: errors, uncertainties, features and short range, and the report that shows them.

Names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ase_wavescat.system.lazy import lazy_names

if TYPE_CHECKING:
    from ase_wavescat.evaluation.assessment import Assessment as Assessment
    from ase_wavescat.evaluation.assessment import Deviation as Deviation
    from ase_wavescat.evaluation.assessment import Errors as Errors
    from ase_wavescat.evaluation.assessment import FrameResult as FrameResult
    from ase_wavescat.evaluation.assessment import evaluate as evaluate
    from ase_wavescat.evaluation.reliability import Reliability as Reliability
    from ase_wavescat.evaluation.report import Report as Report
    from ase_wavescat.evaluation.run import run_report as run_report
    from ase_wavescat.evaluation.short_range import Approach as Approach
    from ase_wavescat.evaluation.short_range import ShortRange as ShortRange
    from ase_wavescat.evaluation.short_range import check_short_range as check_short_range

_MODULE_OF: dict[str, str] = {
    "Assessment": "assessment",
    "Deviation": "assessment",
    "Errors": "assessment",
    "FrameResult": "assessment",
    "evaluate": "assessment",
    "Reliability": "reliability",
    "Report": "report",
    "run_report": "run",
    "Approach": "short_range",
    "ShortRange": "short_range",
    "check_short_range": "short_range",
}

__all__ = list(_MODULE_OF)

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)
