"""Extra features from prices: carry, momentum, distance from the long mean, crush trend, BOHO spread."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from cbi_pipeline.features.declarations import CURVE, HO, ZM, ZS
from cbi_pipeline.features.point_in_time import PointInTime
from cbi_pipeline.features.prices import roll_adjusted_log_returns
from cbi_pipeline.features.rolls import curve_on_time
from cbi_pipeline.features.substitution import SOYBEAN_OIL_POUNDS_PER_GALLON, crush_margin
from cbi_pipeline.fundamentals import curve_carry, curve_returns

MOMENTUM_SESSIONS: Final = {3: 63, 12: 252}
LONG_MEAN_WINDOW: Final = "1826D"
LONG_MEAN_OBSERVED: Final = 1000
SEASON_YEARS: Final = 5
"""Earlier years with the calendar month on record before its usual carry is stated."""
TREND_MEAN_SESSIONS: Final = 21
TREND_OBSERVED: Final = 18
TREND_LAG_SESSIONS: Final = 63


def mean_of_earlier_years(values: pd.Series) -> pd.Series:
    """Mean over the same calendar month of all earlier years, [n]; missing with fewer than SEASON_YEARS of them.

    The current year takes no part, so that nothing but closed months is averaged.

    Args:
        values: by date, ascending, none missing.
    """
    dates = pd.DatetimeIndex(values.index)
    by_month = values.groupby([dates.year, dates.month]).agg(["sum", "count"])
    years = range(dates.year[0], dates.year[-1] + 1)

    def of_earlier(column: pd.Series) -> pd.DataFrame:
        return column.unstack(fill_value=0).reindex(years, fill_value=0).cumsum().shift(1)

    total, count = of_earlier(by_month["sum"]), of_earlier(by_month["count"])
    seen = of_earlier((by_month["count"] > 0).astype("int64"))
    usual = (total / count).where(seen >= SEASON_YEARS).stack()
    wanted = pd.MultiIndex.from_arrays([dates.year, dates.month])
    return pd.Series(usual.reindex(wanted).to_numpy(), index=values.index)


def carry_features(known: PointInTime) -> dict[str, pd.Series]:
    """Annualised carry of the two nearest contracts beyond the month's usual, [T], log price per year."""
    carry = curve_carry({CURVE.table: known.rows(CURVE)})
    carry["carry"] -= mean_of_earlier_years(carry["carry"])
    joined = known.latest(CURVE, ["carry"], carry.dropna().rename_axis(CURVE.event_date).reset_index())
    return {"curve_carry_deseasonalised": joined["carry"]}


def long_log_returns(known: PointInTime) -> pd.Series:
    """Daily log returns within one contract: the curve's to the first session included, then the front's."""
    earlier = curve_returns(curve_on_time(known.tables))
    first = known.sessions[0]
    return pd.concat([earlier[earlier.index <= first], roll_adjusted_log_returns(known.zl).iloc[1:]])


def momentum_features(known: PointInTime) -> dict[str, pd.Series]:
    """Log return over 3 and 12 months with rolls taken out, [T]."""
    returns = long_log_returns(known)
    return {
        f"momentum_{months}m": returns.rolling(n).sum().reindex(known.sessions)
        for months, n in MOMENTUM_SESSIONS.items()
    }


def distance_features(known: PointInTime) -> dict[str, pd.Series]:
    """Log distance of the close from its mean over five years, [T]; the price is the unadjusted front throughout."""
    nearest = curve_on_time(known.tables).groupby("trade_date")["price"].first()
    close = pd.concat([nearest[nearest.index < known.sessions[0]], known.zl["close"]]).astype("float64")
    mean = close.rolling(LONG_MEAN_WINDOW, min_periods=LONG_MEAN_OBSERVED).mean()
    return {"distance_5y_mean": np.log(close / mean).reindex(known.sessions)}


def crush_trend_features(known: PointInTime) -> dict[str, pd.Series]:
    """Gross crush margin of the last month less that of three months before, [T], USD/bu.

    Missing on a date without all three legs, so that a leg that ends is not carried.
    """
    meal, soybeans = known.latest(ZM, ["close"])["close"], known.latest(ZS, ["close"])["close"]
    margin = crush_margin(meal, known.zl["close"], soybeans)
    smooth = margin.rolling(TREND_MEAN_SESSIONS, min_periods=TREND_OBSERVED).mean()
    trend = smooth - smooth.shift(TREND_LAG_SESSIONS)
    return {"crush_margin_trend": trend.where(margin.notna())}


def heating_oil_features(known: PointInTime) -> dict[str, pd.Series]:
    """Soybean oil less heating oil, [T], USD/gal."""
    oil_per_gallon = known.zl["close"] * SOYBEAN_OIL_POUNDS_PER_GALLON / 100.0
    return {"heating_oil_spread": oil_per_gallon - known.latest(HO, ["close"])["close"]}
