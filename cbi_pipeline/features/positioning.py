"""Positions of traders in soybean oil as the CFTC reports them."""

from __future__ import annotations

import pandas as pd

from cbi_pipeline.features.declarations import COT
from cbi_pipeline.features.point_in_time import PointInTime


def positioning_features(known: PointInTime) -> dict[str, pd.Series]:
    """Managed-money and commercial longs and shorts of the newest report, [T], contracts."""
    columns = ["managed_money_long", "managed_money_short", "commercial_long", "commercial_short"]
    return {f"CFTC_{name}": values for name, values in known.latest(COT, columns).items()}
