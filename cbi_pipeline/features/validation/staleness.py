"""Is the newest row the newest that could be, and which of its values are missing because a source is too old?"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Final

import pandas as pd

from cbi_pipeline import market_calendar
from cbi_pipeline.features.build import check_frame
from cbi_pipeline.features.catalogue import CATALOGUE
from cbi_pipeline.features.declarations import RFS, ZL, ZM, ZS, Input
from cbi_pipeline.features.validation.findings import Finding

CHECK: Final = "staleness"
SOURCES: Final = tuple(dict.fromkeys(source for feature in CATALOGUE for source in feature.inputs))
LONGEST_CLOSURE: Final = pd.Timedelta(days=14)
"""No stretch without a CBOT session is nearly as long."""


def check_staleness(frame: pd.DataFrame, tables: Mapping[str, pd.DataFrame], last_trade_date: date) -> list[Finding]:
    """Errors: ZL does not reach the last session that the bundle covers, or its close is missing there.
    Warnings: each other source beyond its maximum age, and each feature missing on the last row for another reason.

    Args:
        frame: [T, F] from `build_features(tables)`.
        tables: raw tables by name.
        last_trade_date: the bundle's, from its manifest.

    Raises:
        FeatureError: the frame is not the catalogue's.
    """
    check_frame(frame)
    last = frame.index[-1]
    missing = frame.columns[frame.iloc[-1].isna()]
    stale = _stale_sources(tables, last)
    findings = _zl(frame, tables, last_trade_date)
    explained: set[str] = set()
    for source, age, newest in stale:
        names = [feature.name for feature in CATALOGUE if source in feature.inputs and feature.name in missing]
        explained |= set(names)
        reason = f"The newest value known on {last.date()} describes {newest}; " + (
            f"missing on the last row: {', '.join(names)}." if names else "no feature of the last row is missing."
        )
        findings.append(Finding(CHECK, "warning", source.label, age, f"{source.maximum_age_days} days", reason))
    findings += [
        Finding(
            CHECK,
            "warning",
            feature.name,
            "missing",
            "a value",
            f"Missing on {last.date()}, last there on {_last_valid(frame[feature.name])}, with sources that are recent "
            f"enough. Known reasons: {feature.missing_because}.",
        )
        for feature in CATALOGUE
        if feature.name in missing and feature.name not in explained and feature.name != "close"
    ]
    return findings


def _zl(frame: pd.DataFrame, tables: Mapping[str, pd.DataFrame], last_trade_date: date) -> list[Finding]:
    findings = []
    futures = tables[ZL.table]
    same_exchange = futures.loc[futures[ZL.column].isin([ZS.key, ZM.key]), ZL.event_date].max()
    covered = max(pd.Timestamp(last_trade_date), same_exchange)
    expected = market_calendar.sessions(covered - LONGEST_CLOSURE, covered)[-1]
    last = frame.index[-1]
    if last != expected:
        reason = (
            f"ZL does not reach the last session of the data: the bundle's last trade date is {last_trade_date}, and "
            f"ZS and ZM end on {same_exchange.date()}."
        )
        findings.append(Finding(CHECK, "error", ZL.label, str(last.date()), str(expected.date()), reason))
    if frame["close"].isna().iloc[-1]:
        reason = f"ZL has no close on the last row, {last.date()}: there is no price to forecast from."
        findings.append(Finding(CHECK, "error", "close", "missing", "a value", reason))
    return findings


def _stale_sources(tables: Mapping[str, pd.DataFrame], last: pd.Timestamp) -> list[tuple[Input, str, str]]:
    """Sources too old at 14:00 Chicago of `last`: age in words, and the newest event date known then."""
    sources = [source for source in SOURCES if source != ZL and not source.history_only]
    newest_of = {
        (table, column, event): _newest_known(tables[table], column, event, last)
        for table, column, event in dict.fromkeys((s.table, s.column, s.event_date) for s in sources)
    }
    found = []
    for source in sources:
        newest = newest_of[source.table, source.column, source.event_date].get(source.key)
        if newest is None:
            found.append((source, "no value", "no date at all"))
        elif (age := (last - newest).days) > source.maximum_age_days:
            found.append((source, f"{age} days", str(newest.date())))
    return found


def _newest_known(table: pd.DataFrame, column: str, event: str, last: pd.Timestamp) -> dict[str, pd.Timestamp]:
    """Key to its newest event date known at 14:00 Chicago of `last`."""
    known = table[table["available_at"] <= market_calendar.as_of_time(last)]
    dates = known[event]
    if (column, event) == (RFS.column, RFS.event_date):
        # A rule's age counts from 31 December of its compliance year, as its feature counts it.
        dates = pd.to_datetime(known["effective_year"].astype(str) + "-12-31")
    newest = dates.groupby(known[column], sort=False).max()
    return {str(key): moment for key, moment in newest.items()}


def _last_valid(column: pd.Series) -> str:
    there = column.index[column.notna()]
    return f"{there[-1]:%Y-%m-%d}" if len(there) else "no row"
