"""World Bank Pink Sheet: monthly mean prices of palm oil and soybean oil, USD per tonne.

The workbook `CMO-Historical-Data-Monthly.xlsx` has, in the sheet `Monthly Prices`, a row of names, below it a row of
units, and one row per month (`1960M01`); `…` means no observation and makes no row. Where it is absent a CSV of the
same columns is read.

Publication: about the second business day of the next month; counted from the third, 12:00 UTC. The
file holds the current vintage, so a later correction of a past month is not told apart.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline.sources import provider_files, release_times

FOLDER: Final = "worldbank"
SOURCE: Final = "World Bank Pink Sheet"
FILE_NAME: Final = "pink_sheet_selected_monthly.csv"
WORKBOOK: Final = "CMO-Historical-Data-Monthly.xlsx"
SHEET: Final = "Monthly Prices"
UNIT: Final = "($/mt)"
SERIES: Final = {"Palm oil": "WB_PALM_OIL", "Soybean oil": "WB_SOYBEAN_OIL"}
FIRST_MONTH: Final = pd.Timestamp("1980-01-01")
"""Five years before the anchor's first row, whose palm/soybean-oil deviation looks back three."""
_NO_OBSERVATION: Final = ("…", "..", "")
_BUSINESS_DAY_OF_NEXT_MONTH: Final = 3
_MONTH: Final = re.compile(r"\d{4}M\d{2}")


def read_macro_series(data_dir: Path) -> pd.DataFrame:
    """Read `<data_dir>/worldbank/` into rows of `macro_series`; a month is dated by its first day.

    Raises:
        SourceError: missing file, a needed column is gone, a value that is not a number, or a month twice.
    """
    workbook = data_dir / FOLDER / WORKBOOK
    return read_workbook(workbook) if workbook.is_file() else _read_csv(data_dir / FOLDER / FILE_NAME)


def _read_csv(path: Path) -> pd.DataFrame:
    return _rows(provider_files.read_text_csv(path, required=("month", *SERIES)), path)


def read_workbook(path: Path) -> pd.DataFrame:
    """Read the workbook into rows of `macro_series`.

    Raises:
        SourceError: missing or damaged file, no such sheet, a series that is not there once in USD per tonne, a value
            that is not a number, or a month twice.
    """
    cells = provider_files.workbook_cells(path, SHEET)
    names = [[cell.rstrip("* ") for cell in row] for row in cells]
    heads = [number for number, row in enumerate(names) if all(row.count(name) == 1 for name in SERIES)]
    if len(heads) != 1:
        raise provider_files.other_shape(path, f"One row of {SHEET} must name {list(SERIES)}, each once.")
    (head,) = heads
    columns = {name: names[head].index(name) for name in SERIES}
    units = {name: cells[head + 1][column] for name, column in columns.items() if head + 1 < len(cells)}
    if set(units.values()) != {UNIT}:
        raise provider_files.other_shape(path, f"The unit below each name must be {UNIT}, but it is {units}.")
    months = [row for row in cells[head + 2 :] if _MONTH.fullmatch(row[0])]
    text = {name: [row[column] for row in months] for name, column in columns.items()}
    return _rows(pd.DataFrame({"month": [row[0] for row in months], **text}, dtype="object"), path)


def _rows(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Rows of `macro_series` from a frame of text with `month` and a column for each of `SERIES`."""
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
    return rows.assign(available_at=release_moments(rows["date"]), source=SOURCE)


def release_moments(months: pd.Series) -> pd.DatetimeIndex:
    """When the prices of each month, dated by its first day, count as published, UTC [n]."""
    release_day = release_times.nth_business_day_of_next_month(months, _BUSINESS_DAY_OF_NEXT_MONTH)
    return release_times.at_local_time(release_day, "12:00", "UTC")
