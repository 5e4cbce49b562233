"""What must hold at the end of a story: one forecast of a session, the expected alerts, failures, holidays."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, date, datetime

import dagster as dg
import duckdb

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.market_calendar import sessions
from cbi_pipeline_tests.month.month import CHICAGO, Month, purpose
from cbi_pipeline_tests.month.story import CHRISTMAS, Story

_OF_THIS_RUN = {
    r"(\d{8}T\d{6}Z)-[0-9a-f]{8}": r"\1-HASH",
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}": "RUN",
    r"[0-9a-f]{12}\.\.\.": "SHA...",
    r"\d+ of \d+ assets were not written: .*": "N of N assets were not written: NAMES",
}


def check(month: Month, story: Story) -> None:
    """All of it.

    Raises:
        AssertionError: something is otherwise than it must be.
    """
    days = [day.date() for day in sessions(*story.sessions)]
    wanted = Counter((day, horizon) for day in days for horizon in HORIZONS_MONTHS)
    _require("forecasts of a session and horizon", forecasts(month), wanted)
    _require("forecasts by a model that was fitted on later data", seen_by_their_model(month), [])
    _require("alerts", alerts(month), list(story.alerts))
    _require("runs that failed", failed_runs(month), list(story.failed))
    _require("ticks that were skipped", skipped(month), [CHRISTMAS])
    _require("ticks that neither were skipped nor asked for one run", other_ticks(month), [])


def _require(what: str, found: object, expected: object) -> None:
    assert found == expected, f"{what}:\n{found}\ninstead of\n{expected}"


def forecasts(month: Month) -> Counter[tuple[date, int]]:
    """How many rows there are of each session and horizon."""
    return Counter(row[:2] for row in _rows(month, "SELECT as_of_date, horizon_months FROM predictions"))


def seen_by_their_model(month: Month) -> list[tuple[date, str]]:
    """Sessions whose forecast was made by a model that was fitted on later data; its version names its last session."""
    rows = _rows(month, "SELECT DISTINCT as_of_date, model_version FROM predictions")
    return [(day, version) for day, version in rows if date.fromisoformat(version.split("-")[1]) > day]


def alerts(month: Month) -> list[str]:
    """The messages that came, without what differs from run to run."""
    return [plain(month, text) for text in month.server.texts]


def failed_runs(month: Month) -> list[tuple[str, str]]:
    """Job and purpose of each run that did not end well, oldest first."""
    runs = [record.dagster_run for record in month.machine.runs()]
    return [(run.job_name, plain(month, purpose(run))) for run in runs if run.status is not dg.DagsterRunStatus.SUCCESS]


def skipped(month: Month) -> list[tuple[str, str]]:
    """Chicago's date and the reason of each tick of the schedule that was skipped."""
    return [(str(_date(tick.timestamp)), tick.skip_reason) for tick in month.ticks() if tick.skip_reason]


def other_ticks(month: Month) -> list[tuple[str, str]]:
    """Ticks that neither were skipped nor asked for one run."""
    return [
        (str(_date(tick.timestamp)), tick.status.value)
        for tick in month.ticks()
        if not tick.skip_reason and len(tick.run_ids) != 1
    ]


def plain(month: Month, text: str) -> str:
    """A text without what differs from run to run or is long: folders, ids, hashes, names of many assets."""
    text = text.replace(str(month.machine.settings.project_dir), "PROJECT")
    for pattern, instead in _OF_THIS_RUN.items():
        text = re.sub(pattern, instead, text)
    return text


def _date(timestamp: float) -> date:
    return datetime.fromtimestamp(timestamp, UTC).astimezone(CHICAGO).date()


def _rows(month: Month, sql: str) -> list[tuple]:
    with duckdb.connect(month.machine.settings.warehouse_path, read_only=True) as connection:
        return connection.sql(sql).fetchall()
