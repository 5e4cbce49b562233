"""From a published row back to its sources, on the rows of a finished run."""

from __future__ import annotations

import hashlib
import shutil
from datetime import date

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline import stages
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.errors import WarehouseError
from cbi_pipeline.features.build import build_features
from cbi_pipeline.features.catalogue import CATALOGUE, FEATURE_NAMES
from cbi_pipeline.features.point_in_time import PointInTime
from cbi_pipeline.market_calendar import as_of_time
from cbi_pipeline.registry.champion import read_champion
from cbi_pipeline.stages.trace import _rows_as_read, _traced_source
from cbi_pipeline.warehouse import DuckDBWarehouse
from cbi_pipeline_tests.projects import STARTER, change_warehouse, flip_byte, forecasts

DAY = date(2024, 12, 31)


def trace(settings, horizon=6, day=DAY, **values):
    return stages.trace(day, horizon, settings=settings, warehouse=DuckDBWarehouse(settings.warehouse_path), **values)


@pytest.fixture(scope="module")
def traced(finished_run):
    return trace(finished_run.settings)


def test_the_row_is_the_published_one(finished_run, traced):
    published = next(row for row in forecasts(finished_run.settings) if row["horizon_months"] == 6)
    assert traced.row.model_dump() == published
    assert traced.other_models == ()


def test_model_sign_off_scores_and_verdicts_are_those_that_are_stored(finished_run, traced):
    settings = finished_run.settings
    champion = read_champion(settings.models_dir)
    manifest = (settings.models_dir / champion.model_version / "manifest.json").read_bytes()
    assert traced.model.problem is None
    assert traced.model.manifest_sha256 == hashlib.sha256(manifest).hexdigest()
    assert traced.model.sign_off["manifest_sha256"] == champion.manifest_sha256
    assert traced.model.sign_off["scorecard_id"] == champion.scorecard_id

    metrics = {(row[3], row[4], row[5], row[6]): row[7] for row in finished_run.stored["metrics"]}
    assert {score["fold"] for score in traced.scores} == {"all", "common", "fold_1"}
    for score in traced.scores:
        assert score["value"] == metrics[champion.entry, 6, score["fold"], score["metric"]]
    assert len({verdict["judgement_id"] for verdict in traced.verdicts}) == 1
    assert {"metrics_equal_warehouse_sql", "no_worse_than_champion", "quality_targets"} <= {
        verdict["name"] for verdict in traced.verdicts
    }


def test_the_features_are_those_of_the_bundle_on_that_day(traced, starter_features):
    expected = starter_features.loc[pd.Timestamp(DAY)]
    assert tuple(value.name for value in traced.data.features) == FEATURE_NAMES
    for value in traced.data.features:
        own = expected[value.name]
        assert value.value == (None if np.isnan(own) else float(own)), value.name
    assert {value.name for value in traced.data.features if value.read_by_network} == set(traced.model.locked_features)
    assert traced.data.path == STARTER
    assert traced.data.manifest_sha256 == (STARTER / "_SUCCESS").read_text().strip()
    front = next(value for value in traced.data.anchor if value.name == "front_price")
    assert front.value == traced.row.last_price


def test_a_source_row_is_the_newest_that_was_out(traced, starter_tables):
    """By hand: the VIX of Friday 27 December is out on Monday at 16:15 New York; that of Monday is not yet, on Tuesday
    at 14:00 Chicago."""
    vix = next(source for source in traced.data.sources if source.label == "macro_series/VIXCLS")
    assert (vix.event_date, vix.too_old_after) == (date(2024, 12, 27), None)
    (row,) = vix.newest
    assert row["available_at"] == pd.Timestamp("2024-12-30 21:15", tz="UTC")
    table = starter_tables["macro_series"]
    stored = table[(table["series_id"] == "VIXCLS") & (table["date"] == "2024-12-27")]
    assert row["value"] == stored["value"].item()
    curve = next(source for source in traced.data.sources if source.label == "futures_curve/ZL")
    assert (curve.event_date, curve.too_old_after) == (date(2023, 11, 30), 7)
    assert all(
        row["available_at"] <= as_of_time(pd.Timestamp(DAY)) for source in traced.data.sources for row in source.newest
    )


@pytest.mark.slow
def test_without_what_is_named_the_feature_is_another_one(traced, starter_tables, starter_features):
    """The rows that a trace names are all that decide a day, and the newest of them do decide."""
    day = pd.Timestamp(DAY)
    known = PointInTime.from_tables(starter_tables)
    sources = {source for feature in CATALOGUE for source in feature.inputs if not source.history_only}
    kept = {name: set() for name in starter_tables}
    for source in sources:
        rows = _rows_as_read(source, known)
        kept[source.table] |= set(rows.index[rows["available_at"] <= as_of_time(day)])
    named = {
        name: table.loc[sorted(kept[name])].reset_index(drop=True) if name != "policy" else table
        for name, table in starter_tables.items()
    }
    again = build_features(named).loc[day]
    assert again.equals(starter_features.loc[day])

    for label, features in {
        "macro_series/DEXBZUS": {"USD_BRL"},
        "cot_weekly/007601": {"CFTC_commercial_short", "cot_managed_money_net_zscore"},
        "policy/rfs_bbd_volume": {"renewable_diesel_mandate"},
        "weather_daily/midwest": {"midwest_precip_7d_zscore", "midwest_precip_30d_zscore"},
    }.items():
        source = next(source for source in sources if source.label == label)
        newest = _traced_source(source, (), known, DAY).newest
        table = starter_tables[source.table]
        keys = {tuple(row.values()) for row in newest}
        without = table[[tuple(row.values()) not in keys for row in table.to_dict("records")]]
        changed = build_features({**starter_tables, source.table: without}).loc[day]
        others = {name for name in FEATURE_NAMES if not same(changed[name], starter_features.loc[day, name])}
        declared = {feature.name for feature in CATALOGUE if label in {source.label for source in feature.inputs}}
        assert features <= others <= declared, label


def same(one, other):
    return one == other or (np.isnan(one) and np.isnan(other))


def test_what_is_gone_is_said(copied_settings, finished_run, tmp_path):
    champion = read_champion(copied_settings.models_dir)
    shutil.rmtree(copied_settings.models_dir / champion.model_version)
    traced = trace(copied_settings.model_copy(update={"starter_dir": tmp_path / "none"}))
    assert "There is no manifest" in traced.model.problem
    assert traced.model.manifest_sha256 is None
    assert "is not in" in traced.data.problem
    assert (traced.data.features, traced.data.sources) == ((), ())
    whole = trace(finished_run.settings)
    assert traced.scores == whole.scores, "the sign-off is in the warehouse, so scores are found without the model"
    assert traced.verdicts == whole.verdicts


def test_a_model_that_is_not_the_one_signed_off_is_not_described(copied_settings):
    champion = read_champion(copied_settings.models_dir)
    flip_byte(copied_settings.models_dir / champion.model_version / "weights.safetensors")
    assert "altered" in trace(copied_settings).model.problem


def test_a_row_of_other_features_shows_none(copied_settings):
    change_warehouse(copied_settings, "UPDATE predictions SET feature_hash = repeat('0', 64)")
    data = trace(copied_settings).data
    assert "The row was made from features 000000000000" in data.problem
    assert data.manifest_sha256 is not None
    assert data.features == ()


def test_without_a_promotion_on_record_nothing_is_guessed(copied_settings, tmp_path):
    change_warehouse(copied_settings, "UPDATE model_registry SET promoted_at = TIMESTAMPTZ '2099-01-01'")
    found = trace(copied_settings)
    assert found.model.sign_off is None
    assert found.scores, "the stored model names its scorecard"
    shutil.rmtree(copied_settings.models_dir)
    assert trace(copied_settings).scores == ()


def test_of_several_models_the_last_row_is_traced_or_the_one_asked_for(copied_settings):
    change_warehouse(
        copied_settings,
        "INSERT INTO predictions SELECT * REPLACE ('tcn-20200101-00000000' AS model_version, "
        "created_at - INTERVAL 1 DAY AS created_at) FROM predictions",
    )
    found = trace(copied_settings)
    assert found.row.model_version == read_champion(copied_settings.models_dir).model_version
    assert found.other_models == ("tcn-20200101-00000000",)
    assert trace(copied_settings, model_version="tcn-20200101-00000000").model.problem
    with pytest.raises(WarehouseError, match="published no row"):
        trace(copied_settings, model_version="tcn-20200102-00000000")


@pytest.mark.parametrize("horizon", HORIZONS_MONTHS)
def test_every_horizon_is_found_and_no_other_date(finished_run, horizon):
    assert trace(finished_run.settings, horizon).row.horizon_months == horizon
    with pytest.raises(WarehouseError, match="no forecast of that date"):
        trace(finished_run.settings, horizon, day=date(2024, 12, 30))
