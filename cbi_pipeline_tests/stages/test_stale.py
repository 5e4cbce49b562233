"""Stale sources in bundles of real rows: what `predict` refuses before it writes, and what rows say."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pandas as pd
import pytest

from cbi_pipeline import stages
from cbi_pipeline.bundle.build import build_bundle
from cbi_pipeline.bundle.locate import find_bundle
from cbi_pipeline.contracts.references import LiveSkillRef
from cbi_pipeline.errors import StaleInputsError
from cbi_pipeline.features.declarations import DGS2, VIXCLS, WASDE_STOCKS, WASDE_USE
from cbi_pipeline.orchestration.run import load_reference
from cbi_pipeline.registry.artifact_store import ArtifactStore
from cbi_pipeline.stages import forecast_days, serving
from cbi_pipeline.stages.serving import load_forecast_rows
from cbi_pipeline.warehouse import DuckDBWarehouse
from cbi_pipeline_tests.projects import change_warehouse
from cbi_pipeline_tests.test_stale_inputs import cut

LAST = date(2024, 12, 31)


def on_bundle(settings, tables):
    """`stages.predict` with the champion of a finished project on a new bundle of these tables, for days or None."""
    build_bundle(tables, settings.bundles_dir, created_at=datetime(2025, 1, 2, tzinfo=UTC), compression_level=1)
    raw = tuple(stages.raw_table_references(find_bundle(settings)).values())
    store = ArtifactStore(settings.artifacts_dir)
    features, _ = stages.build_curated_features(raw, store)
    assert features.last_date == LAST
    live = load_reference(settings, "warehouse/live_skill", LiveSkillRef)
    live = live.model_copy(update={"dataset_version": features.dataset_version})
    return lambda days=None: stages.predict(
        features,
        raw,
        settings=settings,
        run_id="a test",
        store=store,
        models_dir=settings.models_dir,
        warehouse=DuckDBWarehouse(settings.warehouse_path),
        live=live,
        days=days,
    )


def state(settings):
    """The bytes of the warehouse, and the forecasts that are stored beside it."""
    folders = (settings.artifacts_dir / "predictions").iterdir()
    return settings.warehouse_path.read_bytes(), sorted(folder.name for folder in folders)


def test_without_what_it_needs_nothing_is_forecast_and_nothing_is_written(copied_settings, starter_tables):
    change_warehouse(copied_settings, "DELETE FROM predictions")
    forecast, before = (
        on_bundle(copied_settings, cut(starter_tables, WASDE_STOCKS, WASDE_USE, VIXCLS)),
        state(copied_settings),
    )
    for days in (None, (LAST, LAST)):
        with pytest.raises(StaleInputsError) as refused:
            forecast(days)
        assert set(refused.value.stale) == {WASDE_STOCKS.label, WASDE_USE.label}
        assert "macro_series/VIXCLS is 8 days old (at most 7)" in refused.value.rule, "what is stale beside is named"
        assert state(copied_settings) == before


def test_what_it_can_go_without_is_said_in_the_row_which_holds(copied_settings, starter_tables, monkeypatch):
    change_warehouse(copied_settings, "DELETE FROM predictions")
    earned = {horizon: ("PRODUCTION", []) for horizon in (3, 6, 9, 12)}
    monkeypatch.setattr(serving, "_statuses", lambda *_: earned)
    reference, _ = on_bundle(copied_settings, cut(starter_tables, VIXCLS))()
    for row in load_forecast_rows(reference):
        assert row.status == "HOLD"
        assert row.status_reasons.split("; ") == [
            "futures_curve/ZL is 397 days old (at most 7): forecast made without it, the anchor adds no curve",
            "macro_series/VIXCLS is 8 days old (at most 7): forecast made without it, it moves nothing at this horizon",
        ]
    assert reference.refused == ()
    (line,) = reference.made_without
    assert line.startswith("2024-12-31: ")
    assert "macro_series/VIXCLS is 8 days old (at most 7)" in line


def test_a_published_row_stays_what_it_was(finished_run, copied_settings, starter_tables):
    reference, _ = on_bundle(copied_settings, cut(starter_tables, VIXCLS, DGS2))()
    assert reference.reused
    assert [row.model_dump() for row in load_forecast_rows(reference)] == finished_run.outcome.forecast


@pytest.mark.slow
def test_a_missed_session_that_was_stale_is_passed_over_and_the_others_are_filled(
    copied_settings, starter_tables, monkeypatch, finished_run
):
    """Without the releases of 2024-10 and 2024-11 there is none of 2024-12-09; that of 12-10 is there by 14:00."""
    change_warehouse(copied_settings, "DELETE FROM predictions")
    published = finished_run.outcome.forecast[0] | {"as_of_date": date(2024, 12, 6)}
    DuckDBWarehouse(copied_settings.warehouse_path).merge("predictions", [published])
    monkeypatch.setattr(forecast_days, "_fitted_to", lambda model: date(2024, 12, 2))
    fundamentals = starter_tables["fundamentals"]
    gone = fundamentals["release_date"].between("2024-10-01", "2024-11-30")
    tables = {**starter_tables, "fundamentals": fundamentals[~gone].reset_index(drop=True)}
    forecast = on_bundle(copied_settings, tables)
    reference, _ = forecast()
    made = {row.as_of_date for row in load_forecast_rows(reference)}
    asked = {day.date() for day in pd.bdate_range("2024-12-09", LAST)} - {date(2024, 12, 25)}
    assert made == asked - {date(2024, 12, 9)}
    (line,) = reference.refused
    assert line.startswith("2024-12-09: ")
    assert WASDE_USE.label in line
    with pytest.raises(StaleInputsError, match="forecast of 2024-12-09"):
        forecast((date(2024, 12, 9), LAST))
