"""USDA WASDE: US soybean oil balance sheet, every release and marketing year kept as a vintage.

Publication: on the release date at 08:30 New York through 2012-12 and 12:00 since 2013-01.

Two releases in the file (1995-02-12, a Sunday, and 2000-04-01, a Saturday) carry a date on which USDA
cannot have published. No release of this record is later than the 16th of its month but for one
correction, so these count from the first business day on or after the 17th.
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
        SourceError: missing file, a needed column is gone, a value that is not a number, or a release's
            marketing year twice.
    """
    path = data_dir / "usda" / FILE_NAME
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
    rows = rows[rows["value"].notna()].reset_index(drop=True)
    rows["available_at"] = release_time(rows["release_date"])
    rows["source"] = SOURCE
    return rows[["series_id", "marketing_year", "release_date", "value", "available_at", "source"]]
