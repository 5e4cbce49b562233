"""FRED (Federal Reserve Bank of St. Louis): daily rates, VIX and exchange rates, in its CSV download format.

A file has the header `observation_date,<series>`; a blank value is a holiday and makes no row.

Publication: H.15 rates and the VIX on the next US business day, counted from 16:15 New York; the H.10
exchange rates and dollar index on the Monday after the week, 16:15 New York. Values are the current
vintage: rates are not revised in substance. The broad dollar index DTWEXBGS is: its trade weights are
revised once a year, and it exists since 2019 (its values from 2006 on are the Fed's back history), so a
past change is known to the trader of the day only up to what the weights moved.

Where `vintages/<series>.json` holds ALFRED's first releases, a date takes the value that was first published, from that
day on, if that was within `LONGEST_DELAY` of the date; older history, which FRED took in later, stays as above.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import provider_files, release_times

SOURCE: Final = "FRED"
DAILY_SERIES: Final = ("DGS10", "DGS2", "VIXCLS")
H10_SERIES: Final = ("DEXBZUS", "DTWEXBGS")
RINGGIT: Final = "DEXMAUS"
"""MYR per USD, H.10: what `bursa.read_usdmyr` takes where the collected file of quotes ends or is absent."""
FIRST_DATE: Final = pd.Timestamp("1998-01-01")
"""Two years before the first feature row: enough for every trailing window, and no more to carry."""
VINTAGES: Final = "fred/vintages"
LONGEST_DELAY: Final = pd.Timedelta(days=31)
_RELEASE_CLOCK: Final = "16:15"
_VINTAGE_COLUMNS: Final = ("date", "value", "realtime_start")


def read_series(path: Path, series_id: str) -> pd.DataFrame:
    """Read one FRED file into rows of `macro_series`, from `FIRST_DATE` on.

    Raises:
        SourceError: missing file, other header, no value, a value that is not a number, or a date twice.
    """
    frame = provider_files.read_text_csv(path, exact=("observation_date", series_id))
    rows = pd.DataFrame(
        {
            "series_id": series_id,
            "date": provider_files.dates(frame["observation_date"], path),
            "value": provider_files.numbers(frame[series_id], path, absent=("", ".")),
        }
    )
    provider_files.refuse_duplicates(rows, ("date",), path)
    rows = rows[rows["value"].notna() & (rows["date"] >= FIRST_DATE)].sort_values("date", ignore_index=True)
    if rows.empty:
        raise SourceError(str(path), "The file must hold a value.", "download the file again from FRED.")
    return rows.assign(available_at=release_moments(series_id, rows["date"]), source=SOURCE)


def release_moments(series_id: str, dates: pd.Series) -> pd.DatetimeIndex:
    """When the value of each date is published, UTC [n]."""
    in_h10 = series_id in (*H10_SERIES, RINGGIT)
    release_day = release_times.monday_after(dates) if in_h10 else release_times.next_business_day(dates)
    return release_times.at_local_time(release_day, _RELEASE_CLOCK)


def read_macro_series(data_dir: Path) -> pd.DataFrame:
    """Read DGS10, DGS2, VIXCLS, DEXBZUS and DTWEXBGS from `<data_dir>/fred/` into rows of `macro_series`.

    Raises:
        SourceError: as `read_series`.
    """
    parts = []
    for name in (*DAILY_SERIES, *H10_SERIES):
        rows = read_series(data_dir / "fred" / f"{name}.csv", name)
        vintages = vintages_path(data_dir, name)
        parts.append(as_first_published(rows, read_first_releases(vintages, name)) if vintages.is_file() else rows)
    return pd.concat(parts, ignore_index=True)


def vintages_path(data_dir: Path, series_id: str) -> Path:
    """Where ALFRED's first releases of a series lie."""
    return data_dir / VINTAGES / f"{series_id}.json"


def read_first_releases(path: Path, series_id: str) -> pd.DataFrame:
    """ALFRED's answer to `output_type=4`, initial releases: date, first_value and published_on; a gap makes no row.

    Raises:
        SourceError: missing file, another shape or series, a value that is no number, a date twice, or no value.
    """
    answer = provider_files.read_json(path)
    try:
        asked, listed = (answer["series_id"], answer["output_type"]), answer["observations"]
        columns = {name: pd.Series([str(row[name]) for row in listed], name=name) for name in _VINTAGE_COLUMNS}
    except (KeyError, TypeError) as error:
        rule = f"It must be an answer of series/observations ({type(error).__name__}: {error})."
        raise provider_files.other_shape(path, rule) from error
    if asked != (series_id, 4):
        raise provider_files.other_shape(path, f"It must hold the initial releases of {series_id}, not of {asked}.")
    rows = pd.DataFrame(
        {
            "date": provider_files.dates(columns["date"], path),
            "first_value": provider_files.numbers(columns["value"], path, absent=("", ".")),
            "published_on": provider_files.dates(columns["realtime_start"], path),
        }
    )
    provider_files.refuse_duplicates(rows, ("date",), path)
    rows = rows[rows["first_value"].notna()].sort_values("date", ignore_index=True)
    if rows.empty:
        raise provider_files.other_shape(path, "It must hold a value.")
    return rows


def as_first_published(rows: pd.DataFrame, first: pd.DataFrame) -> pd.DataFrame:
    """Rows of one series with the value and, where it is later, the day of their first release.

    Args:
        rows: as of `read_series`.
        first: as of `read_first_releases`.
    """
    joined = rows.merge(first, on="date", how="left")
    on_time = joined["published_on"] - joined["date"] <= LONGEST_DELAY
    released = joined["published_on"].where(on_time, joined["date"])
    moments = pd.Series(release_times.at_local_time(released, _RELEASE_CLOCK), index=joined.index)
    return joined.assign(
        value=joined["first_value"].where(on_time, joined["value"]),
        available_at=joined["available_at"].where(joined["available_at"] >= moments, moments),
    )[list(rows.columns)]
