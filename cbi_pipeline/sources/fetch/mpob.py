"""MPOB's public report of closing stocks, one workbook a year, which holds the year before too.

The report is a part of https://bepi.mpob.gov.my/index.php/stock and answers without a login; `val` is the year and the
number of the report. A year that MPOB has not opened yet, or serves no longer, answers with a line of text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline.sources import mpob
from cbi_pipeline.sources.fetch.archives import not_served
from cbi_pipeline.sources.fetch.install import Coverage, Fetched, install
from cbi_pipeline.sources.fetch.web import Web

BASE_URL: Final = "https://bepi.mpob.gov.my"
REPORT: Final = "/stat/web_report1.php"
CLOSING_STOCK: Final = "11"
FIRST_YEAR: Final = 2017
"""Its workbook begins in 2016-01, as the collected file does."""
NOT_OPEN: Final = b"under construction"
_LONGEST_LINE_BYTES: Final = 1000


def fetch(
    data_dir: Path, now: datetime, *, base_url: str = BASE_URL, new_web: Callable[[], Web] = Web
) -> Iterator[Fetched]:
    """Bring `<data_dir>/mpob/closing_stock_YYYY.xlsx` up to date, newest year first, where a month is due.

    Raises:
        SourceError: MPOB cannot be reached, serves another table, or has no year open; files that are there stay.
    """
    open_years = 0
    with new_web() as web:
        for year in range(now.year, FIRST_YEAR - 1, -1):
            path = mpob.workbook_path(data_dir, year)
            last = mpob.read_workbook(path)["date"].max() if path.is_file() else pd.Timestamp(year - 1, 12, 1)
            if last == pd.Timestamp(year, 12, 1) or now < next_release(last):
                if path.is_file():
                    yield Fetched(path, "not due", last.date())
                    open_years += 1
                continue
            content = web.get(base_url + REPORT, {"val": f"{year}{CLOSING_STOCK}", "excel": "Y"})
            if _is_open(content):
                yield install(path, content, coverage)
                open_years += 1
            elif year < now.year:
                break
    if not open_years:
        raise not_served(mpob.workbook_path(data_dir, now.year).name, f"{REPORT} has no year open.")


def next_release(last: pd.Timestamp) -> pd.Timestamp:
    """When the month after `last` is expected, UTC."""
    return mpob.release_moments(pd.Series([last + pd.DateOffset(months=1)]))[0]


def coverage(path: Path) -> Coverage:
    """What a workbook holds. Raises SourceError as the parse half."""
    rows = mpob.read_workbook(path)
    return Coverage(len(rows), rows["date"].max().date())


def _is_open(content: bytes) -> bool:
    return len(content) > _LONGEST_LINE_BYTES or NOT_OPEN not in content.lower()
