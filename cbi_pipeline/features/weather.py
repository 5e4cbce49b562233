"""Station weather: rain against each station's own climatology, and growing degree-days.

Stations come and go. Rain is therefore compared with the same station's earlier years before stations
are averaged, so that its level does not move. Degree-days are a level by definition (deg C days since the
start of the season), averaged over the stations of each day: when a cooler or warmer station joins or
stops, they move with it (Brazil's season totals 2,263 at Castro and 4,022 at Cuiaba). Departures from each
station's own earlier years plus a regional reference would only move that step to the year in which a
newcomer enters the reference, and would leave the newcomer out until then, so the plain definition stays.
Sums over stations run in a fixed order (by name), so that a station that appears later cannot change the
last bit of an earlier value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from cbi_pipeline.features.declarations import WEATHER, Input
from cbi_pipeline.features.point_in_time import PointInTime, join_as_of

WINDOWS: Final = {7: 6, 30: 27}
"""Length of a rain window in days, and how many of them must be observed."""
CLIMATOLOGY_HALF_WIDTH: Final = 15
CLIMATOLOGY_YEARS: Final = 8
CLIMATOLOGY_DAYS_OF_A_YEAR: Final = 16
"""Windows out of 31 that an earlier year must have to count as a year."""
MINIMUM_DEVIATION: Final = 0.05
"""mm/day; a climatology drier than this has no meaningful z-score, and the value is missing."""
BASE_TEMPERATURE: Final = 10.0
SETTLING: Final = np.timedelta64(3 * 24 + 18, "h")
"""Degree-days of day d are averaged once, from the rows known 3 days and 18 hours after d began (UTC)."""
SETTLING_DAYS: Final = 3
SEASON_START_MONTH: Final = {"brazil": 10, "argentina": 10, "midwest": 4}
SEASON_MONTHS: Final = 7
"""1 October to 30 April in the south, 1 April to 31 October in the north."""


@dataclass(frozen=True)
class StationGrid:
    """One region's rows as [D, S] arrays: every calendar day by every station, in order of names."""

    days: pd.DatetimeIndex
    stations: pd.Index
    precipitation: np.ndarray
    maximum: np.ndarray
    minimum: np.ndarray
    available_at: np.ndarray


def station_grid(rows: pd.DataFrame) -> StationGrid:
    """Lay the rows of one region on a grid; a day without a row is missing (NaN, NaT).

    A row published after a later day's row of the same station is left out, as in
    `point_in_time.in_publication_order`.
    """
    code, stations = pd.factorize(rows["station"], sort=True)
    days = pd.date_range(rows["date"].min(), rows["date"].max(), freq="D")
    day = (rows["date"] - days[0]).dt.days.to_numpy()

    def spread(values: np.ndarray, missing: float | np.datetime64) -> np.ndarray:
        grid = np.full((len(days), len(stations)), missing, dtype=values.dtype)
        grid[day, code] = values
        return grid

    moments = spread(rows["available_at"].to_numpy("datetime64[ns]"), np.datetime64("NaT", "ns"))
    never = np.datetime64(np.iinfo("int64").max, "ns")
    earliest_of_later = np.minimum.accumulate(np.where(np.isnat(moments), never, moments)[::-1], axis=0)[::-1]
    in_order = moments <= earliest_of_later
    values = {
        name: np.where(in_order, spread(rows[name].to_numpy("float64"), np.nan), np.nan)
        for name in ("precip_mm", "tmax_c", "tmin_c")
    }
    return StationGrid(days, pd.Index(stations), values["precip_mm"], values["tmax_c"], values["tmin_c"], moments)


def _masked(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values with 0 where missing, for summing only, and how many are observed (0 or 1)."""
    observed = ~np.isnan(values)
    return np.where(observed, values, 0.0), observed.astype("float64")


def _window_sum(values: np.ndarray, before: int, after: int) -> np.ndarray:
    """Sum over rows d-before..d+after of each row d, cut at the ends, always added in the same order."""
    total = np.zeros_like(values)
    for shift in range(-after, before + 1):
        if shift >= 0:
            total[shift:] += values[: len(values) - shift]
        else:
            total[:shift] += values[-shift:]
    return total


def station_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the stations that have a value, [D, S] to [D]; missing where none has."""
    summed, observed = _masked(values)
    total, count = np.zeros(len(values)), np.zeros(len(values))
    for station in range(values.shape[1]):
        total += summed[:, station]
        count += observed[:, station]
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def trailing_rate(precipitation: np.ndarray, days: int, needed: int) -> np.ndarray:
    """Mean mm/day over the observed days of the trailing window, [D, S].

    Missing where fewer than `needed` days, or the last day itself, are not observed.
    """
    summed, observed = _masked(precipitation)
    total, count = _window_sum(summed, days - 1, 0), _window_sum(observed, days - 1, 0)
    usable = (count >= needed) & (observed > 0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=usable)


def _of_earlier_years(values: np.ndarray, days: pd.DatetimeIndex) -> np.ndarray:
    """Per row, the sum of `values` on the same calendar date in all earlier years, [D, S].

    29 February takes the earlier years' 28 February and is not an earlier date of anything itself.
    """
    leap_day = (days.month == 2) & (days.day == 29)
    slot = (days.dayofyear - 1 - (days.is_leap_year & (days.month > 2)) - leap_day).to_numpy()
    year = (days.year - days.year[0]).to_numpy()
    by_year = np.zeros((year[-1] + 2, 365, values.shape[1]))
    by_year[year[~leap_day] + 1, slot[~leap_day]] = values[~leap_day]
    return np.cumsum(by_year, axis=0)[year, slot]


def zscore_to_own_past(rate: np.ndarray, days: pd.DatetimeIndex) -> np.ndarray:
    """z-score of each station's rate in its own earlier years, same calendar date +-15 days, [D, S].

    Only years before that of the window count, so nothing after the date takes part; the nearest
    window used ends 350 days earlier. Missing with fewer than 8 earlier years.
    """
    summed, observed = _masked(rate)
    around = _window_sum(np.hstack([summed, summed**2, observed]), CLIMATOLOGY_HALF_WIDTH, CLIMATOLOGY_HALF_WIDTH)
    counts = np.hsplit(around, 3)[2] >= CLIMATOLOGY_DAYS_OF_A_YEAR
    total, squares, count, years = np.hsplit(_of_earlier_years(np.hstack([around, counts]), days), 4)
    enough = (years >= CLIMATOLOGY_YEARS) & (count > 1)
    blank = np.full(rate.shape, np.nan)
    mean = np.divide(total, count, out=blank.copy(), where=enough)
    variance = np.divide(squares - count * mean**2, count - 1, out=blank.copy(), where=enough)
    deviation = np.sqrt(np.where(variance > MINIMUM_DEVIATION**2, variance, np.nan))
    return (rate - mean) / deviation


def _regions(known: PointInTime) -> list[tuple[str, Input, StationGrid]]:
    """Every region that has a row, laid on its grid once."""

    def grids() -> list[tuple[str, Input, StationGrid]]:
        by_region = dict(iter(known.tables["weather_daily"].groupby("region", sort=False)))
        return [(name, source, station_grid(by_region[name])) for name, source in WEATHER.items() if name in by_region]

    return known.once("regions", grids)


def precipitation_features(known: PointInTime) -> dict[str, pd.Series]:
    """Regional rain z-scores of 7 and 30 days, [T] each.

    Each station's window ends at its own newest day known at the as-of moment, at most 7 days back.
    """
    columns = {
        f"{region}_precip_{days}d_zscore": pd.Series(np.nan, index=known.sessions)
        for region in WEATHER
        for days in WINDOWS
    }
    for region, source, grid in _regions(known):
        for days, needed in WINDOWS.items():
            scores = zscore_to_own_past(trailing_rate(grid.precipitation, days, needed), grid.days)
            as_known = np.column_stack(
                [_station_as_known(known, source, grid, scores, station) for station in range(len(grid.stations))]
            )
            columns[f"{region}_precip_{days}d_zscore"] = pd.Series(station_mean(as_known), index=known.sessions)
    return columns


def _station_as_known(
    known: PointInTime, source: Input, grid: StationGrid, scores: np.ndarray, station: int
) -> np.ndarray:
    there = ~np.isnan(scores[:, station])
    moments = pd.DatetimeIndex(grid.available_at[there, station]).tz_localize("UTC")
    rows = pd.DataFrame({"date": grid.days[there], "available_at": moments, "score": scores[there, station]})
    return join_as_of(rows, ["score"], "date", known.sessions, known.as_of, source.maximum_age_days)["score"].to_numpy()


def daily_growing_degrees(maximum: np.ndarray, minimum: np.ndarray) -> np.ndarray:
    """max(0, (tmax + tmin) / 2 - 10), deg C x day; missing where either temperature is."""
    return np.maximum((maximum + minimum) / 2.0 - BASE_TEMPERATURE, 0.0)


def season_to_date(daily: np.ndarray, days: pd.DatetimeIndex, start_month: int) -> np.ndarray:
    """Sum from the first day of the crop season, [D]; 0 outside it.

    A missing day leaves the rest of its season missing, and so does a season that began before the
    first day on record: a gap stays a gap.
    """
    months_in = (days.month - start_month) % 12
    total = np.zeros(len(days))
    season = np.flatnonzero(months_in < SEASON_MONTHS)
    runs = np.split(season, np.flatnonzero(np.diff(season) > 1) + 1)
    for run in runs:
        if run.size:
            begins = months_in[run[0]] == 0 and days[run[0]].day == 1
            total[run] = np.cumsum(daily[run]) if begins else np.nan
    return total


def growing_degree_features(known: PointInTime) -> dict[str, pd.Series]:
    """Regional degree-days of the season through three days before each session, [T] each."""
    looked_at = known.sessions - pd.Timedelta(days=SETTLING_DAYS)
    columns = {f"{region}_GDD_base10C": pd.Series(np.nan, index=known.sessions) for region in WEATHER}
    for region, _, grid in _regions(known):
        settled = grid.available_at <= grid.days.to_numpy("datetime64[ns]")[:, None] + SETTLING
        degrees = np.where(settled, daily_growing_degrees(grid.maximum, grid.minimum), np.nan)
        days = pd.date_range(grid.days[0], max(grid.days[-1], looked_at[-1]), freq="D")
        daily = pd.Series(station_mean(degrees), index=grid.days).reindex(days).to_numpy()
        total = pd.Series(season_to_date(daily, days, SEASON_START_MONTH[region]), index=days)
        columns[f"{region}_GDD_base10C"] = total.reindex(looked_at).set_axis(known.sessions)
    return columns
