"""Is the newest row the newest that could be, and which of its values are missing because a source is too old?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class SourceAge:
    """How old a source was at the close of a trade date.

    Attributes:
        newest: what its newest value known then describes; None if no value was known.
        age_days: from there to the trade date.
    """

    source: Input
    newest: date | None
    age_days: int | None

    @property
    def too_old(self) -> bool:
        """Whether it is beyond its maximum age, or has no value at all."""
        return self.age_days is None or self.age_days > self.source.maximum_age_days

    @property
    def age(self) -> str:
        """In words."""
        return "no value" if self.age_days is None else f"{self.age_days} days"


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
    stale = stale_sources(tables, last, [source for source in SOURCES if source != ZL])
    findings = _zl(frame, tables, last_trade_date)
    explained: set[str] = set()
    for found in stale:
        source, newest = found.source, found.newest or "no date at all"
        names = [feature.name for feature in CATALOGUE if source in feature.inputs and feature.name in missing]
        explained |= set(names)
        reason = f"The newest value known on {last.date()} describes {newest}; " + (
            f"missing on the last row: {', '.join(names)}." if names else "no feature of the last row is missing."
        )
        findings.append(Finding(CHECK, "warning", source.label, found.age, f"{source.maximum_age_days} days", reason))
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


def stale_sources(tables: Mapping[str, pd.DataFrame], day: pd.Timestamp, sources: Iterable[Input]) -> list[SourceAge]:
    """Those of `source_ages` that were too old."""
    return [age for age in source_ages(tables, day, sources) if age.too_old]


def source_ages(tables: Mapping[str, pd.DataFrame], day: pd.Timestamp, sources: Iterable[Input]) -> list[SourceAge]:
    """How old each source was at 14:00 Chicago of a day; a history that another source goes on from has no age.

    Args:
        tables: raw tables of the sources, by name.
    """
    sources = [source for source in sources if not source.history_only]
    newest_of = newest_known(tables, day, sources, as_counted=True)
    ages = []
    for source in sources:
        newest = newest_of.get(source)
        known = None if newest is None else (newest.date(), (day - newest).days)
        ages.append(SourceAge(source, *(known or (None, None))))
    return ages


def newest_known(
    tables: Mapping[str, pd.DataFrame], day: pd.Timestamp, sources: Iterable[Input], *, as_counted: bool = False
) -> dict[Input, pd.Timestamp]:
    """Source to the newest date that a value known at 14:00 Chicago of a day describes; without those of no value.

    Args:
        tables: raw tables of the sources, by name.
        as_counted: a rule by 31 December of its compliance year, from which its age counts.
    """
    sources = list(sources)
    newest: dict[tuple[str, str, str], pd.Series] = {}
    for table, column, event in dict.fromkeys((s.table, s.column, s.event_date) for s in sources):
        known = tables[table][tables[table]["available_at"] <= market_calendar.as_of_time(day)]
        dates = known[event]
        if as_counted and (column, event) == (RFS.column, RFS.event_date):
            dates = pd.to_datetime(known["effective_year"].astype(str) + "-12-31")
        newest[table, column, event] = dates.groupby(known[column], sort=False).max()
    by_key = {source: newest[source.table, source.column, source.event_date] for source in sources}
    return {source: dates[source.key] for source, dates in by_key.items() if source.key in dates.index}


def _last_valid(column: pd.Series) -> str:
    there = column.index[column.notna()]
    return f"{there[-1]:%Y-%m-%d}" if len(there) else "no row"
