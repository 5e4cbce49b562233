"""Malaysian Palm Oil Board: palm-oil closing stocks at the end of each month, thousand tonnes.

MPOB serves a workbook a year: two blocks of six months, each with a row of months, below it under every month the year
before and the year itself, then a row a product; `TOTAL PALM OIL` is crude and processed palm oil, tonnes. Months that
are not reported yet are zero or empty. A collected CSV of the same stocks, a row a month, goes back to 2016-01; an
empty cell means no observation. A month is that of the newest workbook that has it, else of the collected file.

Publication: about the 10th of the next month, on a working day; holidays have moved it to the 13th
(Chinese New Year) and to the 15th (Eid). The true dates are not on file, so a month counts from the 15th,
12:00 UTC. A file holds the vintage of its day; MPOB revises a month by a few thousand tonnes.
"""

from __future__ import annotations

import calendar
import re
from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline.sources import provider_files, release_times

SOURCE: Final = "MPOB"
FOLDER: Final = "mpob"
FILE_NAME: Final = "stock_export_production_monthly.csv"
WORKBOOKS: Final = "closing_stock_????.xlsx"
ROW: Final = "TOTAL PALM OIL"
SERIES_ID: Final = "MPOB_PALM_STOCKS"
TONNES_PER_THOUSAND: Final = 1000.0
PLAUSIBLE_TONNES: Final = (100_000.0, 20_000_000.0)
"""Stocks have been between 1 and 4 million; what lies outside is in another unit."""
_DAY_OF_NEXT_MONTH: Final = 15
_NOT_REPORTED: Final = ("", "-", "0", "0.0")
_HALVES: Final = ((1, 2, 3, 4, 5, 6), (7, 8, 9, 10, 11, 12))
_YEAR: Final = re.compile(r"(20\d\d)(\.0)?")


def workbook_path(data_dir: Path, year: int) -> Path:
    """Where the workbook of a year lies."""
    return data_dir / FOLDER / f"closing_stock_{year}.xlsx"


def read_macro_series(data_dir: Path) -> pd.DataFrame:
    """Read `<data_dir>/mpob/` into rows of `macro_series`; a month is dated by its first day.

    Raises:
        SourceError: there is no file, or one has another format.
    """
    workbooks = sorted((data_dir / FOLDER).glob(WORKBOOKS), reverse=True)
    parts = [read_workbook(path) for path in workbooks]
    collected = data_dir / FOLDER / FILE_NAME
    if collected.is_file() or not parts:
        parts.append(read_collected(collected))
    stocks = pd.concat(parts, ignore_index=True).drop_duplicates("date").sort_values("date", ignore_index=True)
    rows = pd.DataFrame(
        {"series_id": SERIES_ID, "date": stocks["date"], "value": stocks["tonnes"] / TONNES_PER_THOUSAND}
    )
    return rows.assign(available_at=release_moments(rows["date"]), source=SOURCE)


def read_collected(path: Path) -> pd.DataFrame:
    """Read the collected file: date and tonnes of every month with an observation.

    Raises:
        SourceError: missing file, a needed column is gone, a value that is not a number, or a month twice.
    """
    frame = provider_files.read_text_csv(path, required=("month", "stock_t"))
    provider_files.refuse_duplicates(frame, ("month",), path)
    months, tonnes = provider_files.dates(frame["month"], path), provider_files.numbers(frame["stock_t"], path)
    return pd.DataFrame({"date": months, "tonnes": tonnes}).dropna(ignore_index=True)


def year_of(path: Path) -> int:
    """The year that a workbook is of: the later of the two that stand below its months. Raises as `read_workbook`."""
    return int(_read_report(path)["date"].dt.year.max())


def read_workbook(path: Path) -> pd.DataFrame:
    """Read a year's workbook: date and tonnes of every reported month of that year and the year before.

    Raises:
        SourceError: missing or damaged file, another table or year than its name says, a value that is no stock in
            tonnes, or a month that is reported after one that is not.
    """
    stocks = _read_report(path)
    year = stocks["date"].dt.year.max()
    if path.name != workbook_path(path.parent, year).name:
        raise provider_files.other_shape(path, f"It must be the workbook of that year, but it is of {year}.")
    stocks = stocks.assign(tonnes=provider_files.numbers(stocks["tonnes"], path, absent=_NOT_REPORTED))
    stocks = stocks.sort_values("date", ignore_index=True)
    reported = stocks["tonnes"].notna()
    for _, months in reported.groupby(stocks["date"].dt.year):
        if not months.is_monotonic_decreasing:
            raise provider_files.other_shape(path, "No month may be reported after one of the same year that is not.")
    stocks = stocks[reported].reset_index(drop=True)
    if stocks.empty or not stocks["tonnes"].between(*PLAUSIBLE_TONNES).all():
        low, high = PLAUSIBLE_TONNES
        raise provider_files.other_shape(path, f"{ROW} must have values, between {low:,.0f} and {high:,.0f} tonnes.")
    return stocks


def _read_report(path: Path) -> pd.DataFrame:
    """Date and, as text, tonnes of the twenty-four months of a workbook."""
    cells = provider_files.workbook_cells(path)
    heads = [(number, found) for number, row in enumerate(cells) if (found := _months(row))]
    if tuple(tuple(found.values()) for _, found in heads) != _HALVES:
        raise provider_files.other_shape(path, "Two rows must name months, January to June and July to December.")
    ends = [heads[1][0], len(cells)]
    table: list[tuple[pd.Timestamp, str]] = []
    years: set[tuple[int, ...]] = set()
    for (head, months), end in zip(heads, ends, strict=True):
        rows = [row for row in cells[head + 2 : end] if row[0].upper() == ROW]
        if len(rows) != 1:
            raise provider_files.other_shape(path, f"Each half of the year must have one row {ROW}.")
        for column, month in months.items():
            below = (_YEAR.fullmatch(cell) for cell in cells[head + 1][column : column + 2])
            pair = tuple(int(year[1]) for year in below if year)
            years.add(pair)
            values = [text.replace(",", "") for text in rows[0][column : column + 2]]
            table += [(pd.Timestamp(year, month, 1), text) for year, text in zip(pair, values, strict=False)]
    if len(table) != 24 or [len(pair) == 2 and pair[1] - pair[0] for pair in years] != [1]:
        raise provider_files.other_shape(path, "Below every month must stand the same two years, one after the other.")
    return pd.DataFrame(table, columns=["date", "tonnes"])


def _months(row: list[str]) -> dict[int, int]:
    """Column to month of a row that names six months or more; else nothing."""
    names = [name.upper() for name in calendar.month_name]
    found = {
        column: month
        for column, cell in enumerate(row)
        for month, name in enumerate(names)
        if len(cell) >= 3 and name.startswith(cell.upper())
    }
    return found if len(found) >= len(_HALVES[0]) else {}


def release_moments(months: pd.Series) -> pd.DatetimeIndex:
    """When the stocks of each month, dated by its first day, count as published, UTC [n]."""
    release_day = release_times.day_of_next_month(months, _DAY_OF_NEXT_MONTH)
    return release_times.at_local_time(release_day, "12:00", "UTC")
