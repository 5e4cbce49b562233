"""ALFRED: the values of FRED's series as they were first published, for those who have a FRED key (free of charge).

API: https://fred.stlouisfed.org/docs/api/fred/series_observations.html, `output_type=4`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import pandas as pd

from cbi_pipeline.progress import counted
from cbi_pipeline.sources import fred
from cbi_pipeline.sources.fetch import fred as latest
from cbi_pipeline.sources.fetch.archives import not_served
from cbi_pipeline.sources.fetch.install import Coverage, Fetched, install_if_due
from cbi_pipeline.sources.fetch.keys import require_key
from cbi_pipeline.sources.fetch.web import Web

BASE_URL: Final = "https://api.stlouisfed.org"
SERVICE: Final = "/fred/series/observations"
KEY: Final = "FRED_API_KEY"
KEY_PARAMETER: Final = "api_key"
SERIES: Final = (*fred.DAILY_SERIES, *fred.H10_SERIES)
PAGE_ROWS: Final = 100_000
"""The most that the service gives at once."""
_ALL_TIME: Final = {"realtime_start": "1776-07-04", "realtime_end": "9999-12-31"}


def keyed_web() -> Web:
    """A client that carries the key. Raises SourceError where there is none."""
    return Web(key=require_key(KEY), key_parameter=KEY_PARAMETER)


def fetch(
    data_dir: Path, now: datetime, *, base_url: str = BASE_URL, new_web: Callable[[], Web] = keyed_web
) -> Iterator[Fetched]:
    """Bring `<data_dir>/fred/vintages/` up to date, for every series of which a release is due.

    Raises:
        SourceError: no key, FRED cannot be reached or serves another format; files that are there stay.
    """
    with new_web() as web:
        for series_id in counted("fetch alfred", SERIES):
            path = fred.vintages_path(data_dir, series_id)
            download = partial(_first_releases, web, base_url + SERVICE, series_id)
            following = partial(latest.next_release, series_id)
            yield install_if_due(path, now, partial(_coverage, series_id), following, download)


def last_date(path: Path, series_id: str) -> pd.Timestamp:
    """Date of the last value of a file. Raises SourceError as the parse half."""
    return fred.read_first_releases(path, series_id)["date"].max()


def newest(data_dir: Path) -> date:
    """Date up to which every series has its first releases. Raises SourceError where a file is not there."""
    return min(last_date(fred.vintages_path(data_dir, name), name) for name in SERIES).date()


def _first_releases(web: Web, url: str, series_id: str) -> bytes:
    """The whole answer, its pages put together, with the series' name, which the service does not repeat."""
    asked = {"series_id": series_id, "file_type": "json", "output_type": "4", "limit": str(PAGE_ROWS), **_ALL_TIME}
    observations: list[Any] = []
    for page in itertools.count():
        content = web.get(url, {**asked, "offset": str(page * PAGE_ROWS)})
        try:
            answer = json.loads(content)
            count, listed = int(answer["count"]), list(answer["observations"])
        except (ValueError, KeyError, TypeError) as error:
            raise not_served(f"{series_id}.json", "FRED must serve observations with their count.") from error
        observations += listed
        if len(observations) >= count or not listed:
            whole = {**answer, "series_id": series_id, "offset": 0, "observations": observations}
            return json.dumps(whole, indent=0).encode()
    raise AssertionError("the last page returns")


def _coverage(series_id: str, path: Path) -> Coverage:
    rows = fred.read_first_releases(path, series_id)
    return Coverage(len(rows), rows["date"].max().date())
