"""Exports of an older warehouse, of known defects, as rows of the raw tables: columns renamed, nothing mended."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from cbi_pipeline import market_calendar
from cbi_pipeline.contracts.tables import COT_WEEKLY, FUTURES_DAILY
from cbi_pipeline.sources import bursa, fred, release_times, weather

PRICES = ("open", "high", "low", "close")


def read(provider_dir: Path, name: str) -> pd.DataFrame:
    return pq.read_table(provider_dir / "dirty_warehouse_exports" / f"{name}.parquet").to_pandas()


def prices(export: pd.DataFrame, symbol: str, columns: dict[str, str]) -> pd.DataFrame:
    """Rows of `futures_daily`; `columns` is the export's name to ours, what it lacks is a gap."""
    rows = export.rename(columns=columns).reindex(columns=[column.name for column in FUTURES_DAILY.columns])
    rows["trade_date"] = pd.to_datetime(rows["trade_date"]).astype("datetime64[ns]")
    rows = rows.assign(
        symbol=symbol,
        back_adjusted_close=rows["close"],
        available_at=market_calendar.as_of_times(pd.DatetimeIndex(rows["trade_date"])),
        source=f"yahoo {symbol}=F daily" if symbol != "FCPO" else "bursa malaysia FCPO third month",
    )
    types = {"volume": "Int64", "contract": "string", "is_roll": "boolean", "roll_ratio": "float64"}
    return rows.astype(types | dict.fromkeys(PRICES, "float64")).sort_values("trade_date", ignore_index=True)


def macro(export: pd.DataFrame, series_id: str, date: str, value: str) -> pd.DataFrame:
    """Rows of `macro_series`."""
    day = pd.to_datetime(export[date]).dt.tz_localize(None).astype("datetime64[ns]")
    known = bursa.rate_release(day) if series_id == "USDMYR" else fred.release_moments(series_id, day)
    rows = pd.DataFrame(
        {"series_id": series_id, "date": day, "value": export[value], "available_at": known, "source": fred.SOURCE}
    )
    return rows.sort_values("date", ignore_index=True)


def reports(export: pd.DataFrame) -> pd.DataFrame:
    """Rows of `cot_weekly`: the export has managed money, commercials and open interest only."""
    held = {name: export[name].astype("Int64") for name in export if name.endswith(("_long", "_short", "interest"))}
    rows = pd.DataFrame(held).reindex(columns=[column.name for column in COT_WEEKLY.columns])
    rows = rows.assign(
        market_code="007601",
        report_date=pd.to_datetime(export["report_date"]).astype("datetime64[ns]"),
        source="CFTC disaggregated COT",
    )
    gaps = [name for name in rows if name.endswith(("_long", "_short"))]
    rows = rows.astype(dict.fromkeys(gaps, "Int64")).sort_values("report_date", ignore_index=True)
    return rows.assign(available_at=release_times.cot_release(rows["report_date"], {}))


def station_days(export: pd.DataFrame) -> pd.DataFrame:
    """Rows of `weather_daily`, with the provider that the export names."""
    day = pd.to_datetime(export["date"]).astype("datetime64[ns]")
    rows = pd.DataFrame(
        {
            "region": export["region"].map({"US": "midwest", "Brazil": "brazil", "Argentina": "argentina"}),
            "station": export["station_id"],
            "date": day,
            "precip_mm": export["precip_mm"],
            "tmax_c": export["temp_max"],
            "tmin_c": export["temp_min"],
            "available_at": (day + pd.Timedelta(days=2)).dt.tz_localize("UTC"),
            "source": export["source_name"].map({"NOAA_GHCND": "NOAA GHCN-Daily (airport)"}),
        }
    )
    assert rows["source"].isin(list(weather.PUBLICATION_LAG_DAYS)).all()
    return rows.sort_values(["region", "station", "date"], ignore_index=True)
