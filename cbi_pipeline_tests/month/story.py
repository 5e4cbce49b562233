"""What happens in the simulated month, and what must have come of it: the whole of December 2024, or its last week."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from cbi_pipeline_tests.month.cloud import Stopped
from cbi_pipeline_tests.month.month import BUNDLES, SCHEDULE, Month

SOURCE: Final = "futures_daily"
"""The raw table whose source stops for a while."""
CHRISTMAS: Final = ("2024-12-25", "no CBOT session on 2024-12-25: Christmas")


@dataclass(frozen=True)
class Story:
    """A length of the simulated month.

    Attributes:
        begin: where the clock stands at first.
        happens: what happens, step by step.
        sessions: the first one that is forecast, by the first model as soon as it serves, and the last.
        alerts: every message that must have come, in their order, and no other.
        failed: every run that must have failed, and no other: the job, and what the run was for.
        settings: beyond those of a project of the tests.
    """

    begin: tuple[str, str]
    happens: Callable[[Month], None]
    sessions: tuple[date, date]
    alerts: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    settings: dict[str, Any] = field(default_factory=dict)


def _begin(month: Month, day: str, **how: Any) -> None:
    """Someone turns on schedule and sensor; the first model is trained on the first bundle."""
    first = month.bundle(day, "09:00", **how)
    month.boot()
    month.turn("start", "schedule", SCHEDULE)
    month.turn("start", "sensor", BUNDLES)
    month.trained(first)


def _last_week(month: Month) -> None:
    stopped = Stopped(SOURCE, date(2024, 12, 23))
    _begin(month, "2024-12-24", stopped=stopped)
    month.trained(month.bundle("2024-12-24", "11:00", now=True, stopped=stopped, damaged=True))
    month.alerts(1)
    month.turn("stop", "sensor", BUNDLES)
    month.day("2024-12-24", stopped=stopped)
    month.alerts(2)
    month.day("2024-12-25")
    _three_days_asleep(month)
    month.bundle("2024-12-30")
    month.reboot_in_mid_run("2024-12-30", back_at="22:30")
    month.looked()


def _whole_month(month: Month) -> None:
    _begin(month, "2024-12-01")
    month.day_with_training("2024-12-02")
    month.reboot_in_mid_training("2024-12-03", back_at="22:10")
    month.day_with_training("2024-12-04", damaged=True)
    month.alerts(1)
    month.day_with_training("2024-12-05")
    month.turn("stop", "sensor", BUNDLES)
    month.day("2024-12-06")
    month.day("2024-12-09")
    stopped = Stopped(SOURCE, date(2024, 12, 10))
    for day in (10, 11, 12, 13, 16, 17, 18):
        month.day(f"2024-12-{day}", stopped=stopped)
    month.alerts(2)
    for day in (19, 20, 23, 24, 25):
        month.day(f"2024-12-{day}")
    _three_days_asleep(month)
    for day in (30, 31):
        month.day(f"2024-12-{day}")
    month.looked()


def _three_days_asleep(month: Month) -> None:
    """From the evening of Thursday the 26th, before its tick, to Sunday; bundles are exported meanwhile."""
    month.bundle("2024-12-26")
    month.bundle("2024-12-27")
    month.asleep("2024-12-26", "21:45", until=("2024-12-29", "12:00"), tick="2024-12-27")


def _damaged_bundle(version: str) -> str:
    return f"""\
*CBI: the job retrain failed*
cbi_pipeline.errors.BundleError: PROJECT/data/bundles/{version}/macro_series.parquet: it was altered: the manifest \
gives its sha256 as SHA..., it is SHA... To fix: move this bundle away and run `cbi bundle build`, or copy it again \
from where it came.
Not done: N of N assets were not written: NAMES
Look: `cbi ui`, then http://127.0.0.1:3000/runs/RUN"""


def _stale_data(last: str, lacking: int, session: str, allowed: int, missing: str) -> str:
    return f"""\
*CBI: the data are stale, they end on {last}*
the data end on {last}: they lack {lacking} sessions up to {session}, for which this run was started ({allowed} may be \
lacking); there is no forecast of {missing}
Not done: any forecast after {last}. Until newer data are there, scheduled runs stop without another message.
Look: `cbi bundle list` shows the bundles that are there, `cbi sources status` the age of each source; `cbi ui`, then \
http://127.0.0.1:3000/runs/RUN"""


LAST_WEEK: Final = Story(
    begin=("2024-12-24", "10:00"),
    happens=_last_week,
    sessions=(date(2024, 12, 20), date(2024, 12, 30)),
    alerts=(
        _damaged_bundle("20241224T170000Z-HASH"),
        _stale_data("2024-12-20", 2, "2024-12-24", 1, "2024-12-23, 2024-12-24"),
    ),
    failed=(
        ("retrain", "20241224T170000Z-HASH"),
        ("daily", "2024-12-24"),
        ("daily", "2024-12-30"),
    ),
    settings={"max_data_age_sessions": 1},
)
WHOLE_MONTH: Final = Story(
    begin=("2024-12-01", "10:00"),
    happens=_whole_month,
    sessions=(date(2024, 11, 29), date(2024, 12, 31)),
    alerts=(
        _damaged_bundle("20241205T033000Z-HASH"),
        _stale_data("2024-12-09", 6, "2024-12-17", 5, "2024-12-10 to 2024-12-17"),
    ),
    failed=(
        ("retrain", "20241204T033000Z-HASH"),
        ("retrain", "20241205T033000Z-HASH"),
        ("daily", "2024-12-17"),
        ("daily", "2024-12-18"),
    ),
)
