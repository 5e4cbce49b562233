"""Where the ZL front series changes its contract before the provider says so.

Before 2010-06-07 the daily rows are Yahoo's, which name no contract: a change of contract is a jump in the series
and nothing marks it. The futures curve of the same date has prices by contract. What the front moved beyond the
nearest contract quoted on both dates is taken as the roll, so that returns are those of one contract.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from cbi_pipeline.features.declarations import CURVE_HISTORY
from cbi_pipeline.fundamentals import curve_returns, zl_curve
from cbi_pipeline.market_calendar import as_of_times


def curve_on_time(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Rows of the ZL curve that were known at 14:00 Chicago on their own trade date, nearest contract first."""
    curve = zl_curve(tables)
    dates = pd.DatetimeIndex(curve[CURVE_HISTORY.event_date].unique())
    deadline = pd.Series(pd.DatetimeIndex(as_of_times(dates)).to_numpy("datetime64[ns]"), index=dates)
    due = deadline.reindex(curve[CURVE_HISTORY.event_date]).to_numpy()
    return curve[curve["available_at"].to_numpy("datetime64[ns]") <= due].reset_index(drop=True)


def implied_roll_ratio(zl: pd.DataFrame, curve: pd.DataFrame) -> pd.Series:
    """close[t] / close[t-1] over the same move of one contract, [T]; NaN where the curve cannot tell.

    Stated on rows before the first with a named contract, if the curve was quoted on this and on the front's
    previous session. 10 of 1,996 rows are not: they keep the provider's own move.

    Args:
        zl: `close`, `contract`, indexed by trade date, ascending.
        curve: as of `curve_on_time`.
    """
    matched = curve_returns(curve)
    quoted = pd.DatetimeIndex(curve["trade_date"].unique())
    curve_before = pd.Series(quoted, index=quoted).shift(1).reindex(zl.index)
    front_before = pd.Series(zl.index, index=zl.index).shift(1)
    unnamed = ~zl["contract"].notna().cummax()
    change = zl["close"].astype("float64").map(np.log).diff()
    beyond = (change - matched.reindex(zl.index)).map(np.exp)
    return beyond.where(unnamed & (curve_before == front_before))
