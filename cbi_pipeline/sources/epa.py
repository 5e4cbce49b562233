"""EPA Renewable Fuel Standard: biomass-based diesel obligations as final rules set them.

A table of facts with their Federal Register citations. An obligation counts from 08:45 New York on the
day its rule is printed (the Federal Register's hour); the announcement, days to weeks earlier, is not
used because its hour and wording are not recorded. The evidence for 2021 and 2022 is weaker than for
the other years (a secondary source for the value, or a date not seen in print): their `source` says so.

D4 RINs (biomass-based diesel credits) generated per month come from EPA's Moderated Transaction System
(EMTS), which publishes a month about the 20th of the next one; counted from the 20th, or the business day
after it, 12:00 New York. The file holds the current vintage: EPA corrects past months by small amounts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import provider_files, release_times

SOURCE: Final = "EPA RFS"
SOURCE_WEAK_EVIDENCE: Final = "EPA RFS (secondary evidence)"
FILE_NAME: Final = "rfs_bbd_volumes.csv"
SERIES_ID: Final = "rfs_bbd_volume"
_COLUMNS: Final = (
    *(
        "compliance_year",
        "bbd_value",
        "unit",
        "status",
        "announced_or_signed",
        "fr_publication_date",
        "fr_citation",
        "fr_doc",
    ),
    *("date_evidence", "value_evidence"),
)
RIN_SOURCE: Final = "EPA EMTS"
RIN_FILE_NAME: Final = "d4_rin_generation_monthly.csv"
RIN_SERIES_ID: Final = "EPA_D4_RINS"
RINS_PER_MILLION: Final = 1e6
_RIN_DAY_OF_NEXT_MONTH: Final = 20
_WEAK_WORDS: Final = "secondary source|general knowledge"


def read_policy(data_dir: Path) -> pd.DataFrame:
    """Read `<data_dir>/epa/` into rows of `policy`, billion gallons per compliance year.

    Raises:
        SourceError: missing file, other header, another unit than billion gallons, a rule that is not
            final, a value that is not a number, or a year twice.
    """
    path = data_dir / "epa" / FILE_NAME
    frame = provider_files.read_text_csv(path, exact=_COLUMNS)
    for column, expected in (("unit", "billion gallons"), ("status", "final")):
        other = sorted(set(frame[column]) - {expected})
        if other:
            raise SourceError(
                str(path),
                f"The {column} must be {expected!r}, but some rows have {other}.",
                "convert or drop those rows.",
            )
    provider_files.refuse_duplicates(frame, ("compliance_year",), path)
    published_on = provider_files.dates(frame["fr_publication_date"], path)
    weak = (frame["date_evidence"] + frame["value_evidence"]).str.contains(_WEAK_WORDS)
    return pd.DataFrame(
        {
            "series": SERIES_ID,
            "effective_year": provider_files.numbers(frame["compliance_year"], path, absent=()).astype("int32"),
            "value": provider_files.numbers(frame["bbd_value"], path, absent=()),
            "published_on": published_on,
            "citation": frame["fr_citation"],
            "available_at": release_times.at_local_time(published_on, "08:45"),
            "source": np.where(weak, SOURCE_WEAK_EVIDENCE, SOURCE),
        }
    )


def read_macro_series(data_dir: Path) -> pd.DataFrame:
    """Read D4 RIN generation from `<data_dir>/epa/` into rows of `macro_series`, million RINs a month.

    Raises:
        SourceError: missing file, a needed column is gone, a value that is not a number, or a month twice.
    """
    path = data_dir / "epa" / RIN_FILE_NAME
    frame = provider_files.read_text_csv(path, required=("month", "d4_total"))
    month = provider_files.dates(frame["month"], path)
    provider_files.refuse_duplicates(frame, ("month",), path)
    release_day = release_times.business_day_on_or_after(release_times.day_of_next_month(month, _RIN_DAY_OF_NEXT_MONTH))
    return pd.DataFrame(
        {
            "series_id": RIN_SERIES_ID,
            "date": month,
            "value": provider_files.numbers(frame["d4_total"], path, absent=()) / RINS_PER_MILLION,
            "available_at": release_times.at_local_time(release_day, "12:00"),
            "source": RIN_SOURCE,
        }
    )
