"""How far predicted uncertainties can be trusted: spreads over members against the errors that were made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import norm, spearmanr

BINS = 10
LEVELS = (0.68, 0.95)
_NO_SPREAD = 1e-4  # of the root mean square spread: smaller ones are rounding


@dataclass(frozen=True, eq=False)
class Reliability:
    """Errors (n,) and their predicted standard deviations (n,), in the same unit, all finite, spreads positive.

    Attributes:
        groups: (n,) labels of what belongs together (a melt, a trajectory).
        stored_scale: The calibrated factor that the spreads hold already.
    """

    errors: np.ndarray
    spreads: np.ndarray
    groups: np.ndarray
    stored_scale: float

    @cached_property
    def scale(self) -> float:
        """The factor that these data ask for, rms error over rms spread of the bare members."""
        return self.stored_scale * float(np.sqrt(np.mean(self.errors**2) / np.mean(self.spreads**2)))

    @cached_property
    def scale_error(self) -> float | None:
        """Standard error of `scale` by a jackknife over the groups, None for fewer than two.

        With s_g the scale without group g and G groups: sqrt((G - 1) / G sum_g (s_g - mean s)^2).
        """
        labels, member = np.unique(self.groups, return_inverse=True)
        count = len(labels)
        if count < 2:
            return None
        errors = np.bincount(member, self.errors**2)
        spreads = np.bincount(member, self.spreads**2)
        left_out = self.stored_scale * np.sqrt((errors.sum() - errors) / (spreads.sum() - spreads))
        return float(np.sqrt((count - 1) * np.mean((left_out - left_out.mean()) ** 2)))

    @cached_property
    def bins(self) -> tuple[np.ndarray, np.ndarray]:
        """Root mean square spreads and errors, each (B,), of bins of equal numbers, in the order of the spread."""
        order = np.argsort(self.spreads, kind="stable")
        parts = np.array_split(order, min(BINS, max(1, len(order) // 5)))
        spreads, errors = (
            np.array([np.sqrt(np.mean(values[part] ** 2)) for part in parts]) for values in (self.spreads, self.errors)
        )
        return spreads, errors

    @property
    def miscalibration(self) -> float:
        """Mean over the bins of `|rms error - rms spread| / rms spread` (Levi et al., Sensors 22, 5540, 2022)."""
        spreads, errors = self.bins
        return float(np.mean(np.abs(errors - spreads) / spreads))

    @cached_property
    def rank_correlation(self) -> float | None:
        """Spearman's, of the errors' sizes with spread; 1 where larger ones have larger spreads; None if undefined."""
        size = np.abs(self.errors)
        if np.ptp(size) == 0 or np.ptp(self.spreads) == 0:
            return None
        return float(spearmanr(size, self.spreads).statistic)

    @property
    def z_scores(self) -> np.ndarray:
        """Errors over spreads, (n,); normal with deviation 1 if the spreads were exact."""
        return self.errors / self.spreads

    def coverage(self, levels: Sequence[float] = LEVELS) -> dict[float, float]:
        """Share of the errors within the central interval that a normal distribution gives for each level."""
        z = np.abs(self.z_scores)
        return {level: float(np.mean(z <= norm.ppf((1 + level) / 2))) for level in levels}


def reliability(errors: np.ndarray, spreads: np.ndarray, groups: np.ndarray, stored_scale: float) -> Reliability | None:
    """See `Reliability`; data without a spread are left out: forces that are zero by symmetry, a model of one member.

    Fewer than three data say nothing, and give None.
    """
    usable = spreads > _NO_SPREAD * np.sqrt(np.mean(spreads**2)) if len(spreads) else np.zeros(0, dtype=bool)
    if np.count_nonzero(usable) < 3:
        return None
    return Reliability(errors[usable], spreads[usable], groups[usable], stored_scale)
