from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline import stages
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.forecast import QUANTILE_COLUMNS
from cbi_pipeline.contracts.references import FailedCellRef
from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation import bakeoff
from cbi_pipeline.evaluation.densities import DENSITIES
from cbi_pipeline.evaluation.density_scores import crps
from cbi_pipeline.evaluation.metrics import common_rows
from cbi_pipeline.evaluation.profit_and_loss import TradingCosts, roll_dates
from cbi_pipeline.evaluation.scorecard import BENCHMARK_ENTRIES, TradedMarket, full_scores
from cbi_pipeline.modeling.volatility import front_price, within_contract_returns
from cbi_pipeline.stages.densities import BY_RULE, serving_calibration
from cbi_pipeline.stages.evaluation import (
    _average_rows,
    _traded,
    load_out_of_fold,
    load_scores,
    pooled_metrics,
    serving_lambdas,
)
from cbi_pipeline.stages.folds import load_market
from cbi_pipeline.stages.leaderboard import LEADERBOARD_FIGURES
from cbi_pipeline.stages.training import load_forecasts, load_member_medians

WAYS = ["", "_lambda_0.1", "_lambda_0.25", "_lambda_1", "_raw"]
AVERAGES = ["networks_lambda_1", "networks_raw"]
ENTRIES = [name + way for name in ("tcn", "nbeatsx") for way in WAYS] + AVERAGES + list(BENCHMARK_ENTRIES)
FIXED = {"_lambda_0.1": 0.1, "_lambda_0.25": 0.25, "_lambda_1": 1.0}


def median_by_hand(cell, target):
    """Mean over the two members of the stored medians, by as-of date and horizon."""
    rows = load_forecasts(cell)
    own = rows[rows["target"] == target].astype({"median": float})
    return own.groupby(["as_of_date", "horizon_months"])["median"].sum() / 2


def failed(cell) -> FailedCellRef:
    """A cell as it is recorded when its training fails."""
    kept = cell.model_dump(include={"architecture", "fold", "features_key", "anchors_key", "scalers_key"})
    return FailedCellRef(reason="epoch 1 batch 2 (rows 3..4): The training loss is nan.", **kept)


def test_every_entry_is_scored_on_the_same_rows(lineage):
    rows = load_out_of_fold(lineage.scorecard)
    keys = {
        entry: set(zip(own["fold"], own["as_of_date"], own["horizon_months"], strict=True))
        for entry, own in rows.groupby("entry")
    }
    assert sorted(keys) == sorted(ENTRIES)
    assert len(keys["tcn"]) == 2 * 252 * 4
    for entry in set(ENTRIES) - {"futures_curve", "half_capped_curve"}:
        assert keys[entry] == keys["tcn"], entry
    assert keys["half_capped_curve"] == keys["futures_curve"] < keys["tcn"]


def test_scores_can_be_recomputed_from_the_stored_rows(lineage, starter_tables):
    market = TradedMarket(
        returns=within_contract_returns(starter_tables),
        front=front_price(starter_tables),
        rolls=roll_dates(starter_tables),
    )
    recomputed = full_scores(load_out_of_fold(lineage.scorecard), market)
    pd.testing.assert_frame_equal(load_scores(lineage.scorecard), recomputed)


@pytest.mark.parametrize("architecture", ["tcn", "nbeatsx"])
def test_entries_are_the_anchor_plus_lambda_times_sigma_times_the_median(lineage, architecture):
    rows = load_out_of_fold(lineage.scorecard)
    rows = rows.assign(log_return=np.log(rows["predicted_price"] / rows["last_price"]))
    chosen = pd.DataFrame(stages.lambda_table(lineage.scorecard)).query("architecture == @architecture")
    for fold in lineage.anchors.folds:
        own = rows[rows["fold"] == fold.name].set_index(["as_of_date", "horizon_months"])
        by_entry = dict(iter(own.groupby("entry")))
        anchor = by_entry["anchor"]["log_return"]
        move = by_entry["anchor"]["sigma_h"] * median_by_hand(lineage.cells[f"{architecture}|{fold.name}"], "anchored")
        for way, weight in FIXED.items():
            found = by_entry[architecture + way]["log_return"]
            np.testing.assert_allclose(found, (anchor + weight * move).loc[found.index], atol=1e-12)
        weights = chosen[chosen["fold"] == fold.name].set_index("horizon_months")["lambda_h"]
        by_rule = by_entry[architecture]["log_return"]
        earned = by_rule.index.get_level_values("horizon_months").map(weights).to_numpy()
        np.testing.assert_allclose(by_rule, (anchor + earned * move).loc[by_rule.index], atol=1e-12)


@pytest.mark.parametrize("architecture", ["tcn", "nbeatsx"])
def test_raw_entries_are_the_last_price_plus_sigma_times_the_median(lineage, architecture):
    rows = load_out_of_fold(lineage.scorecard).query("entry == @architecture + '_raw'")
    assert not (rows["predicted_price"] == rows["last_price"]).all()
    for fold, own in rows.groupby("fold"):
        own = own.set_index(["as_of_date", "horizon_months"])
        median = median_by_hand(lineage.cells[f"{architecture}|{fold}"], "raw").loc[own.index]
        np.testing.assert_allclose(own["predicted_price"], own["last_price"] * np.exp(own["sigma_h"] * median))


@pytest.mark.parametrize(("suffix", "target"), [("_lambda_1", "anchored"), ("_raw", "raw")])
def test_averages_are_the_mean_of_the_networks_medians(lineage, suffix, target):
    rows = load_out_of_fold(lineage.scorecard)
    rows = rows.assign(log_return=np.log(rows["predicted_price"] / rows["last_price"]))
    differing = []
    for fold, own in rows.groupby("fold"):
        by_entry = dict(iter(own.set_index(["as_of_date", "horizon_months"]).groupby("entry")))
        base = by_entry["anchor"]["log_return"] if target == "anchored" else 0.0
        medians = [median_by_hand(lineage.cells[f"{name}|{fold}"], target) for name in ("tcn", "nbeatsx")]
        expected = base + by_entry["anchor"]["sigma_h"] * (medians[0] + medians[1]) / 2
        found = by_entry["networks" + suffix]["log_return"]
        np.testing.assert_allclose(found, expected.loc[found.index], atol=1e-12)
        differing.append(not np.allclose(medians[0], medians[1]))
    assert any(differing)


def test_a_single_network_has_no_average(lineage):
    only = {"tcn": {fold.name: lineage.cells[f"tcn|{fold.name}"] for fold in lineage.anchors.folds}}
    assert _average_rows(load_market(lineage.anchors), only, lineage.anchors) == []


def test_some_network_moves_a_forecast(lineage):
    """Else the two tests above would hold for a network that is not there."""
    rows = load_out_of_fold(lineage.scorecard).set_index(["entry", "fold", "as_of_date", "horizon_months"])
    price = rows["predicted_price"]
    assert any((price[name + "_lambda_1"] != price["anchor"]).any() for name in ("tcn", "nbeatsx"))


def test_dispersion_is_that_of_the_members_alone(lineage):
    table = stages.seed_dispersion(lineage.scorecard).set_index(["architecture", "target", "fold", "horizon_months"])
    assert len(table) == 2 * 2 * 3 * 4
    assert table.index.is_unique
    market, fold = load_market(lineage.anchors), lineage.anchors.folds[1]
    rows = load_out_of_fold(lineage.scorecard).query("entry == 'anchor' and fold == 'fold_2' and horizon_months == 6")
    rows = rows.dropna(subset="realised_price").set_index("as_of_date")
    realised = np.log(rows["realised_price"] / rows["last_price"]).to_numpy()
    anchor = np.log(rows["predicted_price"] / rows["last_price"]).to_numpy()
    for architecture in ("tcn", "nbeatsx"):
        for target, base in (("anchored", anchor), ("raw", 0.0)):
            members = load_member_medians(lineage.cells[f"{architecture}|fold_2"], target)
            forecasts = [base + rows["sigma_h"].to_numpy() * own.loc[rows.index, 6].to_numpy() for own in members]
            scale = np.sqrt(np.mean(realised**2))
            ratios = [np.sqrt(np.mean((forecast - realised) ** 2)) / scale for forecast in forecasts]
            found = table.loc[(architecture, target, "fold_2", 6)]
            assert found["n"] == len(rows)
            assert [found["member_1"], found["member_2"]] == pytest.approx(ratios)
            assert found["mean"] == pytest.approx(np.mean(ratios))
            assert found["standard_deviation"] == pytest.approx(abs(ratios[0] - ratios[1]) / np.sqrt(2), abs=1e-12)
            of_mean = np.sqrt(np.mean((np.mean(forecasts, axis=0) - realised) ** 2)) / scale
            assert found["of_mean_forecast"] == pytest.approx(of_mean)
    assert market.front.loc[pd.Timestamp(fold.test_start)] == rows["last_price"].iloc[0]


def test_pooled_dispersion_of_the_mean_forecast_is_the_score_of_the_full_entries(lineage):
    table = stages.seed_dispersion(lineage.scorecard).query("fold == 'all'")
    for row in table.to_dict("records"):
        entry = row["architecture"] + {"anchored": "_lambda_1", "raw": "_raw"}[row["target"]]
        score_of = pooled_metrics(lineage.scorecard, entry)[row["horizon_months"]]["rmse_ratio"]
        assert row["of_mean_forecast"] == pytest.approx(score_of)


def test_lambda_is_chosen_on_rows_whose_outcome_was_known(lineage):
    table = pd.DataFrame(stages.lambda_table(lineage.scorecard))
    assert sorted(table["fold"].unique()) == ["fold_1", "fold_2", "serving"]
    assert len(table) == 2 * 3 * 4
    table = table[table["architecture"] == "tcn"]
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
    table = stages.lambda_table(lineage.scorecard)
    table = [row for row in table if (row["fold"], row["architecture"]) == ("serving", "tcn")]
    assert chosen == {row["horizon_months"]: row["lambda_h"] for row in table}
    assert list(chosen) == list(HORIZONS_MONTHS)


def test_the_network_density_is_the_mean_of_its_members_offsets(lineage):
    """The table's CRPS of the network's density, made again from the stored forecasts of both members."""
    table = stages.load_density_table(lineage.scorecard).set_index(["architecture", "density", "horizon_months"])
    assert table.index.is_unique
    assert set(table.index.get_level_values("density")) == {*DENSITIES, BY_RULE}
    for architecture in ("tcn", "nbeatsx"):
        rows = load_out_of_fold(lineage.scorecard).query("entry == @architecture and horizon_months == 6")
        rows = rows.dropna(subset="realised_price").set_index("as_of_date")
        members = pd.concat([load_forecasts(lineage.cells[f"{architecture}|{fold}"]) for fold in ("fold_1", "fold_2")])
        members = members.query("target == 'anchored' and horizon_months == 6").groupby("as_of_date")
        sigma = np.log(rows["q95"] / rows["q05"]) / (2 * 1.6448536269514722)
        quantiles = np.column_stack(
            [
                np.log(rows["q50"]) + sigma * members[f"offset_{name}"].mean().loc[rows.index]
                for name in QUANTILE_COLUMNS
            ]
        )
        expected = crps(np.log(rows["realised_price"].to_numpy()), quantiles).mean()
        assert table.loc[(architecture, "network", 6), "crps"] == pytest.approx(expected, rel=1e-6)


def test_short_records_leave_the_normal_and_the_champion_keeps_that(lineage):
    choices = pd.DataFrame(stages.density_choices(lineage.scorecard))
    assert len(choices) == 2 * 3 * 4
    assert (choices["density"] == "normal").all()
    assert choices["reason"].str.contains("fewer than 3 independent periods|beyond chance").all()
    kept = serving_calibration(lineage.scorecard, "tcn")
    serving = choices.query("architecture == 'tcn' and fold == 'serving'").set_index("horizon_months")
    assert kept == {
        str(h): {"density": "normal", "corrections": None, "reason": serving.loc[h, "reason"]} for h in HORIZONS_MONTHS
    }


def test_costs_decide_the_key_and_reach_the_profit(lineage):
    class Asked(Exception):
        """What the store was asked for."""

    def ask(_kind, inputs, _build):
        raise Asked(inputs["costs"])

    asked = []
    for costs in ({}, {"ticks_per_side": 2.0}):
        with pytest.raises(Asked) as told:
            stages.build_scorecard(
                lineage.features,
                lineage.anchors,
                lineage.cells,
                lineage.price_tables,
                SimpleNamespace(get_or_build=ask),
                costs=costs,
            )
        asked.append(told.value.args[0])
    assert asked == [{}, {"ticks_per_side": 2.0}]
    market = load_market(lineage.anchors)
    assert _traded(market, lineage.price_tables, {}).costs == TradingCosts()
    assert _traded(market, lineage.price_tables, asked[1]).costs == TradingCosts(ticks_per_side=2.0)


def test_the_leaderboard_has_networks_first_and_last_price_at_one(lineage):
    board = {record["entry"]: record for record in stages.leaderboard(lineage.scorecard)}
    assert set(board) == set(ENTRIES)
    assert list(board)[:2] == ["tcn", "nbeatsx"]
    assert set(list(board)[-11:-9]) == set(AVERAGES)
    assert set(list(board)[-9:]) == set(BENCHMARK_ENTRIES)
    common = pooled_metrics(lineage.scorecard, "tcn", common_rows=True)
    dates = common_rows(load_out_of_fold(lineage.scorecard))["as_of_date"].unique()
    for horizon in HORIZONS_MONTHS:
        assert board["last_price"][f"rmse_ratio_{horizon}m"] == 1.0
        assert board["last_price"][f"directional_accuracy_{horizon}m"] is None
        for name in LEADERBOARD_FIGURES:
            assert board["tcn"][f"{name}_{horizon}m"] == common[horizon][name], name
        assert board["tcn"][f"n_eff_{horizon}m"] == pytest.approx(len(dates) / (21 * horizon))


def test_the_spread_over_folds_is_that_of_the_stored_scores(lineage):
    spread = stages.fold_spread(lineage.scorecard).set_index(["entry", "horizon_months"])
    scores = load_scores(lineage.scorecard).set_index(["entry", "horizon_months", "metric", "fold"])["value"]
    first, second = scores[("tcn", 6, "mape", "fold_1")], scores[("tcn", 6, "mape", "fold_2")]
    assert spread.loc[("tcn", 6), "mean_mape"] == pytest.approx((first + second) / 2)
    assert spread.loc[("tcn", 6), "std_mape"] == pytest.approx(abs(first - second) / np.sqrt(2))
    ratios = [scores[("tcn", 6, "sharpe", fold)] for fold in ("fold_1", "fold_2")]
    assert spread.loc[("tcn", 6), "mean_sharpe"] == pytest.approx(np.mean(ratios))
    assert (spread["folds"] == 2).all()


def test_the_span_is_that_of_the_dates_that_all_entries_have(lineage):
    """The curve is missing on the last days of 2023, and no entry is compared there."""
    rows = load_out_of_fold(lineage.scorecard)
    curve = rows[(rows["entry"] == "futures_curve") & rows["realised_price"].notna()]["as_of_date"]
    first = lineage.anchors.folds[0].test_start
    assert stages.scorecard_span(lineage.scorecard) == f"out of fold, {first} to {curve.max().date()}, common dates"


def test_an_incomplete_architecture_is_not_scored(lineage, other_store):
    only = {key: cell for key, cell in lineage.cells.items() if key != "tcn|fold_2"}
    with pytest.raises(ModelError, match="missing \\['fold_2'\\]"):
        stages.build_scorecard(lineage.features, lineage.anchors, only, lineage.price_tables, other_store, costs={})
    assert not other_store.root.exists()


def test_a_table_with_a_failed_cell_is_refused_by_name(lineage, other_store):
    cells = {**lineage.cells, "tcn|fold_2": failed(lineage.cells["tcn|fold_2"])}
    run = lineage.run(other_store)
    for refused in (
        lambda: stages.build_scorecard(
            lineage.features, lineage.anchors, cells, lineage.price_tables, other_store, costs={}
        ),
        lambda: stages.select_chosen_features(cells, run),
        lambda: stages.choose_winner(lineage.scorecard, cells),
    ):
        with pytest.raises(ModelError, match=r"1 of 4 cells.*tcn, fold_2 \(epoch 1 batch 2.*loss is nan"):
            refused()
    assert not other_store.root.exists()


def test_a_cell_of_another_profile_is_not_scored(lineage, other_store):
    foreign = lineage.cells["tcn|fold_2"].model_copy(update={"fold": "fold_9"})
    cells = {**lineage.cells, "tcn|fold_9": foreign}
    with pytest.raises(ModelError, match="not of this profile \\['fold_9'\\]"):
        stages.build_scorecard(lineage.features, lineage.anchors, cells, lineage.price_tables, other_store, costs={})


def test_a_network_wins_by_the_written_rule(lineage):
    winner = stages.choose_winner(lineage.scorecard, lineage.cells)
    parameters = {cell.architecture: cell.n_parameters for cell in lineage.cells.values()}
    assert winner.architecture == bakeoff.choose_winner(load_scores(lineage.scorecard), parameters).winner
    assert winner.scorecard_id == lineage.scorecard.scorecard_id
    assert " beats " in winner.reason
    ranking = bakeoff.choose_winner(load_scores(lineage.scorecard), parameters).ranking
    told = bakeoff.beyond_noise(load_out_of_fold(lineage.scorecard), *ranking.index[:2])
    assert winner.reason.endswith(f"; {told}")
