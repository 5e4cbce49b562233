"""Checks of what is decided on and published: the scorecard and the stored forecast. Errors block."""

import dagster as dg

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.references import PredictionsRef, ScorecardRef
from cbi_pipeline.orchestration.resources import WarehouseResource


@dg.asset_check(asset="scorecard", blocking=True)
def every_entry_is_scored_at_every_horizon(scorecard: ScorecardRef) -> dg.AssetCheckResult:
    """No entry of the leaderboard lacks a horizon: an incomplete table decides nothing."""
    from cbi_pipeline.stages.leaderboard import leaderboard

    missing = [
        f"{record['entry']} at {horizon} months"
        for record in leaderboard(scorecard)
        for horizon in HORIZONS_MONTHS
        if record[f"rmse_ratio_{horizon}m"] is None
    ]
    return dg.AssetCheckResult(passed=not missing, description=f"missing: {', '.join(missing)}" if missing else None)


@dg.asset_check(asset="daily_predictions")
def no_session_is_left_out(daily_predictions: PredictionsRef) -> dg.AssetCheckResult:
    """No session stays without a forecast because each model that could make it was fitted on later data."""
    left_out = ", ".join(map(str, daily_predictions.left_out))
    return dg.AssetCheckResult(
        passed=not left_out,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"no forecast of {left_out}: the model that serves was fitted on later data, and so was the one "
        "before it, or it cannot be asked any more"
        if left_out
        else None,
    )


@dg.asset_check(asset=["warehouse", "predictions"], blocking=True, additional_ins={"daily_predictions": dg.AssetIn()})
def stored_rows_equal_the_forecast(
    daily_predictions: PredictionsRef, warehouse: WarehouseResource
) -> dg.AssetCheckResult:
    """The rows in the warehouse are, value for value, the rows that were forecast."""
    from cbi_pipeline.stages.publishing import differing_rows

    different = differing_rows(daily_predictions, warehouse.open())
    return dg.AssetCheckResult(
        passed=not different, description="; ".join(different) or None, metadata={"rows": daily_predictions.rows}
    )
