"""What the parity gates compare, on real rows: SQL against pandas, and fits against what was known at the time."""

from __future__ import annotations

from datetime import date

import pytest

from cbi_pipeline.evaluation.gates import PARITY_METRICS
from cbi_pipeline.evaluation.metrics import ALL_FOLDS
from cbi_pipeline.features import driver_set
from cbi_pipeline.stages import parity
from cbi_pipeline.stages.evaluation import load_out_of_fold, load_scores
from cbi_pipeline.stages.folds import fit_scalers
from cbi_pipeline_tests.projects import change_warehouse
from cbi_pipeline_tests.stages.refits import settings_beside, warehouse_of


def by_sql(lineage, settings, entry: str, **costs: float) -> dict[int, dict[str, float | None]]:
    return parity.metrics_by_sql(
        lineage.scorecard,
        entry,
        load_out_of_fold(lineage.scorecard),
        tuple(lineage.raw.values()),
        warehouse_of(settings),
        costs=settings.trading_costs | costs,
        run_id="a test",
    )


@pytest.mark.parametrize("entry", ["tcn", "tcn_raw", "nbeatsx"])
def test_sql_from_stored_rows_and_prices_equals_pandas(lineage, tmp_path, entry):
    found = by_sql(lineage, settings_beside(tmp_path / "models"), entry)
    scores = load_scores(lineage.scorecard)
    own = scores[(scores["entry"] == entry) & (scores["fold"] == ALL_FOLDS)]
    local = own.pivot(index="horizon_months", columns="metric", values="value")
    assert list(found) == [3, 6, 9, 12]
    for horizon, metrics in found.items():
        assert metrics["n"] == own.loc[own["horizon_months"] == horizon, "n"].iloc[0]
        for name in PARITY_METRICS:
            assert metrics[name] == pytest.approx(local.loc[horizon, name], rel=1e-9), (horizon, name)


def test_the_sharpe_ratio_pays_the_costs_of_the_settings(lineage, tmp_path):
    settings = settings_beside(tmp_path / "models")
    cheap = by_sql(lineage, settings, "tcn", ticks_per_side=0.0, commission_usd_per_side=0.0)
    dear = by_sql(lineage, settings, "tcn", ticks_per_side=20.0)
    assert all(dear[horizon]["sharpe"] < cheap[horizon]["sharpe"] for horizon in cheap)
    assert all(dear[horizon]["mape"] == cheap[horizon]["mape"] for horizon in cheap)


def test_outcomes_are_those_of_the_prices_whatever_the_forecast_rows_say(lineage, tmp_path):
    settings = settings_beside(tmp_path / "models")
    honest = by_sql(lineage, settings, "tcn")
    change_warehouse(settings, "UPDATE realized_prices SET close = close * 1.1 WHERE trade_date > '2023-06-01'")
    days = date(2000, 1, 3), date(2024, 12, 31)
    sql, given = parity.metric_parity_query(
        lineage.scorecard, "tcn", days, lineage.price_tables, settings.trading_costs
    )
    changed = warehouse_of(settings).query(sql, given).to_pylist()
    assert len(changed) == len(honest) == 4
    assert all(row["mape"] != pytest.approx(honest[row["horizon_months"]]["mape"], rel=0.005) for row in changed)


def test_forecasts_of_every_fold_are_made_again(lineage):
    difference, what = parity.replayed_forecasts(
        "tcn", lineage.cells, lineage.features, lineage.anchors, lineage.scalers
    )
    assert max(difference.values()) < 1e-5
    assert what.startswith(f"{parity.REPLAYED_DAYS} days of 2 folds")


def test_fits_are_those_that_could_be_made_at_the_time(lineage):
    found = parity.replayed_fits(
        lineage.features, lineage.anchors, lineage.scalers, tuple(lineage.raw.values()), lineage.store
    )
    assert found == {f"fold {fold.name}": [] for fold in lineage.anchors.folds}


def test_a_scaler_fitted_on_everything_is_named(lineage, other_store, monkeypatch):
    honest = driver_set.fit_driver_set

    def on_everything(frame, train_start, train_end):
        return honest(frame, train_start, frame.index[-1].date())

    monkeypatch.setattr(driver_set, "fit_driver_set", on_everything)
    leaking = fit_scalers(lineage.features, lineage.anchors, other_store)
    found = parity.replayed_fits(lineage.features, lineage.anchors, leaking, tuple(lineage.raw.values()), other_store)
    assert found == {f"fold {fold.name}": ["scaler"] for fold in lineage.anchors.folds}


def test_labels_that_were_not_known_yet_are_named(lineage, other_store, monkeypatch):
    from cbi_pipeline.evaluation import walk_forward

    honest = walk_forward.fold_masks

    def unpurged(fold, sessions, targets):
        return honest(fold, sessions, targets.where(targets.isna(), sessions[0]))

    monkeypatch.setattr(walk_forward, "fold_masks", unpurged)
    found = parity.replayed_fits(
        lineage.features, lineage.anchors, lineage.scalers, tuple(lineage.raw.values()), other_store
    )
    assert found == {f"fold {fold.name}": ["labels"] for fold in lineage.anchors.folds}
