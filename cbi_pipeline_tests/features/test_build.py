from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.errors import FeatureError
from cbi_pipeline.features import CATALOGUE, FEATURE_NAMES, availability_report, regime, weather
from cbi_pipeline.features.build import assemble, check_frame
from cbi_pipeline.features.prices import forward_factor, roll_adjusted_log_returns
from cbi_pipeline.features.technical import range_indicators


def test_frame_has_the_locked_shape(starter_tables, starter_features):
    futures = starter_tables["futures_daily"]
    days = futures.loc[futures["symbol"] == "ZL", "trade_date"].sort_values()
    assert list(starter_features.columns) == list(FEATURE_NAMES)
    assert set(starter_features.dtypes) == {np.dtype("float32")}
    assert starter_features.index.name == "trade_date"
    assert starter_features.index.tolist() == days.tolist()
    assert starter_features.index[0] == pd.Timestamp("2002-07-01")
    assert not np.isinf(starter_features.to_numpy()).any()
    check_frame(starter_features)


def test_ranges_that_the_definitions_promise(starter_features):
    frame = starter_features
    assert frame["RSI_14"].dropna().between(0, 100).all()
    assert frame["ADX_14"].dropna().between(0, 100).all()
    assert (frame["high_low_spread"].dropna() >= 0).all()
    assert (frame["open_close_spread"].abs() <= frame["high_low_spread"] + 1e-4)[frame["high_low_spread"].notna()].all()
    assert (frame["BB_upper"] >= frame["BB_lower"])[frame["BB_upper"].notna()].all()
    assert (frame.filter(like="GDD").stack() >= 0).all()
    assert frame.filter(like="zscore").abs().max().max() < 15


def test_regimes_are_exactly_one_hot(starter_features):
    regimes = starter_features[[f"regime_{name}" for name in regime.REGIMES]]
    there = regimes.notna().all(axis=1)
    assert (regimes.isna().all(axis=1) == ~there).all()
    assert set(np.unique(regimes[there])) == {0.0, 1.0}
    assert (regimes[there].sum(axis=1) == 1).all()
    assert (regimes[there].mean() > 0.05).all()


def test_indicators_skip_rows_without_high_and_low(starter_tables, starter_features):
    futures = starter_tables["futures_daily"]
    zl = futures[futures["symbol"] == "ZL"].set_index("trade_date")
    without = zl.index[zl["high"].isna()]
    assert len(without) > 100
    assert starter_features.loc[without, ["ATR_14", "ADX_14", "CCI_14", "high_low_spread"]].isna().all(axis=None)
    whole = zl[zl["high"].notna()].loc["2003-02-01":]
    assert starter_features.loc[whole.index, ["ATR_14", "ADX_14", "CCI_14"]].notna().all(axis=None)


def test_report_names_a_reason_for_every_feature(starter_features):
    report = availability_report(starter_features)
    assert report.index.tolist() == list(FEATURE_NAMES)
    assert report["reason"].str.len().min() > 4
    assert report.loc["close", "missing_share"] == 0
    assert report.loc["palm_price", "first_usable"] == pd.Timestamp("2006-04-12")
    assert report.loc["palm_spread", "first_usable"] == pd.Timestamp("2010-06-07")
    assert report["missing_share"].max() < 0.15
    assert (report["missing_on_last_row"] == starter_features.iloc[-1].isna()).all()


def test_report_of_a_feature_that_never_comes(starter_features):
    report = availability_report(starter_features.assign(CCI_14=np.float32("nan")))
    assert pd.isna(report.loc["CCI_14", "first_usable"])
    assert pd.isna(report.loc["CCI_14", "missing_share"])


def test_declared_and_computed_columns_must_agree():
    sessions = pd.DatetimeIndex(["2024-01-02"])
    columns = {feature.name: pd.Series([1.0], index=sessions) for feature in CATALOGUE}
    assert assemble(columns, sessions, CATALOGUE).shape == (1, len(CATALOGUE))
    with pytest.raises(FeatureError, match="not declared"):
        assemble(columns | {"another": columns["close"]}, sessions, CATALOGUE)
    del columns["CCI_14"]
    with pytest.raises(FeatureError, match="CCI_14: declared but not returned by"):
        assemble(columns, sessions, CATALOGUE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame[list(frame.columns[::-1])], "column 0"),
        (lambda frame: frame.iloc[:, :-1], f"{len(CATALOGUE) - 1} columns"),
        (lambda frame: frame.assign(close=frame["close"].astype("float64")), "dtype float64"),
        (lambda frame: frame.iloc[::-1], "not ascending"),
    ],
)
def test_another_frame_is_refused(starter_features, change, message):
    with pytest.raises(FeatureError, match=message):
        check_frame(change(starter_features))


def rolls(closes, ratios, dates=None):
    index = pd.date_range("2024-01-01", periods=len(closes)) if dates is None else pd.DatetimeIndex(dates)
    ratio = np.array([np.nan if r is None else r for r in ratios])
    return pd.DataFrame({"close": closes, "roll_ratio": ratio, "is_roll": [r is not None for r in ratios]}, index=index)


def test_a_roll_is_not_a_return():
    zl = rolls([50.0, 60.6, 61.206], [None, 1.2, None])
    assert forward_factor(zl).tolist() == [1.0, 1.2, 1.2]
    assert np.exp(roll_adjusted_log_returns(zl)).tolist()[1:] == pytest.approx([1.01, 1.01])


def test_no_return_over_a_hole_or_an_unknown_roll():
    zl = rolls([50.0, 51.0, 52.0], [None, None, None], ["2024-01-02", "2024-01-09", "2024-01-17"])
    assert roll_adjusted_log_returns(zl).isna().tolist() == [True, False, True]
    unknown = rolls([50.0, 60.0], [None, float("nan")])
    assert roll_adjusted_log_returns(unknown).isna().all()


def test_true_range_of_steady_bars():
    close = np.full(40, 10.0)
    assert range_indicators(close + 1.0, close - 0.5, close)["ATR_14"][-1] == pytest.approx(1.5)


def test_a_season_sum_restarts_is_zero_outside_and_does_not_bridge_a_gap():
    days = pd.date_range("2019-12-01", "2021-12-31")
    daily = np.ones(len(days))
    daily[days == "2021-05-01"] = np.nan
    total = pd.Series(weather.season_to_date(daily, days, 4), index=days)
    assert total["2020-03-31"] == 0
    assert total["2020-04-01"] == 1
    assert total["2020-10-31"] == 214
    assert total["2020-11-01"] == 0
    assert total["2021-04-30"] == 30
    assert total["2021-05-01":"2021-10-31"].isna().all()
    assert total["2021-11-01"] == 0
    southern = pd.Series(weather.season_to_date(np.ones(len(days)), days, 10), index=days)
    assert southern[:"2020-04-30"].isna().all(), "the season began before the record"
    assert southern["2020-10-01"] == 1
    assert southern["2021-04-30"] == 212


def test_degree_days_by_hand():
    assert weather.daily_growing_degrees(np.array([30.0, 12.0]), np.array([14.0, 2.0])).tolist() == [12.0, 0.0]


def test_rain_windows_need_their_days():
    rain = np.array([[1.0], [np.nan], [3.0], [np.nan], [5.0]])
    assert weather.trailing_rate(rain, 3, 2).ravel().tolist() == pytest.approx(
        [np.nan, np.nan, 2.0, np.nan, 4.0], nan_ok=True
    )


def test_station_mean_leaves_out_what_is_missing():
    assert weather.station_mean(np.array([[1.0, np.nan, 3.0], [np.nan] * 3])).tolist() == pytest.approx(
        [2.0, np.nan], nan_ok=True
    )


def test_climatology_needs_eight_earlier_years_and_rain():
    days = pd.date_range("2000-01-01", "2012-12-31")
    wave = (np.arange(len(days)) % 7 + 0.0)[:, None]
    scores = pd.Series(weather.zscore_to_own_past(wave, days).ravel(), index=days)
    assert scores[:"2007-12-31"].isna().all()
    assert scores["2008-03-01":].notna().all()
    assert abs(scores["2008-03-01":].mean()) < 0.05
    dry = weather.zscore_to_own_past(np.zeros((len(days), 1)), days)
    assert np.isnan(dry).all()
