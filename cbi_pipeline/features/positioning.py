"""Positions of traders in soybean oil as the CFTC reports them: in contracts, and net as shares of open interest."""

from __future__ import annotations

from typing import Final

import pandas as pd

from cbi_pipeline.features.declarations import COT
from cbi_pipeline.features.point_in_time import PointInTime

NET_POSITION_REPORTS: Final = 156


def positioning_features(known: PointInTime) -> dict[str, pd.Series]:
    """Managed-money and commercial longs and shorts of the newest report, [T], contracts."""
    columns = ["managed_money_long", "managed_money_short", "commercial_long", "commercial_short"]
    return {f"CFTC_{name}": values for name, values in known.latest(COT, columns).items()}


def net_share(reports: pd.DataFrame, group: str) -> pd.Series:
    """Longs less shorts of a group of traders as a share of all open contracts, [n], -1 to 1."""
    net = (reports[f"{group}_long"] - reports[f"{group}_short"]).astype("float64")
    return net / reports["open_interest"].astype("float64")


def net_position_features(known: PointInTime) -> dict[str, pd.Series]:
    """Net shares of managed money and commercials, [T], and the former as a z-score in its trailing 156 reports."""
    reports = known.rows(COT)
    share = net_share(reports, "managed_money")
    window = share.rolling(NET_POSITION_REPORTS)
    derived = {
        "CFTC_managed_money_net_share": share,
        "CFTC_commercial_net_share": net_share(reports, "commercial"),
        "cot_managed_money_net_zscore": (share - window.mean()) / window.std(),
    }
    joined = known.latest(COT, list(derived), reports.assign(**derived))
    return {name: joined[name] for name in derived}
