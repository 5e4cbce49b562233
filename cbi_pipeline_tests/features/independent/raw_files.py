"""Providers' own files parsed anew, with pandas and numpy only: nothing of `cbi_pipeline` is used.

What a bar, a session and a roll are is decided from the files themselves: a session is a weekday on which soybean oil
traded in the late morning (Databento) or a date with a settlement (term structure).
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import databento_dbn
import numpy as np
import pandas as pd
import pyarrow as pa

ROOTS = ("ZL", "ZS", "ZM", "CL", "HO")
NOT_IN_TERM_STRUCTURE = ("2002-12-24", "2004-12-31", "2009-10-01", "2009-10-02", "2009-10-09")
"""Sessions before 2010-06 that the term structure lacks: Yahoo has all three soybean contracts, none is a holiday."""
DBN_RECORD = np.dtype(
    [
        ("length", "u1"),
        ("rtype", "u1"),
        ("publisher", "<u2"),
        ("instrument", "<u4"),
        ("ts", "<i8"),
        *((name, "<i8") for name in ("open", "high", "low", "close")),
        ("volume", "<u8"),
    ]
)
"""https://databento.com/docs/schemas-and-data-formats/ohlcv: 16 bytes of header, four prices in 1e-9, volume."""


def csv_frame(path: Path, date_column: str) -> pd.DataFrame:
    """A CSV by date, ascending; blanks are NaN."""
    return pd.read_csv(path, parse_dates=[date_column], na_values=["."]).set_index(date_column).sort_index()


def hourly(path: Path) -> pd.DataFrame:
    """root, instrument, start (UTC), open, high, low, close of one DBN file, for the five roots."""
    with pa.input_stream(str(path), compression="zstd") as stream:
        data = bytes(stream.read())
    assert data[:3] == b"DBN"
    body = 8 + int.from_bytes(data[4:8], "little")
    decoder = databento_dbn.DBNDecoder()
    decoder.write(data[:body])
    mappings = decoder.decode()[0].mappings
    bars = pd.DataFrame(np.frombuffer(data[body:], dtype=DBN_RECORD)).assign(root=None)
    for root in ROOTS:
        for span in mappings[f"{root}.v.0"]:
            first, last = (pd.Timestamp(span[name]).value for name in ("start_date", "end_date"))
            held = (bars["instrument"] == int(span["symbol"])) & (bars["ts"] >= first) & (bars["ts"] < last)
            bars.loc[held, "root"] = root
    bars[["open", "high", "low", "close"]] = bars[["open", "high", "low", "close"]] / 1e9
    return bars[bars["root"].notna()].assign(start=pd.to_datetime(bars["ts"], utc=True))


@dataclass(frozen=True)
class Bar:
    """One trade date of a root: prices as quoted, and the product of the roll ratios so far."""

    day: pd.Timestamp
    open: float
    high: float
    low: float
    close: float
    factor: float


@cache
def databento(folder: Path) -> dict[str, list[Bar]]:
    """Every root's trade dates from the hourly bars: until 14:00 Chicago, later and holiday bars to the next session.

    A contract that changes and changes back between two rows (2011-04-18) is no roll.
    """
    bars = pd.concat([hourly(path) for path in sorted((folder / "databento").glob("*.dbn.zst"))])
    bars = bars.sort_values(["root", "start"], kind="stable")
    local = bars["start"].dt.tz_convert("America/Chicago").dt.tz_localize(None)
    bars["local"] = local
    late_morning = (bars["root"] == "ZL") & local.dt.hour.between(9, 11) & (local.dt.dayofweek < 5)
    sessions = pd.DatetimeIndex(local[late_morning].dt.normalize().unique()).union(
        pd.DatetimeIndex(list(curve(folder)))
    )
    belongs = (local + pd.Timedelta(hours=10)).dt.normalize()
    place = sessions.searchsorted(belongs)
    bars = bars[place < len(sessions)].assign(day=sessions[place[place < len(sessions)]])
    found: dict[str, list[Bar]] = {}
    for root, own in bars.groupby("root"):
        factors, factor, previous = [], 1.0, None
        for instrument, start, end in zip(own["instrument"], own["open"], own["close"], strict=True):
            if previous is not None and instrument != previous[0]:
                factor *= start / previous[1]
            previous = (instrument, end)
            factors.append(factor)
        rows: list[Bar] = []
        held, chain = (None, 1.0), 1.0
        for day, group in own.assign(factor=factors).groupby("day"):
            last = group.iloc[-1]
            hour = 12 if day >= pd.Timestamp("2015-07-06") else 11
            if last["local"] >= day + pd.Timedelta(hours=hour):
                same = group[group["instrument"] == last["instrument"]]
                prices = (same["open"].iloc[0], same["high"].max(), same["low"].min(), last["close"])
                if held[0] not in (None, last["instrument"]):
                    chain *= last["factor"] / held[1]
                held = (last["instrument"], last["factor"])
                rows.append(Bar(day, *prices, chain))
        found[str(root)] = rows
    return found


@cache
def curve(folder: Path) -> dict[pd.Timestamp, list[tuple[int, float]]]:
    """Date to its two nearest quoted contracts as (months since year 0, price), 1985 on."""
    found: dict[pd.Timestamp, list[tuple[int, float]]] = {}
    table = csv_frame(folder / "term_structure" / "SOYOIL.csv.gz", "date").loc["1985":]
    for day, row in table.iterrows():
        legs = {int(row[f"{leg}_CONTRACT"]): float(row[leg]) for leg in ("CARRY", "PRICE", "FORWARD") if row[leg] > 0}
        if legs and day.dayofweek < 5:
            found[day] = [(code // 10000 * 12 + code // 100 % 100, legs[code]) for code in sorted(legs)[:2]]
    return found


def curve_move(legs: list[tuple[int, float]], before: list[tuple[int, float]]) -> float | None:
    """Log return of the nearest contract that is quoted on both dates."""
    earlier = dict(before)
    return next((math.log(price / earlier[month]) for month, price in legs if month in earlier), None)


def yahoo(folder: Path, root: str) -> list[Bar]:
    """Yahoo's rows of sessions, from the first date on which they are that day's settlement.

    A session has a settlement of soybean oil, or is in NOT_IN_TERM_STRUCTURE.
    """
    rows = []
    first = pd.Timestamp("2002-07-01") if root != "CL" else pd.Timestamp.min
    sessions = {*curve(folder), *map(pd.Timestamp, NOT_IN_TERM_STRUCTURE)}
    table = csv_frame(folder / "yahoo" / f"{root}=F_2000_2019.csv", "Date")
    for day, row in table.round(3).iterrows():
        if day < first or day not in sessions or math.isnan(row["Close"]):
            continue
        start, high, low, close = (float(row[name]) for name in ("Open", "High", "Low", "Close"))
        if high < max(start, close) or low > min(start, close):
            start = high = low = math.nan
        rows.append(Bar(day, start, high, low, close, 1.0))
    return rows


@cache
def front(folder: Path, root: str) -> list[Bar]:
    """Yahoo before the first Databento date, Databento from it.

    Before it Yahoo's rolls are not marked: the soybean-oil factor takes in what the front moved beyond the nearest
    contract of the curve. On the first Databento date it takes in the two providers' difference.
    """
    recent = databento(folder)[root]
    if root == "HO":
        return recent
    older = yahoo(folder, root)
    legs, factor, rows = curve(folder), 1.0, []
    days = sorted(legs)
    previous_date = dict(zip(days[1:], days[:-1], strict=True))
    for number, bar in enumerate(older):
        if bar.day > recent[0].day:
            break
        before = older[number - 1] if number else None
        if root == "ZL" and before and bar.day < recent[0].day and previous_date.get(bar.day) == before.day:
            move = curve_move(legs[bar.day], legs[before.day])
            if move is not None:
                factor *= bar.close / before.close / math.exp(move)
        if bar.day == recent[0].day:
            factor *= recent[0].close / bar.close
            break
        rows.append(Bar(bar.day, bar.open, bar.high, bar.low, bar.close, factor))
    scale = factor / recent[0].factor
    return rows + [Bar(b.day, b.open, b.high, b.low, b.close, b.factor * scale) for b in recent]


@cache
def rules(folder: Path) -> list[tuple[int, pd.Timestamp, float]]:
    """Biomass-based-diesel obligations: compliance year, Federal Register date, billion gallons."""
    with (folder / "epa" / "rfs_bbd_volumes.csv").open(newline="", encoding="utf-8") as file:
        return [
            (int(row["compliance_year"]), pd.Timestamp(row["fr_publication_date"]), float(row["bbd_value"]))
            for row in csv.DictReader(file)
        ]


@cache
def station_rows(folder: Path, names: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    """Station to its rows by date; both temperatures are gone where the minimum is above the maximum."""
    table = pd.read_parquet(folder / "weather" / "stations_daily.parquet")
    table = table[table["station"].isin(names)]
    table.loc[table["tmin_c"] > table["tmax_c"], ["tmin_c", "tmax_c"]] = np.nan
    return {str(name): rows.set_index("date").sort_index() for name, rows in table.groupby("station")}


@cache
def reports(folder: Path) -> pd.DataFrame:
    """CFTC reports of soybean oil by as-of date: the official files, and the back history before them."""
    parts = []
    for path in sorted((folder / "cftc").glob("fut_disagg_txt_*.txt")):
        table = pd.read_csv(path, dtype=str, skipinitialspace=True)
        table.columns = table.columns.str.strip()
        own = table[table["CFTC_Contract_Market_Code"].str.strip().str.zfill(6) == "007601"]
        name = next(column for column in own if column.startswith("Report_Date"))
        parts.append(own.set_index(pd.DatetimeIndex(own[name].str.strip(), name="as_of")))
    official = pd.concat(parts)
    old = pd.read_csv(folder / "cftc" / "soybean_oil_2006_2009_from_redistributor.csv", dtype=str)
    old = old.set_index(pd.DatetimeIndex(old["Report_Date_as_YYYY-MM-DD"], name="as_of"))
    wanted = ["M_Money_Positions_Long_All", "M_Money_Positions_Short_All", "Prod_Merc_Positions_Long_All"]
    wanted += ["Prod_Merc_Positions_Short_All", "Open_Interest_All"]
    both = pd.concat([old[~old.index.isin(official.index)], official])[wanted]
    return both.astype("float64").sort_index()
