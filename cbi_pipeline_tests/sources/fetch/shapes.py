"""Real rows in the shapes in which the live services serve them."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path
from types import SimpleNamespace

import databento_dbn
import openpyxl
import pandas as pd
import pyarrow as pa

from cbi_pipeline.sources.cftc import BACK_HISTORY_FILE, SOCRATA_COLUMNS

CHICAGO = "America/Chicago"
POWER_FILL = -999.0
"""What POWER writes where it has no value."""


def chicago(moment: str) -> pd.Timestamp:
    return pd.Timestamp(moment, tz=CHICAGO)


def yahoo_history(provider_dir: Path, symbol: str = "ZL", name: str = "2000_2019") -> pd.DataFrame:
    return pd.read_csv(provider_dir / "yahoo" / f"{symbol}=F_{name}.csv", parse_dates=["Date"])


def yahoo_chart(
    rows: pd.DataFrame,
    made_at: pd.Timestamp,
    ticker: str = "ZL=F",
    zone: str = "America/New_York",
    quote: float | None = None,
) -> bytes:
    """An answer of the chart service: bars at midnight of the exchange, then a quote of the moment if given."""
    moments = [int(day.tz_localize(zone).timestamp()) for day in rows["Date"]]
    columns = {
        name.lower(): [None if pd.isna(value) else value for value in rows[name].tolist()]
        for name in ("Open", "High", "Low", "Close", "Volume")
    }
    if quote is not None:
        moments.append(int(made_at.timestamp()))
        columns = {name: [*values, 0 if name == "volume" else quote] for name, values in columns.items()}
    result = {
        "meta": {
            "currency": "USX",
            "symbol": ticker,
            "exchangeName": "CBT",
            "instrumentType": "FUTURE",
            "regularMarketTime": int(made_at.timestamp()),
            "exchangeTimezoneName": zone,
            "dataGranularity": "1d",
            "range": "",
        },
        "timestamp": moments,
        "indicators": {"quote": [columns], "adjclose": [{"adjclose": columns["close"]}]},
    }
    return json.dumps({"chart": {"result": [result], "error": None}}).encode()


def pink_sheet(provider_dir: Path, months: slice = slice(None), unit: str = "($/mt)") -> bytes:
    """The selected columns as the World Bank's workbook has them: titles, names, units, then a row a month."""
    rows = pd.read_csv(provider_dir / "worldbank" / "pink_sheet_selected_monthly.csv", dtype=str)
    book = openpyxl.Workbook()
    book.active.title = "AFOSHEET"
    sheet = book.create_sheet("Monthly Prices")
    for line in ("World Bank Commodity Price Data (The Pink Sheet)", "monthly prices in nominal US dollars", "", ""):
        sheet.append([line])
    names = [f"{name} **" if name == "Maize" else name for name in rows.columns[1:]]
    sheet.append([None, *names])
    sheet.append([None, *("($/bbl)" if "Crude" in name else unit for name in names)])
    for month, *values in rows[months].itertuples(index=False):
        sheet.append([month, *(value if value == "…" else float(value) for value in values)])
    packed = io.BytesIO()
    book.save(packed)
    return packed.getvalue()


def rin_data(provider_dir: Path, months: slice = slice(None)) -> bytes:
    """EPA's file of the same months: a row per fuel code and month, thousands set off by commas."""
    rows = pd.read_csv(provider_dir / "epa" / "d4_rin_generation_monthly.csv", parse_dates=["month"])[months]
    lines = ["FUEL_CODE,RIN_YEAR,Production Month,RIN_QUANTITY,BATCH_VOLUME"]
    for month, rins in zip(rows["month"], rows["d4_total"], strict=True):
        lines += [f'{code},{month.year},{month.month},"{rins:,}","{rins:,}"' for code in (4, 6)]
    return ("\n".join(lines) + "\n").encode()


def closing_stock(
    provider_dir: Path, year: int, last: str = "2024-12", *, row: str = "TOTAL PALM OIL", gap: object = 0
) -> bytes:
    """The real stocks as MPOB's workbook of a year: two halves, under each month the year before and the year.

    Args:
        last: last month (YYYY-MM) that is reported.
        gap: what stands in a month that is not reported yet.
    """
    rows = pd.read_csv(provider_dir / "mpob" / "stock_export_production_monthly.csv", dtype={"stock_t": "int64"})
    stocks = {month[:7]: tonnes for month, tonnes in zip(rows["month"], rows["stock_t"], strict=True)}
    names = ["JAN", "FEB", "MAR", "APR", "MAY", "JUNE", "JULY", "AUG", "SEPT", "OCT", "NOV", "DEC"]
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append([f"CLOSING STOCK OF OIL PALM PRODUCTS {year} (TONNES)"])
    for first in (0, 6):
        months = range(first, first + 6)
        sheet.append(["PRODUCTS", *(cell for month in months for cell in (names[month], None)), "AVERAGE", None])
        sheet.append([None, *[year - 1, year] * 7])
        sheet.append(["CRUDE PALM OIL"])
        keys = [f"{one}-{month + 1:02d}" for month in months for one in (year - 1, year)]
        sheet.append([row, *(stocks[key] if key <= last else gap for key in keys)])
        sheet.append([None])
    packed = io.BytesIO()
    book.save(packed)
    return packed.getvalue()


def page_with(*links: str) -> bytes:
    """A page of a provider that links to files, other links among them."""
    listed = "".join(f'<li><a class="link" href="{link}">file</a></li>' for link in links)
    return f'<!DOCTYPE html><html><body><a href="/en/home">Home</a><ul>{listed}</ul></body></html>'.encode()


def oce_wasde(provider_dir: Path, first: str, last: str) -> bytes:
    """The real soybean-oil balances released from one month (YYYY-MM) to another as OCE's CSV, among other rows."""
    rows = pd.read_csv(provider_dir / "usda" / "wasde_us_soybean_oil_by_release.csv", dtype=str, keep_default_na=False)
    rows = rows[rows["release_date"].str[:7].between(first, last)]
    title = "U.S. Soybeans and Products Supply and Use (Domestic Measure)"
    table = []
    for row in rows.itertuples():
        year, month = row.release_date[:4], int(row.release_date[5:7])

        def line(item: str, value: str, commodity="Oil, Soybean", region="United States", unit="Million Pounds",
                 forecast=month, row=row, year=year):  # fmt: skip
            return {
                "WasdeNumber": "1",
                "ReportDate": row.release_date[:7],
                "ReportTitle": title,
                "Attribute": item,
                "ReliabilityProjection": "",
                "Commodity": commodity,
                "Region": region,
                "MarketYear": row.marketing_year,
                "ProjEstFlag": "Proj." if row.my_rank == "1" else "Est.",
                "AnnualQuarterFlag": "Annual",
                "Value": value,
                "Unit": unit,
                "ReleaseDate": row.release_date,
                "ReleaseTime": "12:00:00.0000000",
                "ForecastYear": year,
                "ForecastMonth": forecast,
            }

        table.append(line("Beginning Stocks", row.beginning_stocks))
        table.append(line("Ending Stocks", row.ending_stocks))
        table.append(line("Use, Total", f"{float(row.use_total):,.0f}"))
        table.append(line("Ending Stocks", "4.03", region="World", unit="Million Metric Tons"))
        table.append(line("Ending Stocks", "300", commodity="Meal, Soybean", unit="Thousand Short Tons"))
        if row.my_rank == "1" and month > 1:
            table.append(line("Ending Stocks", row.beginning_stocks, forecast=month - 1))
    return pd.DataFrame(table).to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC).encode()


def zipped(text: bytes, name: str = "f_year.txt") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return packed.getvalue()


def power_days(provider_dir: Path, city: str = "Chicago") -> pd.DataFrame:
    """The real sample of a city: date, PRECTOTCORR, T2M_MAX, T2M_MIN."""
    rows = pd.read_csv(provider_dir / "weather" / "official_formats" / f"nasa_weather_{city}_1999_2024.csv.gz")
    date = pd.to_datetime(rows["YEAR"].astype(str) + rows["DOY"].astype(str).str.zfill(3), format="%Y%j")
    return rows.assign(date=date)[["date", "PRECTOTCORR", "T2M_MAX", "T2M_MIN"]]


def station_days(provider_dir: Path) -> dict[str, pd.DataFrame]:
    """The real days of every collected station, by its name: as `power_days`, a gap as POWER writes it."""
    rows = pd.read_parquet(provider_dir / "weather" / "stations_daily.parquet")
    rows = rows.rename(columns={"prcp_mm": "PRECTOTCORR", "tmax_c": "T2M_MAX", "tmin_c": "T2M_MIN"})
    rows["date"] = pd.to_datetime(rows["date"])
    elements = ["PRECTOTCORR", "T2M_MAX", "T2M_MIN"]
    rows[elements] = rows[elements].where(rows[elements].notna(), POWER_FILL)
    return {str(name): own[["date", *elements]] for name, own in rows.groupby("station")}


def as_gauge(days: pd.DataFrame) -> pd.DataFrame:
    """Days of `station_days` as `ghcn_days` has them."""
    metric = {"PRCP": days["PRECTOTCORR"], "TMAX": days["T2M_MAX"], "TMIN": days["T2M_MIN"]}
    text = {name: values.map("{:.1f}".format).replace(f"{POWER_FILL:.1f}", "") for name, values in metric.items()}
    return pd.DataFrame({"DATE": days["date"].dt.strftime("%Y-%m-%d"), **text})


def power_answer(days: pd.DataFrame, latitude: float, longitude: float) -> bytes:
    """Days as POWER's daily service answers for a point."""
    keys = days["date"].dt.strftime("%Y%m%d")
    units = {"PRECTOTCORR": "mm/day", "T2M_MAX": "C", "T2M_MIN": "C"}
    answer = {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [longitude, latitude, 180.0]},
        "properties": {"parameter": {name: dict(zip(keys, days[name].tolist(), strict=True)) for name in units}},
        "header": {
            "title": "NASA/POWER Source Native Resolution Daily Data",
            "api": {"version": "v2.5.11", "name": "POWER Daily API"},
            "fill_value": POWER_FILL,
            "time_standard": "LST",
            "start": keys.iloc[0],
            "end": keys.iloc[-1],
        },
        "messages": [],
        "parameters": {name: {"units": unit, "longname": name} for name, unit in units.items()},
    }
    return json.dumps(answer).encode()


def ghcn_days(provider_dir: Path) -> pd.DataFrame:
    """The real sample of Milwaukee in metric units: DATE, PRCP, TMAX, TMIN, as text, empty where there is none."""
    rows = pd.read_csv(provider_dir / "weather" / "official_formats" / "GHCN_USW00014839.csv.gz")
    metric = {"PRCP": rows["PRCP"] * 25.4, "TMAX": (rows["TMAX"] - 32) / 1.8, "TMIN": (rows["TMIN"] - 32) / 1.8}
    text = {name: values.map("{:.1f}".format).replace("nan", "") for name, values in metric.items()}
    return pd.DataFrame({"DATE": rows["date"], **text})


def ghcn_answer(days: pd.DataFrame, station_id: str) -> bytes:
    """Days as NCEI's data service answers for a station, with attributes."""
    columns = {"STATION": station_id, "DATE": days["DATE"]}
    for name in ("PRCP", "TMAX", "TMIN"):
        columns[name] = days[name].str.rjust(7)
        columns[f"{name}_ATTRIBUTES"] = days[name].map(lambda value: ",,W,2400" if value else "")
    return pd.DataFrame(columns).to_csv(index=False, quoting=csv.QUOTE_ALL).encode()


def cot_socrata(folder: Path, year: int, after: str, to: str) -> bytes:
    """The reports of a year as of after one date, to another, as the CFTC's Socrata service has them."""
    rows = pd.read_csv(folder / f"fut_disagg_txt_{year}.txt", dtype=str, skipinitialspace=True)
    rows = rows.rename(columns=str.strip)
    day = rows["Report_Date_as_YYYY-MM-DD"]
    rows = rows[(day > after) & (day <= to)].sort_values(["Report_Date_as_YYYY-MM-DD", "CFTC_Contract_Market_Code"])
    theirs = pd.DataFrame({field: rows[column].str.strip() for field, column in SOCRATA_COLUMNS.items()})
    theirs["report_date_as_yyyy_mm_dd"] += "T00:00:00.000"
    return theirs.replace(".", "").to_csv(index=False, quoting=csv.QUOTE_ALL).encode()


def carver_snapshots(provider_dir: Path, last: str = "2023-11-30") -> bytes:
    """The real contract prices as they lie in the author's repository: at 19:00 of London, or at 23:00."""
    rows = pd.read_csv(provider_dir / "term_structure" / "SOYOIL.csv.gz", dtype=str, keep_default_na=False)
    rows = rows[rows["date"] <= last]
    clock = rows["row_source"].map({"daily_23h": "23:00:00"}).fillna("19:00:00")
    columns = [name for leg in ("CARRY", "PRICE", "FORWARD") for name in (leg, f"{leg}_CONTRACT")]
    table = rows.assign(DATETIME=rows["date"] + " " + clock)[["DATETIME", *columns]]
    return table.to_csv(index=False).encode()


def cot_back_history(folder: Path) -> bytes:
    """The back history in the columns of the yearly files."""
    header = (folder / "fut_disagg_txt_2010.txt").read_text("latin-1").splitlines()[0]
    columns = [name.strip('"') for name in header.split(",")]
    rows = pd.read_csv(folder / BACK_HISTORY_FILE, dtype=str).rename(
        columns={"Report_Date_as_YYYY-MM-DD": "Report_Date_as_MM_DD_YYYY"}
    )
    rows["FutOnly_or_Combined"] = "FutOnly"
    return rows.reindex(columns=columns).to_csv(index=False, quoting=csv.QUOTE_ALL).encode()


def databento_curve(provider_dir: Path, month: str = "202412") -> tuple[bytes, dict[str, str]]:
    """Real hourly bars of ZL as a file of `ZL.c.0` and `ZL.c.1`, both with the bars of the month's two contracts.

    Returns:
        The file, and the number of each series' contract.
    """
    (path,) = (provider_dir / "databento").glob(f"glbx-mdp3-{month}01-*.dbn.zst")
    decoder = databento_dbn.DBNDecoder()
    with pa.input_stream(str(path), compression="zstd") as stream:
        decoder.write(stream.read())
    header, *records = decoder.decode()
    numbers = {int(span["symbol"]) for span in header.mappings["ZL.v.0"]}
    bars = [record for record in records if record.instrument_id in numbers]
    ours = {"ZL.c.0": 1001, "ZL.c.1": 1002}
    first, after = (pd.Timestamp(moment, unit="ns").date() for moment in (header.start, header.end))
    interval = {"start_date": first, "end_date": after}
    metadata = databento_dbn.Metadata(
        dataset=header.dataset,
        start=header.start,
        end=header.end,
        stype_in=header.stype_in,
        stype_out=header.stype_out,
        schema=header.schema,
        symbols=list(ours),
        mappings=[
            SimpleNamespace(raw_symbol=name, intervals=[SimpleNamespace(**interval, symbol=str(number))])
            for name, number in ours.items()
        ],
    )
    prices = ("open", "high", "low", "close", "volume")
    parts = [metadata.encode()]
    for bar in bars:
        values = [getattr(bar, name) for name in prices]
        parts += [
            bytes(databento_dbn.OHLCVMsg(bar.rtype, bar.publisher_id, number, bar.ts_event, *values))
            for number in ours.values()
        ]
    packed = pa.compress(b"".join(parts), codec="zstd", asbytes=True)
    return packed, {name: str(number) for name, number in ours.items()}
