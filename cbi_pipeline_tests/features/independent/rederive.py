"""Every feature of one date from the providers' raw files: plain loops, and no code of `cbi_pipeline`.

Release times are restated here as "known on trade date t at 14:00 Chicago", in whole days. What is left out, because
none of the dates looked at meets it: extra closures of federal offices, and the hour of USDA's two week-end releases.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.tseries.holiday import USFederalHolidayCalendar

from cbi_pipeline_tests.features.independent import raw_files, weather_by_hand

Day = pd.Timestamp
NAN = math.nan
REGIMES = ("bullish", "bearish", "sideways", "volatile")
SHUTDOWNS = (("2013-10-01", "2013-10-22", "2013-11-08"), ("2018-12-24", "2019-02-26", "2019-03-12"))
TIE = 1e-9
"""cents/lb; a bar that outreaches the one before by as much on both sides has no direction (Wilder)."""
SEASONS = {"brazil": 10, "argentina": 10, "midwest": 4}
HOLIDAYS = set(USFederalHolidayCalendar().holidays("1990-01-01", "2026-12-31"))


def days(number: int) -> pd.Timedelta:
    return pd.Timedelta(days=number)


def business_day(day: Day) -> Day:
    """The day itself, or the first US federal business day after it."""
    while day.dayofweek > 4 or day in HOLIDAYS:
        day += days(1)
    return day


def newest(values: pd.Series, t: Day, known: pd.Series | None, age: int) -> float:
    """The last value with `known` <= t (its own date if None) and a date at most `age` days before t."""
    out = values[pd.DatetimeIndex(values.index if known is None else known) <= t]
    return float(out.iloc[-1]) if len(out) and t - out.index[-1] <= days(age) else NAN


@cache
def fred(folder: Path, name: str, weekly: bool) -> tuple[pd.Series, pd.Series]:
    """A FRED series and the first trade date on which each value is used: out at 16:15 New York, so the day after."""
    values = raw_files.csv_frame(folder / "fred" / f"{name}.csv", "observation_date")[name].loc["1998":].dropna()
    released = [business_day(day + days(7 - day.dayofweek if weekly else 1)) + days(1) for day in values.index]
    return values, pd.Series(released, index=values.index)


@cache
def ringgit(folder: Path) -> pd.Series:
    """USDMYR without lone prints more than 4 % from both the rate before and the last good one."""
    table, good, last = raw_files.csv_frame(folder / "palm" / "usdmyr_2001_on.csv", "date")["usdmyr"], {}, None
    for before, (day, rate) in zip([None, *table.tolist()], table.items(), strict=False):
        if before is None or abs(rate / before - 1) <= 0.04 or abs(rate / last - 1) <= 0.04:
            good[day], last = rate, rate
    return pd.Series(good)


@cache
def monthly(folder: Path, file: str, column: str) -> pd.Series:
    table = pd.read_csv(folder / file, na_values=["…", ".."])
    dates = pd.to_datetime(table["month"], format="%YM%m" if "worldbank" in file else "%Y-%m-%d")
    return pd.Series(table[column].to_numpy("float64"), index=dates).dropna()


def next_month(day: Day, number: int) -> Day:
    return (day + pd.DateOffset(months=1)).replace(day=number)


def zscore(window: Sequence[float]) -> float:
    return (window[-1] - float(np.mean(window))) / float(np.std(window, ddof=1))


def mean_of_most(window: pd.Series) -> float:
    return float(window.mean()) if window.notna().sum() >= 18 else NAN


def returns(bars: list[raw_files.Bar]) -> list[float]:
    """Log returns within one contract; the first, and one over more than seven days, is missing."""
    found = [NAN]
    for before, bar in itertools.pairwise(bars):
        move = math.log(bar.close / bar.factor / (before.close / before.factor))
        found.append(move if bar.day - before.day <= days(7) else NAN)
    return found


def wilder(values: Sequence[float], seed: float) -> list[float]:
    smooth = [seed]
    for value in values:
        smooth.append((smooth[-1] * 13 + value) / 14)
    return smooth


def technical(bars: list[raw_files.Bar]) -> dict[str, float]:
    close = [bar.close / bar.factor for bar in bars]
    now = bars[-1].factor
    change = np.diff(close)
    up, down = np.maximum(change, 0), np.maximum(-change, 0)
    gain, loss = wilder(up[14:], up[:14].mean())[-1], wilder(down[14:], down[:14].mean())[-1]
    fast = slow = close[0]
    signal = 0.0
    for price in close:
        fast, slow = fast + (price - fast) * 2 / 13, slow + (price - slow) * 2 / 27
        signal += (fast - slow - signal) * 2 / 10
    mean, deviation = np.mean(close[-20:]), np.std(close[-20:])
    found = {
        "RSI_14": 100 * gain / (gain + loss),
        "MACD_signal": signal * now,
        "BB_upper": (mean + 2 * deviation) * now,
        "BB_lower": (mean - 2 * deviation) * now,
        "BB_width": 4 * deviation / mean,
    }
    if math.isnan(bars[-1].high):
        return found | dict.fromkeys(("ATR_14", "ADX_14", "CCI_14"), NAN)
    whole = [bar for bar in bars if not math.isnan(bar.high)]
    high, low, end = (np.array([getattr(b, name) / b.factor for b in whole]) for name in ("high", "low", "close"))
    spread = np.maximum(high[1:], end[:-1]) - np.minimum(low[1:], end[:-1])
    rise, fall = np.diff(high), -np.diff(low)
    plus = np.where((rise > fall + TIE) & (rise > 0), rise, 0.0)
    minus = np.where((fall > rise + TIE) & (fall > 0), fall, 0.0)
    true_range = wilder(spread[14:], spread[:14].mean())
    smoothed = [np.array(wilder(part[14:], part[:14].mean())) for part in (plus, minus)]
    dx = 100 * np.abs(smoothed[0] - smoothed[1]) / (smoothed[0] + smoothed[1])
    typical = ((high + low + end) / 3)[-14:]
    found["ATR_14"] = true_range[-1] * now
    found["ADX_14"] = wilder(dx[14:], dx[:14].mean())[-1]
    found["CCI_14"] = (typical[-1] - typical.mean()) / (0.015 * np.abs(typical - typical.mean()).mean())
    return found


def regimes(moves: list[float]) -> dict[str, float]:
    series = pd.Series(moves)
    trend = series.rolling(63, min_periods=60).mean().to_numpy()
    volatility = series.rolling(21, min_periods=18).std().to_numpy()
    if np.isfinite(trend[:-1]).sum() < 252:
        return dict.fromkeys([f"regime_{name}" for name in REGIMES], NAN)
    typical = np.nanquantile(np.abs(trend[:-1]), 0.5)
    calm = np.nanquantile(volatility[:-1], 0.8)
    if volatility[-1] > calm:
        state = "volatile"
    else:
        state = "bullish" if trend[-1] > typical else "bearish" if trend[-1] < -typical else "sideways"
    return {f"regime_{name}": float(name == state) for name in REGIMES}


def prices(folder: Path, t: Day) -> dict[str, float]:
    bars = [bar for bar in raw_files.front(folder, "ZL") if bar.day <= t]
    bar, moves = bars[-1], returns(bars)
    legs = raw_files.curve(folder)
    dates = [day for day in legs if day <= t]
    before = {b: raw_files.curve_move(legs[b], legs[a]) for a, b in itertools.pairwise(dates)}
    older = [move for day, move in before.items() if day <= bars[0].day and move is not None]
    long = np.array(older + moves[1:])
    levels = [legs[day][0][1] for day in dates if t - days(1826) < day < bars[0].day]
    levels += [b.close for b in bars if b.day > t - days(1826)]
    found = {
        "close": bar.close,
        "close_returns": math.exp(moves[-1]) - 1,
        "log_returns": moves[-1],
        "high_low_spread": bar.high - bar.low,
        "open_close_spread": bar.open - bar.close,
        "distance_5y_mean": math.log(bar.close / np.mean(levels)),
        "season_sin": math.sin(2 * math.pi * t.dayofyear / 365.25),
        "season_cos": math.cos(2 * math.pi * t.dayofyear / 365.25),
    }
    found |= {f"momentum_{m}m": float(long[-n:].sum()) for m, n in ((3, 63), (12, 252))}
    return found | technical(bars) | regimes(moves) | carry(folder, t)


def carry(folder: Path, t: Day) -> dict[str, float]:
    slopes = {}
    for day, legs in raw_files.curve(folder).items():
        if len(legs) == 2 and day <= t:
            slopes[day] = math.log(legs[1][1] / legs[0][1]) / ((legs[1][0] - legs[0][0]) / 12)
    last = max(slopes)
    usual = [slope for day, slope in slopes.items() if day.month == last.month and day.year < last.year]
    value = slopes[last] - float(np.mean(usual)) if t - last <= days(7) else NAN
    return {"curve_carry_deseasonalised": value}


def substitutes(folder: Path, t: Day) -> dict[str, float]:
    def by_date(root: str) -> pd.Series:
        return pd.Series({bar.day: bar.close for bar in raw_files.front(folder, root) if bar.day <= t})

    oil, meal, beans = by_date("ZL"), by_date("ZM"), by_date("ZS")
    palm_myr = raw_files.csv_frame(folder / "palm" / "fcpo_3rd_month_daily.csv", "trade_date")["close"]
    rates = ringgit(folder)
    rate = newest(rates, t, pd.Series(rates.index + days(1), index=rates.index), 8)
    palm = newest(palm_myr, t, None, 7) / rate / 2204.62 * 100
    crude, heating = newest(by_date("CL"), t, None, 4), newest(by_date("HO"), t, None, 4)
    margin = (meal * 0.022 + oil * 0.11 - beans / 100).reindex(oil.index)
    gallon = oil[t] * 7.7 / 100
    return {
        "palm_price": palm,
        "palm_spread": palm - heating * 100 * (7.45 * 42) / 2204.62,
        "palm_soybean_oil_spread": palm - oil[t],
        "soybean_crush_spread": margin[t],
        "soybean_meal_spread": oil[t] * 0.11 - meal.get(t, NAN) * 0.022,
        "crush_margin_trend": mean_of_most(margin.iloc[-21:]) - mean_of_most(margin.iloc[-84:-63]),
        "WTI_price": crude,
        "WTI_spread": gallon - crude / 42,
        "heating_oil_spread": gallon - heating,
    }


def macro(folder: Path, t: Day) -> dict[str, float]:
    def known(name: str, weekly: bool) -> pd.Series:
        values, used_from = fred(folder, name, weekly)
        return values[(used_from <= t).to_numpy()]

    real, dollar, vix = known("DEXBZUS", True), known("DTWEXBGS", True), known("VIXCLS", False)
    ten, two = known("DGS10", False), known("DGS2", False)
    both = ten.index.intersection(two.index)[-1]
    in_force = [rule for rule in raw_files.rules(folder) if max(rule[1], Day(rule[0], 1, 1)) <= t]
    assert all(t - series.index[-1] <= days(14) for series in (real, vix, ten, two))
    return {
        "USD_BRL": real.iloc[-1],
        "USD_BRL_returns": math.log(real.iloc[-1] / real.iloc[-22]),
        "dollar_index_change": math.log(dollar.iloc[-1] / dollar.iloc[-64]) if len(dollar) > 63 else NAN,
        "VIX_level": vix.iloc[-1],
        "VIX_zscore": zscore(vix.iloc[-252:].to_numpy()),
        "yield_curve_slope": ten[both] - two[both],
        "renewable_diesel_mandate": max(in_force)[2] if in_force else NAN,
    }


def fundamentals(folder: Path, t: Day) -> dict[str, float]:
    table = raw_files.csv_frame(folder / "usda" / "wasde_us_soybean_oil_by_release.csv", "release_date")
    table = table[table.index <= t]
    ratio = np.log(table["ending_stocks"] / table["use_total"])
    out = table.index.unique()
    year = {day: dict(zip(table.loc[[day], "marketing_year"], ratio[[day]], strict=True)) for day in out}
    tops = [year[day][max(year[day])] for day in out if day > out[-1] - days(1826)]
    shared = max(set(year[out[-1]]) & set(year[out[-2]]))
    fresh = t - out[-1] <= days(62)
    palm = monthly(folder, "worldbank/pink_sheet_selected_monthly.csv", "Palm oil")
    palm = np.log(palm / monthly(folder, "worldbank/pink_sheet_selected_monthly.csv", "Soybean oil"))
    third = [business_day(business_day(business_day(next_month(d, 1)) + days(1)) + days(1)) for d in palm.index]
    palm = palm[np.array(third) <= t]

    def growth(values: pd.Series, released: list[Day], age: int) -> float:
        change = {
            d: math.log(v / values[d - pd.DateOffset(years=1)])
            for d, v in values.loc["2011-07":].items()
            if d - pd.DateOffset(years=1) in values.index
        }
        return newest(pd.Series(change, dtype="float64"), t, pd.Series(released, index=values.index)[list(change)], age)

    rins = monthly(folder, "epa/d4_rin_generation_monthly.csv", "d4_total")
    stocks = monthly(folder, "mpob/stock_export_production_monthly.csv", "stock_t")
    return {
        "wasde_stocks_to_use_deviation": tops[-1] - float(np.mean(tops)) if fresh else NAN,
        "wasde_stocks_to_use_surprise": year[out[-1]][shared] - year[out[-2]][shared] if fresh else NAN,
        "palm_soybean_oil_ratio_deviation": palm.iloc[-1] - palm.iloc[-36:].mean(),
        "d4_rin_growth": growth(rins, [business_day(next_month(d, 20)) for d in rins.index], 95),
        "malaysia_palm_stocks_change": growth(stocks, [next_month(d, 15) for d in stocks.index], 88),
    }


def cot_used_from(report: Day, exceptions: dict[Day, Day]) -> Day:
    """First trade date that may use a report: the day after its release at 15:30 New York (14:30 Chicago)."""
    tuesday = report + days(1 - report.dayofweek)
    week = [tuesday + days(number) for number in range(4)]
    release = exceptions.get(report, business_day(week[3] + days(3)) if HOLIDAYS & set(week) else week[3])
    for first, last, backlog in (
        ("2013-10-01", "2013-10-22", "2013-11-08"),
        ("2018-12-24", "2019-02-26", "2019-03-12"),
    ):
        if Day(first) <= report <= Day(last):
            release = max(release, Day(backlog))
    return max(release, Day("2009-10-20")) + days(1)


def positions(folder: Path, t: Day) -> dict[str, float]:
    late = pd.read_csv(folder / "cftc" / "release_date_exceptions.csv", parse_dates=["report_date", "publish_date"])
    exceptions = dict(zip(late["report_date"], late["publish_date"], strict=True))
    table = raw_files.reports(folder).loc[: t - days(1)]
    table = table[[cot_used_from(day, exceptions) <= t for day in table.index]]
    names = {
        "CFTC_managed_money_long": "M_Money_Positions_Long_All",
        "CFTC_managed_money_short": "M_Money_Positions_Short_All",
        "CFTC_commercial_long": "Prod_Merc_Positions_Long_All",
        "CFTC_commercial_short": "Prod_Merc_Positions_Short_All",
    }
    if not len(table) or t - table.index[-1] > days(14):
        shares = ("CFTC_managed_money_net_share", "CFTC_commercial_net_share", "cot_managed_money_net_zscore")
        return dict.fromkeys((*names, *shares), NAN)
    net = (table.iloc[:, 0] - table.iloc[:, 1]) / table["Open_Interest_All"]
    found = {name: float(table[column].iloc[-1]) for name, column in names.items()}
    hedgers = found["CFTC_commercial_long"] - found["CFTC_commercial_short"]
    return found | {
        "CFTC_managed_money_net_share": float(net.iloc[-1]),
        "CFTC_commercial_net_share": hedgers / float(table["Open_Interest_All"].iloc[-1]),
        "cot_managed_money_net_zscore": zscore(net.iloc[-156:].to_numpy()),
    }


def publication_lag(station: str) -> int:
    """Days until a station's day is known: POWER three, airports one, observers, INMET and INTA two."""
    return 3 if station.startswith("POWER") else 1 if station.startswith("USW") else 2


def weather(folder: Path, t: Day, stations: dict[str, tuple[str, ...]]) -> dict[str, float]:
    found = {}
    for region, names in stations.items():
        rows = raw_files.station_rows(folder, names)
        temperatures = []
        scores: dict[int, list[float]] = {7: [], 30: []}
        for name, table in rows.items():
            known_until = (t - days(publication_lag(name))).date()
            seen = table.loc[: pd.Timestamp(known_until)]
            rain = {day.date(): float(mm) for day, mm in seen["prcp_mm"].dropna().items()}
            for length, needed in ((7, 6), (30, 27)):
                args = (rain, known_until, t.date(), length, needed)
                score = weather_by_hand.newest_zscore(*args) if rain else None
                scores[length] += [score] if score is not None else []
            both = table[["tmax_c", "tmin_c"]].loc[t - days(400) : t - days(3)].dropna()
            temperatures.append({day.date(): (float(high), float(low)) for day, (high, low) in both.T.items()})
        total = weather_by_hand.season_total(temperatures, (t - days(3)).date(), SEASONS[region])
        found[f"{region}_GDD_base10C"] = NAN if total is None else total
        for length, values in scores.items():
            found[f"{region}_precip_{length}d_zscore"] = sum(values) / len(values) if values else NAN
    return found


def features(folder: Path, t: Day, stations: dict[str, tuple[str, ...]]) -> dict[str, float]:
    """Every feature on trade date t by name.

    Args:
        folder: the providers' files.
        stations: region to the names of the stations in use.
    """
    parts = (prices, substitutes, macro, fundamentals, positions)
    found = {name: value for part in parts for name, value in part(folder, t).items()}
    return found | weather(folder, t, stations)
