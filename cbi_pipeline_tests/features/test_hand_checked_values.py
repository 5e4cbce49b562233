"""Values of one date against plain arithmetic on the raw rows, sharing no code with the features."""

from __future__ import annotations

import math
from datetime import date, timedelta

import pandas as pd
import pytest

DAY = pd.Timestamp("2024-06-14")
MOMENT = pd.Timestamp("2024-06-14 19:00", tz="UTC")


def close(tables, symbol, day=DAY):
    rows = tables["futures_daily"]
    return float(rows[(rows["symbol"] == symbol) & (rows["trade_date"] == day)]["close"].item())


def newest(tables, series, moment=MOMENT):
    rows = tables["macro_series"]
    rows = rows[(rows["series_id"] == series) & (rows["available_at"] <= moment)].sort_values("date")
    return [float(value) for value in rows["value"]]


def test_14_00_chicago_is_19_utc_in_june():
    assert MOMENT.tz_convert("America/Chicago").hour == 14


def test_crush_margin_and_meal_spread(starter_tables, starter_features):
    oil, meal, beans = (close(starter_tables, symbol) for symbol in ("ZL", "ZM", "ZS"))
    row = starter_features.loc[DAY]
    assert row["soybean_crush_spread"] == pytest.approx(meal * 0.022 + oil * 0.11 - beans / 100, rel=1e-6)
    assert row["soybean_meal_spread"] == pytest.approx(oil * 0.11 - meal * 0.022, rel=1e-6)
    assert 0.5 < row["soybean_crush_spread"] < 3.0


def test_palm_in_cents_per_pound_and_its_spreads(starter_tables, starter_features):
    usd_per_tonne = close(starter_tables, "FCPO") / newest(starter_tables, "USDMYR")[-1]
    palm = usd_per_tonne / 2204.62 * 100
    row = starter_features.loc[DAY]
    assert row["palm_price"] == pytest.approx(palm, rel=1e-6)
    assert row["palm_soybean_oil_spread"] == pytest.approx(palm - close(starter_tables, "ZL"), rel=1e-5)
    heating_oil = close(starter_tables, "HO") * 100 * (7.45 * 42) / 2204.62
    assert row["palm_spread"] == pytest.approx(palm - heating_oil, rel=1e-5)
    assert 30 < palm < 50


def test_energy_currency_and_rates(starter_tables, starter_features):
    row = starter_features.loc[DAY]
    crude = close(starter_tables, "CL")
    assert row["WTI_price"] == pytest.approx(crude, rel=1e-6)
    assert row["WTI_spread"] == pytest.approx(close(starter_tables, "ZL") * 7.7 / 100 - crude / 42, rel=1e-5)
    real = newest(starter_tables, "DEXBZUS")
    assert row["USD_BRL"] == pytest.approx(real[-1], rel=1e-6)
    assert row["USD_BRL_returns"] == pytest.approx(math.log(real[-1] / real[-22]), rel=1e-5)
    vix = newest(starter_tables, "VIXCLS")
    mean = sum(vix[-252:]) / 252
    deviation = math.sqrt(sum((value - mean) ** 2 for value in vix[-252:]) / 251)
    assert row["VIX_zscore"] == pytest.approx((vix[-1] - mean) / deviation, rel=1e-5)
    assert row["yield_curve_slope"] == pytest.approx(
        newest(starter_tables, "DGS10")[-1] - newest(starter_tables, "DGS2")[-1], abs=1e-6
    )


def test_macd_signal_and_bollinger(starter_tables, starter_features):
    rows = starter_tables["futures_daily"]
    rows = rows[(rows["symbol"] == "ZL") & (rows["trade_date"] <= DAY)].sort_values("trade_date")
    factor, adjusted = 1.0, []
    for price, ratio in zip(rows["close"], rows["roll_ratio"], strict=True):
        factor *= 1.0 if math.isnan(ratio) else ratio
        adjusted.append(price / factor)
    fast = slow = adjusted[0]
    signal = 0.0
    for price in adjusted:
        fast += (price - fast) * 2 / 13
        slow += (price - slow) * 2 / 27
        signal += (fast - slow - signal) * 2 / 10
    row = starter_features.loc[DAY]
    assert row["MACD_signal"] == pytest.approx(signal * factor, rel=1e-5)
    last = [value * factor for value in adjusted[-20:]]
    mean = sum(last) / 20
    deviation = math.sqrt(sum((value - mean) ** 2 for value in last) / 20)
    assert row["BB_upper"] == pytest.approx(mean + 2 * deviation, rel=1e-5)
    assert row["BB_lower"] == pytest.approx(mean - 2 * deviation, rel=1e-5)
    assert row["BB_width"] == pytest.approx(4 * deviation / mean, rel=1e-4)


def test_returns_across_a_roll_are_of_one_contract(starter_tables, starter_features):
    rows = starter_tables["futures_daily"]
    rows = rows[rows["symbol"] == "ZL"].sort_values("trade_date").set_index("trade_date")
    roll = rows.index[rows["is_roll"].isin([True]) & (rows.index > "2020-01-01")][0]
    before = rows.index[rows.index < roll][-1]
    held = rows.loc[roll, "close"] / rows.loc[roll, "roll_ratio"] / rows.loc[before, "close"]
    assert starter_features.loc[roll, "close_returns"] == pytest.approx(held - 1, rel=1e-4)
    assert starter_features.loc[roll, "log_returns"] == pytest.approx(math.log(held), rel=1e-4)
    assert abs(math.log(rows.loc[roll, "close"] / rows.loc[before, "close"]) - math.log(held)) > 1e-4


def weather_rows(tables, region):
    rows = tables["weather_daily"]
    return rows[rows["region"] == region]


def test_growing_degree_days_of_the_midwest(starter_tables, starter_features):
    rows = weather_rows(starter_tables, "midwest")
    last = DAY - timedelta(days=3)
    rows = rows[(rows["date"] >= "2024-04-01") & (rows["date"] <= last)]
    by_day: dict[date, list[float]] = {}
    for day, high, low in zip(rows["date"], rows["tmax_c"], rows["tmin_c"], strict=True):
        if not math.isnan(high + low):
            by_day.setdefault(day.date(), []).append(max(0.0, (high + low) / 2 - 10))
    assert len(by_day) == (last - pd.Timestamp("2024-03-31")).days
    total = sum(sum(values) / len(values) for values in by_day.values())
    assert starter_features.loc[DAY, "midwest_GDD_base10C"] == pytest.approx(total, rel=1e-6)
    assert 200 < total < 900
    assert starter_features.loc[DAY, ["brazil_GDD_base10C", "argentina_GDD_base10C"]].tolist() == [0.0, 0.0]


def rate(rain, day, days, needed):
    values = [rain[d] for d in (day - timedelta(days=i) for i in range(days)) if d in rain]
    return sum(values) / len(values) if len(values) >= needed and day in rain else None


def station_zscore(rain, day, days, needed):
    now = rate(rain, day, days, needed)
    past, years = [], 0
    for year in range(min(rain).year, day.year):
        same = date(year, day.month, 28 if (day.month, day.day) == (2, 29) else day.day)
        found = [rate(rain, same + timedelta(days=shift), days, needed) for shift in range(-15, 16)]
        found = [value for value in found if value is not None]
        past += found
        years += len(found) >= 16
    assert now is not None
    assert years >= 8
    mean = sum(past) / len(past)
    return (now - mean) / math.sqrt(sum((value - mean) ** 2 for value in past) / (len(past) - 1))


@pytest.mark.parametrize(("day", "hour"), [("2024-06-14", 19), ("2024-03-01", 20), ("2023-01-09", 20)])
@pytest.mark.parametrize(("days", "needed"), [(7, 6), (30, 27)])
def test_rain_zscore_of_the_midwest(starter_tables, starter_features, day, hour, days, needed):
    moment = pd.Timestamp(f"{day} {hour}:00", tz="UTC")
    rows = weather_rows(starter_tables, "midwest")
    rows = rows[(rows["available_at"] <= moment) & rows["precip_mm"].notna()]
    scores = []
    for _, station in rows.groupby("station"):
        rain = {d.date(): float(mm) for d, mm in zip(station["date"], station["precip_mm"], strict=True)}
        if (pd.Timestamp(day).date() - max(rain)).days <= 7:
            scores.append(station_zscore(rain, max(rain), days, needed))
    assert len(scores) >= 2
    assert starter_features.loc[day, f"midwest_precip_{days}d_zscore"] == pytest.approx(
        sum(scores) / len(scores), rel=1e-4
    )


def test_positions_are_the_newest_published_report(starter_tables, starter_features):
    rows = starter_tables["cot_weekly"]
    rows = rows[(rows["market_code"] == "007601") & (rows["available_at"] <= MOMENT)].sort_values("report_date")
    report = rows.iloc[-1]
    assert report["report_date"] == pd.Timestamp("2024-06-04"), "the report as of 11 June comes out at 14:30 Chicago"
    for name in ("managed_money_long", "managed_money_short", "commercial_long", "commercial_short"):
        assert starter_features.loc[DAY, f"CFTC_{name}"] == report[name]
