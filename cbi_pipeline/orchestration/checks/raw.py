"""Checks of the raw tables: the warnings of the sense rules, and whether prices reach the session of a scheduled run.

An error of a sense rule refuses the bundle before an asset exists; its warnings show yellow, with the rows, and stop
nothing. One check a table, made by the step that verifies the bundle: a step of its own costs more than the check.
"""

from datetime import date

import dagster as dg

from cbi_pipeline.contracts.manifest import Finding
from cbi_pipeline.contracts.references import RawTableRef
from cbi_pipeline.orchestration.jobs import SESSION_TAG
from cbi_pipeline.orchestration.metadata import RAW_ASSET_NAMES, table
from cbi_pipeline.orchestration.resources import SettingsResource

NAME = "rows_make_sense"
REACH = "data_reach_the_session"
_NAMED = 5


ROWS_MAKE_SENSE = [
    dg.AssetCheckSpec(
        NAME, asset=asset_name, description="No sense rule (docs/validation.md) has a warning about these rows."
    )
    for asset_name in RAW_ASSET_NAMES.values()
]


def rows_make_sense(asset_name: str, findings: tuple[Finding, ...]) -> dg.AssetCheckResult:
    """Passed if there is no finding; else yellow, with the findings as a table."""
    named = ", ".join(dict.fromkeys(f"{finding.rule} ({finding.subject})" for finding in findings))
    return dg.AssetCheckResult(
        asset_key=asset_name,
        check_name=NAME,
        passed=not findings,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(findings)} warnings: {named}" if findings else None,
        metadata={"warnings": len(findings)} | ({"findings": _table(findings)} if findings else {}),
    )


def _named(days: list[str]) -> str:
    return ", ".join(days) if len(days) <= _NAMED else f"{days[0]} to {days[-1]}"


def _table(findings: tuple[Finding, ...]) -> dg.TableMetadataValue:
    rows = ((finding.model_dump(exclude={"table"}), finding.first_rows) for finding in findings)
    return table({**fields, "first_rows": "; ".join(first_rows)} for fields, first_rows in rows)


@dg.asset_check(asset=RAW_ASSET_NAMES["futures_daily"], name=REACH, blocking=True)
def data_reach_the_session(
    context: dg.AssetCheckExecutionContext, reference: RawTableRef, run_settings: SettingsResource
) -> dg.AssetCheckResult:
    """The prices reach the session that a scheduled run is for: yellow within CBI_MAX_DATA_AGE_SESSIONS, red beyond.

    A run that is for no session takes the newest data as they are, and what it publishes says how old they were.
    """
    from cbi_pipeline.market_calendar import sessions

    asked = context.run.tags.get(SESSION_TAG)
    last = reference.last_trade_date
    if asked is None:
        return dg.AssetCheckResult(passed=True, metadata={"last_trade_date": str(last)})
    missing = [str(day.date()) for day in sessions(last, max(last, date.fromisoformat(asked))) if day.date() > last]
    allowed = run_settings.load().max_data_age_sessions
    stale = len(missing) > allowed
    return dg.AssetCheckResult(
        passed=not missing,
        severity=dg.AssetCheckSeverity.ERROR if stale else dg.AssetCheckSeverity.WARN,
        description=f"the data end on {last}: they lack {len(missing)} sessions up to {asked}, for which this run was "
        f"started ({allowed} may be lacking); there is no forecast of {_named(missing)}"
        if missing
        else None,
        metadata={"session": asked, "last_trade_date": str(last), "missing_sessions": len(missing)},
    )
