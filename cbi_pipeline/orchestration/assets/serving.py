"""The champion, refitted on all data, and the forecasts it makes."""

import dagster as dg

from cbi_pipeline.contracts.references import (
    FeaturesRef,
    FoldsRef,
    ModelRef,
    PredictionsRef,
    RawTableRef,
    ScorecardRef,
    SelectionRef,
    WinnerRef,
)
from cbi_pipeline.orchestration.assets.training import training_run
from cbi_pipeline.orchestration.metadata import OWNERS, table
from cbi_pipeline.orchestration.resources import (
    ArtifactStoreResource,
    DeviceResource,
    ModelRegistryResource,
    SettingsResource,
    WarehouseResource,
)


@dg.asset(group_name="serving", kinds={"pytorch"}, owners=OWNERS)
def champion(
    bakeoff_winner: WinnerRef,
    scorecard: ScorecardRef,
    curated_features: FeaturesRef,
    fitted_anchor: FoldsRef,
    fitted_scaler: FoldsRef,
    feature_selection: SelectionRef,
    artifact_store: ArtifactStoreResource,
    device: DeviceResource,
    warehouse: WarehouseResource,
    run_settings: SettingsResource,
) -> dg.Output[ModelRef]:
    """The winner refitted up to the bundle's end (label-purged), stored whole under `models/`, made champion if the
    verdicts of the gates, which it reads from the warehouse itself, let it."""
    from cbi_pipeline import stages

    settings = run_settings.load()
    run = training_run(curated_features, fitted_anchor, fitted_scaler, settings, device, artifact_store)
    reference = stages.refit_champion(
        bakeoff_winner, scorecard, feature_selection, run, settings=settings, warehouse=warehouse.open()
    )
    return dg.Output(
        reference,
        metadata={
            "promotion": table([stages.champion_record(settings.models_dir)]),
            "model_version": reference.model_version,
            "architecture": reference.architecture,
            "dataset_version": reference.dataset_version,
            "features_locked": len(feature_selection.chosen),
            "selected_hash": feature_selection.selected_hash,
            "reused": reference.reused,
            "folder": dg.MetadataValue.path(str(reference.path)),
        },
    )


@dg.asset(group_name="serving", kinds={"pandas"}, owners=OWNERS, deps=[champion])
def daily_predictions(
    context: dg.AssetExecutionContext,
    curated_features: FeaturesRef,
    raw_futures_daily: RawTableRef,
    raw_futures_curve: RawTableRef,
    raw_macro_series: RawTableRef,
    raw_fundamentals: RawTableRef,
    artifact_store: ArtifactStoreResource,
    model_registry: ModelRegistryResource,
    warehouse: WarehouseResource,
    run_settings: SettingsResource,
) -> dg.Output[PredictionsRef]:
    """Forecasts of the newest trade date at each horizon, with quantiles, status and its reasons."""
    from cbi_pipeline import stages

    raw = (raw_futures_daily, raw_futures_curve, raw_macro_series, raw_fundamentals)
    reference, rows = stages.predict(
        curated_features,
        raw,
        settings=run_settings.load(),
        run_id=context.run.run_id,
        store=artifact_store.open(),
        models_dir=model_registry.path,
        warehouse=warehouse.open(),
    )
    return dg.Output(
        reference,
        metadata={
            "dagster/row_count": reference.rows,
            "as_of_date": str(reference.as_of_date),
            "model_version": reference.model_version,
            "already_published": reference.reused,
            "forecast": table(rows),
        },
    )
