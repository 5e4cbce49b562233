"""The check of the raw tables: the warnings recorded in the bundle that the run works on, yellow, with their rows."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest

from cbi_pipeline.bundle.build import build_bundle
from cbi_pipeline.bundle.sense import judge
from cbi_pipeline.definitions import build_definitions
from cbi_pipeline.orchestration.checks.raw import NAME
from cbi_pipeline.orchestration.instance import prepare_dagster_home
from cbi_pipeline.orchestration.metadata import RAW_ASSET_NAMES

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def checks_of(settings):
    prepare_dagster_home(settings)
    definitions = build_definitions(settings)
    job = dg.Definitions(
        assets=definitions.assets,
        asset_checks=definitions.asset_checks,
        resources=definitions.resources,
        executor=definitions.executor,
        jobs=[dg.define_asset_job("raw_only", selection=dg.AssetSelection.assets(*RAW_ASSET_NAMES.values()))],
    ).resolve_job_def("raw_only")
    with dg.DagsterInstance.get() as instance:
        result = job.execute_in_process(instance=instance, run_config=QUIET)
    assert result.success
    return {evaluation.asset_key.to_user_string(): evaluation for evaluation in result.get_asset_check_evaluations()}


@pytest.mark.parametrize("recorded", [True, False], ids=["a bundle with findings", "the starter, from before them"])
def test_warnings_are_shown_with_their_rows_and_stop_nothing(new_settings, starter_tables, recorded):
    expected = judge(starter_tables).warnings
    if recorded:
        moment = datetime(2025, 1, 2, tzinfo=UTC)
        build_bundle(starter_tables, new_settings.bundles_dir, created_at=moment, compression_level=1)
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
