"""Rolls that the provider does not mark: known answers, and the starter bundle before 2010-06-07."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.features.point_in_time import PointInTime
from cbi_pipeline.features.prices import roll_adjusted_log_returns
from cbi_pipeline.features.rolls import curve_on_time, implied_roll_ratio
from cbi_pipeline.fundamentals import curve_returns

DAYS = pd.DatetimeIndex(["2008-03-12", "2008-03-13", "2008-03-14", "2008-03-17", "2008-03-18"])


def front(closes, contracts=(None,) * 5):
    return pd.DataFrame({"close": closes, "contract": list(contracts)}, index=DAYS)


def curve(rows):
    frame = pd.DataFrame(rows, columns=["trade_date", "contract_month", "price"])
    return frame.assign(trade_date=pd.to_datetime(frame["trade_date"]))


LEGS = [
    *(("2008-03-12", "2008-05", 60.0), ("2008-03-12", "2008-07", 61.0)),
    *(("2008-03-13", "2008-05", 61.2), ("2008-03-13", "2008-07", 62.0)),
    *(("2008-03-14", "2008-05", 58.14), ("2008-03-14", "2008-07", 59.0)),
    ("2008-03-18", "2008-05", 59.0),
]


def test_the_move_beyond_one_contract_is_the_roll():
    ratio = implied_roll_ratio(front([58.0, 59.16, 58.14, 58.0, 59.0]), curve(LEGS))
    assert np.isnan(ratio.iloc[0])
    assert ratio.iloc[1] == pytest.approx(1.0)
    assert ratio.iloc[2] == pytest.approx((58.14 / 59.16) / 0.95), "the front went from 03 to 05 at 61.2/59.16"
    assert ratio.iloc[3:].isna().all(), "no curve on the 17th, so none for the 17th and the 18th"


def test_nothing_is_implied_once_contracts_are_named():
    ratio = implied_roll_ratio(front([58.0, 59.16, 58.14, 58.0, 59.0], (None, "1", None, None, None)), curve(LEGS))
    assert ratio.isna().all()


def test_a_curve_row_that_was_late_takes_no_part(starter_tables):
    table = starter_tables["futures_curve"]
    day = pd.Timestamp("2005-10-17")
    late = table["available_at"] + pd.Timedelta(minutes=1)
    delayed = table.assign(available_at=table["available_at"].mask(table["trade_date"] == day, late))
    assert (curve_on_time({"futures_curve": table})["trade_date"] == day).sum() == 2
    assert (curve_on_time({"futures_curve": delayed})["trade_date"] == day).sum() == 0


@pytest.fixture
def known(starter_tables):
    return PointInTime.from_tables(starter_tables)


def test_returns_before_2010_are_those_of_one_contract(starter_tables, known):
    returns = roll_adjusted_log_returns(known.zl)[:"2010-06-04"]
    matched = curve_returns(curve_on_time(starter_tables)).reindex(returns.index)
    told = known.zl["roll_ratio"][:"2010-06-04"].notna()
    assert (~told).sum() == 11, "the first row and ten without a curve on this or the previous session"
    assert (returns - matched)[told].abs().max() < 1e-9
    raw = np.log(known.zl["close"]).diff()[:"2010-06-04"]
    assert ((raw - returns).abs() > 0.005).sum() > 100, "rolls and bad prints of the provider"


def test_the_moves_that_are_kept_hide_no_roll(starter_tables, known):
    """Over each stretch that the curve skips and spans, the provider's total move is that of one contract."""
    zl, curve_rows = known.zl[:"2010-06-04"], curve_on_time(starter_tables)
    matched = curve_returns(curve_rows)
    quoted = pd.DatetimeIndex(curve_rows["trade_date"].unique())
    skipped = zl.index[~zl.index.isin(quoted)]
    after = {quoted[quoted.searchsorted(day)] for day in skipped} & set(matched.index)
    assert len(after) >= 3
    for day in after:
        start = quoted[quoted.get_loc(day) - 1]
        assert np.log(zl.loc[day, "close"] / zl.loc[start, "close"]) == pytest.approx(matched[day], abs=0.004)


def test_named_contracts_keep_their_own_ratio(starter_tables, known):
    futures = starter_tables["futures_daily"]
    raw = futures[futures["symbol"] == "ZL"].set_index("trade_date").sort_index()["roll_ratio"]
    after = known.zl.index >= "2010-06-07"
    pd.testing.assert_series_equal(
        known.zl.loc[after, "roll_ratio"], raw[after].astype("float64"), check_names=False, check_freq=False
    )
