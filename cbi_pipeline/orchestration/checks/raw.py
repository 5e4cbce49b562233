"""Checks of the raw tables: the warnings of the sense rules, how old the data are, whether prices reach the session.

An error of a sense rule refuses the bundle before an asset exists; its warnings show yellow, with the rows, and stop
nothing. One check a table, made by the step that verifies the bundle: a step of its own costs more than the check.
"""

from datetime import UTC, date, datetime

import dagster as dg

from cbi_pipeline.contracts.manifest import Finding
from cbi_pipeline.contracts.references import RawTableRef
from cbi_pipeline.orchestration.jobs import SESSION_TAG
from cbi_pipeline.orchestration.metadata import RAW_ASSET_NAMES, table
from cbi_pipeline.orchestration.resources import SettingsResource

NAME = "rows_make_sense"
RECENT = "data_are_recent"
REACH = "data_reach_the_session"
_NAMED = 5


CHECKS_OF_EACH_TABLE = [
    dg.AssetCheckSpec(name, asset=asset_name, description=description)
    for asset_name in RAW_ASSET_NAMES.values()
    for name, description in (
        (NAME, "No sense rule (docs/validation.md) has a warning about these rows."),
        (
            RECENT,
            "The last date of every source in the data, whenever they were materialised, is within its maximum age at "
            "the session that the run is for, else at the last session that is complete.",
        ),
    )
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


def data_are_recent(asset_name: str, reference: RawTableRef, session: str | None) -> dg.AssetCheckResult:
    """Passed if no source of the table is too old at the session, else yellow; the ages as a table either way.

    Args:
        session: ISO date of the session that the run is for; None for the last one that is complete.
    """
    from cbi_pipeline.market_calendar import last_complete_session
    from cbi_pipeline.stages.quality import source_ages_at

    day = date.fromisoformat(session) if session else last_complete_session(datetime.now(UTC))
    ages = source_ages_at(reference, day)
    old = [f"{one.source.key}: {one.age} (at most {one.source.maximum_age_days})" for one in ages if one.too_old]
    return dg.AssetCheckResult(
        asset_key=asset_name,
        check_name=RECENT,
        passed=not old,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"on {day} beyond their maximum age: {', '.join(old)}" if old else None,
        metadata={
            "day": str(day),
            "sources": table(
                {
                    "source": one.source.key,
                    "last date": str(one.newest),
                    "age": one.age,
                    "maximum age": f"{one.source.maximum_age_days} days",
                }
                for one in ages
            ),
        },
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
