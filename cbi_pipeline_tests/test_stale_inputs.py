"""What a real model can go without: sources cut from the real tables, and the same day forecast again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd
import pytest

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.evaluation.benchmarks import prepare_market
from cbi_pipeline.features.build import build_features
from cbi_pipeline.features.catalogue import CATALOGUE
from cbi_pipeline.features.declarations import CURVE, DGS2, VIXCLS, WASDE_STOCKS, WASDE_USE, WB_PALM_OIL, WEATHER, ZL
from cbi_pipeline.features.driver_set import load_driver_set
from cbi_pipeline.features.validation.staleness import SOURCES
from cbi_pipeline.inference import forecast_rows
from cbi_pipeline.modeling.anchor import INPUT_COLUMNS
from cbi_pipeline.modeling.config import TrainingConfig
from cbi_pipeline.registry.champion import load_champion
from cbi_pipeline.stale_inputs import (
    ANCHOR_SOURCES,
    MINIMUM_GAPS,
    is_needed,
    made_without,
    missing_inputs,
    refusal,
    sources_of,
    stale_inputs,
)

DAY = pd.Timestamp("2024-12-31")
ENDED = "futures_curve/ZL is 397 days old (at most 7)"


@pytest.fixture(scope="module")
def model(finished_run):
    return load_champion(finished_run.settings.models_dir)


def cut(tables, *sources):
    """The tables without the newest rows of some sources, which are then beyond their maximum age on the last day."""
    kept = dict(tables)
    for source in sources:
        table = kept[source.table]
        recent = table[source.event_date] >= DAY - pd.Timedelta(days=source.maximum_age_days)
        kept[source.table] = table[~((table[source.column] == source.key) & recent)].reset_index(drop=True)
    return kept


@pytest.fixture(scope="module")
def without(_starter_tables):
    """Tables that lack the newest rows of some sources, with their features."""
    made = {}

    def make(*sources):
        if sources not in made:
            tables = cut(_starter_tables, *sources)
            made[sources] = tables, build_features(tables)
        return made[sources]

    return make


def judged(model, tables, features, day=DAY):
    drivers = load_driver_set(model.path, model.scaler_sha256)
    missing = missing_inputs(model, drivers, features, prepare_market(tables).inputs, day)
    read = {source.table for source in sources_of(missing)}
    return stale_inputs(missing, {name: tables[name] for name in read}, day)


def forecast(model, tables, features):
    rows = forecast_rows(
        model,
        features,
        prepare_market(tables),
        as_of=DAY,
        status={horizon: ("PRODUCTION", []) for horizon in HORIZONS_MONTHS},
        dataset_version="20250101T000000Z-00000000",
        code_commit="none",
        run_id="none",
        created_at=datetime(2025, 1, 1, tzinfo=UTC),
    )
    return [row.model_dump_json() for row in rows]


def earning(model, horizon, weight=0.25):
    """The model, had its network earned a weight at one horizon."""
    return replace(model, anchor={**model.anchor, "lambda": {**model.anchor["lambda"], str(horizon): weight}})


def with_density(model, horizon, density):
    served = {"density": density, "corrections": None, "reason": "a test"}
    return replace(model, calibration={**model.calibration, str(horizon): served})


def of(stale, source):
    return {one.feeds: dict(one.effects) for one in stale if one.source.source == source}


def everywhere(effect):
    return dict.fromkeys(HORIZONS_MONTHS, effect)


def test_the_smoke_model_is_what_these_tests_think_it_is(model):
    """Its network has earned nothing, the normal serves, VIX is on the path to its mean."""
    assert set(map(float, model.anchor["lambda"].values())) == {0.0}
    assert {kept["density"] for kept in model.calibration.values()} == {"normal"}
    assert "VIX_zscore" in TrainingConfig.model_validate(model.config).network.mean_path_inputs
    assert set(ANCHOR_SOURCES) == set(INPUT_COLUMNS)


def test_of_the_starter_bundle_only_the_curve_is_stale_and_the_anchor_adds_none(model, without):
    stale = judged(model, *without())
    assert {one.source.source for one in stale} == {CURVE}
    assert of(stale, CURVE)["the anchor's carry"] == everywhere("curve")
    assert not is_needed(stale)
    for horizon in HORIZONS_MONTHS:
        assert made_without(stale, horizon) == [f"{ENDED}: forecast made without it, the anchor adds no curve"]


def test_a_fundamental_of_the_anchor_is_needed_and_every_source_is_named(model, without):
    stale = judged(model, *without(WASDE_STOCKS, WASDE_USE, WB_PALM_OIL))
    assert is_needed(stale)
    assert of(stale, WASDE_USE)["the anchor's stocks_to_use_deviation"] == everywhere("needed")
    error = refusal(stale, DAY, model.model_version)
    assert error.subject == f"forecast of 2024-12-31 by {model.model_version}"
    for source, newest in ((WASDE_STOCKS, "2024-10-11"), (WASDE_USE, "2024-10-11"), (WB_PALM_OIL, "2024-10-01")):
        age = (DAY - pd.Timestamp(newest)).days
        assert (
            f"{source.label} is {age} days old (at most {source.maximum_age_days}) and feeds the anchor's "
            in error.rule
        )
        assert error.stale[source.label] == newest
    assert "feeds the anchor's stocks_to_use_deviation, needed at 3, 6, 9, 12 months" in error.rule
    assert f"Beside that {ENDED}." in error.rule
    assert "futures_curve/ZL" not in error.stale
    assert "cbi sources status" in error.fix


def test_a_fundamental_without_weight_moves_nothing(model, without):
    fit = model.anchor["fit"]
    beta = {h: {**own, "stocks_to_use_deviation": 0.0} if h == "6" else own for h, own in fit["beta"].items()}
    unweighted = replace(model, anchor={**model.anchor, "fit": {**fit, "beta": beta}})
    stale = judged(unweighted, *without(WASDE_STOCKS, WASDE_USE, WB_PALM_OIL))
    assert of(stale, WASDE_USE)["the anchor's stocks_to_use_deviation"] == {**everywhere("needed"), 6: "nothing"}


def test_a_fundamental_at_its_maximum_age_is_not_stale(model, without):
    """2024-10-11 is 62 days before 2024-12-12, and 63 before 2024-12-13."""
    cut_off = without(WASDE_STOCKS, WASDE_USE, WB_PALM_OIL)
    at_age, older = (of(judged(model, *cut_off, pd.Timestamp(day)), WASDE_USE) for day in ("2024-12-12", "2024-12-13"))
    assert (bool(at_age), bool(older)) == (False, True)


def test_each_day_is_judged_as_of_its_own_close(model, starter_tables):
    """Releases of 2024-10 and 2024-11 are gone: on 2024-12-09 that of September is too old, next day there is a new."""
    fundamentals = starter_tables["fundamentals"]
    gone = fundamentals["release_date"].between("2024-10-01", "2024-11-30")
    tables = {**starter_tables, "fundamentals": fundamentals[~gone].reset_index(drop=True)}
    features = build_features(tables)
    days = [pd.Timestamp(day) for day in ("2024-12-09", "2024-12-10", "2024-12-31")]
    assert [is_needed(judged(model, tables, features, day)) for day in days] == [True, False, False]


def test_what_a_network_without_weight_reads_moves_nothing_and_the_row_says_so(model, without):
    stale = judged(model, *without(VIXCLS, DGS2))
    fed = of(stale, VIXCLS)
    assert set(fed) == {"VIX_level", "VIX_zscore"} & set(model.feature_lock.names)
    assert set(map(str, fed.values())) == {str(everywhere("nothing"))}
    assert not is_needed(stale)
    said = [line for line in made_without(stale, 6) if line.startswith("macro_series/VIXCLS")]
    assert said == [
        "macro_series/VIXCLS is 8 days old (at most 7): forecast made without it, it moves nothing at this horizon"
    ]
    assert forecast(model, *without(VIXCLS, DGS2)) == forecast(model, *without()), "nothing, to the last bit"


def test_a_network_that_has_earned_its_weight_needs_what_it_never_missed(model, without):
    stale = judged(earning(model, 6), *without(VIXCLS, DGS2))
    assert of(stale, VIXCLS)["VIX_zscore"] == {**everywhere("nothing"), 6: "needed"}
    assert is_needed(stale)
    assert "feeds VIX_zscore, needed at 6 months" in refusal(stale, DAY, "a model").rule


def test_the_networks_density_needs_what_the_network_never_missed(model, without):
    stale = judged(with_density(model, 12, "network_calibrated"), *without(VIXCLS, DGS2))
    assert of(stale, DGS2)["yield_curve_slope"] == {**everywhere("nothing"), 12: "needed"}


def test_a_network_that_missed_an_input_in_training_sees_a_gap(model, without):
    tables, features = without(WEATHER["brazil"])
    drivers = load_driver_set(model.path, model.scaler_sha256)
    trained_on = features.loc[str(drivers.train_start) : str(drivers.train_end), "brazil_precip_7d_zscore"]
    assert trained_on.isna().sum() >= MINIMUM_GAPS
    stale = judged(with_density(model, 9, "network"), tables, features)
    fed = of(stale, WEATHER["brazil"])
    assert fed["brazil_precip_7d_zscore"] == {**everywhere("nothing"), 9: "gap"}
    (said,) = made_without([one for one in stale if one.source.source == WEATHER["brazil"]], 9)
    assert said.startswith("weather_daily/brazil is ")
    assert said.endswith("(at most 7): forecast made without it, the network sees a gap")


def test_a_column_that_the_scaler_dropped_is_not_read(model, without):
    tables, features = without(VIXCLS, DGS2)
    drivers = load_driver_set(model.path, model.scaler_sha256)
    dropped = replace(drivers, unusable={"VIX_level": "constant", "VIX_zscore": "constant"})
    missing = missing_inputs(model, dropped, features, prepare_market(tables).inputs, DAY)
    assert not {"VIX_level", "VIX_zscore"} & set(missing)


def test_a_source_that_the_model_reads_nothing_of_changes_no_bit_and_is_not_spoken_of(model, without):
    locked = set(model.feature_lock.names)
    anchored = {source for sources in ANCHOR_SOURCES.values() for source in sources}
    unread = [
        source
        for source in SOURCES
        if source not in anchored
        and source != ZL
        and not source.history_only
        and not any(feature.name in locked for feature in CATALOGUE if source in feature.inputs)
    ]
    assert unread, "the model reads of every source: this test compares nothing"
    assert {one.source.source for one in judged(model, *without(*unread))} == {CURVE}
    assert forecast(model, *without(*unread)) == forecast(model, *without())
