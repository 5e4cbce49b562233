"""GHCN-Daily from NCEI's data service, one answer a station: the whole span, since quality flags are set later.

Service: https://www.ncei.noaa.gov/support/access-data-service-api-user-documentation. No key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline.progress import counted
from cbi_pipeline.sources import ghcn, weather
from cbi_pipeline.sources.fetch.install import Coverage, Fetched, install_if_due
from cbi_pipeline.sources.fetch.web import Web

BASE_URL: Final = "https://www.ncei.noaa.gov"
SERVICE: Final = "/access/services/data/v1"
FIRST_DAY: Final = "1985-01-01"


def fetch(
    data_dir: Path, now: datetime, *, base_url: str = BASE_URL, new_web: Callable[[], Web] = Web
) -> Iterator[Fetched]:
    """Bring `<data_dir>/weather/ghcn/` up to date, for every served station of which a day is due.

    Raises:
        SourceError: NCEI cannot be reached or serves another format; files that are there stay.
    """
    today = pd.Timestamp(now).tz_convert("UTC")
    products = {station.name.split()[0]: station.product for station in weather.SERVED_STATIONS}
    with new_web() as web:
        for station_id, product in counted("fetch ghcn", products.items(), lambda item: item[0]):
            path = ghcn.path_of(data_dir, station_id)
            asked = {
                "dataset": "daily-summaries",
                "stations": station_id,
                "dataTypes": ",".join(ghcn.ELEMENTS),
                "startDate": FIRST_DAY,
                "endDate": f"{today:%Y-%m-%d}",
                "format": "csv",
                "units": "metric",
                "includeAttributes": "true",
            }
            following = partial(next_release, product=product)
            yield install_if_due(path, now, _coverage, following, partial(web.get, base_url + SERVICE, asked))


def next_release(last: pd.Timestamp, product: str) -> pd.Timestamp:
    """When the day after `last` is expected, UTC."""
    return weather.release_moments(pd.Series([last + pd.Timedelta(days=1)]), pd.Series([product]))[0]


def _coverage(path: Path) -> Coverage:
    rows = ghcn.read_station(path)
    return Coverage(len(rows), rows["date"].max().date())
