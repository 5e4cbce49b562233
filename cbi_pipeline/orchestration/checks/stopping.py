"""Which checks stopped a run, read from its log."""

from collections.abc import Iterable

import dagster as dg
from dagster import AssetCheckEvaluation


def stopping_checks(instance: dg.DagsterInstance, run_id: str) -> list[AssetCheckEvaluation]:
    """Every check of the run that failed and blocked."""
    logged = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    found = [entry.get_dagster_event().asset_check_evaluation_data for entry in logged]
    return [
        check
        for check in found
        if check.blocking and not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
    ]


def described(checks: Iterable[AssetCheckEvaluation]) -> str:
    """The checks in words, each with what it found."""
    return "; ".join(
        f"{check.asset_key.to_user_string()}: {check.check_name} ({check.description or 'no details'})"
        for check in checks
    )
