"""Market regimes of ZL from trailing trend and volatility: exactly one of four is 1."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from cbi_pipeline.features.point_in_time import PointInTime
from cbi_pipeline.features.prices import roll_adjusted_log_returns

TREND_SESSIONS: Final = 63
VOLATILITY_SESSIONS: Final = 21
MISSING_TOLERATED: Final = 3
"""Returns that may be missing in a window; trend is the mean of those observed."""
TREND_QUANTILE: Final = 0.5
VOLATILITY_QUANTILE: Final = 0.8
MINIMUM_HISTORY: Final = 252
REGIMES: Final = ("bullish", "bearish", "sideways", "volatile")


def past_quantile(values: pd.Series, quantile: float) -> pd.Series:
    """Quantile of all strictly earlier values, missing until MINIMUM_HISTORY of them are there, [T]."""
    return values.expanding(MINIMUM_HISTORY).quantile(quantile).shift(1)


def classify(log_returns: pd.Series) -> pd.DataFrame:
    """One-hot regimes, [T, 4] float64 in the order of REGIMES; all four missing without enough history.

    volatile: the 21-session standard deviation is above the 80th percentile of its past. Otherwise the
    mean return of 63 sessions is compared with the median of its own past absolute value.

    Args:
        log_returns: [T] daily, within one contract.
    """
    trend = log_returns.rolling(TREND_SESSIONS, min_periods=TREND_SESSIONS - MISSING_TOLERATED).mean()
    volatility = log_returns.rolling(VOLATILITY_SESSIONS, min_periods=VOLATILITY_SESSIONS - MISSING_TOLERATED).std()
    trend_limit, volatility_limit = (
        past_quantile(trend.abs(), TREND_QUANTILE),
        past_quantile(volatility, VOLATILITY_QUANTILE),
    )
    state = np.select([volatility > volatility_limit, trend > trend_limit, trend < -trend_limit], [3, 0, 1], default=2)
    one_hot = pd.DataFrame(np.eye(len(REGIMES))[state], index=log_returns.index, columns=list(REGIMES))
    defined = trend.notna() & volatility.notna() & trend_limit.notna() & volatility_limit.notna()
    return one_hot.where(defined, axis=0)


def regime_features(known: PointInTime) -> dict[str, pd.Series]:
    """The four regime columns, [T] each."""
    one_hot = classify(roll_adjusted_log_returns(known.zl))
    return {f"regime_{name}": one_hot[name] for name in REGIMES}
