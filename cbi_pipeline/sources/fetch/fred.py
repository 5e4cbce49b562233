"""FRED's keyless CSV download, one file a series: the whole series, since past values can be revised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline.progress import counted
from cbi_pipeline.sources import fred, release_times
from cbi_pipeline.sources.fetch.install import Coverage, Fetched, install_if_due
from cbi_pipeline.sources.fetch.web import Web

BASE_URL: Final = "https://fred.stlouisfed.org"
SERIES: Final = (*fred.DAILY_SERIES, *fred.H10_SERIES, fred.RINGGIT)


def fetch(
    data_dir: Path, now: datetime, *, base_url: str = BASE_URL, new_web: Callable[[], Web] = Web
) -> Iterator[Fetched]:
    """Bring every series of which a release is due up to date, in `<data_dir>/fred/`.

    Args:
        now: with a time zone; decides what is due.

    Raises:
        SourceError: FRED cannot be reached or serves another format; files that are there stay.
    """
    with new_web() as web:
        for series_id in counted("fetch fred", SERIES):
            path = data_dir / "fred" / f"{series_id}.csv"
            download = partial(web.get, f"{base_url}/graph/fredgraph.csv", {"id": series_id})
            following = partial(next_release, series_id)
            yield install_if_due(path, now, partial(_coverage, series_id), following, download)


def last_date(path: Path, series_id: str) -> pd.Timestamp:
    """Date of the last value of a file. Raises SourceError as the parse half."""
    return fred.read_series(path, series_id)["date"].iloc[-1]


def next_release(series_id: str, last: pd.Timestamp) -> pd.Timestamp:
    """When the value of the business day after `last` is expected, UTC."""
    following = pd.Series(release_times.next_business_day(pd.Series([last])))
    return fred.release_moments(series_id, following)[0]


def _coverage(series_id: str, path: Path) -> Coverage:
    rows = fred.read_series(path, series_id)
    return Coverage(len(rows), rows["date"].iloc[-1].date())
