"""The return manifest: it tells the cloud side that a run's rows are back. An asset only where there is a bucket."""

import dagster as dg

from cbi_pipeline.contracts.references import PredictionsRef
from cbi_pipeline.orchestration.metadata import OWNERS
from cbi_pipeline.orchestration.resources import BundleStoreResource, ModelRegistryResource, WarehouseResource

_WRITTEN_BEFORE = (
    "predictions",
    "realized_prices",
    "data_quality",
    "live_skill",
    "metrics",
    "gate_verdicts",
    "vw_latest_forecast",
)


@dg.asset(
    group_name="warehouse",
    kinds={"gcs"},
    owners=OWNERS,
    deps=[["warehouse", name] for name in _WRITTEN_BEFORE],
)
def return_manifest(
    context: dg.AssetExecutionContext,
    daily_predictions: PredictionsRef,
    model_registry: ModelRegistryResource,
    warehouse: WarehouseResource,
    bundle_store: BundleStoreResource,
) -> dg.MaterializeResult:
    """A sealed note in the bucket: which rows are back in the warehouse, by count and hash of their keys."""
    from cbi_pipeline.stages.returning import return_forecast

    published = return_forecast(
        daily_predictions,
        model_registry.path,
        warehouse.open(),
        bundle_store.returns(),
        run_id=context.run.run_id,
    )
    return dg.MaterializeResult(
        metadata={
            "uri": published.uri,
            "written": published.written,
            **{f"rows of {name}": table.rows for name, table in published.manifest.tables.items()},
        }
    )
