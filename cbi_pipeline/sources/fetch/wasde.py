"""WASDE from the Office of the Chief Economist: two archives to 2020, then a CSV a month, kept as rows of soybean oil.

USDA publishes no calendar that a program could read, and has cancelled releases (2013-10, 2019-01): a month is asked
for from its 8th day on, and one that is not there is passed over. Releases before 2010-04 are not served as a CSV; they
are taken from the starter bundle (facts.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline.progress import counted
from cbi_pipeline.sources import wasde
from cbi_pipeline.sources.fetch import facts
from cbi_pipeline.sources.fetch.archives import not_served, only_text, rows_where
from cbi_pipeline.sources.fetch.install import Coverage, Fetched, install
from cbi_pipeline.sources.fetch.web import Web

BASE_URL: Final = "https://www.usda.gov"
FOLDER: Final = "/sites/default/files/documents"
ARCHIVES: Final = {"2010-04-to-2015-12": pd.Period("2015-12"), "2016-01-to-2020-12": pd.Period("2020-12")}
"""Span in the name of each zip, and the last month in it."""
FIRST_MONTHLY: Final = pd.Period("2021-01")
EARLIEST_DAY: Final = 8
"""No release since 2010 came before the 8th of its month."""


def fetch(
    data_dir: Path, now: datetime, *, base_url: str = BASE_URL, new_web: Callable[[], Web] = Web
) -> Iterator[Fetched]:
    """Bring `<data_dir>/usda/oce-wasde-report-data-*.csv` up to date: what follows the releases that are there.

    Raises:
        SourceError: USDA cannot be reached or serves another format; files that are there stay.
    """
    folder = data_dir / "usda"
    yield from facts.put_wasde_before_2010(data_dir)
    last = newest_release(data_dir).to_period("M")
    with new_web() as web:
        for span, end in ARCHIVES.items():
            if last < end:
                path = folder / f"oce-wasde-report-data-{span}.csv"
                text = only_text(web.get(f"{base_url}{FOLDER}/{path.stem}.zip"), path.name)
                yield install(path, _soybean_oil(text, path.name), _coverage)
        for month in counted("fetch wasde", pd.period_range(max(last + 1, FIRST_MONTHLY), due_month(now), freq="M")):
            path = folder / f"oce-wasde-report-data-{month}.csv"
            content = web.get_if_there(f"{base_url}{FOLDER}/{path.name}")
            if content is not None:
                rows = _soybean_oil(content.decode("latin-1"), path.name)
                yield install(path, rows, partial(_coverage, month=month))


def newest_release(data_dir: Path) -> pd.Timestamp:
    """Date of the newest release on file. Raises SourceError as the parse half."""
    return wasde.read_fundamentals(data_dir)["release_date"].max()


def due_month(now: datetime) -> pd.Period:
    """The newest month whose release may be out: this one from its 8th day, noon New York, on."""
    local = pd.Timestamp(now).tz_convert("America/New_York")
    this_month = pd.Period(date(local.year, local.month, 1), freq="M")
    return this_month if (local.day, local.hour) >= (EARLIEST_DAY, 12) else this_month - 1


def _soybean_oil(text: str, name: str) -> bytes:
    if not text.lstrip("\ufeff\u00ef\u00bb\u00bf").startswith(("WasdeNumber", '"WasdeNumber"')):
        raise not_served(name, "The header must begin with WasdeNumber.")
    return rows_where(text, name, "Commodity", lambda commodity: commodity == wasde.OCE_COMMODITY)


def _coverage(path: Path, month: pd.Period | None = None) -> Coverage:
    """What a file holds. Raises SourceError if it does not read, or holds another release than that of `month`."""
    rows = wasde.read_oce_file(path)
    months = set(rows["release_date"].dt.to_period("M"))
    if month is not None and months != {month}:
        found = ", ".join(sorted(map(str, months)))
        raise not_served(path.name, f"The file must hold the release of {month}, but holds {found}.")
    return Coverage(len(rows), rows["release_date"].max().date())
