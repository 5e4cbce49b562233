"""Joins on the moment a value could first be known, never on the date it describes.

A feature on trade date t uses rows with `available_at <= as_of_time(t)`, the newest event date among
them, and only while that event date is at most `maximum_age_days` before t. Nothing else in
`features/` looks up another series.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from cbi_pipeline import market_calendar
from cbi_pipeline.errors import FeatureError
from cbi_pipeline.features.declarations import ZL, Input
from cbi_pipeline.features.rolls import curve_on_time, implied_roll_ratio

Made = TypeVar("Made")


def in_publication_order(rows: pd.DataFrame, event: str) -> pd.DataFrame:
    """Rows sorted by event date, without those published after a row with a later event date.

    Trailing statistics over the result use only values that were out when the newest one was. Whether
    a row stays depends only on rows known before it, so no later row can change an earlier feature.

    Args:
        rows: columns `event` (datetime64, unique) and `available_at` (UTC).
    """
    moments = rows["available_at"].to_numpy("datetime64[ns]")
    order = np.lexsort((moments, rows[event].to_numpy()))
    earliest_of_later = np.minimum.accumulate(moments[order][::-1])[::-1]
    return rows.iloc[order[moments[order] <= earliest_of_later]]


def join_as_of(
    rows: pd.DataFrame,
    values: Sequence[str],
    event: str,
    sessions: pd.DatetimeIndex,
    as_of: pd.DatetimeIndex,
    maximum_age_days: int,
) -> pd.DataFrame:
    """The newest row known at each as-of moment, missing once it is older than the maximum age.

    Args:
        rows: columns `event` (datetime64[ns], naive midnight), `available_at` (UTC) and `values`.
        sessions, as_of: [T] trade dates, ascending, and the UTC moment each is looked at.
        maximum_age_days: calendar days from the event date (not from `available_at`) to the trade date.

    Returns:
        [T, len(values)] float64, indexed by `sessions`.
    """
    known = in_publication_order(rows, event)
    released = known["available_at"].to_numpy("datetime64[ns]")  # ascending: in publication order
    newest = np.searchsorted(released, as_of.to_numpy("datetime64[ns]"), side="right") - 1  # -1: none is known yet
    fresh = newest >= 0
    described = known[event].to_numpy("datetime64[ns]")[newest[fresh]]
    fresh[fresh] = sessions.to_numpy("datetime64[ns]")[fresh] - described <= np.timedelta64(maximum_age_days, "D")
    found = np.full((len(sessions), len(values)), np.nan)
    found[fresh] = known[list(values)].to_numpy("float64")[newest[fresh]]
    return pd.DataFrame(found, index=sessions, columns=list(values))


@dataclass(frozen=True)
class PointInTime:
    """Raw tables together with the trade dates and moments at which they are looked at.

    Args:
        tables: raw tables by name, as in `contracts.tables`.
        sessions: [T] ZL trade dates, ascending.
        as_of: [T] UTC moments, one per session.
        zl: [T] rows of ZL in futures_daily, indexed by `sessions`; where the provider names no contract,
            `roll_ratio` is what the futures curve implies (`rolls.py`).
    """

    tables: Mapping[str, pd.DataFrame]
    sessions: pd.DatetimeIndex
    as_of: pd.DatetimeIndex
    zl: pd.DataFrame
    _made: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def from_tables(cls, tables: Mapping[str, pd.DataFrame]) -> PointInTime:
        """Take the trade dates from the ZL rows.

        Raises:
            FeatureError: no ZL rows, a repeated date, or a ZL row that is not known at its own as-of moment.
        """
        futures = tables[ZL.table]
        zl = futures[futures[ZL.column] == ZL.key].sort_values(ZL.event_date).set_index(ZL.event_date)
        if zl.empty:
            raise FeatureError(
                "futures_daily", "there is no ZL row.", "build the bundle from provider files that hold ZL."
            )
        sessions = pd.DatetimeIndex(zl.index, name="trade_date")
        if not sessions.is_unique:
            raise FeatureError(
                "futures_daily/ZL", "a trade date occurs twice.", "verify the bundle: cbi bundle verify."
            )
        as_of = pd.DatetimeIndex(market_calendar.as_of_times(sessions))
        late = zl["available_at"].to_numpy("datetime64[ns]") > as_of.to_numpy("datetime64[ns]")
        if late.any():
            raise FeatureError(
                f"futures_daily/ZL {sessions[late][0].date()}",
                "the close is not known at 14:00 Chicago on its own trade date.",
                "correct available_at in the reader of that provider.",
            )
        zl = zl.set_axis(sessions)
        implied = implied_roll_ratio(zl, curve_on_time(tables))
        zl["roll_ratio"] = implied.where(implied.notna(), zl["roll_ratio"].astype("float64"))
        return cls(tables, sessions, as_of, zl)

    def once(self, name: str, make: Callable[[], Made]) -> Made:
        """What `make` gives, made when first asked for: several features read it, none changes it."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def rows(self, source: Input) -> pd.DataFrame:
        """All rows of one series, in publication order."""
        table = self.tables[source.table]
        return in_publication_order(table[table[source.column] == source.key], source.event_date)

    def latest(self, source: Input, values: Sequence[str], rows: pd.DataFrame | None = None) -> pd.DataFrame:
        """`values` of one series as known at each session, [T, len(values)]; `rows` replaces the raw rows."""
        found = self.rows(source) if rows is None else rows
        return join_as_of(found, values, source.event_date, self.sessions, self.as_of, source.maximum_age_days)
