"""Extra features from supply and demand: WASDE, palm, biofuel credits, dollar, season."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from cbi_pipeline.features.declarations import (
    D4_RINS,
    DTWEXBGS,
    PALM_STOCKS,
    WASDE_STOCKS,
    WASDE_USE,
    WB_PALM_OIL,
    WB_SOYBEAN_OIL,
    Input,
)
from cbi_pipeline.features.point_in_time import PointInTime
from cbi_pipeline.fundamentals import palm_ratio_deviation, stocks_to_use_deviation, stocks_to_use_surprise

DOLLAR_CHANGE_OBSERVATIONS: Final = 63
DAYS_PER_YEAR: Final = 365.25


def _joined(known: PointInTime, source: Input, derived: pd.DataFrame) -> pd.Series:
    """Column `value` of a frame by event date, as known at each session, [T]."""
    return known.latest(source, ["value"], derived.rename_axis(source.event_date).reset_index())["value"]


def wasde_features(known: PointInTime) -> dict[str, pd.Series]:
    """Log stocks-to-use: distance from its five-year mean, and change against the release before, [T]."""
    tables = {WASDE_STOCKS.table: pd.concat([known.rows(WASDE_STOCKS), known.rows(WASDE_USE)])}
    return {
        "wasde_stocks_to_use_deviation": _joined(known, WASDE_STOCKS, stocks_to_use_deviation(tables)),
        "wasde_stocks_to_use_surprise": _joined(known, WASDE_STOCKS, stocks_to_use_surprise(tables)),
    }


def palm_ratio_features(known: PointInTime) -> dict[str, pd.Series]:
    """Log palm/soybean-oil price less its three-year mean, [T]."""
    tables = {WB_PALM_OIL.table: pd.concat([known.rows(WB_PALM_OIL), known.rows(WB_SOYBEAN_OIL)])}
    return {"palm_soybean_oil_ratio_deviation": _joined(known, WB_PALM_OIL, palm_ratio_deviation(tables))}


def growth_on_a_year(known: PointInTime, source: Input) -> pd.Series:
    """Log change of a monthly series against the same month a year before, [T]; a missing month is not bridged."""
    rows = known.rows(source).set_index(source.event_date)
    monthly = np.log(rows["value"]).asfreq("MS")
    growth = pd.DataFrame({"value": monthly.diff(12), "available_at": rows["available_at"]})
    return _joined(known, source, growth.dropna())


def d4_features(known: PointInTime) -> dict[str, pd.Series]:
    """Growth of D4 RIN generation on the year, [T]."""
    return {"d4_rin_growth": growth_on_a_year(known, D4_RINS)}


def palm_stocks_features(known: PointInTime) -> dict[str, pd.Series]:
    """Growth of Malaysian palm-oil stocks on the year, [T]."""
    return {"malaysia_palm_stocks_change": growth_on_a_year(known, PALM_STOCKS)}


def dollar_features(known: PointInTime) -> dict[str, pd.Series]:
    """Log change of the broad dollar index over 63 of its observations, [T]."""
    rows = known.rows(DTWEXBGS)
    rows = rows.assign(change=np.log(rows["value"]).diff(DOLLAR_CHANGE_OBSERVATIONS))
    return {"dollar_index_change": known.latest(DTWEXBGS, ["change"], rows)["change"]}


def season_features(known: PointInTime) -> dict[str, pd.Series]:
    """Place in the calendar year as a point on a circle, [T]."""
    angle = pd.Series(2 * np.pi * known.sessions.dayofyear / DAYS_PER_YEAR, index=known.sessions)
    return {"season_sin": angle.map(np.sin), "season_cos": angle.map(np.cos)}
