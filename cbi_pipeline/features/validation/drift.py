"""Does the newest month look like the three years before it, more or less than months usually do?

Statistic. Per feature, as the network sees it: the mean of the newest 21 rows less the mean of the 756 rows before
them (the length of a training window), in standard deviations of those 756. A standard deviation and not an
interquartile range, which is next to nothing for a series that is zero most of the time (WASDE surprises).
These distances are made comparable between features by dividing each by the 90th percentile of its own earlier
distances. The statistic is the largest over all features.

Threshold. The same statistic is computed for every earlier block of 21 rows (adjacent, not overlapping), each
against the 756 rows before that block. Its 95th percentile is the threshold: what the furthest of all features
exceeds in one month of twenty, with the trends, seasons and correlations that markets have. A fixed PSI knows none
of these, and a bootstrap of blocks from inside one window would miss that the world moves on between a window
and what follows it. All earlier blocks are used, so nothing is drawn at random.

Measured with 60 features at the 173 month ends from 2010 to 2024, each judged by what came before it: false alarms in
6.4 % of months on average over seven ways to lay the blocks (5.2 to 8.7 %); with the 43 desk features alone in
6.0 % (4.6 to 7.5 %). They are months that had not been seen before, such as 2020-03 and 2022-07, and stay in the null
of the months after. What raises an alarm: a month whose mean lies about five standard deviations off (one to eight, by
feature). Gross drift and defects, then; a slow drift is for the scorecard to find.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from cbi_pipeline.features.build import check_frame
from cbi_pipeline.features.catalogue import CATALOGUE
from cbi_pipeline.features.transformations import network_view
from cbi_pipeline.features.validation.findings import Finding

CHECK: Final = "drift"
BLOCK_SESSIONS: Final = 21
REFERENCE_SESSIONS: Final = 756
MINIMUM_REFERENCE: Final = 252
"""Observed reference rows below which a feature's distance is not known."""
MINIMUM_IN_BLOCK: Final = 11
UNIT_PERCENTILE: Final = 90.0
MINIMUM_FOR_UNIT: Final = 24
"""Earlier distances (two years of months) below which a feature does not take part."""
MINIMUM_BLOCKS: Final = 60
"""Earlier blocks below which a 95th percentile means nothing: three months of sixty lie above it."""
FALSE_ALARM_RATE: Final = 0.05
GROSS_ALARM_RATE: Final = 0.01
"""For what must not be acted on, where `FALSE_ALARM_RATE` is for what must be looked at: 1.5 % of the months from 2014
(0.8 to 2.3 %, seven ways to lay the blocks), 2020-01, 2020-03 and 2021-04 among them."""
COLUMNS: Final = tuple(feature.name for feature in CATALOGUE if feature.transformation != "one_hot")
"""A one-hot has no interquartile range; its drift is that of the volatility and trend behind it."""


@dataclass(frozen=True)
class Drift:
    """The newest block against its null.

    Args:
        scores: [F] distance of each feature over its own usual large distance; NaN where not known.
        statistic: the largest score.
        threshold: the 95th percentile (or another) of the statistic over earlier blocks; NaN with too few of them.
        blocks: number of earlier blocks.
        p_value: share of blocks, this one included, whose statistic is at least as large.
    """

    scores: pd.Series
    statistic: float
    threshold: float
    blocks: int
    p_value: float


def block_distances(seen: pd.DataFrame) -> pd.DataFrame:
    """Distance of every block from the rows before it: [blocks, F], index the last date of the block, newest last.

    Blocks are counted back from the last row.

    Args:
        seen: [T, F] network view.
    """
    values = seen.to_numpy("float64")
    ends = np.arange(len(values), REFERENCE_SESSIONS + BLOCK_SESSIONS - 1, -BLOCK_SESSIONS)[::-1]
    distances = np.full((len(ends), values.shape[1]), np.nan)
    for row, end in enumerate(ends):
        start = end - BLOCK_SESSIONS
        distances[row] = _distance(values[start:end], values[start - REFERENCE_SESSIONS : start])
    return pd.DataFrame(distances, index=seen.index[ends - 1], columns=seen.columns)


def _distance(block: np.ndarray, reference: np.ndarray) -> np.ndarray:
    known = (np.isfinite(reference).sum(axis=0) >= MINIMUM_REFERENCE) & (
        np.isfinite(block).sum(axis=0) >= MINIMUM_IN_BLOCK
    )
    distance = np.full(block.shape[1], np.nan)
    before = reference[:, known]
    spread = np.nanstd(before, axis=0)
    moved = np.abs(np.nanmean(block[:, known], axis=0) - np.nanmean(before, axis=0))
    distance[known] = np.divide(moved, spread, out=np.full(len(spread), np.nan), where=spread > 0)
    return distance


def drift_of_last(distances: pd.DataFrame, false_alarm_rate: float = FALSE_ALARM_RATE) -> Drift:
    """Compare the last block with all blocks before it; nothing of the last block enters its threshold.

    Args:
        distances: [blocks, F] from `block_distances`.
        false_alarm_rate: share of earlier blocks above the threshold.
    """
    earlier, newest = distances.iloc[:-1], distances.iloc[-1]
    if len(earlier) < max(MINIMUM_BLOCKS, 1 / false_alarm_rate):
        unknown = pd.Series(np.nan, index=distances.columns)
        return Drift(unknown, np.nan, np.nan, len(earlier), np.nan)
    takes_part = earlier.notna().sum() >= MINIMUM_FOR_UNIT
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        unit = np.nanpercentile(earlier.to_numpy(), UNIT_PERCENTILE, axis=0)
        unit = np.where(takes_part & (unit > 0), unit, np.nan)
        null = np.nanmax(earlier.to_numpy() / unit, axis=1)
    null = null[np.isfinite(null)]
    scores: pd.Series = newest / unit
    statistic = float(scores.max())
    threshold = float(np.quantile(null, 1.0 - false_alarm_rate))
    p_value = float((1 + (null >= statistic).sum()) / (1 + len(null)))
    return Drift(scores, statistic, threshold, len(null), p_value)


def measure_drift(
    frame: pd.DataFrame, names: Collection[str] = COLUMNS, false_alarm_rate: float = FALSE_ALARM_RATE
) -> Drift:
    """The newest 21 rows of a feature frame [T, F] against their null (module docstring).

    Args:
        names: features that count, as far as they are among `COLUMNS`.
        false_alarm_rate: as of `drift_of_last`.

    Raises:
        FeatureError: the frame is not the catalogue's.
    """
    check_frame(frame)
    own = [name for name in COLUMNS if name in names]
    return drift_of_last(block_distances(network_view(frame)[own]), false_alarm_rate)


def check_drift(frame: pd.DataFrame) -> list[Finding]:
    """Findings of the newest 21 rows of a feature frame [T, F].

    Raises:
        FeatureError: the frame is not the catalogue's.
    """
    return findings_of(measure_drift(frame))


def findings_of(drift: Drift) -> list[Finding]:
    """A warning for each feature beyond the threshold; never an error: markets do move."""
    beyond = drift.scores[drift.scores > drift.threshold].sort_values(ascending=False)
    return [
        Finding(
            CHECK,
            "warning",
            str(name),
            float(score),
            drift.threshold,
            f"The mean of the last {BLOCK_SESSIONS} rows is further from the {REFERENCE_SESSIONS} rows before than the "
            f"furthest of all features is in 95 % of {drift.blocks} earlier months (p = {drift.p_value:.3f}).",
        )
        for name, score in beyond.items()
    ]
