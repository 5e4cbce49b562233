"""The table of sense rules: what must hold, from which size on it is a warning or an error, and why.

A rule that would refuse a bundle that is published begins as a warning: bundles are verified by the rules of today.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from cbi_pipeline.bundle.sense import series
from cbi_pipeline.bundle.sense.rule import Rule
from cbi_pipeline.bundle.sense.series import Measured, Tables
from cbi_pipeline.bundle.sense.table_prices import macro_rules, price_rules
from cbi_pipeline.bundle.sense.table_reports import calendar_rules, report_rules, weather_rules
from cbi_pipeline.contracts.tables import (
    COT_WEEKLY,
    FUNDAMENTALS,
    FUTURES_CURVE,
    FUTURES_DAILY,
    MACRO_SERIES,
    RAW_TABLES,
    WEATHER_DAILY,
)


def _macro(check: Callable[[Tables, str], Measured], *, monthly: bool) -> Callable[[Tables], Measured]:
    def check_cadence(tables: Tables) -> Measured:
        name = MACRO_SERIES.name
        return series.of_cadence(check(tables, name), series.is_monthly(tables, name), monthly)

    return check_cadence


def _series_rules() -> tuple[Rule, ...]:
    hole = "a series has a row wherever its cadence asks for one"
    hole_why = "a window of rows that runs over a hole spans more time than it says; "
    end = "a series reaches the end of the prices"
    end_why = "what ends early is carried until it is too old and then missing; the run says so, nothing is filled."
    usual = "usual gaps"
    limits: dict[str, tuple[float, float | None, float, str]] = {  # hole warns, hole refuses, early end warns, why
        FUTURES_DAILY.name: (8, 60, 8, "holidays leave 7 days at most, one file lacks five weeks."),
        FUTURES_CURVE.name: (8, 60, 10, "holidays leave 5 days at most."),
        COT_WEEKLY.name: (3, 26, 3, "every report is published, also after a shutdown."),
        WEATHER_DAILY.name: (60, None, 10, "stations are mended in weeks, and a closed one is carried by others."),
        FUNDAMENTALS.name: (1.7, 6, 2, "a release is left out in a shutdown alone."),
    }
    rules = []
    for name, (warns, refuses, ends, known) in limits.items():
        why = hole_why + known
        rules.append(Rule("hole", name, hole, why, partial(series.holes, table=name), warns, refuses, usual))
        rules.append(Rule("early_end", name, end, end_why, partial(series.early_ends, table=name), ends, None, usual))
    for monthly, warns, refuses, ends in ((False, 8.0, 60.0, 10.0), (True, 1.5, 6.0, 3.0)):
        name = MACRO_SERIES.name
        why = hole_why + ("a month is never left out." if monthly else "holidays leave 7 days at most.")
        cadence = " (monthly series)" if monthly else " (daily series)"
        found, early = _macro(series.holes, monthly=monthly), _macro(series.early_ends, monthly=monthly)
        rules.append(Rule("hole", name, hole + cadence, why, found, warns, refuses, usual))
        rules.append(Rule("early_end", name, end + cadence, end_why, early, ends, None, usual))
    weekend = "rates, indices and exchange rates of a weekend do not exist: the dates are shifted."
    first = "a month is one value, dated by its first day: another date is another product, or shifted."
    name, daily, monthly_ = (
        MACRO_SERIES.name,
        _macro(series.weekends, monthly=False),
        _macro(series.within_months, monthly=True),
    )
    rules.append(Rule("weekend", name, "a daily series has no weekend", weekend, daily, None, 1))
    rules.append(Rule("first_of_month", name, "a month is dated by its first day", first, monthly_, None, 1))
    return tuple(rules)


RULES: Final[tuple[Rule, ...]] = tuple(
    sorted(
        (*price_rules(), *macro_rules(), *_series_rules(), *report_rules(), *weather_rules(), *calendar_rules()),
        key=lambda rule: list(RAW_TABLES).index(rule.table),
    )
)
"""Every sense rule, by table."""
