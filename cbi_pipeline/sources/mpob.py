"""Malaysian Palm Oil Board: palm-oil closing stocks at the end of each month, thousand tonnes.

One row per month from 2016-01; an empty cell means no observation and makes no row.

Publication: about the 10th of the next month, on a working day; holidays have moved it to the 13th
(Chinese New Year) and to the 15th (Eid). The true dates are not on file, so a month counts from the 15th,
12:00 UTC. The file holds the current vintage; MPOB revises a month by a few thousand tonnes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline.sources import provider_files, release_times

SOURCE: Final = "MPOB"
FILE_NAME: Final = "stock_export_production_monthly.csv"
SERIES_ID: Final = "MPOB_PALM_STOCKS"
TONNES_PER_THOUSAND: Final = 1000.0
_DAY_OF_NEXT_MONTH: Final = 15


def read_macro_series(data_dir: Path) -> pd.DataFrame:
    """Read `<data_dir>/mpob/` into rows of `macro_series`; a month is dated by its first day.

    Raises:
        SourceError: missing file, a needed column is gone, a value that is not a number, or a month twice.
    """
    path = data_dir / "mpob" / FILE_NAME
    frame = provider_files.read_text_csv(path, required=("month", "stock_t"))
    provider_files.refuse_duplicates(frame, ("month",), path)
    rows = pd.DataFrame(
        {
            "series_id": SERIES_ID,
            "date": provider_files.dates(frame["month"], path),
            "value": provider_files.numbers(frame["stock_t"], path) / TONNES_PER_THOUSAND,
        }
    )
    rows = rows[rows["value"].notna()].reset_index(drop=True)
    return rows.assign(available_at=release_moments(rows["date"]), source=SOURCE)


def release_moments(months: pd.Series) -> pd.DatetimeIndex:
    """When the stocks of each month, dated by its first day, count as published, UTC [n]."""
    release_day = release_times.day_of_next_month(months, _DAY_OF_NEXT_MONTH)
    return release_times.at_local_time(release_day, "12:00", "UTC")
