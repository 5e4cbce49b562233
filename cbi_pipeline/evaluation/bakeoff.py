"""The written rule that picks the network architecture, and by how much it won.

Belongs here: ranking of scored networks against each other. Whether the winner beats the anchor is the
lambda rule's and the gates' business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pandas as pd

from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation.metrics import ALL_FOLDS

RANKED_METRICS: Final = ("rmse_ratio", "crps")
"""Metrics that are ranked, lower is better; one that no network has a value of is left out."""


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
