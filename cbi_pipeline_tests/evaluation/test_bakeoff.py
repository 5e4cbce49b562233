"""The bake-off's written rule: mean rank, ties to fewer parameters, and by how much."""

from __future__ import annotations

import pandas as pd
import pytest

from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation.bakeoff import choose_winner

HORIZONS = (3, 6, 9, 12)


def scores(metric: str, **entries: tuple[float, ...]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            (entry, h, "all", metric, x)
            for entry, values in entries.items()
            for h, x in zip(HORIZONS, values, strict=True)
        ],
        columns=["entry", "horizon_months", "fold", "metric", "value"],
    )


def test_lowest_mean_rank_wins_though_another_has_the_lower_mean() -> None:
    table = scores("rmse_ratio", tcn=(0.99, 0.99, 0.99, 1.20), lstm=(1.00, 1.00, 1.00, 0.90))
    result = choose_winner(table, {"tcn": 900, "lstm": 100})
    assert result.winner == "tcn"
    assert result.ranking["mean_rank"].to_dict() == {"tcn": 1.25, "lstm": 1.75}
    assert result.rank_margin == pytest.approx(0.5)
    assert result.ratio_margin == pytest.approx(0.975 - 1.0425)
    assert "tcn beats lstm" in result.explanation


def test_crps_is_ranked_too_when_present() -> None:
    ratio = scores("rmse_ratio", a=(0.9, 0.9, 1.1, 1.1), b=(1.0, 1.0, 1.0, 1.0))
    crps = scores("crps", a=(0.2, 0.2, 0.2, 0.2), b=(0.1, 0.1, 0.1, 0.1))
    assert choose_winner(ratio, {"a": 1, "b": 2}).winner == "a"
    assert choose_winner(pd.concat([ratio, crps]), {"a": 1, "b": 2}).winner == "b"


def test_ties_go_to_fewer_parameters() -> None:
    table = scores("rmse_ratio", big=(0.9, 0.9, 1.1, 1.1), small=(1.0, 1.0, 1.0, 1.0))
    result = choose_winner(table, {"big": 10, "small": 5})
    assert (result.winner, result.rank_margin) == ("small", 0.0)
    assert "tie, fewer parameters" in result.explanation


def test_benchmarks_and_single_folds_do_not_take_part() -> None:
    table = pd.concat(
        [
            scores("rmse_ratio", tcn=(1.0, 1.0, 1.0, 1.0), anchor=(0.9, 0.9, 0.9, 0.9)),
            scores("rmse_ratio", tcn=(2.0, 2.0, 2.0, 2.0)).assign(fold="fold_1"),
        ]
    )
    result = choose_winner(table, {"tcn": 1})
    assert result.winner == "tcn"
    assert result.rank_margin is None
    assert result.ranking["mean_rmse_ratio"].to_dict() == {"tcn": 1.0}
    assert "only network" in result.explanation


def test_a_network_without_scores_is_refused() -> None:
    table = scores("rmse_ratio", tcn=(1.0, 1.0, 1.0, 1.0), lstm=(1.0, 1.0, 1.0, float("nan")))
    with pytest.raises(ModelError, match="every horizon"):
        choose_winner(table, {"tcn": 1, "lstm": 2})
    with pytest.raises(ModelError):
        choose_winner(table, {"tcn": 1, "nbeatsx": 2})
    with pytest.raises(ModelError):
        choose_winner(table, {})
