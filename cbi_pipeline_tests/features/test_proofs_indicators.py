"""TA-Lib's indicators against talipp, an independent pure-Python library, on the whole ZL history.

Both agree to float32 once the start is forgotten. How they start:
- Bollinger bands and CCI see the last 20 and 14 bars only: equal from their first value.
- RSI: both begin with the plain mean of the first 14 gains and losses: equal from its first value.
- MACD: TA-Lib starts the fast average at the same bar as the slow one (mean of bars 15 to 26), talipp on the first
  12 bars. The difference of the fast average shrinks by 11/13 a session.
- ATR: TA-Lib's first true range is that of the second bar, the first that has a close before it; talipp counts the
  first bar's high - low. The difference shrinks by 13/14 a session.
- ADX: TA-Lib begins its sums with 13 movements and smooths in the 14th, talipp begins with 14 of each; shrinks by
  13/14 a session, twice smoothed.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.features.point_in_time import PointInTime

talipp = pytest.importorskip("talipp.indicators", reason="talipp comes with the dev extra")
ohlcv = pytest.importorskip("talipp.ohlcv", reason="talipp comes with the dev extra")

WARM_UP = {"RSI_14": 0, "BB_upper": 0, "BB_lower": 0, "BB_width": 0, "CCI_14": 0, "MACD_signal": 120, "ATR_14": 250}
WARM_UP["ADX_14"] = 320
"""Sessions after an indicator's first value until the start is forgotten."""
TOLERANCE = 1.2e-7
"""One unit in the last place of float32, relative to the value (near zero: to a twentieth of its median)."""


def plain_bars(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """high, low, close on causally adjusted prices, and the factor they were divided by, bar by bar."""
    rows = PointInTime.from_tables(tables).zl
    factor, bars = 1.0, []
    for bar in rows.itertuples():
        factor *= 1.0 if math.isnan(bar.roll_ratio) else bar.roll_ratio
        bars.append((bar.high / factor, bar.low / factor, bar.close / factor, factor))
    return pd.DataFrame(bars, index=rows.index, columns=["high", "low", "close", "factor"])


def column(values: list, index: pd.DatetimeIndex) -> pd.Series:
    return pd.Series([math.nan if value is None else value for value in values], index=index, dtype="float64")


def second_opinion(bars: pd.DataFrame) -> dict[str, pd.Series]:
    """The eight indicators by talipp, in the units of the features."""
    closes, whole = bars["close"].tolist(), bars.dropna()
    candles = [ohlcv.OHLCV(bar.close, bar.high, bar.low, bar.close) for bar in whole.itertuples()]
    bands = list(talipp.BB(20, 2.0, closes))
    macd = [None if value is None else value.signal for value in talipp.MACD(12, 26, 9, closes)]
    adx = [None if value is None else value.adx for value in talipp.ADX(14, 14, candles)]
    upper, middle, lower = (
        column([None if band is None else getattr(band, name) for band in bands], bars.index)
        for name in ("ub", "cb", "lb")
    )
    return {
        "RSI_14": column(list(talipp.RSI(14, closes)), bars.index),
        "MACD_signal": column(macd, bars.index) * bars["factor"],
        "BB_upper": upper * bars["factor"],
        "BB_lower": lower * bars["factor"],
        "BB_width": (upper - lower) / middle,
        "ATR_14": column(list(talipp.ATR(14, candles)), whole.index) * whole["factor"],
        "ADX_14": column(adx, whole.index),
        "CCI_14": column(list(talipp.CCI(14, candles)), whole.index),
    }


@pytest.fixture(scope="module")
def both(_starter_tables, starter_features) -> tuple[dict[str, pd.Series], pd.DataFrame]:
    return second_opinion(plain_bars(_starter_tables)), starter_features


@pytest.mark.parametrize("name", sorted(WARM_UP))
def test_talib_agrees_with_talipp(both, name):
    ours, theirs = both[1][name].dropna().astype("float64"), both[0][name].dropna()
    common = ours.index.intersection(theirs.index)
    assert len(common) > len(ours) - 30
    compared = common[WARM_UP[name] :]
    assert len(compared) > 4500
    scale = np.maximum(np.abs(theirs[compared]), 0.05 * theirs[compared].abs().median())
    worst = (np.abs(ours[compared] - theirs[compared]) / scale).max()
    assert worst < TOLERANCE, f"{name}: {worst:.2e}"


@pytest.mark.parametrize("name", ["MACD_signal", "ATR_14", "ADX_14"])
def test_the_two_start_differently(both, name):
    """If this fails, the libraries start alike now: drop the warm-up and the note."""
    ours, theirs = both[1][name].dropna().astype("float64"), both[0][name].dropna()
    common = ours.index.intersection(theirs.index)[:5]
    assert (np.abs(ours[common] / theirs[common] - 1) > 10 * TOLERANCE).all()
