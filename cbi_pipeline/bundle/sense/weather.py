"""Checks of station weather: units, names, hemispheres, gauges that stopped.

As in `series.py`, a check measures; the table of rules judges.
"""

from __future__ import annotations

import re
from itertools import combinations
from typing import Final

import numpy as np
import pandas as pd

from cbi_pipeline.bundle.sense.series import Measured, Tables, measured, nothing
from cbi_pipeline.contracts.tables import WEATHER_DAILY

LEAST_DAYS: Final = 100
"""With fewer days than this the temperatures of a station say nothing about their unit."""
LEAST_RAIN_DAYS: Final = 300
"""A dry season may be half a year without rain."""
COMMON_DAYS: Final = 100
MOST_STATIONS: Final = 300
"""Each is compared with each: more would take minutes, and `station_count` refuses them."""
PLAUSIBLE_DAILY_RANGE_C: Final = (3.0, 25.0)
PLAUSIBLE_RAIN_MM: Final = (0.15, 15.0)
SEASONS_C: Final = {"midwest": (-45.0, -12.0), "argentina": (6.0, 30.0), "brazil": (-8.0, 15.0)}
"""January less July mean maximum: far below zero in the north, above it in Argentina, near it in the tropics."""
IDENTIFIERS: Final = (
    (r"(GHCND:)?US[CW]\d{8}", "NOAA GHCN-Daily", "midwest"),
    (r"(GHCND:)?AR[0-9M]\d{8}", "NOAA GHCN-Daily", "argentina"),
    (r"(GHCND:)?BR[0-9CM]\d{8}", "NOAA GHCN-Daily", "brazil"),
    (r"(INMET_)?A\d{3}|BDMEP ", "INMET", "brazil"),
    (r"NH\d{4}", "INTA", "argentina"),
    (r"POWER ", "NASA POWER", None),
)
"""How a station's identifier begins, whose it is, and the region that it stands in (None: any)."""


def daily_range(tables: Tables) -> Measured:
    """How many times the median of Tmax - Tmin of a station lies outside what a climate has."""
    rows = tables[WEATHER_DAILY.name]
    spread = (rows["tmax_c"] - rows["tmin_c"]).groupby(rows["station"]).agg(["count", "median"])
    median = spread.loc[spread["count"] >= LEAST_DAYS, "median"]
    return _per_station(rows, median, PLAUSIBLE_DAILY_RANGE_C, "median daily range {:.2f} deg C")


def rain_level(tables: Tables) -> Measured:
    """How many times the mean rain of a station lies outside what a crop region has."""
    rows = tables[WEATHER_DAILY.name]
    rain = rows["precip_mm"].groupby(rows["station"]).agg(["count", "mean"])
    mean = rain.loc[rain["count"] >= LEAST_RAIN_DAYS, "mean"]
    return _per_station(rows, mean, PLAUSIBLE_RAIN_MM, "mean rain {:.3f} mm a day")


def season(tables: Tables) -> Measured:
    """How far January less July is outside the seasons of the station's region, deg C."""
    rows = tables[WEATHER_DAILY.name]
    known = rows[rows["tmax_c"].notna() & rows["date"].dt.month.isin([1, 7])]
    grouped = known.groupby(["region", "station", known["date"].dt.month])["tmax_c"]
    means = grouped.mean()[grouped.count() >= 20].unstack()
    if set(means.columns) != {1, 7}:
        return nothing()
    swing = (means[1] - means[7]).dropna()
    regions = swing.index.get_level_values("region")
    low, high = (pd.Series([SEASONS_C[name][end] for name in regions], swing.index, "float64") for end in (0, 1))
    size = (low - swing).where(low > swing, swing - high)
    last = rows.groupby(["region", "station"])["date"].max().reindex(swing.index)
    station = pd.Series(swing.index.get_level_values("station"), index=swing.index)
    return measured(station, last, size, "January is {:+.1f} deg C from July", swing)


def upside_down(tables: Tables) -> Measured:
    """Days whose minimum is above their maximum, deg C."""
    rows = tables[WEATHER_DAILY.name]
    size = rows["tmin_c"] - rows["tmax_c"]
    rows, size = rows[size > 0], size[size > 0]
    words = "minimum {:g} above maximum {:g}"
    return measured(rows["station"], rows["date"], size, words, rows["tmin_c"], rows["tmax_c"])


def dry_years(tables: Tables) -> Measured:
    """Calendar years in which a gauge was read and never had rain; size is days read."""
    rows = tables[WEATHER_DAILY.name]
    read = rows[rows["precip_mm"].notna()]
    years = read.groupby(["station", read["date"].dt.year])["precip_mm"].agg(["count", "sum"])
    years.index.names = ["station", "year"]
    years = years[years["sum"] == 0].reset_index()
    day = pd.to_datetime(years["year"].astype(str) + "-12-31")
    return measured(years["station"], day, years["count"].astype(float), "no rain in the whole year")


def repeated_days(tables: Tables) -> Measured:
    """Runs of days with the same rain, maximum and minimum, by their number of days."""
    rows = tables[WEATHER_DAILY.name]
    elements = ["station", "precip_mm", "tmax_c", "tmin_c"]
    first = rows[elements].ne(rows[elements].shift()).any(axis=1)  # a gap differs from everything
    run = first.cumsum()
    length = pd.Series(np.bincount(run)[run], index=rows.index, dtype="float64")
    rows, length = rows[first], length[first]
    return measured(rows["station"], rows["date"], length, "the same three values on end")


def same_readings(tables: Tables) -> Measured:
    """The share of common days on which two stations have the same maximum and minimum, to a tenth of a degree."""
    rows = tables[WEATHER_DAILY.name]
    known = rows[rows["tmax_c"].notna() & rows["tmin_c"].notna()]
    if known.empty:
        return nothing()
    station, stations = pd.factorize(known["station"])
    if len(stations) > MOST_STATIONS:
        return nothing()
    first = known["date"].min()
    day = (known["date"] - first).dt.days.to_numpy()
    codes = np.full((len(stations), day.max() + 1), -1, dtype=np.int32)
    codes[station, day] = ((known["tmax_c"] + 100) * 10).round() * 4096 + ((known["tmin_c"] + 100) * 10).round()
    found: list[tuple[object, ...]] = []
    for one, other in combinations(range(len(stations)), 2):
        common = (codes[one] >= 0) & (codes[other] >= 0)
        count = int(common.sum())
        if count >= COMMON_DAYS:
            share = float((codes[one] == codes[other])[common].mean())
            last = first + pd.Timedelta(days=int(np.flatnonzero(common)[-1]))
            found.append((stations[one], last, share, count, stations[other]))
    if not found:
        return nothing()
    subject, day, size, *parts = (pd.Series(part) for part in zip(*found, strict=True))
    return measured(subject, day, size, "{:.0%} of {} days are those of {}", size, *parts)


def station_count(tables: Tables) -> Measured:
    """How many stations a region has."""
    rows = tables[WEATHER_DAILY.name]
    stations, last = rows.groupby("region")["station"].nunique(), rows.groupby("region")["date"].max()
    return measured(stations.index.to_series(), last, stations.astype(float), "{} stations", stations)


def identity(tables: Tables) -> Measured:
    """Stations whose identifier is of another provider or region than their rows say."""
    rows = tables[WEATHER_DAILY.name]
    named = rows.groupby(["station", "region", "source"])["date"].max().reset_index()
    size = [float(not _is_own(*names)) for names in named[["station", "region", "source"]].itertuples(index=False)]
    words, parts = "listed in {} by {}", (named["region"], named["source"])
    return measured(named["station"], named["date"], pd.Series(size, dtype="float64"), words, *parts)


def _is_own(station: str, region: str, source: str) -> bool:
    for pattern, provider, place in IDENTIFIERS:
        if re.match(pattern, station):
            return source.startswith(provider) and place in (None, region)
    return False


def _per_station(rows: pd.DataFrame, figure: pd.Series, bounds: tuple[float, float], words: str) -> Measured:
    """`size` is above 1 outside the bounds, by how many times."""
    low, high = bounds
    below, above = low / figure.clip(lower=1e-9), figure / high
    size = below.where(below > above, above)
    last = rows.groupby("station")["date"].max().reindex(figure.index)
    return measured(figure.index.to_series(), last, size, words, figure)
