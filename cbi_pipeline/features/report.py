"""Which features are there, from when, how often they are missing, and why."""

from __future__ import annotations

import pandas as pd

from cbi_pipeline.features.build import check_frame
from cbi_pipeline.features.catalogue import CATALOGUE


def availability_report(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per feature, indexed by name, in the catalogue's order.

    Columns: `pillar`; `reason`; `first_usable` (trade date, NaT if never); `last_usable`; `missing_share` (of
    the rows since the first usable one, NaN if never usable); `missing_on_last_row`.

    Args:
        frame: [T, F] from `build_features`.

    Raises:
        FeatureError: the frame is not the catalogue's.
    """
    check_frame(frame)
    records = []
    for feature in CATALOGUE:
        column = frame[feature.name]
        first, last = column.first_valid_index(), column.last_valid_index()
        since = column.loc[first:] if first is not None else column.iloc[:0]
        records.append(
            {
                "feature": feature.name,
                "pillar": feature.pillar,
                "reason": feature.missing_because,
                "first_usable": pd.NaT if first is None else first,
                "last_usable": pd.NaT if last is None else last,
                "missing_share": since.isna().mean(),
                "missing_on_last_row": bool(column.isna().iloc[-1]),
            }
        )
    return pd.DataFrame.from_records(records).set_index("feature")


def monthly_presence(frame: pd.DataFrame) -> pd.DataFrame:
    """Share of a month's trade dates on which each feature is there: [months, F], index the month (Period).

    Args:
        frame: [T, F] from `build_features`.

    Raises:
        FeatureError: the frame is not the catalogue's.
    """
    check_frame(frame)
    return frame.notna().groupby(pd.DatetimeIndex(frame.index).to_period("M")).mean()
