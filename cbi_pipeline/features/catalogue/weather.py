"""Rain and warmth where soybeans grow."""

from __future__ import annotations

from typing import Final

from cbi_pipeline.features.declarations import NOT_NEGATIVE, WEATHER, Z_SCORE, Feature

_F: Final = "cbi_pipeline.features.weather."
_SEASONS: Final = {
    "brazil": "1 October to 30 April",
    "argentina": "1 October to 30 April",
    "midwest": "1 April to 31 October",
}
_THIN: Final = {
    "brazil": ": since 2021 only Cuiaba (from 2015) and, with long gaps, Castro report",
    "argentina": "",
    "midwest": "",
}
_DEGREE_DAYS: Final = 40.0 * 214
"""(55 + 45) / 2 - 10 by the weather contract's limits, on every day of the longest season."""


def _precipitation(region: str, days: int, needed: int) -> Feature:
    missing = f"no station with {needed} of {days} days observed, 8 earlier years and a row in the last 7 days"
    return Feature(
        name=f"{region}_precip_{days}d_zscore",
        pillar="weather",
        unit="standard deviations",
        inputs=(WEATHER[region].reading("precip_mm"),),
        formula=f"per station: mean mm/day of the last {days} days (at least {needed} observed) against the same "
        "station's windows that end within 15 days of that calendar date in all earlier years (at least 8), as a "
        "z-score; then the mean over stations",
        reference="standard score; window, tolerance of missing days and years needed are our own choice",
        function=_F + "precipitation_features",
        transformation="level",
        missing_because=missing + _THIN[region],
        possible=Z_SCORE,
    )


def _growing_degrees(region: str) -> Feature:
    missing = "a day of the season so far on which no station of the region has both temperatures"
    return Feature(
        name=f"{region}_GDD_base10C",
        pillar="weather",
        unit="degree-days C",
        inputs=(WEATHER[region].reading("tmax_c", "tmin_c"),),
        formula="sum over the crop season so far of the stations' mean of max(0, (tmax + tmin) / 2 - 10), "
        f"through the day three days before t; 0 outside {_SEASONS[region]}",
        reference="McMaster and Wilhelm (1997), Growing degree-days: one equation, two interpretations (method 1)",
        function=_F + "growing_degree_features",
        transformation="level",
        missing_because=missing + _THIN[region],
        possible=(0.0, _DEGREE_DAYS),
        by_definition=NOT_NEGATIVE,
    )


_WINDOWS: Final = ((7, 6), (30, 27))
"""Days, and how many of them must be observed."""

WEATHER_FEATURES: Final[tuple[Feature, ...]] = (
    *(_precipitation(region, days, needed) for region in WEATHER for days, needed in _WINDOWS),
    *(_growing_degrees(region) for region in WEATHER),
)
