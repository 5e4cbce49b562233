"""NASA POWER's daily service, one answer a point: the whole span, since recent months are replaced later.

API: https://power.larc.nasa.gov/docs/services/api/temporal/daily/. No key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline.progress import counted
from cbi_pipeline.sources import power, weather
from cbi_pipeline.sources.fetch.install import Coverage, Fetched, install_if_due
from cbi_pipeline.sources.fetch.web import Web

BASE_URL: Final = "https://power.larc.nasa.gov"
SERVICE: Final = "/api/temporal/daily/point"
FIRST_DAY: Final = "19850101"


def fetch(
    data_dir: Path, now: datetime, *, base_url: str = BASE_URL, new_web: Callable[[], Web] = Web
) -> Iterator[Fetched]:
    """Bring `<data_dir>/weather/power/` up to date, for every point of which a day is due.

    Raises:
        SourceError: POWER cannot be reached or serves another format; files that are there stay.
    """
    today = pd.Timestamp(now).tz_convert("UTC")
    with new_web() as web:
        for point in counted("fetch power", power.POINTS, lambda point: point.station):
            path = power.path_of(data_dir, point)
            asked = {
                "parameters": ",".join(power.PARAMETERS),
                "community": "AG",
                "latitude": str(point.latitude),
                "longitude": str(point.longitude),
                "start": FIRST_DAY,
                "end": f"{today:%Y%m%d}",
                "format": "JSON",
                "time-standard": power.TIME_STANDARD,
            }
            download = partial(web.get, base_url + SERVICE, asked)
            yield install_if_due(path, now, partial(_coverage, point), next_release, download)


def next_release(last: pd.Timestamp) -> pd.Timestamp:
    """When the day after `last` is expected, UTC."""
    return weather.release_moments(pd.Series([last + pd.Timedelta(days=1)]), pd.Series([power.PRODUCT]))[0]


def _coverage(point: power.Point, path: Path) -> Coverage:
    rows = power.read_point(path, point)
    return Coverage(len(rows), rows["date"].max().date())
