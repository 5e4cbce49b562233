"""The chart "what is real when": one bar a feature over its life, paler where days are missing."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cbi_pipeline.errors import FeatureError
from cbi_pipeline.features.catalogue import CATALOGUE
from cbi_pipeline.features.declarations import Pillar
from cbi_pipeline.reports.charts import check_png, to_png
from cbi_pipeline.reports.feature_dictionary import PILLAR_TITLES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: Final[dict[Pillar, str]] = {
    "prices": "#2b5c8a",
    "technical": "#5b4b9a",
    "substitution_and_macro": "#b5651d",
    "supply_and_demand": "#8c2f4b",
    "weather": "#2a7f7a",
    "positioning_and_regime": "#5f7a1f",
}
SHADES: Final = 4
"""Steps of lightness; a month is as strong as the share of its trade dates on which the feature is there."""
_INK, _QUIET, _GRID = "#222222", "#707070", "#e4e4e4"
_WIDTH_INCHES, _ROW_INCHES, _TOP_INCHES, _FOOT_INCHES = 11.0, 0.2, 0.95, 0.3
_PAD, _FAR = 0.3, 3.9
"""Distance of labels from the bars, and of the last column, in years."""


def life_digest(presence: pd.DataFrame) -> str:
    """sha256 (hex) of what the chart shows: names, pillars, months, and the share of each month to a thousandth.

    Args:
        presence: [months, F] from `features.report.monthly_presence`.
    """
    shares = np.round(presence.to_numpy() * 1000).astype("<u2")
    pillars = [feature.pillar for feature in CATALOGUE]
    heading = "\n".join([*map(str, presence.columns), *pillars, str(presence.index[0]), str(presence.index[-1])])
    return sha256(heading.encode() + shares.tobytes()).hexdigest()


def life_chart(presence: pd.DataFrame, availability: pd.DataFrame) -> bytes:
    """The chart as a PNG file.

    Args:
        presence: [months, F] from `features.report.monthly_presence`.
        availability: from `features.report.availability_report`, of the same frame.
    """
    from matplotlib.figure import Figure

    rows, headings = _layout()
    bottom = max(rows.values()) + 0.8
    inches = bottom * _ROW_INCHES + _TOP_INCHES + _FOOT_INCHES
    figure = Figure(figsize=(_WIDTH_INCHES, inches))
    axes = figure.add_axes((0.232, _FOOT_INCHES / inches, 0.625, bottom * _ROW_INCHES / inches))
    months = np.array([month.year + (month.month - 1) / 12 for month in presence.index])
    start, end = float(months[0]), float(months[-1]) + 1 / 12
    axes.set(xlim=(start, end), ylim=(bottom, 0.0))
    _furniture(axes, start, end)
    for pillar, y in headings.items():
        label = PILLAR_TITLES[pillar]
        axes.text(start - _PAD, y, label, ha="right", va="center", fontsize=10, weight="bold", color=COLOURS[pillar])
    for feature in CATALOGUE:
        y, colour = rows[feature.name], COLOURS[feature.pillar]
        for first, length, step in _runs(_steps(presence[feature.name].to_numpy())):
            axes.broken_barh([(months[first], length / 12)], (y - 0.34, 0.68), color=_mix(colour, step), linewidth=0)
        first_day, missing = (
            availability.at[feature.name, "first_usable"],
            availability.at[feature.name, "missing_share"],
        )
        axes.text(start - _PAD, y, feature.name, ha="right", va="center", fontsize=8.5, color=_INK)
        axes.text(end + _PAD, y, _month(first_day), va="center", fontsize=8.5, color=_QUIET)
        axes.text(end + _FAR, y, _share(missing), va="center", ha="right", fontsize=8.5, color=_QUIET)
    _title(figure, axes, inches, end)
    return to_png(figure, life_digest(presence))


def check_chart(path: Path, presence: pd.DataFrame) -> None:
    """Refuse a chart that does not show what the starter bundle has.

    Raises:
        FeatureError: there is no such file, or it shows something else.
    """
    check_png(path, life_digest(presence), FeatureError, "cbi features life")


def _layout() -> tuple[dict[str, float], dict[Pillar, float]]:
    """Vertical place of each feature and of each pillar's heading, in rows from the top."""
    rows: dict[str, float] = {}
    headings: dict[Pillar, float] = {}
    y = 0.1
    for pillar in PILLAR_TITLES:
        names = [feature.name for feature in CATALOGUE if feature.pillar == pillar]
        if not names:
            continue
        headings[pillar] = y + 0.7
        rows |= {name: y + 1.7 + place for place, name in enumerate(names)}
        y += len(names) + 1.6
    return rows, headings


def _furniture(axes: Axes, start: float, end: float) -> None:
    """Years above and below, a quiet line every two years, no frame."""
    years = [year for year in range(int(np.ceil(start)), int(end) + 1) if year % 2 == 0]
    axes.set_xticks(years, [str(year) for year in years])
    axes.tick_params(axis="x", labelsize=8.5, labelcolor=_QUIET, length=0, labeltop=True)
    axes.set_yticks([])
    axes.grid(axis="x", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _title(figure: Figure, axes: Axes, inches: float, end: float) -> None:
    figure.text(0.012, 1 - 0.3 / inches, "What is real when", fontsize=16, weight="bold", color=_INK, va="center")
    note = "Starter bundle, by month. Paler: missing on some trade dates; white: on all of them."
    figure.text(0.012, 1 - 0.58 / inches, note, fontsize=9.5, color=_QUIET, va="center")
    axes.text(end + _PAD, 0.8, "from", va="center", fontsize=8.5, color=_INK)
    axes.text(end + _FAR, 0.8, "missing", va="center", ha="right", fontsize=8.5, color=_INK)


def _steps(presence: np.ndarray) -> np.ndarray:
    """Lightness of each month: 0 is never there, SHADES is always there; some days is never 0, a gap never SHADES."""
    inner = np.clip(np.round(presence * SHADES), 1, SHADES - 1)
    return np.select([presence == 0, presence == 1], [0, SHADES], default=inner).astype(int)


def _runs(steps: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """First month, length and step of each stretch of equal lightness, without those that are never there."""
    place = 0
    for step, stretch in groupby(steps.tolist()):
        length = sum(1 for _ in stretch)
        if step:
            yield place, length, step
        place += length


def _mix(colour: str, step: int) -> tuple[float, ...]:
    """The colour on white, weaker by each step below SHADES."""
    strength = 0.15 + 0.85 * step / SHADES
    return tuple(1 - strength * (1 - int(colour[place : place + 2], 16) / 255) for place in (1, 3, 5))


def _month(day: Any) -> str:
    return "never" if day != day else f"{day:%Y-%m}"


def _share(share: Any) -> str:
    return f"{max(share, 0.001):.1%}" if share > 0 else ""
