"""The ablation: purge, what each model does with a gap, and the figures, on small arrays with known answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.evaluation.ablation import (
    EVERYTHING,
    MODELS,
    NOTHING,
    RIDGE,
    TREES,
    ablation_record,
    ablation_table,
    forecast_ridge,
    forecast_trees,
    purged_rows,
    ratio_standard_error,
    variants,
    walk_forward,
)
from cbi_pipeline.evaluation.benchmarks import prepare_market
from cbi_pipeline.features.catalogue import CATALOGUE, FEATURE_NAMES

DAYS = pd.bdate_range("2004-01-01", "2012-12-31")
LABELS = pd.Series(DAYS + pd.DateOffset(months=6), index=DAYS)


def driven(seed=0):
    """Three features, of which `a` drives the target."""
    generator = np.random.default_rng(seed)
    view = pd.DataFrame(generator.normal(size=(len(DAYS), 3)), index=DAYS, columns=["a", "b", "c"])
    return view, view["a"] + 0.1 * pd.Series(generator.normal(size=len(DAYS)), index=DAYS)


# --- purge ---------------------------------------------------------------------------------------------------------


def test_training_rows_are_weekly_and_their_label_was_known_before_the_test_year():
    _, target = driven()
    rows = purged_rows(LABELS, target, pd.Timestamp("2011-01-01"))
    assert (LABELS.loc[rows] < "2011-01-01").all()
    assert rows[-1] == LABELS.index[LABELS < "2011-01-01"][-1]
    assert set(np.diff(DAYS.get_indexer(rows))) == {5}
    target.loc[rows[-1]] = np.nan
    assert rows[-1] not in purged_rows(LABELS, target, pd.Timestamp("2011-01-01"))


@pytest.mark.parametrize("model", MODELS)
def test_no_label_known_later_and_no_other_test_row_moves_a_forecast(model):
    view, target = driven()
    clean = walk_forward(view, target, LABELS, [2011, 2012], MODELS[model], 6)
    border = pd.Timestamp("2011-01-01")
    dirty_view, dirty, known_later = view.copy(), target.copy(), LABELS.ge(border)
    dirty[known_later] = 50.0
    dirty_view[known_later & LABELS.index.to_series().lt(border)] = -9.0
    moved = walk_forward(dirty_view, dirty, LABELS, [2011, 2012], MODELS[model], 6)
    assert clean.loc["2011"].equals(moved.loc["2011"])
    assert not clean.loc["2012"].equals(moved.loc["2012"])
    last_known = LABELS.index[~known_later][-1]
    target.loc[last_known] = 50.0
    assert not walk_forward(view, target, LABELS, [2011], MODELS[model], 6).equals(clean.loc["2011"])


# --- gaps ----------------------------------------------------------------------------------------------------------


def split(view, target):
    return view.loc[:"2010"].iloc[::5], target.loc[:"2010"].iloc[::5], view.loc["2011"].copy()


@pytest.mark.parametrize("forecaster", [forecast_ridge, forecast_trees])
def test_a_driver_is_found(forecaster):
    view, target = driven()
    train, labels, test = split(view, target)
    forecast = forecaster(train, labels, test, 3)
    assert np.corrcoef(forecast, target.loc[test.index])[0, 1] > 0.9


def test_ridge_serves_a_gap_from_a_model_without_that_feature():
    view, target = driven()
    train, labels, test = split(view, target)
    full = forecast_ridge(train, labels, test, 3)
    test.iloc[:50, 0] = np.nan
    gaps = forecast_ridge(train, labels, test, 3)
    assert np.array_equal(gaps[50:], full[50:])
    assert np.allclose(gaps[:50], forecast_ridge(train[["b", "c"]], labels, test[["b", "c"]], 3)[:50])
    test.iloc[:50] = np.nan
    assert np.allclose(forecast_ridge(train, labels, test, 3)[:50], labels.mean())


def test_ridge_waits_until_a_feature_was_real_for_five_years_and_learns_from_its_life_alone():
    view, target = driven()
    train, labels, test = split(view, target)
    without = forecast_ridge(train[["b", "c"]], labels, test[["b", "c"]], 3)
    young = train.copy()
    young.loc[:"2006-06", "a"] = np.nan
    assert np.array_equal(forecast_ridge(young, labels, test, 3), without)
    old = train.copy()
    old.loc[:"2005-06", "a"] = np.nan
    changed = labels.copy()
    changed.loc[:"2005-06"] = 50.0
    assert np.array_equal(forecast_ridge(old, labels, test, 3), forecast_ridge(old, changed, test, 3))


def test_trees_take_gaps_as_they_are_and_leave_out_what_was_hardly_seen():
    view, target = driven()
    train, labels, test = split(view, target)
    train, test = train.copy(), test.copy()
    train.loc[train.index[:-59], "b"] = np.nan
    train["c"] = 1.0
    assert np.array_equal(forecast_trees(train, labels, test, 3), forecast_trees(train[["a"]], labels, test[["a"]], 3))
    train.iloc[::7, 0] = np.nan
    test.iloc[:9, 0] = np.nan
    assert np.isfinite(forecast_trees(train, labels, test, 3)).all()


@pytest.mark.parametrize("forecaster", [forecast_ridge, forecast_trees])
def test_without_features_the_forecast_is_drift(forecaster):
    view, target = driven()
    train, labels, test = split(view[[]], target)
    assert np.allclose(forecaster(train, labels, test, 3), labels.mean())


# --- figures -------------------------------------------------------------------------------------------------------


def test_the_ratio_is_that_of_root_mean_squares():
    record = pd.DataFrame(
        {
            "model": RIDGE,
            "variant": EVERYTHING,
            "horizon_months": 3,
            "as_of_date": DAYS[:400],
            "forecast": 0.1,
            "realised": 0.2,
        }
    )
    row = ablation_table(record).iloc[0]
    assert row["rmse_ratio"] == pytest.approx(0.5)
    assert row["standard_error"] == pytest.approx(0.0, abs=1e-12)
    assert row["n"] == 400


def test_the_standard_error_is_that_of_independent_blocks():
    """Losses constant within 40 blocks: the bootstrap sees 40 values, not 4,000."""
    generator = np.random.default_rng(0)
    loss, benchmark = generator.gamma(4.0, 1.0, size=(2, 40)).repeat(100, axis=1)
    blocks = ratio_standard_error(loss, benchmark, 100)
    single = ratio_standard_error(loss, benchmark, 1)
    expected = 0.5 * np.sqrt((1 / 4 + 1 / 4) / 40)  # delta method: half the relative spread of a ratio of means
    assert blocks == pytest.approx(expected, rel=0.35)
    assert blocks > 5 * single
    assert blocks == ratio_standard_error(loss, benchmark, 100)


def test_variants_are_every_pillar_alone_and_left_out():
    by_name = {variant.name: variant.features for variant in variants(CATALOGUE)}
    assert by_name[NOTHING] == ()
    assert set(by_name[EVERYTHING]) == set(FEATURE_NAMES)
    for pillar in {feature.pillar for feature in CATALOGUE}:
        only, without = by_name[f"only {pillar}"], by_name[f"without {pillar}"]
        assert set(only) | set(without) == set(FEATURE_NAMES)
        assert not set(only) & set(without)
        assert {f.pillar for f in CATALOGUE if f.name in only} == {pillar}


def test_one_year_of_real_data_ends_in_a_table(starter_features, starter_tables):
    market = prepare_market(starter_tables)
    wanted = [variant for variant in variants(CATALOGUE) if variant.name in (NOTHING, "only technical")]
    record = ablation_record(starter_features, market, wanted, [2019])
    table = ablation_table(record)
    assert len(table) == 2 * 2 * 4
    assert table["rmse_ratio"].between(0.5, 2.0).all()
    assert table["n"].between(246, 252).all(), "sessions of the year whose target date has a price"
    drift = table[table["variant"] == NOTHING].pivot(index="horizon_months", columns="model", values="rmse_ratio")
    assert np.allclose(drift[RIDGE], drift[TREES])
    log_front = np.log(market.front)
    day = pd.Timestamp("2019-05-15")
    own = record.query("model == @RIDGE and variant == @NOTHING and horizon_months == 3").set_index("as_of_date")
    realised = log_front[market.targets.loc[day, 3]] - log_front[day]
    assert own.loc[day, "realised"] == pytest.approx(realised)
