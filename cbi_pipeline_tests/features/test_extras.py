"""The extra features: values of one date against plain arithmetic on the raw rows, and known answers of the parts."""

from __future__ import annotations

import math
from statistics import fmean, stdev

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.features.extras_prices import mean_of_earlier_years
from cbi_pipeline.features.positioning import net_share
from cbi_pipeline.fundamentals import stocks_to_use_surprise

DAY = pd.Timestamp("2022-06-14")
MOMENT = pd.Timestamp("2022-06-14 19:00", tz="UTC")


def monthly(tables, series):
    rows = tables["macro_series"]
    rows = rows[(rows["series_id"] == series) & (rows["available_at"] <= MOMENT)].sort_values("date")
    return list(zip(rows["date"], rows["value"], strict=True))


def futures(tables, symbol):
    rows = tables["futures_daily"]
    return rows[(rows["symbol"] == symbol) & (rows["trade_date"] <= DAY)].set_index("trade_date").sort_index()


def returns(tables):
    zl = futures(tables, "ZL")
    pairs = zip(zl["close"], zl["close"].shift(1), zl["roll_ratio"], strict=True)
    return [math.log(now / before / (1.0 if math.isnan(ratio) else ratio)) for now, before, ratio in pairs][1:]


def annual_carry(rows):
    (near, price), (far, other) = sorted(zip(rows["contract_month"], rows["price"], strict=True))
    months = 12 * (int(far[:4]) - int(near[:4])) + int(far[5:]) - int(near[5:])
    return math.log(other / price) / (months / 12)


def test_carry_against_the_junes_of_earlier_years(starter_tables, starter_features):
    curve = starter_tables["futures_curve"]
    curve = curve[(curve["trade_date"] <= DAY) & (curve["trade_date"].dt.month == 6)]
    carry = {day: annual_carry(rows) for day, rows in curve.groupby("trade_date") if len(rows) == 2}
    usual = fmean(value for day, value in carry.items() if day.year < 2022)
    assert len({day.year for day in carry}) == 38
    assert starter_features.loc[DAY, "curve_carry_deseasonalised"] == pytest.approx(carry[DAY] - usual, rel=1e-5)


def test_carry_is_missing_once_the_curve_is_a_week_old(starter_features):
    column = starter_features["curve_carry_deseasonalised"]
    assert column.loc["2023-11-30":"2023-12-07"].notna().all()
    assert column.loc["2023-12-08":].isna().all()


def stocks(tables):
    rows = tables["fundamentals"]
    rows = rows[rows["available_at"] <= MOMENT]
    ratio: dict[tuple[pd.Timestamp, str], dict[str, float]] = {}
    for key, series, value in zip(
        zip(rows["release_date"], rows["marketing_year"], strict=True), rows["series_id"], rows["value"], strict=True
    ):
        ratio.setdefault(key, {})[series[len("wasde_us_soybean_oil_") :]] = value
    return {key: math.log(both["ending_stocks"] / both["use_total"]) for key, both in ratio.items()}


def test_stocks_to_use_deviation_and_surprise(starter_tables, starter_features):
    logs = stocks(starter_tables)
    releases = sorted({release for release, _ in logs})
    newest = [logs[release, max(year for r, year in logs if r == release)] for release in releases]
    window = [v for r, v in zip(releases, newest, strict=True) if r > releases[-1] - pd.Timedelta(days=1826)]
    row = starter_features.loc[DAY]
    assert releases[-1] == pd.Timestamp("2022-06-10")
    assert row["wasde_stocks_to_use_deviation"] == pytest.approx(newest[-1] - fmean(window), rel=1e-4)
    change = logs[releases[-1], "2022/23"] - logs[releases[-2], "2022/23"]
    assert row["wasde_stocks_to_use_surprise"] == pytest.approx(change, rel=1e-4)
    assert change != 0


def test_a_new_marketing_year_is_no_surprise(starter_tables, starter_features):
    logs = stocks(starter_tables)
    may, april = pd.Timestamp("2022-05-12"), pd.Timestamp("2022-04-08")
    assert (april, "2022/23") not in logs
    assert (may, "2022/23") in logs
    wanted = logs[may, "2021/22"] - logs[april, "2021/22"]
    assert starter_features.loc["2022-05-16", "wasde_stocks_to_use_surprise"] == pytest.approx(wanted, rel=1e-4)


def test_a_surprise_is_the_change_of_one_marketing_year():
    dates = [*["2020-04-01"] * 2, *["2020-05-01"] * 2, *["2020-06-01"] * 2]
    years = ["2018/19", "2019/20", "2019/20", "2020/21", "2019/20", "2020/21"]
    stock = [10.0, 20.0, 30.0, 99.0, 30.0, 49.5]
    keys = {"release_date": pd.to_datetime(dates), "marketing_year": years}
    names = ("wasde_us_soybean_oil_ending_stocks", "wasde_us_soybean_oil_use_total")
    rows = [
        pd.DataFrame({**keys, "series_id": n, "value": v}) for n, v in zip(names, (stock, [100.0] * 6), strict=True)
    ]
    table = pd.concat(rows).assign(available_at=pd.Timestamp("2020-07-01", tz="UTC"))
    found = np.exp(stocks_to_use_surprise({"fundamentals": table})["value"])
    assert found.tolist() == pytest.approx([1.5, 0.5])
    assert found.index.tolist() == pd.to_datetime(["2020-05-01", "2020-06-01"]).tolist()


def test_palm_ratio_against_three_years(starter_tables, starter_features):
    pairs = zip(monthly(starter_tables, "WB_PALM_OIL"), monthly(starter_tables, "WB_SOYBEAN_OIL"), strict=True)
    logs = [math.log(palm / oil) for (_, palm), (_, oil) in pairs]
    assert starter_features.loc[DAY, "palm_soybean_oil_ratio_deviation"] == pytest.approx(
        logs[-1] - fmean(logs[-36:]), rel=1e-4
    )


def test_momentum_and_distance(starter_tables, starter_features):
    moves, row = returns(starter_tables), starter_features.loc[DAY]
    for months, sessions in ((3, 63), (12, 252)):
        assert row[f"momentum_{months}m"] == pytest.approx(sum(moves[-sessions:]), rel=1e-5)
    closes = futures(starter_tables, "ZL")["close"]
    mean = fmean(closes[closes.index > DAY - pd.Timedelta(days=1826)])
    assert row["distance_5y_mean"] == pytest.approx(math.log(closes.iloc[-1] / mean), rel=1e-5)


def test_the_curve_is_the_history_of_the_first_row(starter_tables, starter_features):
    curve = starter_tables["futures_curve"]
    first = starter_features.index[0]
    nearest = curve[curve["trade_date"] < first].sort_values("contract_month").groupby("trade_date")["price"].first()
    recent = nearest[nearest.index > first - pd.Timedelta(days=1826)].tolist()
    close = futures(starter_tables, "ZL")["close"].iloc[0]
    wanted = math.log(close / fmean([*recent, close]))
    assert starter_features["distance_5y_mean"].iloc[0] == pytest.approx(wanted, rel=1e-5)
    assert starter_features[["momentum_3m", "momentum_12m"]].iloc[0].notna().all()


def test_crush_trend_and_heating_oil_spread(starter_tables, starter_features):
    legs = pd.concat([futures(starter_tables, s)["close"].rename(s) for s in ("ZL", "ZM", "ZS")], axis=1).dropna()
    margin = (legs["ZM"] * 0.022 + legs["ZL"] * 0.11 - legs["ZS"] / 100).tolist()
    row = starter_features.loc[DAY]
    assert row["crush_margin_trend"] == pytest.approx(fmean(margin[-21:]) - fmean(margin[-84:-63]), rel=1e-4)
    spread = legs["ZL"].iloc[-1] * 0.077 - futures(starter_tables, "HO")["close"].loc[DAY]
    assert row["heating_oil_spread"] == pytest.approx(spread, rel=1e-4)


@pytest.mark.parametrize(
    ("feature", "series", "newest"),
    [("d4_rin_growth", "EPA_D4_RINS", "2022-04-01"), ("malaysia_palm_stocks_change", "MPOB_PALM_STOCKS", "2022-04-01")],
)
def test_growth_on_the_year(starter_tables, starter_features, feature, series, newest):
    values = monthly(starter_tables, series)
    assert values[-1][0] == pd.Timestamp(newest), "May comes out after 14 June"
    assert values[-13][0] == pd.Timestamp(newest) - pd.DateOffset(years=1)
    assert starter_features.loc[DAY, feature] == pytest.approx(math.log(values[-1][1] / values[-13][1]), rel=1e-4)


def test_dollar_positions_and_season(starter_tables, starter_features):
    row, dollar = starter_features.loc[DAY], [value for _, value in monthly(starter_tables, "DTWEXBGS")]
    assert row["dollar_index_change"] == pytest.approx(math.log(dollar[-1] / dollar[-64]), rel=1e-4)
    cot = starter_tables["cot_weekly"]
    cot = cot[(cot["market_code"] == "007601") & (cot["available_at"] <= MOMENT)].sort_values("report_date")
    assert cot["report_date"].iloc[-1] == pd.Timestamp("2022-06-07"), "that of 14 June is not out yet"
    net = [
        (bought - sold) / interest
        for bought, sold, interest in zip(
            cot["managed_money_long"], cot["managed_money_short"], cot["open_interest"], strict=True
        )
    ]
    assert row["CFTC_managed_money_net_share"] == pytest.approx(net[-1], rel=1e-6)
    newest = cot.iloc[-1]
    commercial = (newest["commercial_long"] - newest["commercial_short"]) / newest["open_interest"]
    assert row["CFTC_commercial_net_share"] == pytest.approx(commercial, rel=1e-6)
    zscore = (net[-1] - fmean(net[-156:])) / stdev(net[-156:])
    assert row["cot_managed_money_net_zscore"] == pytest.approx(zscore, rel=1e-4)
    angle = 2 * math.pi * (31 + 28 + 31 + 30 + 31 + 14) / 365.25
    assert row[["season_sin", "season_cos"]].tolist() == pytest.approx([math.sin(angle), math.cos(angle)], rel=1e-5)


def test_a_net_share_by_hand():
    """100 contracts long, 340 short, of 960 in all: a quarter of the market net short."""
    reports = pd.DataFrame({"open_interest": [960, 960], "commercial_long": [100, 960], "commercial_short": [340, 0]})
    assert net_share(reports, "commercial").tolist() == [-0.25, 1.0]


@pytest.mark.parametrize("group", ["managed_money", "commercial"])
def test_shares_are_the_contracts_over_one_open_interest(starter_tables, starter_features, group):
    """On every date: the frame's own contracts over the share give the open interest of a published report."""
    frame = starter_features.astype("float64")
    net = frame[f"CFTC_{group}_long"] - frame[f"CFTC_{group}_short"]
    share = frame[f"CFTC_{group}_net_share"]
    assert (share.isna() == net.isna()).all()
    assert share.first_valid_index() == pd.Timestamp("2009-10-21"), "decision 0006"
    cot = starter_tables["cot_weekly"]
    reported = cot.loc[cot["market_code"] == "007601", "open_interest"].to_numpy("float64")
    implied = (net / share)[net.abs() > 1000].to_numpy()
    assert len(implied) > 3000
    nearest = np.abs(reported[None, :] - implied[:, None]).min(axis=1)
    assert (nearest <= 1e-6 * implied).all()
    assert share.abs().max() < 0.7


def test_the_usual_of_a_month_needs_five_earlier_years_and_leaves_out_its_own():
    days = pd.DatetimeIndex([f"{year}-{month:02d}-15" for year in range(2000, 2008) for month in (3, 9)])
    values = pd.Series([float(day.year - 2000) if day.month == 3 else 100.0 for day in days], index=days)
    usual = mean_of_earlier_years(values)
    assert usual[:"2004-12-31"].isna().all()
    assert usual["2005-03-15"] == 2.0
    assert usual["2006-03-15"] == 2.5
    assert (usual[usual.index.month == 9]["2005":] == 100.0).all()
