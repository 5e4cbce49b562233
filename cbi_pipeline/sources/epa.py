"""EPA Renewable Fuel Standard: biomass-based diesel obligations as final rules set them.

A table of facts with their Federal Register citations. An obligation counts from 08:45 New York on the
day its rule is printed (the Federal Register's hour); the announcement, days to weeks earlier, is not
used because its hour and wording are not recorded. The evidence for 2021 and 2022 is weaker than for
the other years (a secondary source for the value, or a date not seen in print): their `source` says so.

D4 RINs (biomass-based diesel credits) generated per month come from EPA's Moderated Transaction System
(EMTS), which publishes a month about the 20th of the next one; counted from the 20th, or the business day
after it, 12:00 New York. EPA's own file (`rindata_<month><year>.csv`, kept as `rindata.csv`) has a row per fuel code
and production month; where it is absent a table of D4 totals is read. Both hold the current vintage: EPA corrects
past months by small amounts.
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
RIN_DATA_NAME: Final = "rindata.csv"
RIN_FILE_NAME: Final = "d4_rin_generation_monthly.csv"
RIN_SERIES_ID: Final = "EPA_D4_RINS"
RINS_PER_MILLION: Final = 1e6
_RIN_COLUMNS: Final = ("fuel_code", "rin_year", "production_month", "rin_quantity")
_RIN_DAY_OF_NEXT_MONTH: Final = 20
_WEAK_WORDS: Final = "secondary source|general knowledge"


def read_policy(data_dir: Path) -> pd.DataFrame:
    """Read `<data_dir>/epa/` into rows of `policy`, billion gallons per compliance year.

    Raises:
        SourceError: missing file, other header, another unit than billion gallons, a rule that is not
            final, a value that is not a number, or a year twice.
    """
    return read_policy_file(data_dir / "epa" / FILE_NAME)


def read_policy_file(path: Path) -> pd.DataFrame:
    """Read one table of obligations; see `read_policy`."""
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
            "available_at": rule_release(published_on),
            "source": np.where(weak, SOURCE_WEAK_EVIDENCE, SOURCE),
        }
    )


def read_macro_series(data_dir: Path) -> pd.DataFrame:
    """Read D4 RIN generation from `<data_dir>/epa/` into rows of `macro_series`, million RINs a month.

    Raises:
        SourceError: missing file, a needed column is gone, a value that is not a number, or a month twice.
    """
    rindata = data_dir / "epa" / RIN_DATA_NAME
    if rindata.is_file():
        return read_rin_data(rindata)
    path = data_dir / "epa" / RIN_FILE_NAME
    frame = provider_files.read_text_csv(path, required=("month", "d4_total"))
    return _rin_rows(provider_files.dates(frame["month"], path), frame["d4_total"], path)


def read_rin_data(path: Path) -> pd.DataFrame:
    """Read EPA's RIN generation by fuel code and production month into rows of `macro_series`, D4 only.

    Raises:
        SourceError: missing file, a needed column is gone, a value that is not a number, no D4 row, or a month twice.
    """
    frame = provider_files.read_text_csv(path)
    frame.columns = frame.columns.str.lower().str.replace(r"[\s_]+", "_", regex=True)
    missing = [name for name in _RIN_COLUMNS if list(frame.columns).count(name) != 1]
    if missing:
        raise provider_files.other_shape(path, f"The header must name {missing} once; it is {list(frame.columns)}.")
    d4 = frame[frame["fuel_code"].isin(("4", "D4"))]
    if d4.empty:
        raise provider_files.other_shape(path, "It must hold a month of fuel code 4, biomass-based diesel.")
    month = provider_files.dates(d4["rin_year"] + "-" + d4["production_month"], path, date_format="%Y-%m")
    return _rin_rows(month, d4["rin_quantity"].str.replace(",", ""), path)


def _rin_rows(month: pd.Series, rins: pd.Series, path: Path) -> pd.DataFrame:
    rows = pd.DataFrame(
        {
            "series_id": RIN_SERIES_ID,
            "date": month,
            "value": provider_files.numbers(rins, path, absent=()) / RINS_PER_MILLION,
            "available_at": rin_release_moments(month),
            "source": RIN_SOURCE,
        }
    ).sort_values("date", ignore_index=True)
    provider_files.refuse_duplicates(rows, ("date",), path)
    return rows


def rin_release_moments(months: pd.Series) -> pd.DatetimeIndex:
    """When the RINs of each month count as published, UTC [n]."""
    release_day = release_times.business_day_on_or_after(
        release_times.day_of_next_month(months, _RIN_DAY_OF_NEXT_MONTH)
    )
    return release_times.at_local_time(release_day, "12:00")


def rule_release(published_on: pd.Series) -> pd.DatetimeIndex:
    """When a rule of each Federal Register date is public, UTC [n]."""
    return release_times.at_local_time(published_on, "08:45")
