"""FRED (Federal Reserve Bank of St. Louis): daily rates, VIX and exchange rates, in its CSV download format.

A file has the header `observation_date,<series>`; a blank value is a holiday and makes no row.

Publication: H.15 rates and the VIX on the next US business day, counted from 16:15 New York; the H.10
exchange rates and dollar index on the Monday after the week, 16:15 New York. Values are the current
vintage: rates are not revised in substance. The broad dollar index DTWEXBGS is: its trade weights are
revised once a year, and it exists since 2019 (its values from 2006 on are the Fed's back history), so a
past change is known to the trader of the day only up to what the weights moved.
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
FIRST_DATE: Final = pd.Timestamp("1998-01-01")
"""Two years before the first feature row: enough for every trailing window, and no more to carry."""
_RELEASE_CLOCK: Final = "16:15"


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
    release_day = (
        release_times.monday_after(dates) if series_id in H10_SERIES else release_times.next_business_day(dates)
    )
    return release_times.at_local_time(release_day, _RELEASE_CLOCK)


def read_macro_series(data_dir: Path) -> pd.DataFrame:
    """Read DGS10, DGS2, VIXCLS, DEXBZUS and DTWEXBGS from `<data_dir>/fred/` into rows of `macro_series`.

    Raises:
        SourceError: as `read_series`.
    """
    series = (*DAILY_SERIES, *H10_SERIES)
    return pd.concat([read_series(data_dir / "fred" / f"{name}.csv", name) for name in series], ignore_index=True)
