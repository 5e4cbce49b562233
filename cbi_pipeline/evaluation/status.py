"""The word PRODUCTION or HOLD on a forecast row, and the reasons for it.

Belongs here: the desk's quality targets applied to one horizon's metrics. It fails closed: a target
whose metric is missing is not met.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cbi_pipeline.contracts.forecast import Status


@dataclass(frozen=True, slots=True)
class QualityTargets:
    """The desk's targets, per horizon; all bounds are strict.

    Attributes:
        mape_max: MAPE below this, percent of price.
        sharpe_min: Sharpe ratio of the tranche P&L above this.
        directional_min: share of right signs above this, 0 to 1.
        calibration_max: calibration error below this, 0 to 1.
    """

    mape_max: float = 5.0
    sharpe_min: float = 1.0
    directional_min: float = 0.65
    calibration_max: float = 0.10


@dataclass(frozen=True, slots=True)
class _Rule:
    metric: str
    label: str
    bound: float
    upper: bool
    percent: bool = False

    def refusal(self, value: float | None) -> str | None:
        """Why `value` does not meet the target, or None if it does."""
        side = "below" if self.upper else "above"
        unit = "%" if self.percent else ""
        if value is None or not math.isfinite(value):
            return f"{self.label} is not known (target {side} {self.bound:g}{unit})"
        if (value < self.bound) if self.upper else (value > self.bound):
            return None
        digits = 1 if self.percent else 3
        off = abs(value - self.bound)
        return (
            f"{self.label} {value:.{digits}f}{unit} is not {side} {self.bound:g}{unit} "
            f"({off:.{digits}f}{' points' if self.percent else ''} off)"
        )


def evaluate_status(
    metrics: Mapping[str, float | None],
    targets: QualityTargets,
    *,
    stale: str | None = None,
) -> tuple[Status, list[str]]:
    """Status of one horizon's forecast.

    Args:
        metrics: value by metric name: `mape` (percent), `sharpe`, `directional_accuracy`, `calibration_error`.
            A missing, None or non-finite value is a refusal.
        targets: the desk's targets.
        stale: why the data is too old to act on; None if it is not.

    Returns:
        PRODUCTION with no reasons, or HOLD with all of them: stale data first, then
        the targets that are not met and by how much.
    """
    rules = (
        _Rule("mape", "MAPE", targets.mape_max, upper=True, percent=True),
        _Rule("sharpe", "Sharpe ratio", targets.sharpe_min, upper=False),
        _Rule("directional_accuracy", "directional accuracy", targets.directional_min, upper=False),
        _Rule("calibration_error", "calibration error", targets.calibration_max, upper=True),
    )
    refusals = [rule.refusal(metrics.get(rule.metric)) for rule in rules]
    reasons = [reason for reason in (stale, *refusals) if reason]
    return ("HOLD" if reasons else "PRODUCTION"), reasons
