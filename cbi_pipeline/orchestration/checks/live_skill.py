"""Checks of live skill: matured errors and inputs, beside their bands. They are red, and do not block.

The rows of a run whose live errors or inputs are beyond their bands are written, on HOLD. The checks are made in the
step of the asset `live_skill`, whose figures they show: a step of their own would cost `cbi predict` more than they do.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from cbi_pipeline.contracts.references import LiveSkillRef
from cbi_pipeline.contracts.warehouse import LIVE_SKILL
from cbi_pipeline.orchestration.metadata import table

if TYPE_CHECKING:
    from cbi_pipeline.stages.live_skill import LiveSkill

ERRORS = "live_errors_within_bands"
INPUTS = "inputs_within_bands"
SPECS = [
    dg.AssetCheckSpec(
        ERRORS,
        asset=["warehouse", LIVE_SKILL.name],
        description="RMSE ratio to last price and MAPE of the newest matured forecasts are no larger than the "
        "back-test of the model explains. Red: forecasts of that horizon are on HOLD. Yellow: they cannot be judged, "
        "on HOLD too. Green while too few have matured.",
    ),
    dg.AssetCheckSpec(
        INPUTS,
        asset=["warehouse", LIVE_SKILL.name],
        description="The newest month of the features that the model reads is no further from the three years before "
        "it than the furthest was in 99 % of earlier months. Red: all forecasts are on HOLD.",
    ),
]
_NEAREST = 5


def live_results(reference: LiveSkillRef, found: "LiveSkill") -> Iterator[dg.AssetCheckResult]:
    """Both checks, from one evaluation."""
    yield _errors(reference, found)
    yield _inputs(reference, found)


def _errors(reference: LiveSkillRef, found: "LiveSkill") -> dg.AssetCheckResult:
    from cbi_pipeline.evaluation.live_skill import alarm_rate

    judged = [one for one in found.figures if one.judged]
    beyond = any(one.outcome == "beyond" for one in judged)
    reasons = [reason for months in reference.errors.values() for reason in months]
    unknown = {one.horizon_months: one.reason for one in judged if one.outcome == "not yet known"}
    rate = alarm_rate(judged)
    return dg.AssetCheckResult(
        passed=not reasons,
        check_name=ERRORS,
        severity=dg.AssetCheckSeverity.ERROR if beyond else dg.AssetCheckSeverity.WARN,
        description="; ".join(reasons)
        or "; ".join(f"{months} months: {why}" for months, why in unknown.items())
        or None,
        metadata={
            "judged": table(
                {
                    "months": one.horizon_months,
                    "figure": one.metric,
                    "value": one.value,
                    "at most": one.high,
                    "forecasts": one.n,
                    "windows of the back-test": one.windows,
                    "that do not overlap": one.periods,
                    "outcome": one.outcome,
                }
                for one in judged
            ),
            **({"false alarms at most, share of periods": rate} if rate is not None else {}),
        },
    )


def _inputs(reference: LiveSkillRef, found: "LiveSkill") -> dg.AssetCheckResult:
    drift = found.drift
    nearest = drift.scores.dropna().nlargest(_NEAREST)
    return dg.AssetCheckResult(
        passed=not reference.inputs,
        check_name=INPUTS,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(reference.inputs) or None,
        metadata={
            "summary": f"statistic {drift.statistic:.3g}, threshold {drift.threshold:.3g}, p = {drift.p_value:.3g}",
            "earlier months": drift.blocks,
            "furthest features": table({"feature": name, "score": float(score)} for name, score in nearest.items()),
        },
    )
