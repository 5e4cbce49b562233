"""The ZL front price, its daily returns within one contract, and the volatilities made from them.

Belongs here: everything that turns raw price tables into `sigma_h` (the unit in which horizons are
learned) and into the spread of the density. What is forecast with it belongs in `anchor.py`.

References:
    EWMA variance of zero-mean daily returns: J.P. Morgan/Reuters, RiskMetrics Technical Document,
    4th ed. (1996), section 5.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd
from scipy.special import ndtri

from cbi_pipeline.contracts import HORIZONS_MONTHS, QUANTILES
from cbi_pipeline.errors import ModelError
from cbi_pipeline.fundamentals import MAX_GAP_SESSIONS, SYMBOL, curve_returns, session_numbers, zl_curve

SESSIONS_PER_YEAR: Final = 252
FAST_DECAY: Final = 0.97
SLOW_DECAY: Final = 0.99
MIN_RETURNS: Final = 60
"""Returns needed before any volatility is stated (about a quarter of a year)."""


def _zl_daily(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    daily = tables["futures_daily"]
    daily = daily[daily["symbol"] == SYMBOL].set_index("trade_date").sort_index()
    if daily.empty:
        raise ModelError("futures_daily", f"it holds no row of {SYMBOL}.", "rebuild the bundle from provider files.")
    return daily


def front_price(tables: Mapping[str, pd.DataFrame]) -> pd.Series:
    """ZL front price, cents/lb, unadjusted, by trade date from 1985.

    The nearest leg of `futures_curve` before `futures_daily` starts, the close of `futures_daily`
    from then on. A date without a price has no row.

    Raises:
        ModelError: `futures_daily` has no ZL row.
    """
    close = _zl_daily(tables)["close"]
    nearest = zl_curve(tables).groupby("trade_date")["price"].first()
    front = pd.concat([nearest[nearest.index < close.index[0]], close])
    front.index.name = "trade_date"
    return front.astype(float).rename("front_price")


def within_contract_returns(tables: Mapping[str, pd.DataFrame]) -> pd.Series:
    """Daily log returns of ZL, both prices of one and the same contract, by trade date.

    - Before `futures_daily` names its contracts (Yahoo's rolls, before 2010-06, are not identified):
      of the contracts in `futures_curve` quoted on this and on the curve's previous date, the nearest.
    - From the first `futures_daily` row with a contract: log(close / (previous close x roll ratio)),
      the ratio applying on roll rows only.
    A return that would span more than `MAX_GAP_SESSIONS` sessions is left out.

    Raises:
        ModelError: `futures_daily` has no ZL row.
    """
    daily = _zl_daily(tables)
    named = daily.index[daily["contract"].notna()]
    matched = curve_returns(zl_curve(tables))
    if named.empty:
        return matched
    returns = pd.concat([matched[matched.index < named[0]], _daily_returns(daily).loc[named[0] :]])
    returns.index.name = "trade_date"
    return returns.rename("log_return")


def _daily_returns(daily: pd.DataFrame) -> pd.Series:
    rolled = daily["is_roll"].eq(True)
    log_close = daily["close"].astype(float).map(np.log)
    change = log_close.diff()
    change = change.mask(rolled, change - daily["roll_ratio"].astype(float).map(np.log))
    gap = pd.Series(session_numbers(daily.index), index=daily.index).diff()
    return change[gap.le(MAX_GAP_SESSIONS) & daily["is_roll"].notna()].dropna()


def volatility_state(returns: pd.Series) -> pd.DataFrame:
    """Annualised variances of daily log returns known at the close of each date.

    Args:
        returns: daily log returns within one contract, by trade date, no gaps stored as NaN.

    Returns:
        Columns `v_fast` (exponential weights, decay 0.97), `v_slow` (decay 0.99), `v_long` (expanding
        mean); log price squared per year; missing for the first `MIN_RETURNS` - 1 returns.
    """
    squared = returns.dropna() ** 2 * SESSIONS_PER_YEAR
    return pd.DataFrame(
        {
            "v_fast": squared.ewm(alpha=1 - FAST_DECAY, min_periods=MIN_RETURNS).mean(),
            "v_slow": squared.ewm(alpha=1 - SLOW_DECAY, min_periods=MIN_RETURNS).mean(),
            "v_long": squared.expanding(min_periods=MIN_RETURNS).mean(),
        }
    )


def state_at(state: pd.DataFrame, index: pd.Index) -> pd.DataFrame:
    """`volatility_state` on each date of `index`: its last row if at most `MAX_GAP_SESSIONS` old, else missing."""
    position = state.index.searchsorted(index, side="right") - 1
    found = position >= 0
    age = np.where(found, session_numbers(index) - session_numbers(state.index)[position], MAX_GAP_SESSIONS + 1)
    aligned = state.iloc[position].set_axis(index)
    return aligned.where(pd.Series(age <= MAX_GAP_SESSIONS, index=index), np.nan)


def _horizon_sigma(annual_variance: pd.Series) -> pd.DataFrame:
    return pd.DataFrame({h: np.sqrt(annual_variance * h / 12) for h in HORIZONS_MONTHS})


def sigma_h(state: pd.DataFrame) -> pd.DataFrame:
    """`sqrt(h/12) * sqrt((v_slow + v_long) / 2)`, log price: the unit of learning. One column per horizon in months."""
    return _horizon_sigma((state["v_slow"] + state["v_long"]) / 2)


def long_run_sigma(state: pd.DataFrame) -> pd.DataFrame:
    """`sqrt(h/12) * sqrt(v_long)`, log price: the scale of the curve's cap. One column per horizon in months."""
    return _horizon_sigma(state["v_long"])


def density_sigma(state: pd.DataFrame) -> pd.DataFrame:
    """`sqrt(h/12) * sqrt((v_fast + v_long) / 2)`, log price: the forecast density. One column per horizon in months."""
    return _horizon_sigma((state["v_fast"] + state["v_long"]) / 2)


def normal_quantiles(centre: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Quantiles of a normal density in log price.

    Args:
        centre: [...] log price forecast (the median).
        spread: [...] standard deviation in log price, same shape.

    Returns:
        [..., 7] log prices at `contracts.QUANTILES`, never crossing since the spread is not negative.
    """
    return np.asarray(centre)[..., None] + np.asarray(spread)[..., None] * ndtri(QUANTILES)
