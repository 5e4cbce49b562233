"""USDA WASDE: US soybean oil balance sheet, every release and marketing year kept as a vintage.

Publication: on the release date at 08:30 New York through 2012-12 and 12:00 since 2013-01.

Two releases in the file (1995-02-12, a Sunday, and 2000-04-01, a Saturday) carry a date on which USDA
cannot have published. No release of this record is later than the 16th of its month but for one
correction, so these count from the first business day on or after the 17th.

Releases after the end of that file come from the Office of the Chief Economist's own CSVs (OCE, since 2010-04): a row
per report, commodity, region, marketing year and item. Beside its newest projection a report may repeat the one of the
month before; the row whose forecast month is the release's counts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from cbi_pipeline.sources import provider_files, release_times

SOURCE: Final = "USDA WASDE"
FILE_NAME: Final = "wasde_us_soybean_oil_by_release.csv"
SERIES: Final = {
    "ending_stocks": "wasde_us_soybean_oil_ending_stocks",
    "use_total": "wasde_us_soybean_oil_use_total",
}
OCE_FILES: Final = "oce-wasde-report-data-*.csv"
OCE_COMMODITY: Final = "Oil, Soybean"
_OCE_REGION: Final = "United States"
_OCE_UNIT: Final = "million pounds"
_OCE_ITEMS: Final = {"ending stocks": SERIES["ending_stocks"], "use, total": SERIES["use_total"]}
_OCE_COLUMNS: Final = (
    *("Attribute", "Commodity", "Region", "MarketYear", "AnnualQuarterFlag", "Value", "Unit", "ReleaseDate"),
    *("ForecastYear", "ForecastMonth"),
)
NOON_RELEASES_FROM: Final = pd.Timestamp("2013-01-01")
_SAFE_DAY_OF_MONTH: Final = 17


def release_time(release_dates: pd.Series) -> pd.DatetimeIndex:
    """When each release was public, UTC [n]; a week-end date counts from the 17th of its month."""
    on_week_end = (release_dates.dt.dayofweek >= 5).to_numpy()
    safe = release_dates.dt.to_period("M").dt.to_timestamp() + pd.Timedelta(days=_SAFE_DAY_OF_MONTH - 1)
    days = np.where(
        on_week_end, release_times.on_or_after_business_day(safe), release_dates.to_numpy().astype("datetime64[D]")
    )
    clock = np.where(release_dates >= NOON_RELEASES_FROM, "12:00", "08:30")
    return release_times.at_local_time(days, clock)


def read_fundamentals(data_dir: Path) -> pd.DataFrame:
    """Read `<data_dir>/usda/` into rows of `fundamentals`, million lb.

    Raises:
        SourceError: there is neither the file by release nor one of OCE, a needed column is gone, a value that is not a
            number, or a release's marketing year twice.
    """
    path, oce = data_dir / "usda" / FILE_NAME, sorted((data_dir / "usda").glob(OCE_FILES))
    parts = [read_by_release(path)] if path.is_file() or not oce else []
    if oce:
        releases = pd.concat([read_oce_file(file) for file in oce], ignore_index=True)
        provider_files.refuse_duplicates(releases, ("series_id", "release_date", "marketing_year"), path.parent)
        parts.append(releases[releases["release_date"] > parts[0]["release_date"].max()] if parts else releases)
    rows = pd.concat(parts, ignore_index=True)
    rows["available_at"] = release_time(rows["release_date"])
    rows["source"] = SOURCE
    return rows[["series_id", "marketing_year", "release_date", "value", "available_at", "source"]]


def to_by_release(rows: pd.DataFrame) -> bytes:
    """The file that `read_by_release` reads, from rows of `fundamentals` that have both series of each release."""
    wide = rows.pivot(index=["release_date", "marketing_year"], columns="series_id", values="value").reset_index()
    wide = wide.rename(columns={series_id: column for column, series_id in SERIES.items()})
    return wide[["release_date", "marketing_year", *SERIES]].to_csv(index=False, date_format="%Y-%m-%d").encode()


def read_by_release(path: Path) -> pd.DataFrame:
    """series_id, marketing_year, release_date and value of the file with one row per release and marketing year.

    Raises:
        SourceError: as `read_fundamentals`.
    """
    frame = provider_files.read_text_csv(path, required=("release_date", "marketing_year", *SERIES))
    frame["release_date"] = provider_files.dates(frame["release_date"], path)
    provider_files.refuse_duplicates(frame, ("release_date", "marketing_year"), path)
    rows = pd.concat(
        [
            frame[["marketing_year", "release_date"]].assign(
                series_id=series_id, value=provider_files.numbers(frame[column], path)
            )
            for column, series_id in SERIES.items()
        ],
        ignore_index=True,
    )
    return rows[rows["value"].notna()].reset_index(drop=True)


def read_oce_file(path: Path) -> pd.DataFrame:
    """series_id, marketing_year, release_date and value of one CSV of OCE, of one release or many.

    Raises:
        SourceError: missing file, a needed column is gone, another unit than million pounds, a date or value of another
            format, no US soybean oil, or an item of a release and marketing year twice.
    """
    frame = provider_files.read_text_csv(path, required=_OCE_COLUMNS)
    item = frame["Attribute"].str.lower()
    is_ours = (frame["Commodity"] == OCE_COMMODITY) & (frame["Region"] == _OCE_REGION) & item.isin(list(_OCE_ITEMS))
    frame = frame[is_ours & (frame["AnnualQuarterFlag"].str.lower() == "annual")]
    units = sorted(set(frame["Unit"].str.lower()))
    if units != [_OCE_UNIT]:
        rule = f"It must hold US soybean oil ({', '.join(_OCE_ITEMS)}) in {_OCE_UNIT}, but holds {units}."
        raise provider_files.other_shape(path, rule)
    release_date = provider_files.dates(frame["ReleaseDate"], path)
    forecast = frame["ForecastYear"] + "-" + frame["ForecastMonth"].str.zfill(2)
    rows = pd.DataFrame(
        {
            "series_id": item[frame.index].map(_OCE_ITEMS),
            "marketing_year": frame["MarketYear"],
            "release_date": release_date,
            "value": provider_files.numbers(frame["Value"].str.replace(",", ""), path),
            "is_newest": forecast == release_date.dt.strftime("%Y-%m"),
        }
    )
    key = ["series_id", "release_date", "marketing_year"]
    has_newest = rows.groupby(key)["is_newest"].transform("any")
    rows = rows[rows["is_newest"] | ~has_newest].drop(columns="is_newest")
    provider_files.refuse_duplicates(rows, key, path)
    return rows[rows["value"].notna()].reset_index(drop=True)
