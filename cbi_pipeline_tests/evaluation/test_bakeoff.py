"""The bake-off's written rule: mean rank, ties to fewer parameters, and by how much; noise on the starter bundle."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation.bakeoff import beyond_noise, choose_winner
from cbi_pipeline.evaluation.benchmarks import ANCHOR, LAST_PRICE, Market, benchmark_frames
from cbi_pipeline.evaluation.metrics import common_rows
from cbi_pipeline.evaluation.significance import diebold_mariano, squared_errors
from cbi_pipeline.evaluation.walk_forward import make_folds

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


# --- beyond noise? -------------------------------------------------------------------------------------------------


def entries_of(market: Market, sessions: int) -> pd.DataFrame:
    """The last price, the anchor and a copy of it, and an entry that knows half of each outcome."""
    folds = make_folds(
        pd.DatetimeIndex(market.front.index), n_splits=1, train_sessions=756, validation_sessions=252,
        test_sessions=sessions,
    )  # fmt: skip
    rows = benchmark_frames(market, folds)
    anchor = rows[rows["entry"] == ANCHOR]
    known = np.sqrt(anchor["realised_price"] * anchor["last_price"]).fillna(anchor["last_price"])
    copies = [anchor.assign(entry="copy"), anchor.assign(entry="oracle", predicted_price=known)]
    return pd.concat([rows[rows["entry"] == LAST_PRICE], anchor, *copies], ignore_index=True)


@pytest.fixture(scope="module")
def four_years(market: Market) -> pd.DataFrame:
    return entries_of(market, 4 * 252)


def test_identical_forecasts_are_called_equal(four_years: pd.DataFrame) -> None:
    assert beyond_noise(four_years, ANCHOR, "copy") == "their forecasts are equal to the last digit at every horizon"


def test_a_difference_beyond_noise_names_horizons_and_side(four_years: pd.DataFrame) -> None:
    losses = squared_errors(common_rows(four_years), 3)
    p = diebold_mariano(losses["oracle"].to_numpy(), losses[LAST_PRICE].to_numpy(), 63).p_two_sided
    assert p < 0.05
    assert f"beyond noise at 3 months (better, p = {p:.3f})" in beyond_noise(four_years, "oracle", LAST_PRICE)
    assert f"beyond noise at 3 months (worse, p = {p:.3f})" in beyond_noise(four_years, LAST_PRICE, "oracle")


def test_a_difference_that_chance_explains_is_called_so(four_years: pd.DataFrame) -> None:
    told = beyond_noise(four_years, ANCHOR, LAST_PRICE)
    p = []
    for horizon in HORIZONS:
        losses = squared_errors(common_rows(four_years), horizon)
        p.append(diebold_mariano(losses[ANCHOR].to_numpy(), losses[LAST_PRICE].to_numpy(), 21 * horizon).p_two_sided)
    assert told == f"no difference beyond noise (smallest p = {min(p):.2f})"


def test_few_outcomes_tell_nothing(market: Market) -> None:
    rows = entries_of(market, 100)
    assert beyond_noise(rows, "oracle", LAST_PRICE) == "too few independent outcomes to tell them apart"
