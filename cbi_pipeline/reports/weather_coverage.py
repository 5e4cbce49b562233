"""The chart "which station carries which region when": a line a station, each month as dark as the days it observed."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from cbi_pipeline.errors import SourceError
from cbi_pipeline.reports.charts import check_png, to_png
from cbi_pipeline.settings import REPOSITORY_DIR

if TYPE_CHECKING:
    import pandas as pd

CHART: Final = REPOSITORY_DIR / "docs" / "images" / "weather_coverage.png"
REGIONS: Final = {"brazil": "#2a7f7a", "argentina": "#2b5c8a", "midwest": "#b5651d"}
ELEMENTS: Final = ("precip_mm", "tmax_c", "tmin_c")
_INK, _QUIET = "#222222", "#707070"
_WIDTH_INCHES, _ROW_INCHES, _MARGIN_INCHES = 11.0, 0.24, 1.1


def monthly_coverage(weather: pd.DataFrame) -> pd.DataFrame:
    """Share of each month's days on which a station observed all of rain, maximum and minimum, [stations, months].

    Args:
        weather: rows of `weather_daily`.

    Returns:
        Index (region, station, source), by region in the order of `REGIONS` and by first day; columns monthly periods.
    """
    import pandas as pd

    whole = weather[weather[list(ELEMENTS)].notna().all(axis=1)]
    keys = ["region", "station", "source"]
    days = whole.groupby([*keys, whole["date"].dt.to_period("M")]).size().unstack("date")
    months = pd.period_range(days.columns.min(), days.columns.max(), freq="M")
    shares = days.reindex(columns=months).div(months.days_in_month.to_numpy(), axis=1)
    first = whole.groupby(keys)["date"].min()
    order = sorted(shares.index, key=lambda key: (list(REGIONS).index(key[0]), first[key], key[1]))
    observed_in_no_month = shares.isna().to_numpy()
    return pd.DataFrame(np.where(observed_in_no_month, 0.0, shares.to_numpy()), shares.index, months).loc[order]


def coverage_digest(coverage: pd.DataFrame) -> str:
    """sha256 (hex) of what the chart shows: stations, months, and the share of each month to a hundredth."""
    heading = "\n".join(
        [*("|".join(key) for key in coverage.index), str(coverage.columns[0]), str(coverage.columns[-1])]
    )
    return sha256(heading.encode() + np.round(coverage.to_numpy() * 100).astype("u1").tobytes()).hexdigest()


def coverage_chart(coverage: pd.DataFrame) -> bytes:
    """The chart as a PNG file.

    Args:
        coverage: as of `monthly_coverage`.
    """
    import pandas as pd
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    inches = len(coverage) * _ROW_INCHES + _MARGIN_INCHES
    figure = Figure(figsize=(_WIDTH_INCHES, inches))
    axes = figure.add_axes((0.36, 0.45 / inches, 0.62, len(coverage) * _ROW_INCHES / inches))
    months = pd.PeriodIndex(coverage.columns)
    starts = months.year.to_numpy() + (months.month.to_numpy() - 1) / 12
    edges = np.append(starts, starts[-1] + 1 / 12)
    for row, (region, station, source) in enumerate(coverage.index):
        colours = LinearSegmentedColormap.from_list(region, ["white", REGIONS[region]])
        shares = coverage.iloc[[row]].to_numpy()
        axes.pcolormesh(edges, [row - 0.4, row + 0.4], shares, cmap=colours, vmin=0.0, vmax=1.0)
        axes.text(edges[0] - 0.3, row, f"{station} ({source})", ha="right", va="center", fontsize=7.5, color=_INK)
    axes.set(ylim=(len(coverage) - 0.5, -0.5), xlim=(edges[0], edges[-1]), yticks=[])
    axes.tick_params(axis="x", labelsize=8, colors=_QUIET)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    for number, (region, colour) in enumerate(REGIONS.items()):
        figure.text(0.36 + 0.09 * number, 1 - 0.55 / inches, region, fontsize=9, weight="bold", color=colour)
    title = "Which station carries which region when: share of a month's days with rain, maximum and minimum"
    figure.text(0.02, 1 - 0.28 / inches, title, fontsize=11, weight="bold", color=_INK)
    return to_png(figure, coverage_digest(coverage))


def check_chart(path: Path, coverage: pd.DataFrame) -> None:
    """Refuse a chart that does not show what the starter bundle has.

    Raises:
        SourceError: there is no such file, or it shows something else.
    """
    check_png(path, coverage_digest(coverage), SourceError, "cbi sources coverage")
