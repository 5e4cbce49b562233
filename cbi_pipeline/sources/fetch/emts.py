"""EPA's RIN generation by month: each month's file holds the whole, revised history and has an address of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline.sources import epa
from cbi_pipeline.sources.fetch.install import Coverage, Fetched, install_if_due
from cbi_pipeline.sources.fetch.links import links_to
from cbi_pipeline.sources.fetch.web import Web

BASE_URL: Final = "https://www.epa.gov"
PAGE: Final = "/fuels-registration-reporting-and-compliance-help/spreadsheet-rin-generation-and-renewable-fuel"
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FILE_NAME: Final = re.compile(rf"rindata_({'|'.join(_MONTHS)})(\d{{4}})\.csv", re.IGNORECASE)


def fetch(
    data_dir: Path, now: datetime, *, base_url: str = BASE_URL, new_web: Callable[[], Web] = Web
) -> Iterator[Fetched]:
    """Bring `<data_dir>/epa/rindata.csv` up to date, if a month is due.

    Raises:
        SourceError: EPA cannot be reached or serves another format; a file that is there stays.
    """
    path = data_dir / "epa" / epa.RIN_DATA_NAME
    yield install_if_due(path, now, _coverage, next_release, lambda: _newest(new_web, base_url + PAGE))


def _newest(new_web: Callable[[], Web], page_url: str) -> bytes:
    with new_web() as web:
        links = links_to(web.get(page_url), page_url, _FILE_NAME)
        return web.get(max(links, key=lambda address: _month(links[address])))


def next_release(last: pd.Timestamp) -> pd.Timestamp:
    """When the month after `last` is expected, UTC."""
    return epa.rin_release_moments(pd.Series([last + pd.DateOffset(months=1)]))[0]


def _month(name: re.Match[str]) -> tuple[int, int]:
    return int(name[2]), _MONTHS.index(name[1].lower())


def _coverage(path: Path) -> Coverage:
    rows = epa.read_rin_data(path)
    return Coverage(len(rows), rows["date"].max().date())
