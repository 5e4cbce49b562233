"""The job `daily` on a bundle with a stale source: red at the forecast, nothing of it written, one alert."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest

from cbi_pipeline.alerts import open_box
from cbi_pipeline.bundle.build import build_bundle
from cbi_pipeline.definitions import build_definitions
from cbi_pipeline.errors import StaleInputsError
from cbi_pipeline.features.declarations import WASDE_STOCKS, WASDE_USE
from cbi_pipeline.orchestration.alerting import run_failures
from cbi_pipeline.orchestration.instance import open_instance
from cbi_pipeline.orchestration.resources import build_resources
from cbi_pipeline.orchestration.run import execute_job
from cbi_pipeline_tests.projects import change_warehouse, forecasts
from cbi_pipeline_tests.test_stale_inputs import cut

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
CHECK = dg.AssetCheckKey(dg.AssetKey("daily_predictions"), "inputs_are_fresh")


def latest(instance):
    """The last evaluation of the check."""
    (record,) = instance.event_log_storage.get_asset_check_execution_history(CHECK, limit=1)
    return record.event.dagster_event.asset_check_evaluation_data


def tick(instance, settings, cursor=None):
    resources = {"run_settings": build_resources(settings)["run_settings"]}
    with dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources) as context:
        return run_failures.evaluate_tick(context).cursor


@pytest.mark.slow
def test_a_source_that_the_model_needs_stops_the_forecast_with_one_alert(copied_settings, starter_tables):
    settings = copied_settings
    change_warehouse(settings, "DELETE FROM predictions")
    tables = cut(starter_tables, WASDE_STOCKS, WASDE_USE)
    build_bundle(tables, settings.bundles_dir, created_at=datetime(2025, 1, 2, tzinfo=UTC), compression_level=1)
    published = (settings.dagster_dir / "references" / "daily_predictions.json").read_bytes()
    with open_instance(settings) as instance:
        cursor = tick(instance, settings)
        with pytest.raises(StaleInputsError, match="wasde_us_soybean_oil_use_total is 81 days old"):
            execute_job(settings, "daily")
        job = build_definitions(settings).resolve_job_def("daily")
        for _ in range(2):
            assert not job.execute_in_process(instance=instance, run_config=QUIET, raise_on_error=False).success
            cursor = tick(instance, settings, cursor)
        check = latest(instance)
        assert (check.passed, check.severity, check.blocking) == (False, dg.AssetCheckSeverity.ERROR, True)
        failed = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
        assert len(failed) == 3
        for run in failed:
            events = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
            written = {event.asset_key.to_user_string() for event in (e.get_dagster_event() for e in events)}
            assert "curated_features" in written
            assert not {"daily_predictions", "warehouse/predictions", "warehouse/vw_latest_forecast"} & written
    assert forecasts(settings) == []
    assert (settings.dagster_dir / "references" / "daily_predictions.json").read_bytes() == published
    (posted,) = open_box(settings).read().values()
    ends = f"{WASDE_STOCKS.label} ends on 2024-10-11, {WASDE_USE.label} ends on 2024-10-11"
    assert posted.alert.key == f"stale-inputs/{ends}"
    assert posted.alert.happened.startswith(f"sources that the model needs are stale: {ends}\n")
    assert "none was written" in posted.alert.not_done
    assert "cbi sources status" in posted.alert.look
    assert failed[1].run_id in posted.alert.look, "the first that nobody saw in a terminal"


def test_what_a_forecast_was_made_without_shows_yellow(finished_run):
    with open_instance(finished_run.settings) as instance:
        check = latest(instance)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "made without a source: 2024-12-31: futures_curve/ZL is 397 days old (at most 7)" in check.description
    for row in finished_run.outcome.forecast:
        assert "futures_curve/ZL is 397 days old (at most 7): forecast made without it" in row["status_reasons"]
