"""Warehouse tables and views: one asset each, written by MERGE, never overwritten."""

from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg

from cbi_pipeline.contracts.references import (
    FeaturesRef,
    LiveSkillRef,
    ModelRef,
    PredictionsRef,
    RawTableRef,
    ScorecardRef,
    SelectionRef,
    WarehouseRef,
    WinnerRef,
)
from cbi_pipeline.contracts.warehouse import (
    DATA_QUALITY,
    EXPERIMENTS,
    FEATURE_IMPORTANCE,
    GATE_VERDICTS,
    LIVE_SKILL,
    METRICS,
    MODEL_REGISTRY,
    OUT_OF_FOLD,
    PREDICTIONS,
    REALIZED_PRICES,
    SCORECARDS,
    WarehouseTable,
)
from cbi_pipeline.contracts.warehouse_views import LATEST_FORECAST, WAREHOUSE_VIEWS, WarehouseView
from cbi_pipeline.orchestration.cells import Cells
from cbi_pipeline.orchestration.checks.live_skill import SPECS, live_results
from cbi_pipeline.orchestration.freshness import EVERY_SESSION
from cbi_pipeline.orchestration.metadata import (
    OWNERS,
    RAW_ASSET_NAMES,
    storage_layout,
    table,
    warehouse_table_schema,
)
from cbi_pipeline.orchestration.resources import ModelRegistryResource, SettingsResource, WarehouseResource


def _asset(
    contract: WarehouseTable | WarehouseView, **more: Any
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """The asset of a table or view, described by its contract."""
    return dg.asset(
        key=["warehouse", contract.name],
        group_name="warehouse",
        owners=OWNERS,
        description=contract.description,
        metadata={"dagster/column_schema": warehouse_table_schema(contract), **storage_layout(contract)},
        **more,
    )


def _reads(view: WarehouseView) -> list[list[str]]:
    """Keys of the tables and views in its query: it is read when all of them are written."""
    return [["warehouse", name] for name in view.reads]


def _output(reference: WarehouseRef, **metadata: dg.MetadataValue) -> dg.Output[WarehouseRef]:
    return dg.Output(
        reference,
        metadata={
            "dagster/row_count": reference.rows,
            "dagster/table_name": reference.full_name,
            "location": reference.location,
            **({"console": dg.MetadataValue.url(reference.console_url)} if reference.console_url else {}),
            "inserted": reference.inserted,
            "unchanged": reference.unchanged,
            **metadata,
        },
    )


@_asset(PREDICTIONS, freshness_policy=EVERY_SESSION)
def predictions(daily_predictions: PredictionsRef, warehouse: WarehouseResource) -> dg.Output[WarehouseRef]:
    """Publish the forecast rows; rows that are already there stay as they are."""
    from cbi_pipeline import stages

    return _output(stages.publish_predictions(daily_predictions, warehouse.open()))


@_asset(METRICS)
def metrics(
    context: dg.AssetExecutionContext, scorecard: ScorecardRef, warehouse: WarehouseResource
) -> dg.Output[WarehouseRef]:
    """Publish the scorecard, one row per entry, horizon, fold and metric."""
    from cbi_pipeline import stages

    return _output(stages.publish_metrics(scorecard, warehouse.open(), run_id=context.run.run_id))


@_asset(SCORECARDS)
def scorecards(
    context: dg.AssetExecutionContext,
    scorecard: ScorecardRef,
    bakeoff_winner: WinnerRef,
    warehouse: WarehouseResource,
    run_settings: SettingsResource,
) -> dg.Output[WarehouseRef]:
    """Publish what was evaluated, on which days, and what won."""
    from cbi_pipeline import stages

    profile = run_settings.load().profile
    return _output(
        stages.publish_scorecard(
            scorecard, bakeoff_winner, warehouse.open(), profile=profile, run_id=context.run.run_id
        )
    )


@_asset(EXPERIMENTS)
def experiments(
    context: dg.AssetExecutionContext,
    scorecard: ScorecardRef,
    trained_models: Cells,
    warehouse: WarehouseResource,
    run_settings: SettingsResource,
) -> dg.Output[WarehouseRef]:
    """Publish what was trained and how it fared, one row per architecture and target."""
    from cbi_pipeline import stages

    return _output(
        stages.publish_experiments(
            scorecard,
            trained_models,
            warehouse.open(),
            profile=run_settings.load().profile,
            run_id=context.run.run_id,
        )
    )


@_asset(GATE_VERDICTS, deps=["scorecard"])
def gate_verdicts(warehouse: WarehouseResource) -> dg.Output[WarehouseRef]:
    """The verdicts as they are stored: the checks of the scorecard write them, the champion reads them."""
    from cbi_pipeline import stages

    return _output(stages.stored_table(GATE_VERDICTS.name, warehouse.open()))


@_asset(OUT_OF_FOLD, deps=["scorecard"])
def out_of_fold_forecasts(warehouse: WarehouseResource) -> dg.Output[WarehouseRef]:
    """The rows from which SQL computes the metrics again: the checks of the scorecard write them."""
    from cbi_pipeline import stages

    return _output(stages.stored_table(OUT_OF_FOLD.name, warehouse.open()))


@_asset(MODEL_REGISTRY)
def model_registry(
    context: dg.AssetExecutionContext,
    champion: ModelRef,
    warehouse: WarehouseResource,
    run_settings: SettingsResource,
) -> dg.Output[WarehouseRef]:
    """Publish how the model that serves came to serve: when, by whom, why."""
    from cbi_pipeline import stages

    models_dir = run_settings.load().models_dir
    return _output(stages.publish_registry(models_dir, warehouse.open(), run_id=context.run.run_id))


@_asset(REALIZED_PRICES)
def realized_prices(
    context: dg.AssetExecutionContext,
    raw_futures_daily: RawTableRef,
    raw_futures_curve: RawTableRef,
    warehouse: WarehouseResource,
) -> dg.Output[WarehouseRef]:
    """Publish the closes of the bundle; a gate may have done so already."""
    from cbi_pipeline import stages

    prices = (raw_futures_daily, raw_futures_curve)
    return _output(stages.publish_realized_prices(prices, warehouse.open(), run_id=context.run.run_id))


@_asset(DATA_QUALITY, ins={name: dg.AssetIn(asset_name) for name, asset_name in RAW_ASSET_NAMES.items()})
def data_quality(
    context: dg.AssetExecutionContext,
    curated_features: FeaturesRef,
    futures_daily: RawTableRef,
    futures_curve: RawTableRef,
    macro_series: RawTableRef,
    cot_weekly: RawTableRef,
    weather_daily: RawTableRef,
    policy: RawTableRef,
    fundamentals: RawTableRef,
    warehouse: WarehouseResource,
) -> dg.Output[WarehouseRef]:
    """Publish the age of every source at the last session of the features."""
    from cbi_pipeline import stages

    raw = (futures_daily, futures_curve, macro_series, cot_weekly, weather_daily, policy, fundamentals)
    return _output(stages.publish_data_quality(curated_features, raw, warehouse.open(), run_id=context.run.run_id))


@_asset(FEATURE_IMPORTANCE)
def feature_importance(
    context: dg.AssetExecutionContext, feature_selection: SelectionRef, warehouse: WarehouseResource
) -> dg.Output[WarehouseRef]:
    """Publish the ranks of the features and which of them models may read."""
    from cbi_pipeline import stages

    return _output(stages.publish_feature_importance(feature_selection, warehouse.open(), run_id=context.run.run_id))


@_asset(
    LIVE_SKILL,
    deps=[["warehouse", read.name] for read in (REALIZED_PRICES, OUT_OF_FOLD, MODEL_REGISTRY)],
    check_specs=SPECS,
    dagster_type=LiveSkillRef,
)
def live_skill(
    context: dg.AssetExecutionContext,
    curated_features: FeaturesRef,
    model_registry: ModelRegistryResource,
    warehouse: WarehouseResource,
) -> Iterator[dg.Output[WarehouseRef] | dg.AssetCheckResult]:
    """Judge what has matured of the forecasts in `predictions`, as earlier runs left it, before the next are made."""
    from cbi_pipeline import stages

    reference, found = stages.evaluate_live_skill(
        curated_features, model_registry.path, warehouse.open(), run_id=context.run.run_id
    )
    shown = ("horizon_months", "metric", "value", "low", "high", "n", "outcome")
    yield _output(reference, figures=table({name: getattr(one, name) for name in shown} for one in found.figures))
    yield from live_results(reference, found)


@_asset(LATEST_FORECAST, deps=_reads(LATEST_FORECAST))
def vw_latest_forecast(warehouse: WarehouseResource) -> dg.Output[WarehouseRef]:
    """The view that dashboards read: the newest forecast of each horizon."""
    from cbi_pipeline import stages

    reference, rows = stages.latest_forecast(warehouse.open())
    return _output(reference, forecast=table(rows))


def _view(view: WarehouseView) -> dg.AssetsDefinition:
    """The asset of a view: it is read once what it shows is written, so that a run ends red where it cannot be."""

    @_asset(view, deps=_reads(view))
    def read(warehouse: WarehouseResource) -> dg.Output[WarehouseRef]:
        from cbi_pipeline import stages

        return _output(stages.read_view(view.name, warehouse.open()))

    return read


views = [_view(view) for view in WAREHOUSE_VIEWS.values() if view != LATEST_FORECAST]
