"""Jobs: `retrain` is everything, `daily` is a forecast from the champion that serves."""

import dagster as dg

RETRAIN = "retrain"
DAILY = "daily"

retrain = dg.define_asset_job(
    RETRAIN,
    selection=dg.AssetSelection.all(),
    executor_def=dg.in_process_executor,
    description="All of CBI: raw tables, features, folds, networks, scorecard, champion, forecast, warehouse.",
)

daily = dg.define_asset_job(
    DAILY,
    selection=dg.AssetSelection.groups("raw")
    | dg.AssetSelection.assets("curated_features", "daily_predictions")
    | dg.AssetSelection.assets(["warehouse", "predictions"], ["warehouse", "vw_latest_forecast"]),
    executor_def=dg.in_process_executor,
    description="Today's forecast: raw tables, features, the champion's predictions, warehouse.",
)
