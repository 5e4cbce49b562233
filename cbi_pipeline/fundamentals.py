"""Economic facts of soybean oil that the anchor and the features are both computed from.

Belongs here: the arithmetic from raw tables to the futures curve's carry and returns, WASDE stocks-to-use and
the palm/soybean-oil price ratio, each by the date it describes, with `available_at`. Joining them to trade dates
belongs to the users, `modeling/` and `features/`, which share nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd

from cbi_pipeline.market_calendar import sessions

SYMBOL: Final = "ZL"
MAX_GAP_SESSIONS: Final = 5
"""A return spans at most this many sessions; a volatility is used for at most as many after its last return."""
STOCKS_MEAN_WINDOW: Final = "1826D"
STOCKS_MEAN_MIN_RELEASES: Final = 36
RATIO_MEAN_MONTHS: Final = 36


def session_numbers(index: pd.Index) -> np.ndarray:
    """Running number [n] of each date among the CBOT sessions, so that ages can be counted in sessions."""
    return sessions("1985-01-01", index.max()).searchsorted(index, side="right") if len(index) else np.empty(0, int)


def zl_curve(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """ZL rows of `futures_curve`, nearest contract first within each trade date."""
    curve = tables["futures_curve"]
    return curve[curve["symbol"] == SYMBOL].sort_values(["trade_date", "contract_month"]).reset_index(drop=True)


def curve_returns(curve: pd.DataFrame) -> pd.Series:
    """Daily log returns, both prices of one contract: the nearest quoted on this and on the curve's previous date.

    Args:
        curve: as of `zl_curve`.

    Returns:
        By trade date; a date without such a contract, or more than `MAX_GAP_SESSIONS` sessions after the date
        before it, has no row.
    """
    legs = curve[["trade_date", "contract_month"]].copy()
    legs["log_price"] = np.log(curve["price"].astype(float))
    dates = pd.DatetimeIndex(legs["trade_date"].unique())
    order = dates.searchsorted(legs["trade_date"])
    legs["order"], legs["session"] = order, session_numbers(dates)[order]
    change = legs.groupby("contract_month")[["log_price", "order", "session"]].diff()
    same_contract = change["order"].eq(1) & change["session"].le(MAX_GAP_SESSIONS)
    legs["log_return"] = change["log_price"].where(same_contract)
    return legs.dropna(subset="log_return").groupby("trade_date")["log_return"].first()


def curve_carry(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Annualised log slope of the two nearest listed contracts, by trade date.

    Returns:
        Columns `carry` (log price per year, log(p2 / p1) / (months between / 12)) and `available_at`;
        a date with one contract only has no row.
    """
    legs = zl_curve(tables)
    month = pd.to_datetime(legs["contract_month"], format="%Y-%m").dt
    legs["months"] = month.year * 12 + month.month
    legs["log_price"] = np.log(legs["price"].astype(float))
    by_date = legs.groupby("trade_date")
    legs["rank"] = by_date.cumcount()
    wide = legs.pivot(index="trade_date", columns="rank", values=["log_price", "months"]).reindex(
        columns=pd.MultiIndex.from_product([["log_price", "months"], [0, 1]])
    )
    years = (wide["months", 1] - wide["months", 0]) / 12
    carry = (wide["log_price", 1] - wide["log_price", 0]) / years
    return pd.DataFrame({"carry": carry, "available_at": by_date["available_at"].max()}).dropna()


def stocks_to_use(tables: Mapping[str, pd.DataFrame]) -> pd.Series:
    """US soybean-oil ending stocks / total use, by `release_date` and `marketing_year`; NaN if one is missing."""
    vintages = tables["fundamentals"]
    wide = vintages.pivot(index=["release_date", "marketing_year"], columns="series_id", values="value")
    return wide["wasde_us_soybean_oil_ending_stocks"] / wide["wasde_us_soybean_oil_use_total"]


def stocks_to_use_deviation(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Log US soybean-oil stocks-to-use of the newest marketing year less its trailing five-year mean.

    One row per WASDE release, from the vintage of that release; the mean runs over the releases of the
    last five years, this one included, and needs `STOCKS_MEAN_MIN_RELEASES` of them.

    Returns:
        Index release date; columns `value` (log), `available_at`.
    """
    vintages = tables["fundamentals"]
    newest = stocks_to_use(tables).groupby("release_date").tail(1).droplevel("marketing_year")
    ratio = newest.dropna().map(np.log)
    mean = ratio.rolling(STOCKS_MEAN_WINDOW, min_periods=STOCKS_MEAN_MIN_RELEASES).mean()
    available = vintages.groupby("release_date")["available_at"].max()
    return pd.DataFrame({"value": ratio - mean, "available_at": available}).dropna()


def stocks_to_use_surprise(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Change of log stocks-to-use against the release before, for the newest marketing year that both state.

    In May, when a marketing year appears for the first time, that is the year before it.

    Returns:
        Index release date; columns `value` (log), `available_at`.
    """
    vintages = tables["fundamentals"]
    by_year = stocks_to_use(tables).map(np.log).unstack("marketing_year")
    change = by_year.diff().stack().dropna()
    newest = change.groupby("release_date").tail(1).droplevel("marketing_year")
    available = vintages.groupby("release_date")["available_at"].max()
    return pd.DataFrame({"value": newest, "available_at": available}).dropna()


def palm_ratio_deviation(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Log palm/soybean-oil price (monthly, World Bank, USD/t) less its mean over three years, this month included.

    Returns:
        Index first day of the month; columns `value` (log), `available_at`.
    """
    series = ["WB_PALM_OIL", "WB_SOYBEAN_OIL"]
    macro = tables["macro_series"]
    monthly = macro[macro["series_id"].isin(series)]
    wide = monthly.pivot(index="date", columns="series_id", values="value").asfreq("MS")
    ratio = (wide["WB_PALM_OIL"] / wide["WB_SOYBEAN_OIL"]).map(np.log)
    mean = ratio.rolling(RATIO_MEAN_MONTHS).mean()
    available = monthly.groupby("date")["available_at"].max()
    return pd.DataFrame({"value": ratio - mean, "available_at": available}).dropna()
