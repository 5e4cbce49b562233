"""The rows of the table of rules about weather, reports, and when each value could be known."""

from __future__ import annotations

from functools import partial

from cbi_pipeline.bundle.sense import reports, series, weather
from cbi_pipeline.bundle.sense.rule import ABOVE_ZERO, FIRST_DATES, Rule
from cbi_pipeline.contracts.tables import (
    COT_WEEKLY,
    FUNDAMENTALS,
    FUTURES_CURVE,
    FUTURES_DAILY,
    MACRO_SERIES,
    POLICY,
    WEATHER_DAILY,
)


def weather_rules() -> tuple[Rule, ...]:
    """Of station weather."""
    name = WEATHER_DAILY.name
    return (
        Rule(
            "temperature_unit",
            name,
            "days are warmer than nights by what a climate has",
            "the median of Tmax - Tmin is 4.8 to 17 deg C in every station and year in use; about 1 is tenths stored "
            "as "
            "units, or units divided by ten twice.",
            weather.daily_range,
            None,
            1,
            "times the bound, 3 or 25 deg C",
        ),
        Rule(
            "rain_unit",
            name,
            "it rains as much as in a crop region",
            "mean rain is 2.0 to 4.7 mm a day at every station in use; a tenth or ten times that is another unit.",
            weather.rain_level,
            None,
            1,
            "times the bound, 0.15 or 15 mm a day",
        ),
        Rule(
            "season",
            name,
            "January and July are those of the station's region",
            "a station under a wrong name often stands in the other hemisphere: Midwest January is 25 to 30 deg C "
            "colder "
            "than July, Argentine 13 to 16 warmer, Brazilian -4 to 8.",
            weather.season,
            None,
            ABOVE_ZERO,
            "deg C outside",
        ),
        Rule(
            "two_names",
            name,
            "no two stations report the same numbers",
            "one station under two names counts twice; real neighbours share 1 % of their days.",
            weather.same_readings,
            0.1,
            0.5,
            "share of days",
        ),
        Rule(
            "station_count",
            name,
            "a region has tens of stations",
            "24 are in use; hundreds are names that were made up from something else, and too many to compare.",
            weather.station_count,
            60,
            100,
            "stations",
        ),
        Rule(
            "station_identity",
            name,
            "an identifier is of the provider and region that its rows name",
            "a name that belongs to another network is a station mixed up on the way.",
            weather.identity,
            None,
            1,
        ),
        Rule(
            "dry_year",
            name,
            "it rains at least once in a year",
            "the driest station-year in use has 405 mm; a gauge that reads 0 all year is broken, not dry.",
            weather.dry_years,
            None,
            300,
            "days read",
        ),
        Rule(
            "stale",
            name,
            "rain, maximum and minimum change from day to day",
            "three equal days are the most that any station in use has.",
            weather.repeated_days,
            4,
            10,
            "days",
        ),
        Rule(
            "upside_down",
            name,
            "the minimum is not above the maximum",
            "one of the two belongs to another day; the reader nulls both.",
            weather.upside_down,
            None,
            ABOVE_ZERO,
            "deg C",
        ),
    )


def report_rules() -> tuple[Rule, ...]:
    """Of COT and WASDE."""
    cot, wasde = COT_WEEKLY.name, FUNDAMENTALS.name
    no_group = "a group that is shown as 0 and 0 for months is a column that was never filled"
    return (
        Rule(
            "report_weekday",
            cot,
            "a report is as of Tuesday, or the Monday or Wednesday beside it",
            "every report since 2006 is; another weekday is a shifted date.",
            reports.report_weekday,
            None,
            1,
        ),
        Rule(
            "other_days",
            cot,
            "reports are as of Tuesdays",
            "in holiday weeks a Monday or Wednesday takes its place, 1 in 75; a third of all is a shifted date.",
            reports.other_days,
            0.1,
            0.3,
            "share of reports",
        ),
        Rule(
            "sides_balance",
            cot,
            "all longs are all shorts",
            "every contract has two sides: equal to the contract in all 2,690 reports.",
            reports.sides_balance,
            None,
            1,
            "contracts",
        ),
        Rule(
            "above_open_interest",
            cot,
            "no group holds more than the open interest",
            "a position is a part of the open interest.",
            reports.above_open_interest,
            None,
            1,
            "contracts",
        ),
        Rule(
            "empty_group",
            cot,
            "managed money holds something",
            f"{no_group}; only USD palm oil, new and small, has up to 5 such weeks.",
            partial(reports.empty_group, group="managed_money"),
            3,
            26,
            "reports",
        ),
        Rule(
            "empty_group",
            cot,
            "producers and users hold something",
            f"{no_group}; the market exists for them.",
            partial(reports.empty_group, group="commercial"),
            1,
            26,
            "reports",
        ),
        Rule(
            "repeated_report",
            cot,
            "a report differs from the one before",
            "none of 2,690 repeats the one before; a copy is a report that was not fetched.",
            reports.repeated_report,
            None,
            1,
        ),
        Rule(
            "before_first_quote",
            cot,
            "no report is older than the disaggregated series",
            "the CFTC's history begins 2006-06-13; an older row is of another report.",
            partial(series.older_than_series, table=cot, first=FIRST_DATES[cot]),
            None,
            1,
            "days",
        ),
        Rule(
            "vintages",
            wasde,
            "every release of a marketing year is kept",
            "36 releases usually tell of a year; one means that later figures took the place of earlier ones, and the "
            "past knows its future.",
            reports.few_vintages,
            1,
            2,
            "12 / releases of a year",
        ),
        Rule(
            "revision",
            wasde,
            "a release changes a figure by what a month can teach",
            "the largest revision since 1995 is 44 % (2012-08, the drought).",
            reports.revisions,
            0.4,
            1,
            "log ratio",
        ),
    )


def calendar_rules() -> tuple[Rule, ...]:
    """Of every table: nothing is known before it is published."""
    calendars = {
        FUTURES_DAILY.name: "14:00 Chicago on the trade date, FCPO 18:00 Kuala Lumpur",
        FUTURES_CURVE.name: "14:00 Chicago on the trade date",
        MACRO_SERIES.name: "H.15 and VIX the next business day, H.10 the Monday after, months as their publisher has "
        "them",
        COT_WEEKLY.name: "Friday 15:30 New York, after holidays the next business day; the backlogs of October 2013 "
        "and of "
        "December 2018 to February 2019 at their end, the history before 2009-10-20 on that day",
        WEATHER_DAILY.name: "one to three days after the day, by network",
        POLICY.name: "08:45 New York on the day of print",
        FUNDAMENTALS.name: "08:30 New York until 2012, 12:00 since",
    }
    return tuple(
        Rule(
            "known_too_early",
            name,
            f"nothing is known before its publisher's calendar: {calendar}",
            "a value that arrives early is look-ahead, which no later step can see.",
            partial(reports.known_too_early, table=name),
            None,
            ABOVE_ZERO,
            "hours",
        )
        for name, calendar in calendars.items()
    )
