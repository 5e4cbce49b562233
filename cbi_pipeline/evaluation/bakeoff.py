"""The written rule that picks the network architecture, and by how much it won.

Belongs here: ranking of scored networks against each other. Whether the winner beats the anchor is the
lambda rule's and the gates' business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation.metrics import ALL_FOLDS, SESSIONS_PER_MONTH, common_rows
from cbi_pipeline.evaluation.significance import diebold_mariano, squared_errors

RANKED_METRICS: Final = ("rmse_ratio", "crps")
"""Metrics that are ranked, lower is better; one that no network has a value of is left out."""
NOISE_LEVEL: Final = 0.05
"""p-value of the two-sided Diebold-Mariano test below which a difference at one horizon is called beyond noise."""


@dataclass(frozen=True)
class Bakeoff:
    """Result of a bake-off.

    Attributes:
        winner: entry with the lowest mean rank.
        ranking: per entry, best first: `mean_rank`, `mean_rmse_ratio`, `parameters`.
        rank_margin: mean rank of the runner-up less the winner's (0 on a tie); None without a rival.
        ratio_margin: mean RMSE ratio of the runner-up less the winner's; None without a rival.
        explanation: one sentence.
    """

    winner: str
    ranking: pd.DataFrame
    rank_margin: float | None
    ratio_margin: float | None
    explanation: str


def choose_winner(scores: pd.DataFrame, parameters: Mapping[str, int]) -> Bakeoff:
    """The network with the lowest mean rank over horizons (and over `RANKED_METRICS`); ties to fewer parameters.

    Args:
        scores: as of `metrics.score`; rows of fold `all` are used.
        parameters: number of trainable parameters per network entry; only these entries take part.

    Raises:
        ModelError: there is no network, or one lacks a ranked metric at a horizon that another has.
    """
    taking_part = scores[(scores["fold"] == ALL_FOLDS) & scores["entry"].isin(list(parameters))]
    ranked = taking_part[taking_part["metric"].isin(RANKED_METRICS)].dropna(subset="value")
    table = ranked.pivot(index=["metric", "horizon_months"], columns="entry", values="value")
    table = table.reindex(columns=sorted(parameters))
    if table.empty or table.isna().any(axis=None) or "rmse_ratio" not in table.index.get_level_values("metric"):
        raise ModelError(
            f"bake-off of {sorted(parameters)}",
            "every network needs an RMSE ratio at every horizon that another one has.",
            "train and score all folds of each network, then run the bake-off again.",
        )
    ranking = pd.DataFrame(
        {
            "mean_rank": table.rank(axis=1).mean(),
            "mean_rmse_ratio": table.loc["rmse_ratio"].mean(),
            "parameters": pd.Series(parameters),
        }
    ).rename_axis("entry")
    ranking = ranking.reset_index().sort_values(["mean_rank", "parameters", "entry"]).set_index("entry")
    winner = str(ranking.index[0])
    if len(ranking) == 1:
        only = f"{winner} is the only network: mean RMSE ratio {ranking['mean_rmse_ratio'].iloc[0]:.3f}"
        return Bakeoff(winner, ranking, None, None, only)
    first, second = ranking.iloc[0], ranking.iloc[1]
    rank_margin = float(second["mean_rank"] - first["mean_rank"])
    ratio_margin = float(second["mean_rmse_ratio"] - first["mean_rmse_ratio"])
    tie = " (tie, fewer parameters)" if rank_margin == 0 else ""
    explanation = (
        f"{winner} beats {ranking.index[1]}{tie}: mean rank {first['mean_rank']:.2f} against "
        f"{second['mean_rank']:.2f}, mean RMSE ratio lower by {ratio_margin:.4f}"
    )
    return Bakeoff(winner, ranking, rank_margin, ratio_margin, explanation)


def beyond_noise(oof: pd.DataFrame, winner: str, second: str) -> str:
    """In words, at which horizons winner and runner-up differ by more than chance explains.

    Two-sided Diebold-Mariano tests of the squared errors on the dates that all entries have.

    Args:
        oof: out-of-fold rows (`OUT_OF_FOLD_COLUMNS`) of both, and of all that they are compared with.
        winner, second: entries.
    """
    rows = common_rows(oof)
    tests = {}
    for horizon in sorted(int(h) for h in rows["horizon_months"].unique()):
        losses = squared_errors(rows, horizon)
        own, rival = losses[winner].to_numpy(), losses[second].to_numpy()
        if (own != rival).any():
            tests[horizon] = diebold_mariano(own, rival, horizon * SESSIONS_PER_MONTH)
    if not tests:
        return "their forecasts are equal to the last digit at every horizon"
    found = [
        f"{horizon} months ({'better' if test.mean < 0 else 'worse'}, p = {test.p_two_sided:.3f})"
        for horizon, test in tests.items()
        if test.p_two_sided < NOISE_LEVEL
    ]
    if found:
        return f"beyond noise at {', '.join(found)}"
    smallest = min((test.p_two_sided for test in tests.values() if np.isfinite(test.p_two_sided)), default=None)
    if smallest is None:
        return "too few independent outcomes to tell them apart"
    return f"no difference beyond noise (smallest p = {smallest:.2f})"
