"""Which checks stopped a run, and which turned red in it, read from what the instance has stored."""

import itertools
from collections.abc import Collection, Iterable

import dagster as dg
from dagster import AssetCheckEvaluation
from dagster._core.storage.asset_check_execution_record import (  # public only under this path
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES as COMPLETED,
)

_LOOKED_BACK = 20
"""Evaluations among which those of a run and of the run before it are looked for."""


def stopping_checks(instance: dg.DagsterInstance, run_id: str) -> list[AssetCheckEvaluation]:
    """Every check of the run that failed and blocked."""
    return [check for check in _evaluations(instance, run_id) if check.blocking and _is_red(check)]


def turned_red(instance: dg.DagsterInstance, run_id: str, names: Collection[str]) -> list[AssetCheckEvaluation]:
    """Checks of these names that are red in the run and were not when they were evaluated before, if ever.

    One whose evaluation before is not among the newest twenty counts as turned red: to be told twice does no harm.
    """
    found = []
    for check in _evaluations(instance, run_id):
        if check.check_name not in names or not _is_red(check):
            continue
        history = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(check.asset_key, check.check_name), limit=_LOOKED_BACK, status=COMPLETED
        )
        others = itertools.dropwhile(lambda record: record.run_id != run_id, history)
        before = next((record.event for record in others if record.run_id != run_id), None)
        if before is None or not _is_red(before.get_dagster_event().asset_check_evaluation_data):
            found.append(check)
    return found


def _evaluations(instance: dg.DagsterInstance, run_id: str) -> list[AssetCheckEvaluation]:
    logged = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    return [entry.get_dagster_event().asset_check_evaluation_data for entry in logged]


def _is_red(check: AssetCheckEvaluation) -> bool:
    return not check.passed and check.severity is dg.AssetCheckSeverity.ERROR


def described(checks: Iterable[AssetCheckEvaluation]) -> str:
    """The checks in words, each with what it found."""
    return "; ".join(
        f"{check.asset_key.to_user_string()}: {check.check_name} ({check.description or 'no details'})"
        for check in checks
    )
