from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline import stages
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.forecast import QUANTILE_COLUMNS
from cbi_pipeline.contracts.references import FeaturesRef, LiveSkillRef, RawTableRef
from cbi_pipeline.errors import FeatureError, ModelError
from cbi_pipeline.evaluation.benchmarks import prepare_market
from cbi_pipeline.features.driver_set import load_driver_set
from cbi_pipeline.inference import forecast_rows
from cbi_pipeline.market_calendar import calendar_phases
from cbi_pipeline.modeling.config import TrainingConfig
from cbi_pipeline.modeling.training import reference_forecast
from cbi_pipeline.orchestration.metadata import RAW_ASSET_NAMES
from cbi_pipeline.orchestration.run import load_reference
from cbi_pipeline.registry.artifact_store import ArtifactStore
from cbi_pipeline.registry.artifacts import load_model
from cbi_pipeline.registry.champion import load_champion, read_candidate, read_champion
from cbi_pipeline.stages.serving import load_forecast_rows, why_stale
from cbi_pipeline.warehouse import DuckDBWarehouse
from cbi_pipeline_tests.projects import change_warehouse, flip_byte, stored
from cbi_pipeline_tests.stages.refits import refit


@pytest.fixture(scope="module")
def market(_starter_tables):
    return prepare_market(_starter_tables)


@pytest.fixture
def model(finished_run):
    return load_champion(finished_run.settings.models_dir)


def forecast(model, features, market, day):
    return forecast_rows(
        model,
        features,
        market,
        as_of=pd.Timestamp(day),
        status={horizon: ("PRODUCTION", []) for horizon in HORIZONS_MONTHS},
        dataset_version="20250101T000000Z-00000000",
        code_commit="none",
        run_id="none",
        created_at=datetime(2025, 1, 1, tzinfo=UTC),
    )


def predict(settings, days=None, only_new=False, **values):
    """`stages.predict` on the references of a finished project."""
    raw = tuple(load_reference(settings, asset_name, RawTableRef) for asset_name in RAW_ASSET_NAMES.values())
    return stages.predict(
        load_reference(settings, "curated_features", FeaturesRef),
        raw,
        settings=settings.model_copy(update=values),
        run_id="a test",
        store=ArtifactStore(settings.artifacts_dir),
        models_dir=settings.models_dir,
        warehouse=DuckDBWarehouse(settings.warehouse_path),
        live=load_reference(settings, "warehouse/live_skill", LiveSkillRef),
        days=days,
        only_new=only_new,
    )


# --- inference -----------------------------------------------------------------------------------------------------


def test_a_batch_of_days_and_a_single_day_give_the_same_bits(model, starter_features, market):
    config = TrainingConfig.model_validate(model.config)
    scaled = load_driver_set(model.path, model.scaler_sha256).transform(starter_features)
    rows = np.arange(len(scaled) - 40, len(scaled))
    names = tuple(starter_features.columns)
    phases = calendar_phases(starter_features.index, market.targets)
    batch = reference_forecast(config, model.state_dict, scaled, names, phases, rows)
    for place in (0, 17, 39):
        single = reference_forecast(config, model.state_dict, scaled, names, phases, rows[[place]])
        for one, many in zip(single, batch, strict=True):
            assert one.tobytes() == many[[place]].tobytes()


def test_a_forecast_at_a_past_date_uses_nothing_later(model, starter_features, market):
    day = pd.Timestamp("2023-05-15")
    changed = starter_features.copy()
    changed.loc[changed.index > day] *= np.float32(1.7)
    rows = forecast(model, starter_features, market, day)
    assert rows == forecast(model, changed, market, day) == forecast(model, starter_features.loc[:day], market, day)
    assert rows[0].as_of_date == date(2023, 5, 15)
    assert rows[0].last_price == market.front.loc[day]


def test_the_same_day_gives_the_same_numbers_as_the_run_published(finished_run, model, starter_features, market):
    rows = forecast(model, starter_features, market, "2024-12-31")
    for row, published in zip(rows, finished_run.outcome.forecast, strict=True):
        for name in ("predicted_price", "anchor_price", "q05", "q95", "target_date", "lambda_h", "anchor_kind"):
            assert getattr(row, name) == published[name]


def test_the_model_serves_the_density_that_it_keeps(model, starter_features, market):
    """By hand: quantiles of the normal at one horizon, the network's offsets and a correction at two others."""
    day = "2024-12-31"
    plain = {row.horizon_months: row for row in forecast(model, starter_features, market, day)}
    kept = {str(h): {"density": "normal", "corrections": None, "reason": "a test"} for h in HORIZONS_MONTHS}
    kept["6"] |= {"density": "network"}
    kept["9"] |= {"density": "calibrated", "corrections": [0.5, 0.1, 0.2]}
    state = {name: tensor + 0.05 for name, tensor in model.state_dict.items()}
    moved = replace(model, calibration=kept, state_dict=state)
    rows = {row.horizon_months: row for row in forecast(moved, starter_features, market, day)}
    assert rows[3] == plain[3], "the normal is untouched to the last bit"

    def logs(row):
        return np.log([getattr(row, name) for name in QUANTILE_COLUMNS])

    config = TrainingConfig.model_validate(model.config)
    scaled = load_driver_set(model.path, model.scaler_sha256).transform(starter_features)
    locked = [list(starter_features.columns).index(name) for name in model.feature_lock.names]
    phases = calendar_phases(starter_features.index, market.targets)
    last, names = np.array([len(scaled) - 1]), model.feature_lock.names
    inputs = np.ascontiguousarray(scaled[:, locked])
    offsets = reference_forecast(config, state, inputs, names, phases, last).offsets[0, 1]
    normal, sigma = logs(plain[6]), np.log(plain[6].q95 / plain[6].q05) / (2 * 1.6448536269514722)
    assert not np.allclose(offsets * sigma, normal - normal[3], atol=1e-4)
    np.testing.assert_allclose(logs(rows[6]), normal[3] + sigma * offsets, atol=1e-6)
    sigma = np.log(plain[9].q95 / plain[9].q05) / (2 * 1.6448536269514722)
    grown = logs(plain[9]) + sigma * np.array([-0.2, -0.1, -0.5, 0.0, 0.5, 0.1, 0.2])
    np.testing.assert_allclose(logs(rows[9]), grown, atol=1e-6)
    assert rows[9].predicted_price == plain[9].predicted_price


def test_a_day_without_trading_cannot_be_asked_for(model, starter_features, market):
    with pytest.raises(ModelError, match="no trade date"):
        forecast(model, starter_features, market, "2024-12-25")


def test_features_in_another_order_are_refused(model, starter_features, market):
    with pytest.raises(FeatureError):
        forecast(model, starter_features[starter_features.columns[::-1]], market, "2024-12-31")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda frame, name: frame.astype({name: "float64"}), "it is float64"),
        (lambda frame, name: frame.rename(columns={name: "renamed"}), "lacks features"),
        (lambda frame, name: frame[[*frame.columns.drop(name), name]], "another order"),
    ],
)
def test_a_frame_that_breaks_the_lock_is_refused(model, starter_features, market, change, rule):
    with pytest.raises(FeatureError, match=rule):
        forecast(model, change(starter_features, model.feature_lock.names[0]), market, "2024-12-31")


def test_the_network_is_given_the_chosen_features_and_no_others(model, starter_features, market, monkeypatch):
    given = {}

    def record(config, state_dict, features, feature_names, *others):
        given.update(features=features, names=feature_names)
        return reference_forecast(config, state_dict, features, feature_names, *others)

    monkeypatch.setattr("cbi_pipeline.inference.reference_forecast", record)
    forecast(model, starter_features, market, "2024-12-31")
    scaled = load_driver_set(model.path, model.scaler_sha256).transform(starter_features)
    columns = [starter_features.columns.get_loc(name) for name in model.feature_lock.names]
    assert given["names"] == model.feature_lock.names
    assert np.array_equal(given["features"], scaled[:, columns], equal_nan=True)
    assert given["features"].dtype == np.float32


# --- the champion --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def refitted(lineage, tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    return models, refit(lineage, models)


def test_the_champion_is_named_after_the_last_session_and_its_content(refitted, lineage):
    models, reference = refitted
    assert read_champion(models).model_version == reference.model_version
    assert reference.model_version.startswith(f"{reference.architecture}-20241231-")
    model = load_champion(models)
    assert model.scaler_sha256 == lineage.scalers.sha256_by_fold["serving"]
    assert model.metrics["scorecard_id"] == lineage.scorecard.scorecard_id
    assert model.feature_hash == lineage.features.feature_hash
    assert TrainingConfig.model_validate(model.config).seed == 1


def test_the_same_refit_is_the_same_model(refitted, lineage):
    models, reference = refitted
    again = refit(lineage, models)
    assert again == reference.model_copy(update={"reused": True})
    assert [path.name for path in models.iterdir() if path.is_dir()] == [reference.model_version]


def test_an_altered_model_of_that_name_is_not_made_champion_again(refitted, lineage, tmp_path):
    models = tmp_path / "models"
    reference = refit(lineage, models)
    flip_byte(models / reference.model_version / "weights.safetensors")
    (models / "champion.json").unlink()
    with pytest.raises(ModelError, match="altered"):
        refit(lineage, models)
    assert read_champion(models) is None


def test_a_selection_of_other_data_promotes_nothing(lineage, tmp_path):
    other = lineage.selection.model_copy(update={"scalers_key": "0" * 64})
    with pytest.raises(ModelError, match="different runs"):
        refit(lineage, tmp_path / "models", selection=other)
    assert not (tmp_path / "models").exists()


def test_a_scorecard_of_other_data_promotes_nothing(lineage, tmp_path):
    other = lineage.scorecard.model_copy(update={"features_key": "0" * 64})
    with pytest.raises(ModelError, match="different runs"):
        refit(lineage, tmp_path / "models", scorecard=other)
    assert not (tmp_path / "models").exists()


def test_a_refit_that_no_gate_judged_is_stored_as_candidate_and_not_promoted(lineage, tmp_path):
    models = tmp_path / "models"
    with pytest.raises(ModelError, match="was never judged"):
        refit(lineage, models, judged=False)
    assert read_champion(models) is None
    assert load_model(models / read_candidate(models).model_version).metrics["entry"]


# --- predictions ---------------------------------------------------------------------------------------------------


def test_published_rows_are_handed_on_as_they_stand(finished_run, copied_settings):
    reference, _ = predict(copied_settings)
    assert reference.reused
    rows = [row.model_dump() for row in load_forecast_rows(reference)]
    assert rows == finished_run.outcome.forecast


def test_a_new_target_does_not_rewrite_a_published_status(finished_run, copied_settings):
    reference, _ = predict(copied_settings, target_mape_percent=99.0)
    assert [row.model_dump() for row in load_forecast_rows(reference)] == finished_run.outcome.forecast


def test_targets_decide_the_reasons_of_a_new_row(copied_settings):
    change_warehouse(copied_settings, "DELETE FROM predictions")
    strict, _ = predict(copied_settings, target_mape_percent=0.1)
    lax, _ = predict(copied_settings, target_mape_percent=99.0)
    assert all("MAPE" in row.status_reasons for row in load_forecast_rows(strict))
    assert not any("MAPE" in row.status_reasons for row in load_forecast_rows(lax))
    assert all(row.status == "HOLD" for row in load_forecast_rows(lax))


def test_a_row_that_was_lost_is_published_again_beside_the_others(finished_run, copied_settings):
    change_warehouse(copied_settings, "DELETE FROM predictions WHERE horizon_months = 6")
    reference, _ = predict(copied_settings)
    written = stages.publish_predictions(reference, DuckDBWarehouse(copied_settings.warehouse_path))
    assert (written.inserted, written.unchanged) == (1, 3)
    same = [
        [row[:-2] for row in sorted(rows)]
        for rows in (stored(copied_settings)["predictions"], finished_run.stored["predictions"])
    ]
    assert same[0] == same[1]


def test_forecast_rows_that_were_altered_are_not_published(copied_settings):
    reference, _ = predict(copied_settings)
    file = reference.path / "forecast_rows.json"
    records = json.loads(file.read_text())
    records[0]["predicted_price"] += 1.0
    file.write_text(json.dumps(records))
    with pytest.raises(ModelError, match="altered"):
        stages.publish_predictions(reference, DuckDBWarehouse(copied_settings.warehouse_path))


def test_without_a_champion_nothing_is_forecast(copied_settings):
    (copied_settings.models_dir / "champion.json").unlink()
    with pytest.raises(ModelError, match="No model was promoted"):
        predict(copied_settings)


@pytest.mark.parametrize(
    ("origin", "today", "told"),
    [
        ("starter", date(2024, 12, 31), "where the starter bundle ends"),
        ("built", date(2024, 12, 31), None),
        ("built", date(2025, 1, 8), None),
        ("built", date(2025, 1, 9), "more than 5 sessions before the forecast was made"),
        ("provider_files", date(2026, 1, 2), "the data end on 2024-12-31"),
    ],
)
def test_old_prices_are_a_reason_to_hold(lineage, origin, today, told):
    """2025-01-01 has no session, and 2025-01-09 had one (grains traded): five sessions later is 2025-01-08."""
    prices = lineage.raw["futures_daily"].model_copy(update={"origin": origin})
    reason = why_stale(prices, 5, today)
    assert (reason is None) if told is None else (told in reason)
