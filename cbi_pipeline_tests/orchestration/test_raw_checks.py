"""The checks of the raw tables: the warnings recorded in the bundle that the run works on, yellow, with their rows; how
old its data are; and whether its prices reach the session that a scheduled run is for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from cbi_pipeline import market_calendar
from cbi_pipeline.bundle.build import build_bundle
from cbi_pipeline.bundle.read import read_manifest
from cbi_pipeline.bundle.sense import judge
from cbi_pipeline.definitions import build_definitions
from cbi_pipeline.orchestration.checks.raw import NAME, REACH, RECENT
from cbi_pipeline.orchestration.instance import prepare_dagster_home
from cbi_pipeline.orchestration.jobs import SESSION_TAG
from cbi_pipeline.orchestration.metadata import RAW_ASSET_NAMES
from cbi_pipeline_tests.projects import STARTER, forget_findings

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def run_raw(settings, *more, **tags):
    """Run the raw tables and their checks, and the assets `more` after them."""
    prepare_dagster_home(settings)
    definitions = build_definitions(settings)
    job = dg.Definitions(
        assets=definitions.assets,
        asset_checks=definitions.asset_checks,
        resources=definitions.resources,
        executor=definitions.executor,
        jobs=[dg.define_asset_job("raw_only", selection=dg.AssetSelection.assets(*RAW_ASSET_NAMES.values(), *more))],
    ).resolve_job_def("raw_only")
    with dg.DagsterInstance.get() as instance:
        return job.execute_in_process(instance=instance, run_config=QUIET, tags=tags, raise_on_error=False)


def checks_of(settings):
    result = run_raw(settings)
    assert result.success
    found = [check for check in result.get_asset_check_evaluations() if check.check_name == NAME]
    return {evaluation.asset_key.to_user_string(): evaluation for evaluation in found}


def reached(result):
    (check,) = [c for c in result.get_asset_check_evaluations() if c.check_name == REACH]
    return check


@pytest.mark.parametrize("recorded", [True, False], ids=["a bundle with findings", "one from before them"])
def test_warnings_are_shown_with_their_rows_and_stop_nothing(new_settings, starter_tables, recorded):
    expected = judge(starter_tables).warnings
    moment = datetime(2025, 1, 2, tzinfo=UTC)
    built = build_bundle(starter_tables, new_settings.bundles_dir, created_at=moment, compression_level=1)
    if not recorded:
        forget_findings(built.path)
    checks = checks_of(new_settings)
    assert set(checks) == set(RAW_ASSET_NAMES.values())
    for name, asset_name in RAW_ASSET_NAMES.items():
        check = checks[asset_name]
        findings = [finding for finding in expected if finding.table == name]
        assert (check.check_name, check.severity) == (NAME, dg.AssetCheckSeverity.WARN)
        assert check.passed is not bool(findings)
        shown = [record.data for record in check.metadata["findings"].records] if findings else []
        assert [(row["rule"], row["subject"], row["rows"]) for row in shown] == [
            (finding.rule, finding.subject, str(finding.rows)) for finding in findings
        ]
        assert all(row["first_rows"] for row in shown)
    assert checks["raw_policy"].passed
    rolls = next(
        r.data for r in checks["raw_futures_daily"].metadata["findings"].records if r.data["rule"] == "roll_gap"
    )
    assert "2020-04-20: new contract at 1.366 of the old one" in rolls["first_rows"]


END_OF_STARTER = read_manifest(STARTER).window.last_trade_date


def ages(result):
    """By table: whether its check passed, its severity, its description, and the age of each source in days."""
    return {
        check.asset_key.to_user_string().removeprefix("raw_"): (
            check.passed,
            check.severity,
            check.description,
            {record.data["source"]: record.data["age"] for record in check.metadata["sources"].records},
        )
        for check in result.get_asset_check_evaluations()
        if check.check_name == RECENT
    }


def test_the_last_dates_in_the_data_are_judged_not_when_they_were_materialised(new_settings):
    found = ages(run_raw(new_settings, **{SESSION_TAG: str(END_OF_STARTER)}))
    assert set(found) == set(RAW_ASSET_NAMES)
    passed, severity, description, curve = found["futures_curve"]
    assert (passed, severity, curve) == (False, dg.AssetCheckSeverity.WARN, {"ZL": "397 days"})
    assert description == "on 2024-12-31 beyond their maximum age: ZL: 397 days (at most 7)"
    assert all(check[0] for table, check in found.items() if table != "futures_curve")
    assert found["futures_daily"][3] == dict.fromkeys(("ZL", "ZS", "ZM", "CL", "HO", "FCPO"), "0 days")
    assert found["fundamentals"][3]["wasde_us_soybean_oil_use_total"] == "21 days"


def test_old_data_are_yellow_whenever_they_were_materialised_and_stop_nothing(new_settings):
    """The run is for no session, so that the last complete one counts."""
    result = run_raw(new_settings)
    assert result.success
    found = ages(result)
    today = market_calendar.last_complete_session(datetime.now(UTC))
    for table, (passed, severity, description, _) in found.items():
        assert (passed, severity) == (table == "policy" and passed, dg.AssetCheckSeverity.WARN), table
        assert passed or description.startswith(f"on {today} beyond their maximum age: ")
    assert found["futures_daily"][3]["ZL"] == f"{(today - END_OF_STARTER).days} days"


@pytest.mark.parametrize(
    ("session", "missing"),
    [(None, None), (END_OF_STARTER, 0), (END_OF_STARTER - timedelta(days=30), 0), ("next", 1), ("fifth", 5)],
)
def test_data_that_lack_few_sessions_turn_a_scheduled_run_yellow(new_settings, session, missing):
    after = market_calendar.sessions(END_OF_STARTER + timedelta(days=1), END_OF_STARTER + timedelta(days=30))
    session = {"next": after[0].date(), "fifth": after[4].date()}.get(session, session)
    result = run_raw(new_settings, **({SESSION_TAG: str(session)} if session else {}))
    assert result.success
    check = reached(result)
    assert (check.passed, check.blocking) == (not missing, True)
    assert ("missing_sessions" in check.metadata) is (session is not None)
    if missing is not None:
        assert check.metadata["missing_sessions"].value == missing
    if missing:
        assert check.severity is dg.AssetCheckSeverity.WARN
        assert f"the data end on {END_OF_STARTER}: they lack {missing} sessions up to {session}" in check.description
        assert all(str(day.date()) in check.description for day in after[:missing])


def test_data_that_lack_many_sessions_stop_a_scheduled_run_before_anything_is_computed(new_settings):
    after = market_calendar.sessions(END_OF_STARTER + timedelta(days=1), END_OF_STARTER + timedelta(days=30))
    result = run_raw(new_settings, "curated_features", **{SESSION_TAG: str(after[5].date())})
    assert not result.success
    check = reached(result)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "they lack 6 sessions" in check.description
    assert f"there is no forecast of {after[0].date()} to {after[5].date()}" in check.description
    written = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
    assert written == set(RAW_ASSET_NAMES.values())
    assert [folder.name for folder in new_settings.artifacts_dir.iterdir()] == ["judged_bundles"]
