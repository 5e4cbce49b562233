"""The Dagster code location: `build_definitions()` and `defs`. Nothing but wiring belongs here."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from cbi_pipeline.orchestration.alerting import alerts, holds, run_failures
from cbi_pipeline.orchestration.assets import (
    evaluation,
    features,
    raw,
    returning,
    selection,
    serving,
    training,
    warehouse,
)
from cbi_pipeline.orchestration.checks import ALL_CHECKS
from cbi_pipeline.orchestration.jobs import daily_job, refit, retrain
from cbi_pipeline.orchestration.resources import build_resources
from cbi_pipeline.orchestration.schedules import daily_inference
from cbi_pipeline.orchestration.sensors import new_manifest
from cbi_pipeline.profiles import get_profile
from cbi_pipeline.settings import Settings, load_settings


def build_definitions(
    settings: Settings | None = None, resource_overrides: Mapping[str, object] | None = None
) -> dg.Definitions:
    """All assets, checks, jobs, schedules, sensors and resources; tests pass settings or replace single resources."""
    settings = settings or load_settings()
    return dg.Definitions(
        assets=[
            *dg.load_assets_from_modules([raw, features, selection, evaluation, serving]),
            *_stored_in(settings.warehouse),
            *([returning.return_manifest] if settings.bundle_uri else []),
            training.build_trained_models(get_profile(settings.profile)),
        ],
        asset_checks=ALL_CHECKS,
        jobs=[retrain, daily_job(settings), refit],
        schedules=[daily_inference(settings)],
        sensors=[new_manifest, run_failures, holds, alerts],
        executor=dg.in_process_executor,
        resources={**build_resources(settings), **(resource_overrides or {})},
    )


def _stored_in(kind: str) -> list[dg.AssetsDefinition]:
    """The assets of tables and views, marked with the kind of warehouse that holds them."""
    return [
        asset.map_asset_specs(lambda spec: spec.replace_attributes(kinds={kind}))
        for asset in dg.load_assets_from_modules([warehouse])
        if isinstance(asset, dg.AssetsDefinition)
    ]


defs = build_definitions()
