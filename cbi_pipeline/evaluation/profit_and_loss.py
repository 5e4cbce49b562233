"""Profit and loss of staggered tranches, its Sharpe ratio, and what is left of it after many trials.

Belongs here: from the sign of each day's forecast to a daily P&L, and the statistics of that series. No model.

Every session a new tranche takes the sign of that day's forecast and is held until its target date; the position is
the mean of the signals still open, between -1 and 1, and 0 when none is. At the end of a record no tranche opens any
more and the open ones run out. A forecast made at the close of t is traded at that close and earns from the next
session on. Amounts are shares of the notional of a full position, which is kept constant.

References:
    Overlapping portfolios: Jegadeesh and Titman (1993), Journal of Finance 48(1). Standard error of a Sharpe ratio by
    the delta method with autocorrelated returns: Lo (2002), Financial Analysts Journal 58(4), appendix A; weights and
    lags of Newey and West (1987, 1994). Deflated Sharpe ratio: Bailey and Lopez de Prado (2014), Journal of Portfolio
    Management 40(5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from cbi_pipeline.errors import ModelError
from cbi_pipeline.fundamentals import SYMBOL
from cbi_pipeline.modeling.volatility import SESSIONS_PER_YEAR

PROFIT_COLUMNS: Final = ("position", "gross", "cost", "net")
_MISSING: Final = float("nan")


@dataclass(frozen=True, slots=True)
class TradingCosts:
    """Costs of one side of a trade, per contract.

    Attributes:
        ticks_per_side: slippage in ticks.
        tick_cents_per_lb: smallest price step, cents/lb.
        commission_usd_per_side: broker, exchange and clearing, USD a contract.
        contract_lb: size of a contract.
    """

    ticks_per_side: float = 1.0
    tick_cents_per_lb: float = 0.01
    commission_usd_per_side: float = 2.5
    contract_lb: float = 60_000.0

    @property
    def cents_per_lb(self) -> float:
        """One side, cents/lb."""
        return self.ticks_per_side * self.tick_cents_per_lb + 100 * self.commission_usd_per_side / self.contract_lb


@dataclass(frozen=True, slots=True)
class Sharpe:
    """Annualised Sharpe ratio of a daily P&L.

    Attributes:
        value: mean / standard deviation x sqrt(252); missing if the P&L never moved.
        standard_error: of `value`, allowing for autocorrelation and for moments that are not normal.
        sessions: days it is made from.
        lags: autocovariances in the standard error.
    """

    value: float
    standard_error: float
    sessions: int
    lags: int


def roll_dates(tables: Mapping[str, pd.DataFrame]) -> pd.DatetimeIndex:
    """Sessions on which the front price is the first of a new ZL contract; before 2010-06-07 none is identified."""
    daily = tables["futures_daily"]
    return pd.DatetimeIndex(daily.loc[daily["symbol"].eq(SYMBOL) & daily["is_roll"].eq(True), "trade_date"])


def tranche_positions(rows: pd.DataFrame, sessions: pd.DatetimeIndex) -> pd.Series:
    """Mean of the signals open after the close of each session.

    Args:
        rows: `as_of_date`, `target_date`, `predicted_price`, `last_price` of one entry at one horizon.
        sessions: sorted days [T] of the P&L; a signal of another day is traded on the first of them after it.

    Returns:
        [T] between -1 and 1; a forecast equal to the last price counts as an open signal of 0.

    Raises:
        ModelError: two rows have one as-of date.
    """
    if rows["as_of_date"].duplicated().any():
        raise ModelError(
            "forecasts of the P&L",
            "a tranche is opened by one forecast a session.",
            "pass the rows of one entry at one horizon.",
        )
    signal = np.sign(rows["predicted_price"].to_numpy(float) - rows["last_price"].to_numpy(float))
    opened = sessions.searchsorted(pd.DatetimeIndex(rows["as_of_date"]))
    closed = sessions.searchsorted(pd.DatetimeIndex(rows["target_date"]))
    total, number = np.zeros(len(sessions) + 1), np.zeros(len(sessions) + 1)
    for at, sign in ((opened, 1), (closed, -1)):
        np.add.at(total, at, sign * signal)
        np.add.at(number, at, sign)
    total, number = total.cumsum()[:-1], number.cumsum()[:-1]
    position = np.divide(total, number, out=np.zeros(len(sessions)), where=number > 0)
    return pd.Series(position, index=sessions, name="position")


def tranche_profit(
    rows: pd.DataFrame,
    returns: pd.Series,
    front: pd.Series,
    rolls: pd.DatetimeIndex,
    costs: TradingCosts,
    *,
    until: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """Daily P&L of one entry at one horizon, from its first as-of date to its last target date.

    Args:
        rows: out-of-fold rows (`OUT_OF_FOLD_COLUMNS`) of one entry at one horizon; no outcome is read.
        returns: daily log returns within one contract (`within_contract_returns`).
        front: front price, cents/lb.
        rolls: sessions on which the front contract is a new one (`roll_dates`): both legs of the position are paid.
        costs: costs a side.
        until: the last session, to compare horizons over the same days; tranches still open then are marked to
            market and not closed.

    Returns:
        `PROFIT_COLUMNS` by session with a return and a price: `position` after that close; `gross`, the position of
        the session before times this session's return; `cost` of the trade at this close and of the roll before it;
        `net`. A session without a return is no row: the position of the row before is held over it.

    Raises:
        ModelError: two rows have one as-of date, or no session has a return.
    """
    first, last = rows["as_of_date"].min(), rows["target_date"].max() if until is None else until
    known = returns.loc[first:last]
    known = known[known.index.isin(front.index)]
    if known.empty:
        raise ModelError(
            f"returns from {first} to {last}",
            "a P&L needs at least one session with a return and a price.",
            "pass the returns and prices of the tables that the forecasts were made from.",
        )
    sessions = pd.DatetimeIndex(known.index)
    position = tranche_positions(rows, sessions)
    held = position.shift(1, fill_value=0.0)  # nothing was open before the first forecast
    gross = held * np.expm1(known)
    sides = (position - held).abs() + 2 * held.abs().where(sessions.isin(rolls), 0.0)
    cost = sides * costs.cents_per_lb / front.loc[sessions]
    return pd.DataFrame({"position": position, "gross": gross, "cost": cost, "net": gross - cost})


def sharpe_ratio(net: np.ndarray, lags: int | None = None) -> Sharpe:
    """Annualised Sharpe ratio with a standard error that allows for autocorrelation.

    The daily ratio's influence function is `z - ratio / 2 x (z^2 - 1)` with `z` the standardised return; its
    long-run variance has Bartlett weights. For independent returns it is Mertens' formula, for normal ones Lo's
    `(1 + ratio^2 / 2) / n`. The factor sqrt(252) holds since a daily P&L, unlike overlapping h-month returns, is close
    to uncorrelated.

    Args:
        net: [n] daily P&L as a share of notional.
        lags: autocovariances used; 4 (n / 100)^(2/9) if None.
    """
    n = len(net)
    lags = int(4 * (n / 100) ** (2 / 9)) if lags is None else lags
    spread = float(net.std()) if n > lags + 1 else 0.0
    if spread == 0:
        return Sharpe(_MISSING, _MISSING, n, lags)
    standard = (net - net.mean()) / spread
    ratio = float(net.mean()) / spread
    influence = standard - ratio / 2 * (standard**2 - 1)
    weighted = [(1 - k / (lags + 1)) * (influence[k:] @ influence[: n - k]) for k in range(1, lags + 1)]
    variance = (influence @ influence + 2 * sum(weighted)) / n
    year = np.sqrt(SESSIONS_PER_YEAR)
    return Sharpe(year * ratio, float(year * np.sqrt(variance / n)), n, lags)


def expected_maximum_sharpe(trials: int, spread: float) -> float:
    """Sharpe ratio that the best of several trials without skill is expected to show.

    Args:
        trials: independent trials really made, at least one; correlated ones count as fewer.
        spread: standard deviation of their Sharpe ratios, of one unit with the result.
    """
    if trials < 1:
        raise ModelError(f"{trials} trials", "at least one was made.", "count the settings that were evaluated.")
    if trials == 1:
        return 0.0
    share = np.euler_gamma
    return float(spread * ((1 - share) * ndtri(1 - 1 / trials) + share * ndtri(1 - 1 / (trials * np.e))))


def deflated_sharpe_ratio(sharpe: Sharpe, trials: int, spread: float) -> float:
    """Probability that the true Sharpe ratio exceeds what the best of `trials` without skill would show.

    The paper's standard error for independent returns gives way to that of `sharpe`, which contains it.

    Args:
        sharpe: of the chosen entry, annualised.
        trials, spread: as of `expected_maximum_sharpe`, the spread annualised.
    """
    return float(ndtr((sharpe.value - expected_maximum_sharpe(trials, spread)) / sharpe.standard_error))
