"""The champion, refitted on all data, and the forecasts it makes."""

from collections.abc import Iterator
from datetime import date

import dagster as dg

from cbi_pipeline.contracts.references import (
    FeaturesRef,
    FoldsRef,
    LiveSkillRef,
    ModelRef,
    PredictionsRef,
    RawTableRef,
    ScorecardRef,
    SelectionRef,
    WinnerRef,
)
from cbi_pipeline.errors import StaleInputsError
from cbi_pipeline.orchestration.assets.training import training_run
from cbi_pipeline.orchestration.freshness import EVERY_SESSION
from cbi_pipeline.orchestration.jobs import DATASET_VERSION_TAG, SESSION_TAG
from cbi_pipeline.orchestration.metadata import OWNERS, table
from cbi_pipeline.orchestration.resources import (
    DEVICE_POOL,
    ArtifactStoreResource,
    DeviceResource,
    ModelRegistryResource,
    SettingsResource,
    WarehouseResource,
)


@dg.asset(group_name="serving", kinds={"pytorch"}, owners=OWNERS, pool=DEVICE_POOL)
def candidate(
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
    """The winner refitted up to the bundle's end (label-purged), stored whole under `models/`; it does not serve yet.

    After a gate turned a run red, `cbi models refit` makes it alone, for a person to look at and promote."""
    from cbi_pipeline import stages

    settings = run_settings.load()
    run = training_run(curated_features, fitted_anchor, fitted_scaler, settings, device, artifact_store)
    reference = stages.refit_candidate(
        bakeoff_winner, scorecard, feature_selection, run, settings=settings, warehouse=warehouse.open()
    )
    return dg.Output(
        reference,
        metadata={
            **_described(reference),
            "features_locked": len(feature_selection.chosen),
            "selected_hash": feature_selection.selected_hash,
        },
    )


@dg.asset(group_name="serving", kinds={"pytorch"}, owners=OWNERS)
def champion(
    candidate: ModelRef,
    bakeoff_winner: WinnerRef,
    scorecard: ScorecardRef,
    warehouse: WarehouseResource,
    run_settings: SettingsResource,
) -> dg.Output[ModelRef]:
    """The model that serves: the candidate, if the verdicts of the gates, read from the warehouse, let it."""
    from cbi_pipeline import stages

    settings = run_settings.load()
    reference = stages.promote_candidate(
        candidate, bakeoff_winner, scorecard, settings=settings, warehouse=warehouse.open()
    )
    return dg.Output(
        reference,
        metadata={
            "promotion": table([stages.champion_record(settings.models_dir)]),
            **_described(reference),
            "candidate": candidate.model_version,
        },
    )


def _described(model: ModelRef) -> dict[str, dg.MetadataValue | str | bool]:
    return {
        "model_version": model.model_version,
        "architecture": model.architecture,
        "dataset_version": model.dataset_version,
        "reused": model.reused,
        "folder": dg.MetadataValue.path(str(model.path)),
    }


INPUTS = "inputs_are_fresh"
"""Check of `daily_predictions`, made before anything is forecast: who asks is the model that serves at that moment."""
STALE = "stale"
"""Metadata of that check: each source that stopped it, with what its newest value describes."""


class ForecastDays(dg.Config):
    """Which trade dates to forecast: `first` to `last`; without them the newest, and those missed before it."""

    first: str | None = None
    last: str | None = None

    def span(self) -> tuple[date, date] | None:
        """Both as dates; None if neither is given, and one date if only one is."""
        given = [date.fromisoformat(day) for day in (self.first or self.last, self.last or self.first) if day]
        return (given[0], given[1]) if given else None


@dg.asset(
    group_name="serving",
    kinds={"pandas"},
    owners=OWNERS,
    deps=[champion],
    freshness_policy=EVERY_SESSION,
    check_specs=[
        dg.AssetCheckSpec(
            INPUTS,
            asset="daily_predictions",
            blocking=True,
            description="No source that the model reads is beyond its maximum age at the close of a trade date. Red: "
            "there is no forecast without it, and none is made. Yellow: the forecast is made without it, and says so.",
        )
    ],
    ins={"live_skill": dg.AssetIn(["warehouse", "live_skill"])},
)
def daily_predictions(
    context: dg.AssetExecutionContext,
    config: ForecastDays,
    curated_features: FeaturesRef,
    live_skill: LiveSkillRef,
    raw_futures_daily: RawTableRef,
    raw_futures_curve: RawTableRef,
    raw_macro_series: RawTableRef,
    raw_cot_weekly: RawTableRef,
    raw_weather_daily: RawTableRef,
    raw_policy: RawTableRef,
    raw_fundamentals: RawTableRef,
    artifact_store: ArtifactStoreResource,
    model_registry: ModelRegistryResource,
    warehouse: WarehouseResource,
    run_settings: SettingsResource,
) -> Iterator[dg.AssetCheckResult | dg.Output[PredictionsRef]]:
    """Forecasts of the newest trade date, and of those missed before it, with quantiles, status and its reasons.

    A run of the schedule or of a new bundle leaves sessions alone that have a forecast, whichever model made it.
    """
    from cbi_pipeline import stages

    prices, others = (raw_futures_daily, raw_futures_curve), (raw_cot_weekly, raw_weather_daily, raw_policy)
    try:
        reference, rows = stages.predict(
            curated_features,
            (*prices, raw_macro_series, raw_fundamentals, *others),
            settings=run_settings.load(),
            run_id=context.run.run_id,
            store=artifact_store.open(),
            models_dir=model_registry.path,
            warehouse=warehouse.open(),
            live=live_skill,
            days=config.span(),
            only_new=bool({SESSION_TAG, DATASET_VERSION_TAG} & set(context.run.tags)),
        )
    except StaleInputsError as refused:
        ends = ", ".join(f"{source} ends on {newest}" for source, newest in sorted(refused.stale.items()))
        yield dg.AssetCheckResult(passed=False, check_name=INPUTS, description=str(refused), metadata={STALE: ends})
        raise
    yield _freshness(reference)
    yield dg.Output(
        reference,
        metadata={
            "dagster/row_count": reference.rows,
            "first_as_of_date": str(reference.first_as_of_date),
            "as_of_date": str(reference.as_of_date),
            "model_version": reference.model_version,
            "already_published": reference.reused,
            "left_out": ", ".join(map(str, reference.left_out)),
            "forecast": table(rows),
        },
    )


def _freshness(forecasts: PredictionsRef) -> dg.AssetCheckResult:
    """Yellow where a forecast was made without a source, or none could be made of a session that was missed."""
    parts = [
        *(f"made without a source: {line}" for line in forecasts.made_without),
        *(f"no forecast: {line}" for line in forecasts.refused),
    ]
    return dg.AssetCheckResult(
        passed=not parts,
        check_name=INPUTS,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(parts) or None,
        metadata={"sessions without a forecast": len(forecasts.refused)},
    )
