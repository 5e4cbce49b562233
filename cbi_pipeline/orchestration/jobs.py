"""Jobs: `retrain` is everything, `daily` a forecast from the champion that serves, `refit` a candidate for a person."""

from typing import TYPE_CHECKING

import dagster as dg

from cbi_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

RETRAIN = "retrain"
DAILY = "daily"
REFIT = "refit"
DATASET_VERSION_TAG = "cbi/dataset_version"
"""Run tag: the bundle that a run is for; without it a run takes the newest."""
_WHOLE_RETRIES = {"dagster/retry_strategy": "ALL_STEPS"}
"""A run that crashed is tried again whole: blocking checks bind inside one run only, and what is done is re-used."""

SESSION_TAG = "cbi/session"
"""Run tag: the CBOT session that a scheduled run is for; the data must reach it (`data_reach_the_session`)."""

retrain = dg.define_asset_job(
    RETRAIN,
    selection=dg.AssetSelection.all(),
    executor_def=dg.in_process_executor,
    tags=_WHOLE_RETRIES,
    description="All of CBI: raw tables, features, folds, networks, scorecard, champion, forecast, warehouse.",
)

refit = dg.define_asset_job(
    REFIT,
    selection=dg.AssetSelection.assets("bakeoff_winner", "candidate"),
    executor_def=dg.in_process_executor,
    tags=_WHOLE_RETRIES,
    description="The winner of the last scorecard as candidate, whatever the gates say: it does not serve.",
)

_DAILY_TABLES = ("predictions", "realized_prices", "live_skill", "data_quality")
_DAILY_VIEWS = (
    "vw_latest_forecast",
    "vw_production_forecast",
    "vw_forecast_performance",
    "vw_data_freshness",
    "vw_live_skill",
)


def daily_job(settings: Settings) -> "UnresolvedAssetJobDefinition":
    """Today's forecast; where there is a bucket, it ends with the return manifest."""
    stored = (["warehouse", name] for name in (*_DAILY_TABLES, *_DAILY_VIEWS))
    returned = ("return_manifest",) if settings.bundle_uri else ()
    return dg.define_asset_job(
        DAILY,
        selection=dg.AssetSelection.groups("raw")
        | dg.AssetSelection.assets("curated_features", "daily_predictions", *stored, *returned),
        executor_def=dg.in_process_executor,
        tags=_WHOLE_RETRIES,
        description="Today's forecast: raw tables, features, the champion's predictions, warehouse.",
    )
