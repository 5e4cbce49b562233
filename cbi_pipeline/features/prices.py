"""Price features of the ZL front contract, and the causal roll adjustment that others build on."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from cbi_pipeline.features.point_in_time import PointInTime

MAXIMUM_GAP_DAYS: Final = 7
"""A change over a longer hole in the rows is not a daily return: no holiday closes CBOT that long."""


def forward_factor(zl: pd.DataFrame) -> pd.Series:
    """Product of the roll ratios up to and including each row, [T].

    `close / forward_factor` is continuous across rolls and never changes afterwards, unlike a
    back-adjusted close, which a later roll rescales. A row that is not a roll has no ratio and leaves
    the product as it is.

    Args:
        zl: `roll_ratio` as in `PointInTime.zl`, NaN where the row is not a roll; rows ascending by trade date.
    """
    ratio = zl["roll_ratio"].to_numpy("float64")
    return pd.Series(np.cumprod(np.where(np.isnan(ratio), 1.0, ratio)), index=zl.index)


def roll_adjusted_log_returns(zl: pd.DataFrame) -> pd.Series:
    """ln(close[t] / roll_ratio[t] / close[t-1]), [T].

    Missing on the first row, over a hole of more than MAXIMUM_GAP_DAYS days, and on a known roll whose
    ratio is not known. Before 2010-06-07 Yahoo names no contract and the ratio is what the futures curve
    implies (`rolls.py`), so that the return is that of the nearest contract quoted on both dates.

    Args:
        zl: `close`, `roll_ratio`, `is_roll`, indexed by trade date, ascending.
    """
    dates = pd.Series(zl.index, index=zl.index)
    unusable = (dates.diff() > pd.Timedelta(days=MAXIMUM_GAP_DAYS)) | (
        zl["is_roll"].isin([True]) & zl["roll_ratio"].isna()
    )
    log_adjusted = np.log(zl["close"].astype("float64")) - np.log(forward_factor(zl))
    return log_adjusted.diff().mask(unusable)


def price_features(known: PointInTime) -> dict[str, pd.Series]:
    """The price pillar, [T] each: cents/lb, returns as fractions and in log price."""
    zl = known.zl
    log_returns = roll_adjusted_log_returns(zl)
    return {
        "close": zl["close"],
        "close_returns": np.expm1(log_returns),
        "log_returns": log_returns,
        "high_low_spread": zl["high"] - zl["low"],
        "open_close_spread": zl["open"] - zl["close"],
    }
