"""NASA POWER, daily agroclimatology at agreed points, as its service answers in JSON (`weather/power/<point>.json`).

A value of the header's `fill_value` means none. A day is a local solar day. Recent months rest on near-real-time inputs
and are replaced when MERRA-2 is final, so a file holds the current vintage.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from cbi_pipeline.sources import provider_files

FOLDER: Final = "weather/power"
PRODUCT: Final = "NASA POWER"
PARAMETERS: Final = {"PRECTOTCORR": ("precip_mm", "mm/day"), "T2M_MAX": ("tmax_c", "C"), "T2M_MIN": ("tmin_c", "C")}
"""POWER's name to our column and the unit in which it comes."""
TIME_STANDARD: Final = "LST"
_LARGEST_SHIFT_DEGREES: Final = 0.01


@dataclass(frozen=True, slots=True)
class Point:
    """An agreed point.

    Args:
        station: as `weather_daily` names it.
        region: growing region it counts for.
        latitude, longitude: degrees north and east.
    """

    station: str
    region: str
    latitude: float
    longitude: float


POINTS: Final = (
    Point("POWER Sorriso", "brazil", -12.545, -55.711),
    Point("POWER Rio Verde", "brazil", -17.798, -50.928),
    Point("POWER Cascavel", "brazil", -24.956, -53.455),
    Point("POWER Passo Fundo", "brazil", -28.262, -52.409),
    Point("POWER Rosario", "argentina", -32.951, -60.666),
    Point("POWER Pergamino", "argentina", -33.890, -60.574),
    Point("POWER Marcos Juarez", "argentina", -32.698, -62.106),
    Point("POWER Buenos Aires", "argentina", -34.603, -58.381),
    Point("POWER Des Moines", "midwest", 41.587, -93.625),
    Point("POWER Champaign", "midwest", 40.116, -88.243),
    Point("POWER Indianapolis", "midwest", 39.768, -86.158),
    Point("POWER Chicago", "midwest", 41.878, -87.629),
)
"""The agreed ten, and the two cities of the collected station file that were still reporting when it was made."""


def path_of(data_dir: Path, point: Point) -> Path:
    """Where a point's answer lies."""
    name = point.station.removeprefix("POWER ").replace(" ", "_")
    return data_dir / FOLDER / f"{name}.json"


def read_daily(data_dir: Path) -> pd.DataFrame:
    """Rows of every point that has a file, empty if none has.

    Returns:
        Columns region, station, product, date, precip_mm, tmax_c, tmin_c.

    Raises:
        SourceError: as `read_point`.
    """
    there = [point for point in POINTS if path_of(data_dir, point).is_file()]
    if not there:
        return pd.DataFrame()
    return pd.concat([read_point(path_of(data_dir, point), point) for point in there], ignore_index=True)


def read_point(path: Path, point: Point) -> pd.DataFrame:
    """Read one answer; a day without any value makes no row.

    Raises:
        SourceError: missing file, another shape, place, unit or clock than was asked for, or no value.
    """
    answer = provider_files.read_json(path)
    try:
        longitude, latitude = answer["geometry"]["coordinates"][:2]
        fill, clock = float(answer["header"]["fill_value"]), answer["header"]["time_standard"]
        units = {name: answer["parameters"][name]["units"] for name in PARAMETERS}
        series = {name: pd.Series(answer["properties"]["parameter"][name], dtype="float64") for name in PARAMETERS}
        shift = max(abs(longitude - point.longitude), abs(latitude - point.latitude))
        values = pd.DataFrame(series)
        days = pd.to_datetime(pd.Series(values.index), format="%Y%m%d")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        rule = f"It must be an answer of POWER's daily service ({type(error).__name__}: {error})."
        raise provider_files.other_shape(path, rule) from error
    if shift > _LARGEST_SHIFT_DEGREES:
        rule = f"It must be of {point.latitude}, {point.longitude}, but is of {latitude}, {longitude}."
        raise provider_files.other_shape(path, rule)
    wanted = {name: unit for name, (_, unit) in PARAMETERS.items()}
    if units != wanted or clock != TIME_STANDARD:
        raise provider_files.other_shape(
            path, f"It must be in {wanted} by {TIME_STANDARD}, but is in {units} by {clock}."
        )
    rows = values.replace(fill, np.nan).rename(columns={name: ours for name, (ours, _) in PARAMETERS.items()})
    rows = rows.reset_index(drop=True).assign(date=days.astype("datetime64[ns]")).sort_values("date")
    rows = rows[rows.drop(columns="date").notna().any(axis=1)].reset_index(drop=True)
    if rows.empty:
        raise provider_files.other_shape(path, "It must hold a value.")
    return rows.assign(region=point.region, station=point.station, product=PRODUCT)
