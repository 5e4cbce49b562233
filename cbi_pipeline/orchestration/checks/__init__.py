"""Asset checks: thin wrappers around what the stages already prove, so that the UI shows it in green or red.

Blocking, with ERROR severity: a failed check stops everything downstream in the same run.
"""

import dagster as dg

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.references import FeaturesRef, PredictionsRef, ScorecardRef
from cbi_pipeline.orchestration.resources import WarehouseResource


@dg.asset_check(asset="curated_features", blocking=True)
def features_are_locked(curated_features: FeaturesRef) -> dg.AssetCheckResult:
    """Names, order, dtype and hash of the stored frame are those of the catalogue."""
    from cbi_pipeline.errors import FeatureError
    from cbi_pipeline.features.build import check_frame
    from cbi_pipeline.stages.features import load_features

    try:
        check_frame(load_features(curated_features))
    except FeatureError as error:
        return dg.AssetCheckResult(passed=False, description=str(error))
    return dg.AssetCheckResult(passed=True, metadata={"feature_hash": curated_features.feature_hash})


@dg.asset_check(asset="scorecard", blocking=True)
def every_entry_is_scored_at_every_horizon(scorecard: ScorecardRef) -> dg.AssetCheckResult:
    """No entry of the leaderboard lacks a horizon: an incomplete table decides nothing."""
    from cbi_pipeline.stages.evaluation import leaderboard

    missing = [
        f"{record['entry']} at {horizon} months"
        for record in leaderboard(scorecard)
        for horizon in HORIZONS_MONTHS
        if record[f"rmse_ratio_{horizon}m"] is None
    ]
    return dg.AssetCheckResult(passed=not missing, description=f"missing: {', '.join(missing)}" if missing else None)


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


ALL_CHECKS = [features_are_locked, every_entry_is_scored_at_every_horizon, stored_rows_equal_the_forecast]
