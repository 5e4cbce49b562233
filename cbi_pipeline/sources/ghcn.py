"""NOAA GHCN-Daily, a station a file, as NCEI's data service answers in CSV (`weather/ghcn/<id>.csv`).

Millimetres and degrees Celsius. Each value comes with attributes `measurement,quality,source,...`: a value with a
quality flag failed one of NOAA's checks and is a gap.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline.sources import provider_files

FOLDER: Final = "weather/ghcn"
ELEMENTS: Final = {"PRCP": "precip_mm", "TMAX": "tmax_c", "TMIN": "tmin_c"}
_QUALITY: Final = 1


def path_of(data_dir: Path, station_id: str) -> Path:
    """Where a station's answer lies."""
    return data_dir / FOLDER / f"{station_id}.csv"


def read_daily(data_dir: Path, stations: Mapping[str, str]) -> pd.DataFrame:
    """Rows of every station that has a file, empty if none has: station, date, precip_mm, tmax_c, tmin_c.

    Args:
        stations: NOAA's identifier to the name in `weather_daily`.

    Raises:
        SourceError: as `read_station`.
    """
    there = {name: path_of(data_dir, station_id) for station_id, name in stations.items()}
    parts = [read_station(path).assign(station=name) for name, path in there.items() if path.is_file()]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def read_station(path: Path) -> pd.DataFrame:
    """Read one station; a day without any value makes no row.

    Raises:
        SourceError: missing file, a needed column is gone, another station than the file is named for, a value that is
            not a number, a day twice, or no value.
    """
    columns = [column for name in ELEMENTS for column in (name, f"{name}_ATTRIBUTES")]
    frame = provider_files.read_text_csv(path, required=("STATION", "DATE", *columns))
    if set(frame["STATION"]) - {path.stem}:
        rule = f"It must hold station {path.stem} only, but holds {sorted(set(frame['STATION']))}."
        raise provider_files.other_shape(path, rule)
    rows = pd.DataFrame({"date": provider_files.dates(frame["DATE"], path)})
    for element, ours in ELEMENTS.items():
        flags = frame[f"{element}_ATTRIBUTES"].str.split(",").str[_QUALITY]
        failed = flags.notna() & (flags.str.strip() != "")
        rows[ours] = provider_files.numbers(frame[element], path).mask(failed)
    provider_files.refuse_duplicates(rows, ("date",), path)
    rows = rows[rows[list(ELEMENTS.values())].notna().any(axis=1)].sort_values("date", ignore_index=True)
    if rows.empty:
        raise provider_files.other_shape(path, "It must hold a value.")
    return rows
