"""TA-Lib indicators of ZL on causally roll-adjusted prices, over the full history.

Prices are divided by the roll ratios known so far, so that a roll is not a move; outputs in price
units are multiplied back and so read in cents/lb of the contract held that day. That equals what a
back-adjusted chart drawn on that day shows, without knowing later rolls. Indicators depend on where
their history starts: they are always computed from the first row, in training and serving alike.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
import talib

from cbi_pipeline.features.point_in_time import PointInTime
from cbi_pipeline.features.prices import forward_factor

PERIOD: Final = 14
MACD_PERIODS: Final = (12, 26, 9)
BOLLINGER_PERIOD: Final = 20
BOLLINGER_DEVIATIONS: Final = 2.0


def close_indicators(close: np.ndarray) -> dict[str, np.ndarray]:
    """RSI, MACD signal line and Bollinger bands of [T] closes without gaps, in the closes' own unit."""
    fast, slow, signal = MACD_PERIODS
    upper, middle, lower = talib.BBANDS(close, BOLLINGER_PERIOD, BOLLINGER_DEVIATIONS, BOLLINGER_DEVIATIONS)
    return {
        "RSI_14": talib.RSI(close, PERIOD),
        "MACD_signal": talib.MACD(close, fast, slow, signal)[1],
        "BB_upper": upper,
        "BB_lower": lower,
        "BB_width": (upper - lower) / middle,
    }


def range_indicators(high: np.ndarray, low: np.ndarray, close: np.ndarray) -> dict[str, np.ndarray]:
    """ATR (price unit), ADX and CCI of [T] bars without gaps."""
    return {
        "ATR_14": talib.ATR(high, low, close, PERIOD),
        "ADX_14": talib.ADX(high, low, close, PERIOD),
        "CCI_14": talib.CCI(high, low, close, PERIOD),
    }


def technical_features(known: PointInTime) -> dict[str, pd.Series]:
    """The technical pillar, [T] each.

    Range indicators are computed on the rows that have high and low; the others are missing on that
    date and do not enter the recursion.
    """
    zl = known.zl
    factor = forward_factor(zl)
    adjusted = zl[["high", "low", "close"]].astype("float64").div(factor, axis=0)
    whole = adjusted.dropna()
    columns = {
        name: pd.Series(values, index=adjusted.index)
        for name, values in close_indicators(adjusted["close"].to_numpy()).items()
    }
    ranges = range_indicators(*(whole[name].to_numpy() for name in ("high", "low", "close")))
    columns |= {name: pd.Series(values, index=whole.index).reindex(adjusted.index) for name, values in ranges.items()}
    for name in ("MACD_signal", "ATR_14", "BB_upper", "BB_lower"):
        columns[name] = columns[name] * factor
    return columns
