"""The checks of curated_features inside a run: errors stop what comes after, warnings are shown."""

from __future__ import annotations

import dagster as dg
import pytest

from cbi_pipeline.definitions import build_definitions
from cbi_pipeline.features.validation import Finding
from cbi_pipeline.orchestration.checks.features import DESCRIPTIONS, check_result
from cbi_pipeline.orchestration.instance import prepare_dagster_home
from cbi_pipeline.stages import features as stage

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture
def run_with(new_settings, monkeypatch):
    """Run raw tables, features, their checks and what follows; the checks see the last year of one column altered."""

    def run(column=None, value=None):
        load = stage.load_features

        def altered(reference):
            frame = load(reference)
            if column is not None:
                frame.iloc[-252:, frame.columns.get_loc(column)] = value
            return frame

        monkeypatch.setattr(stage, "load_features", altered)
        prepare_dagster_home(new_settings)
        definitions = build_definitions(new_settings)
        selection = dg.AssetSelection.assets("curated_features").upstream() | dg.AssetSelection.assets("fitted_anchor")
        job = dg.Definitions(
            assets=definitions.assets,
            asset_checks=definitions.asset_checks,
            resources=definitions.resources,
            executor=definitions.executor,
            jobs=[dg.define_asset_job("features_only", selection=selection)],
        ).resolve_job_def("features_only")
        with dg.DagsterInstance.get() as instance:
            result = job.execute_in_process(instance=instance, raise_on_error=False, run_config=QUIET)
        checks = {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}
        built = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
        return result.success, checks, built

    return run


def findings_table(evaluation):
    return [record.data for record in evaluation.metadata["findings"].records]


def test_the_starter_features_pass_and_their_warnings_are_shown(run_with):
    success, checks, built = run_with()
    assert success
    assert "fitted_anchor" in built
    of_raw_tables = {"rows_make_sense", "data_are_recent", "data_reach_the_session"}
    assert set(checks) == {*DESCRIPTIONS, "features_are_locked"} | of_raw_tables
    assert [name for name, check in checks.items() if not check.passed and name in DESCRIPTIONS] == [
        "sources_are_fresh"
    ]
    shown = checks["sources_are_fresh"]
    assert shown.severity == dg.AssetCheckSeverity.WARN
    subjects = [row["subject"] for row in findings_table(shown)]
    assert {"futures_curve/ZL", "brazil_precip_7d_zscore"} <= set(subjects)
    assert all(subject in shown.description for subject in subjects)
    assert checks["recent_rows_resemble_history"].metadata["earlier months"].value > 200


def test_an_error_blocks_and_every_other_check_is_still_shown(run_with):
    success, checks, built = run_with("RSI_14", 50.0)
    assert not success
    assert "fitted_anchor" not in built
    assert set(DESCRIPTIONS) <= set(checks)
    failed = checks["columns_move"]
    assert (failed.passed, failed.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert [(row["severity"], row["subject"]) for row in findings_table(failed)] == [("error", "RSI_14")]


def test_a_warning_does_not_block(run_with):
    success, checks, built = run_with("midwest_GDD_base10C", 100.0)
    assert success
    assert "fitted_anchor" in built
    shown = checks["columns_move"]
    assert (shown.passed, shown.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert [(row["severity"], row["subject"]) for row in findings_table(shown)] == [("warning", "midwest_GDD_base10C")]


def test_one_error_among_warnings_makes_the_result_an_error():
    warning = Finding("range", "warning", "close", 1.0, "0 to 1", "A record.")
    error = Finding("range", "error", "RSI_14", 130.0, "0 to 100", "It cannot be.")
    result = check_result("values_are_possible", [warning, error], {})
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert result.description == "1 errors, 1 warnings: close, RSI_14"
    assert check_result("values_are_possible", [warning], {}).severity == dg.AssetCheckSeverity.WARN
    assert check_result("values_are_possible", [], {}).passed
