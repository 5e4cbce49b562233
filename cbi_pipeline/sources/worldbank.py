"""World Bank Pink Sheet: monthly mean prices of palm oil and soybean oil, USD per tonne.

The file has one row per month (`1960M01`); `…` means no observation and makes no row.

Publication: about the second business day of the next month; counted from the third, 12:00 UTC. The
file holds the current vintage, so a later correction of a past month is not told apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline.sources import provider_files, release_times

SOURCE: Final = "World Bank Pink Sheet"
FILE_NAME: Final = "pink_sheet_selected_monthly.csv"
SERIES: Final = {"Palm oil": "WB_PALM_OIL", "Soybean oil": "WB_SOYBEAN_OIL"}
FIRST_MONTH: Final = pd.Timestamp("1980-01-01")
"""Five years before the anchor's first row, whose palm/soybean-oil deviation looks back three."""
_NO_OBSERVATION: Final = ("…", "..", "")
_BUSINESS_DAY_OF_NEXT_MONTH: Final = 3


def read_macro_series(data_dir: Path) -> pd.DataFrame:
    """Read `<data_dir>/worldbank/` into rows of `macro_series`; a month is dated by its first day.

    Raises:
        SourceError: missing file, a needed column is gone, a value that is not a number, or a month twice.
    """
    path = data_dir / "worldbank" / FILE_NAME
    frame = provider_files.read_text_csv(path, required=("month", *SERIES))
    frame["date"] = provider_files.dates(frame["month"], path, date_format="%YM%m")
    provider_files.refuse_duplicates(frame, ("date",), path)
    rows = pd.concat(
        [
            pd.DataFrame(
                {
                    "series_id": series_id,
                    "date": frame["date"],
                    "value": provider_files.numbers(frame[column], path, absent=_NO_OBSERVATION),
                }
            )
            for column, series_id in SERIES.items()
        ],
        ignore_index=True,
    )
    rows = rows[rows["value"].notna() & (rows["date"] >= FIRST_MONTH)].reset_index(drop=True)
    release_day = release_times.nth_business_day_of_next_month(rows["date"], _BUSINESS_DAY_OF_NEXT_MONTH)
    return rows.assign(available_at=release_times.at_local_time(release_day, "12:00", "UTC"), source=SOURCE)
