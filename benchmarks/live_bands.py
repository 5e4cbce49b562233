"""How often the bands of live skill raise a false alarm, and how often they see errors that have grown.

Every stretch of the record of what serves (the anchor; no network has a weight) is judged by the other stretches, none
of whose windows shares a day with it. A day counts as an alarm if any judged figure of any horizon is beyond its band.
Then the real errors of the stretch are made larger, the record left as it is.

    python benchmarks/live_bands.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from cbi_pipeline.bundle.read import load_tables
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.evaluation.benchmarks import ANCHOR, benchmark_frames, prepare_market
from cbi_pipeline.evaluation.live_skill import FIGURES, JUDGED, WINDOW_SESSIONS, bands, window_figures
from cbi_pipeline.features.build import build_features
from cbi_pipeline.profiles import ProfileName, get_profile
from cbi_pipeline.stages.folds import cut_folds

STARTER = Path(__file__).resolve().parent.parent / "data" / "starter"
STRETCHES: dict[ProfileName, int] = {"full": 12, "quick": 5}
GROWTH = (1.0, 1.25, 1.5, 2.0)
"""Factors on the real errors; 1 leaves them as they are."""


class Replay:
    """Figures of one horizon on every window, and the days that each window spans: first as-of date, last target."""

    def __init__(self, rows: pd.DataFrame, length: int) -> None:
        changed = {factor: rows.assign(predicted_price=_grown(rows, factor)) for factor in GROWTH}
        self.figures = {factor: window_figures(own, length) for factor, own in changed.items()}
        self.first = rows["as_of_date"].to_numpy()[: len(rows) - length + 1]
        self.last = rows["target_date"].to_numpy()[length - 1 :]


def _grown(rows: pd.DataFrame, factor: float) -> pd.Series:
    """Forecasts whose error in log price is `factor` times as large."""
    return rows["realised_price"] * (rows["predicted_price"] / rows["realised_price"]) ** factor


def alarms(replays: dict[int, Replay], begin: np.datetime64, end: np.datetime64) -> dict[float, pd.DataFrame]:
    """By factor: whether a figure is out of its band, by day and (horizon, figure)."""
    inside = {months: (one.last >= begin) & (one.last <= end) for months, one in replays.items()}
    replays = {months: one for months, one in replays.items() if inside[months].any()}
    apart = {m: (one.last <= one.first[inside[m]].min()) | (one.first >= end) for m, one in replays.items()}
    limits = bands({months: one.figures[1.0][apart[months]] for months, one in replays.items()})
    found = {}
    for factor in GROWTH:
        columns = {}
        for (months, metric), (low, high) in limits.items():
            values = replays[months].figures[factor].loc[inside[months], metric]
            columns[months, metric] = (
                ((values > high) | (values < low)).groupby(replays[months].last[inside[months]]).max()
            )
        found[factor] = pd.DataFrame(columns).eq(True)  # a horizon without an outcome on a day raises no alarm
    return found


def share(frame: pd.DataFrame, metrics: tuple[str, ...]) -> float:
    """Share of days with an alarm of any of the figures at any horizon."""
    return float(frame.loc[:, frame.columns.get_level_values(1).isin(metrics)].any(axis=1).mean())


def main() -> None:
    tables = load_tables(STARTER)
    market, sessions = prepare_market(tables), build_features(tables).index
    for profile, stretches in STRETCHES.items():
        folds, _ = cut_folds(sessions, get_profile(profile))
        rows = benchmark_frames(market, folds)
        rows = rows[(rows["entry"] == ANCHOR) & rows["realised_price"].notna()].sort_values("as_of_date")
        for length in (WINDOW_SESSIONS, 42, 63, 126):
            replays = {h: Replay(rows[rows["horizon_months"] == h], length) for h in HORIZONS_MONTHS}
            days = np.unique(np.concatenate([one.last for one in replays.values()]))
            found = {str(part[-1])[:10]: alarms(replays, part[0], part[-1]) for part in np.array_split(days, stretches)}
            print(f"{profile}, windows of {length} forecasts; alarms to each day:")
            print("  " + ", ".join(f"{end} {share(one[1.0], JUDGED):.0%}" for end, one in found.items()))
            for metrics in (JUDGED, *((metric,) for metric in FIGURES if length == WINDOW_SESSIONS)):
                shares = {n: np.mean([share(one[n], metrics) for one in found.values()]) for n in GROWTH}
                print(
                    f"  {' or '.join(metrics)}: " + ", ".join(f"{name} {value:.1%}" for name, value in shares.items())
                )


if __name__ == "__main__":
    main()
