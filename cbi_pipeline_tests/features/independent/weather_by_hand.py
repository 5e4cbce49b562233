"""Rain z-scores and degree-days in plain Python loops over one station's days, sharing no code with the features."""

from __future__ import annotations

import math
from datetime import date, timedelta

Daily = dict[date, float]


def rain_rate(rain: Daily, day: date, days: int, needed: int) -> float | None:
    """Mean mm/day of the observed days among the `days` that end on `day`; `day` itself must be observed."""
    seen = [rain[day - timedelta(days=back)] for back in range(days) if day - timedelta(days=back) in rain]
    return sum(seen) / len(seen) if day in rain and len(seen) >= needed else None


def rain_zscore(rain: Daily, day: date, days: int, needed: int) -> float | None:
    """`rain_rate` against the windows of all earlier years that end within 15 days of the calendar date.

    A year counts with 16 of its 31 windows; 8 years are needed, and a deviation of 0.05 mm/day.
    """
    now = rain_rate(rain, day, days, needed)
    if now is None:
        return None
    past: list[float] = []
    years = 0
    for year in range(min(rain).year, day.year):
        centre = date(year, day.month, 28 if (day.month, day.day) == (2, 29) else day.day)
        windows = [rain_rate(rain, centre + timedelta(days=shift), days, needed) for shift in range(-15, 16)]
        found = [window for window in windows if window is not None]
        past += found
        years += len(found) >= 16
    if years < 8:
        return None
    mean = sum(past) / len(past)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in past) / (len(past) - 1))
    return (now - mean) / deviation if deviation > 0.05 else None


def newest_zscore(rain: Daily, known_until: date, day: date, days: int, needed: int) -> float | None:
    """The z-score of the newest window that has one, ending on a day known by then and at most 7 days before `day`."""
    for back in range(8):
        last = day - timedelta(days=back)
        if last <= known_until:
            score = rain_zscore(rain, last, days, needed)
            if score is not None:
                return score
    return None


def degrees_above_ten(high: float, low: float) -> float:
    """Growing degree-days of one day, base 10 C."""
    middle = (high + low) / 2
    return middle - 10 if middle > 10 else 0.0


def season_start(day: date, first_month: int) -> date | None:
    """1st of the month in which the seven-month season around `day` began; None out of season."""
    months = (day.month - first_month) % 12
    if months >= 7:
        return None
    return date(day.year if day.month >= first_month else day.year - 1, first_month, 1)


def season_total(stations: list[dict[date, tuple[float, float]]], day: date, first_month: int) -> float | None:
    """Degree-days from the season's start to `day`, of the mean over stations; None over a day that no station saw.

    Args:
        stations: each station's (high, low) by day; 0 out of season.
    """
    first = season_start(day, first_month)
    if first is None:
        return 0.0
    total = 0.0
    while first <= day:
        seen = [degrees_above_ten(*station[first]) for station in stations if first in station]
        if not seen:
            return None
        total += sum(seen) / len(seen)
        first += timedelta(days=1)
    return total
