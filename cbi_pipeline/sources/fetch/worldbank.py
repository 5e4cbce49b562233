"""The Pink Sheet's workbook of monthly prices, whose address changes with every edition and stands on one page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline.sources import worldbank
from cbi_pipeline.sources.fetch.install import Coverage, Fetched, install_if_due
from cbi_pipeline.sources.fetch.links import links_to
from cbi_pipeline.sources.fetch.web import Web

BASE_URL: Final = "https://www.worldbank.org"
PAGE: Final = "/en/research/commodity-markets"


def fetch(
    data_dir: Path, now: datetime, *, base_url: str = BASE_URL, new_web: Callable[[], Web] = Web
) -> Iterator[Fetched]:
    """Bring `<data_dir>/worldbank/CMO-Historical-Data-Monthly.xlsx` up to date, if a month is due.

    Raises:
        SourceError: the World Bank cannot be reached or serves another format; a file that is there stays.
    """
    path = data_dir / worldbank.FOLDER / worldbank.WORKBOOK
    yield install_if_due(path, now, _coverage, next_release, lambda: _edition(new_web, base_url + PAGE))


def _edition(new_web: Callable[[], Web], page_url: str) -> bytes:
    with new_web() as web:
        return web.get(next(iter(links_to(web.get(page_url), page_url, re.compile(re.escape(worldbank.WORKBOOK))))))


def next_release(last: pd.Timestamp) -> pd.Timestamp:
    """When the month after `last` is expected, UTC."""
    return worldbank.release_moments(pd.Series([last + pd.DateOffset(months=1)]))[0]


def _coverage(path: Path) -> Coverage:
    rows = worldbank.read_workbook(path)
    return Coverage(len(rows), rows["date"].max().date())
