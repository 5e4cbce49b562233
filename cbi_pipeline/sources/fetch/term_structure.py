"""R. Carver's contract prices of soybean oil, as they lie in his repository: history for the anchor, not a live feed.

The file is replaced when its author publishes a new one, at no fixed date; it is asked for once a week.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline.sources import term_structure
from cbi_pipeline.sources.fetch.install import Coverage, Fetched, install
from cbi_pipeline.sources.fetch.web import Web

BASE_URL: Final = "https://raw.githubusercontent.com"
ADDRESS: Final = "/robcarver17/pysystemtrade/master/data/futures/multiple_prices_csv/SOYOIL.csv"
ASKED_EVERY: Final = pd.Timedelta(days=7)


def fetch(
    data_dir: Path, now: datetime, *, base_url: str = BASE_URL, new_web: Callable[[], Web] = Web
) -> Iterator[Fetched]:
    """Bring `<data_dir>/term_structure/SOYOIL.csv` up to date.

    Raises:
        SourceError: the file cannot be reached or has another format; one that is there stays.
    """
    path = data_dir / term_structure.SNAPSHOTS
    if path.is_file() and pd.Timestamp(path.stat().st_mtime, unit="s", tz="UTC") > pd.Timestamp(now) - ASKED_EVERY:
        yield Fetched(path, "not due", _coverage(path).last)
        return
    with new_web() as web:
        fetched = install(path, web.get(base_url + ADDRESS), _coverage)
    path.touch()
    yield fetched


def _coverage(path: Path) -> Coverage:
    rows = term_structure.read_snapshots(path)
    return Coverage(len(rows), rows["date"].max().date())
