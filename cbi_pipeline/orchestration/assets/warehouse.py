"""Warehouse tables and views: one asset each, written by MERGE, never overwritten."""

import dagster as dg

from cbi_pipeline.contracts.references import ModelRef, PredictionsRef, ScorecardRef, WarehouseRef
from cbi_pipeline.contracts.warehouse import (
    EXPERIMENTS,
    GATE_VERDICTS,
    METRICS,
    MODEL_REGISTRY,
    OUT_OF_FOLD,
    PREDICTIONS,
)
from cbi_pipeline.orchestration.cells import Cells
from cbi_pipeline.orchestration.metadata import OWNERS, table, warehouse_table_schema
from cbi_pipeline.orchestration.resources import SettingsResource, WarehouseResource

_KIND = {"duckdb"}


def _output(reference: WarehouseRef, **metadata: dg.MetadataValue) -> dg.Output[WarehouseRef]:
    return dg.Output(
        reference,
        metadata={
            "dagster/row_count": reference.rows,
            "dagster/table_name": reference.name,
            "location": reference.location,
            "inserted": reference.inserted,
            "unchanged": reference.unchanged,
            **metadata,
        },
    )


@dg.asset(
    key=["warehouse", "predictions"],
    group_name="warehouse",
    kinds=_KIND,
    owners=OWNERS,
    description=PREDICTIONS.description,
    metadata={"dagster/column_schema": warehouse_table_schema(PREDICTIONS)},
)
def predictions(daily_predictions: PredictionsRef, warehouse: WarehouseResource) -> dg.Output[WarehouseRef]:
    """Publish the forecast rows; rows that are already there stay as they are."""
    from cbi_pipeline import stages

    return _output(stages.publish_predictions(daily_predictions, warehouse.open()))


@dg.asset(
    key=["warehouse", "metrics"],
    group_name="warehouse",
    kinds=_KIND,
    owners=OWNERS,
    description=METRICS.description,
    metadata={"dagster/column_schema": warehouse_table_schema(METRICS)},
)
def metrics(
    context: dg.AssetExecutionContext, scorecard: ScorecardRef, warehouse: WarehouseResource
) -> dg.Output[WarehouseRef]:
    """Publish the scorecard, one row per entry, horizon, fold and metric."""
    from cbi_pipeline import stages

    return _output(stages.publish_metrics(scorecard, warehouse.open(), run_id=context.run.run_id))


@dg.asset(
    key=["warehouse", "experiments"],
    group_name="warehouse",
    kinds=_KIND,
    owners=OWNERS,
    description=EXPERIMENTS.description,
    metadata={"dagster/column_schema": warehouse_table_schema(EXPERIMENTS)},
)
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


@dg.asset(
    key=["warehouse", "gate_verdicts"],
    group_name="warehouse",
    kinds=_KIND,
    owners=OWNERS,
    description=GATE_VERDICTS.description,
    deps=["scorecard"],
    metadata={"dagster/column_schema": warehouse_table_schema(GATE_VERDICTS)},
)
def gate_verdicts(warehouse: WarehouseResource) -> dg.Output[WarehouseRef]:
    """The verdicts as they are stored: the checks of the scorecard write them, the champion reads them."""
    from cbi_pipeline import stages

    return _output(stages.stored_table(GATE_VERDICTS.name, warehouse.open()))


@dg.asset(
    key=["warehouse", "out_of_fold_forecasts"],
    group_name="warehouse",
    kinds=_KIND,
    owners=OWNERS,
    description=OUT_OF_FOLD.description,
    deps=["scorecard"],
    metadata={"dagster/column_schema": warehouse_table_schema(OUT_OF_FOLD)},
)
def out_of_fold_forecasts(warehouse: WarehouseResource) -> dg.Output[WarehouseRef]:
    """The rows from which SQL computes the metrics again: the checks of the scorecard write them."""
    from cbi_pipeline import stages

    return _output(stages.stored_table(OUT_OF_FOLD.name, warehouse.open()))


@dg.asset(
    key=["warehouse", "model_registry"],
    group_name="warehouse",
    kinds=_KIND,
    owners=OWNERS,
    description=MODEL_REGISTRY.description,
    metadata={"dagster/column_schema": warehouse_table_schema(MODEL_REGISTRY)},
)
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


@dg.asset(
    key=["warehouse", "vw_latest_forecast"],
    group_name="warehouse",
    kinds=_KIND,
    owners=OWNERS,
    deps=[predictions],
    metadata={"dagster/column_schema": warehouse_table_schema(PREDICTIONS)},
)
def vw_latest_forecast(warehouse: WarehouseResource) -> dg.Output[WarehouseRef]:
    """The view that dashboards read: the newest forecast of each horizon."""
    from cbi_pipeline import stages

    reference, rows = stages.latest_forecast(warehouse.open())
    return _output(reference, forecast=table(rows))
