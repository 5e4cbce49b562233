from __future__ import annotations

import pandas as pd
import pytest

from cbi_pipeline import stages
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation.metrics import score
from cbi_pipeline.stages.evaluation import load_out_of_fold, load_scores, pooled_metrics, serving_lambdas
from cbi_pipeline.stages.folds import load_anchor, load_market
from cbi_pipeline.stages.training import load_residuals

ENTRIES = ["tcn", "tcn_lambda_1", "anchor", "futures_curve", "last_price"]


def test_every_entry_is_scored_on_the_same_rows(lineage):
    rows = load_out_of_fold(lineage.scorecard)
    keys = {
        entry: set(zip(own["fold"], own["as_of_date"], own["horizon_months"], strict=True))
        for entry, own in rows.groupby("entry")
    }
    assert sorted(keys) == sorted(ENTRIES)
    assert len(keys["tcn"]) == 2 * 252 * 4
    for entry in set(ENTRIES) - {"futures_curve"}:
        assert keys[entry] == keys["tcn"], entry
    assert keys["futures_curve"] <= keys["tcn"]


def test_scores_can_be_recomputed_from_the_stored_rows(lineage):
    recomputed = score(load_out_of_fold(lineage.scorecard))
    pd.testing.assert_frame_equal(load_scores(lineage.scorecard), recomputed)


def test_the_full_residual_is_the_anchor_plus_the_network(lineage):
    rows = load_out_of_fold(lineage.scorecard)
    market, fold = load_market(lineage.anchors), lineage.anchors.folds[1]
    own = rows[(rows["entry"] == "tcn_lambda_1") & (rows["fold"] == fold.name)]
    anchor = rows[(rows["entry"] == "anchor") & (rows["fold"] == fold.name)]
    residual = load_residuals(lineage.cells["tcn|fold_2"])
    for horizon in HORIZONS_MONTHS:
        with_network = own[own["horizon_months"] == horizon].set_index("as_of_date")
        without = anchor[anchor["horizon_months"] == horizon].set_index("as_of_date")
        ratio = with_network["predicted_price"] / without["predicted_price"]
        expected = (with_network["sigma_h"] * residual[horizon]).map(lambda move: pow(2.718281828459045, move))
        pd.testing.assert_series_equal(ratio, expected, check_names=False, check_freq=False, rtol=1e-9)
    assert load_anchor(lineage.anchors, fold)
    assert market.front.loc[pd.Timestamp(fold.test_start)] == own["last_price"].iloc[0]


def test_lambda_is_chosen_on_rows_whose_outcome_was_known(lineage):
    table = pd.DataFrame(stages.lambda_table(lineage.scorecard))
    assert sorted(table["fold"].unique()) == ["fold_1", "fold_2", "serving"]
    assert len(table) == 3 * 4
    first = table[table["fold"] == "fold_1"]
    assert (first["lambda_h"] == 0).all()
    assert (first["matured_rows"] == 0).all()
    rows = load_out_of_fold(lineage.scorecard).query("entry == 'tcn' and fold == 'fold_1'")
    start = pd.Timestamp(lineage.anchors.folds[1].test_start)
    known = rows[rows["target_date"] < start].groupby("horizon_months").size()
    second = table[table["fold"] == "fold_2"].set_index("horizon_months")
    for horizon in HORIZONS_MONTHS:
        assert second.loc[horizon, "matured_rows"] == known.get(horizon, 0), horizon
    assert second.loc[12, "matured_rows"] == 0 < second.loc[3, "matured_rows"]
    assert table["lambda_h"].isin([0.0, 0.1, 0.25]).all()
    assert table["reason"].str.len().gt(5).all()


def test_the_champion_serves_with_the_last_lambda(lineage):
    chosen = serving_lambdas(lineage.scorecard, "tcn")
    table = [row for row in stages.lambda_table(lineage.scorecard) if row["fold"] == "serving"]
    assert chosen == {row["horizon_months"]: row["lambda_h"] for row in table}
    assert list(chosen) == list(HORIZONS_MONTHS)


def test_the_leaderboard_has_networks_first_and_last_price_at_one(lineage):
    board = {record["entry"]: record for record in stages.leaderboard(lineage.scorecard)}
    assert set(board) == set(ENTRIES)
    assert list(board)[:2] == ["tcn", "tcn_lambda_1"]
    common = pooled_metrics(lineage.scorecard, "tcn", common_rows=True)
    for horizon in HORIZONS_MONTHS:
        assert board["last_price"][f"rmse_ratio_{horizon}m"] == 1.0
        assert board["last_price"][f"directional_accuracy_{horizon}m"] is None
        assert board["tcn"][f"mape_{horizon}m"] == common[horizon]["mape"]


def test_the_span_is_that_of_the_folds(lineage):
    folds = lineage.anchors.folds
    assert stages.scorecard_span(lineage.scorecard) == (
        f"out of fold, {folds[0].test_start} to {folds[-1].test_end}, common dates"
    )


def test_an_incomplete_architecture_is_not_scored(lineage, other_store):
    only = {"tcn|fold_1": lineage.cells["tcn|fold_1"]}
    with pytest.raises(ModelError, match="missing \\['fold_2'\\]"):
        stages.build_scorecard(lineage.features, lineage.anchors, only, other_store)
    assert not other_store.root.exists()


def test_a_cell_of_another_profile_is_not_scored(lineage, other_store):
    foreign = lineage.cells["tcn|fold_2"].model_copy(update={"fold": "fold_9"})
    cells = {**lineage.cells, "tcn|fold_9": foreign}
    with pytest.raises(ModelError, match="not of this profile \\['fold_9'\\]"):
        stages.build_scorecard(lineage.features, lineage.anchors, cells, other_store)


def test_the_only_network_wins(lineage):
    winner = stages.choose_winner(lineage.scorecard, lineage.cells)
    assert winner.architecture == "tcn"
    assert winner.scorecard_id == lineage.scorecard.scorecard_id
    assert "only network" in winner.reason
