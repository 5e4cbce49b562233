"""The jobs on real data, from bundle to warehouse, in the smoke profile."""

from __future__ import annotations

import json
from datetime import date
from importlib import import_module

import pytest

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.forecast import QUANTILE_COLUMNS
from cbi_pipeline.contracts.references import (
    FeaturesRef,
    ModelRef,
    PredictionsRef,
    ScorecardRef,
    WarehouseRef,
    WinnerRef,
)
from cbi_pipeline.contracts.warehouse import METRICS
from cbi_pipeline.errors import CbiError, ModelError, WarehouseError
from cbi_pipeline.evaluation.metrics import METRICS as METRIC_NAMES
from cbi_pipeline.evaluation.scorecard import COMPARISON_FIGURES, DENSITY_FIGURES, SPREAD_FIGURES
from cbi_pipeline.modeling import training
from cbi_pipeline.modeling.config import ARCHITECTURES, TARGETS
from cbi_pipeline.orchestration import checks
from cbi_pipeline.orchestration.resources import SettingsResource, WarehouseResource
from cbi_pipeline.orchestration.run import execute_job, load_reference
from cbi_pipeline.registry.champion import load_champion, read_champion
from cbi_pipeline.reports.console import ENTRY_TITLES
from cbi_pipeline.stages.evaluation import load_scores
from cbi_pipeline_tests.projects import (
    change_warehouse,
    copy_project,
    flip_byte,
    forecasts,
    run_job,
    stored,
    without_stamps,
)

pytestmark = pytest.mark.slow

STAGES = [
    "raw tables",
    "curated features",
    "anchor",
    "scaler",
    "training",
    "feature selection",
    "scorecard",
    "bake-off",
    "gates",
    "table metrics",
    "table scorecards",
    "table experiments",
    "table realized_prices",
    "table data_quality",
    "table feature_importance",
    "candidate",
    "champion",
    "table model_registry",
    "table live_skill",
    "forecast",
    "table predictions",
    "vw_latest_forecast",
]


@pytest.fixture
def no_training(monkeypatch):
    """Any attempt to train a network fails the test."""

    def refuse(*_, **__):
        raise AssertionError("a network was trained")

    monkeypatch.setattr(training, "train_cell", refuse)


# --- the first run -----------------------------------------------------------------------------------------------


def test_every_stage_reports_that_it_computed(finished_run):
    assert sorted(finished_run.events) == sorted(STAGES)
    assert not [stage for stage in STAGES if finished_run.events[stage].reused]
    assert "3 cells trained" in finished_run.events["training"].note


def test_what_is_returned_is_what_the_warehouse_holds(finished_run):
    rows = forecasts(finished_run.settings)
    assert finished_run.outcome.forecast == sorted(rows, key=lambda row: row["horizon_months"])
    assert [row["horizon_months"] for row in finished_run.outcome.forecast] == list(HORIZONS_MONTHS)
    assert finished_run.outcome.published == "4 new, 0 already published"


def test_the_forecast_starts_from_the_last_close_of_the_bundle(finished_run, starter_tables):
    prices = starter_tables["futures_daily"].query("symbol == 'ZL'").sort_values("trade_date").iloc[-1]
    for row in finished_run.outcome.forecast:
        assert row["as_of_date"] == prices["trade_date"].date() == date(2024, 12, 31)
        assert row["last_price"] == prices["close"]
    targets = [row["target_date"] for row in finished_run.outcome.forecast]
    assert targets == [date(2025, 3, 31), date(2025, 6, 30), date(2025, 9, 30), date(2025, 12, 31)]


def test_intervals_are_ordered_hold_the_forecast_and_widen(finished_run):
    widths = []
    for row in finished_run.outcome.forecast:
        quantiles = [row[name] for name in QUANTILE_COLUMNS]
        assert quantiles == sorted(set(quantiles))
        assert row["q10"] < row["predicted_price"] < row["q90"]
        widths.append(row["q90"] - row["q10"])
    assert widths == sorted(widths)


def test_rows_on_the_starter_say_hold_and_that_the_data_end_there(finished_run):
    measured = load_champion(finished_run.settings.models_dir).metrics["by_horizon"]
    for row in finished_run.outcome.forecast:
        sharpe = measured[str(row["horizon_months"])]["sharpe"]
        assert row["status"] == "HOLD"
        assert "the data end on 2024-12-31, where the starter bundle ends" in row["status_reasons"]
        assert (f"Sharpe ratio {sharpe:.3f} is not above 1" in row["status_reasons"]) == (sharpe <= 1)


def test_every_row_names_what_made_it(finished_run):
    settings = finished_run.settings
    model = load_champion(settings.models_dir)
    features = load_reference(settings, "curated_features", FeaturesRef)
    for row in finished_run.outcome.forecast:
        assert row["model_version"] == model.model_version
        assert row["scaler_sha256"] == model.scaler_sha256
        assert row["feature_hash"] == features.feature_hash == model.feature_hash
        assert row["dataset_version"] == features.dataset_version == model.manifest.provenance["dataset_version"]
        assert row["run_id"] == finished_run.outcome.run_id


def test_the_champion_is_whole_and_signed_off(finished_run):
    settings = finished_run.settings
    champion = load_champion(settings.models_dir)
    assert champion.path == finished_run.outcome.model_path
    assert load_reference(settings, "champion", ModelRef).model_version == champion.model_version
    winner = load_reference(settings, "bakeoff_winner", WinnerRef).architecture
    assert winner in ARCHITECTURES
    assert champion.model_version.startswith(f"{winner}-20241231-")
    assert set(champion.anchor["lambda"]) == {"3", "6", "9", "12"}
    assert champion.metrics["by_horizon"]["3"]["mape"] > 0


def test_the_metrics_table_is_the_scorecard(finished_run):
    scores = load_scores(load_reference(finished_run.settings, "scorecard", ScorecardRef))
    published = [dict(zip(METRICS.column_names, row, strict=True)) for row in finished_run.stored["metrics"]]
    names = ["entry", "horizon_months", "fold", "metric", "value", "n", "n_eff"]
    expected = [tuple(None if v != v else v for v in record) for record in scores[names].itertuples(index=False)]
    assert sorted((tuple(row[name] for name in names) for row in published), key=str) == sorted(expected, key=str)
    everywhere = {*METRIC_NAMES, *DENSITY_FIGURES, "sharpe", "sharpe_se"}
    by_fold = {
        fold: {row["metric"] for row in published if row["fold"] == fold} for fold in ("fold_1", "all", "common")
    }
    assert by_fold == {
        "fold_1": everywhere,
        "all": everywhere | {"deflated_sharpe", *SPREAD_FIGURES},
        "common": everywhere | {"deflated_sharpe", *COMPARISON_FIGURES},
    }
    entries = {row["entry"] for row in published}
    assert entries == set(ENTRY_TITLES)
    assert len(published) == len(entries) * 4 * sum(map(len, by_fold.values()))


# --- runs after it -----------------------------------------------------------------------------------------------


def test_a_second_run_trains_nothing_and_changes_no_row(finished_run, copied_settings, no_training):
    outcome, events = run_job(copied_settings)
    assert not [stage for stage, event in events.items() if event.reused is False]
    runs_every_time = [stage for stage, event in events.items() if event.reused is None]
    assert sorted(runs_every_time) == ["bake-off", "raw tables", "vw_latest_forecast"]
    assert "3 re-used" in events["training"].note
    assert outcome.published == "0 new, 4 already published"
    assert stored(copied_settings) == finished_run.stored
    assert outcome.forecast == finished_run.outcome.forecast
    assert outcome.model_path.name == finished_run.outcome.model_path.name
    assert [path.name for path in copied_settings.models_dir.iterdir() if path.is_dir()] == [outcome.model_path.name]


def test_a_run_at_another_commit_keeps_the_rows_that_are_published(finished_run, copied_settings, monkeypatch):
    from cbi_pipeline.stages import publishing, serving

    for module in (publishing, serving):
        monkeypatch.setattr(module, "code_commit", lambda: "0" * 40)
    outcome, _ = run_job(copied_settings)
    assert outcome.published == "0 new, 4 already published"
    assert stored(copied_settings) == finished_run.stored


def test_another_bundle_with_the_same_tables_keeps_the_rows_that_are_published(copied_settings):
    earlier = "20200101T000000Z-00000000"
    change_warehouse(copied_settings, f"UPDATE metrics SET dataset_version = '{earlier}'")
    change_warehouse(copied_settings, f"UPDATE predictions SET dataset_version = '{earlier}'")
    before = stored(copied_settings)
    outcome, _ = run_job(copied_settings)
    assert outcome.published == "0 new, 4 already published"
    assert stored(copied_settings) == before


def test_another_seed_is_another_model_and_old_rows_stay(finished_run, tmp_path):
    settings = copy_project(finished_run.settings, tmp_path / "copy", seed=1)
    outcome, events = run_job(settings)
    assert [stage for stage in ("curated features", "anchor", "scaler") if not events[stage].reused] == []
    assert "3 cells trained" in events["training"].note
    assert outcome.model_path.name != finished_run.outcome.model_path.name
    assert outcome.published == "4 new, 0 already published"
    after = stored(settings)["predictions"]
    assert len(after) == 8
    assert set(finished_run.stored["predictions"]) < set(after)
    assert {row["model_version"] for row in outcome.forecast} == {outcome.model_path.name}
    assert read_champion(settings.models_dir).model_version == outcome.model_path.name
    assert set(finished_run.stored["experiments"]) < set(stored(settings)["experiments"])
    assert len({row[0] for row in stored(settings)["experiments"]}) == 2 * len(ARCHITECTURES) * len(TARGETS)


def test_daily_trains_nothing_and_changes_no_row(finished_run, copied_settings, no_training):
    outcome, events = run_job(copied_settings, "daily")
    tables = {"table predictions", "table realized_prices", "table live_skill", "table data_quality"}
    assert set(events) == {"raw tables", "curated features", "forecast", "vw_latest_forecast"} | tables
    assert outcome.published == "0 new, 4 already published"
    assert outcome.forecast == finished_run.outcome.forecast
    assert stored(copied_settings) == finished_run.stored


def test_daily_makes_the_same_forecast_again_where_none_is_published(finished_run, copied_settings, no_training):
    change_warehouse(copied_settings, "DELETE FROM predictions")
    outcome, events = run_job(copied_settings, "daily")
    assert outcome.published == "4 new, 0 already published"
    assert not events["forecast"].reused
    assert without_stamps(outcome.forecast) == without_stamps(finished_run.outcome.forecast)
    assert {row["run_id"] for row in outcome.forecast} == {outcome.run_id}


# --- what must be refused ----------------------------------------------------------------------------------------


def test_daily_before_any_run_says_what_to_do(new_settings):
    with pytest.raises(CbiError, match="cbi run"):
        execute_job(new_settings, "daily")
    assert not new_settings.models_dir.exists()


@pytest.mark.parametrize("file", ["weights.safetensors", "driver_set.joblib", "anchor.json", "manifest.json"])
def test_a_tampered_champion_forecasts_nothing(finished_run, copied_settings, file):
    change_warehouse(copied_settings, "DELETE FROM predictions")
    flip_byte(copied_settings.models_dir / finished_run.outcome.model_path.name / file)
    with pytest.raises(ModelError) as refusal:
        execute_job(copied_settings, "daily")
    assert file in refusal.value.subject
    assert stored(copied_settings)["predictions"] == []


def test_tampered_features_are_computed_again(finished_run, copied_settings):
    (features,) = copied_settings.artifacts_dir.glob("features/*/features.parquet")
    before = features.read_bytes()
    flip_byte(features)
    outcome, events = run_job(copied_settings, "daily")
    assert not events["curated features"].reused
    assert features.read_bytes() == before
    assert outcome.forecast == finished_run.outcome.forecast


@pytest.mark.parametrize(
    ("horizon", "field", "change"), [(6, "predicted_price", "predicted_price + 0.01"), (12, "q90", "q90 * 1.000001")]
)
def test_a_forecast_that_would_change_is_refused(copied_settings, horizon, field, change):
    change_warehouse(copied_settings, f"UPDATE predictions SET {field} = {change} WHERE horizon_months = {horizon}")
    before = stored(copied_settings)
    with pytest.raises(WarehouseError) as refusal:
        execute_job(copied_settings, "daily")
    assert f"2024-12-31, {horizon} months" in refusal.value.subject
    assert field in refusal.value.rule
    others = {"predicted_price", "q90", "last_price", "anchor_price"} - {field}
    assert not any(f"'{other}'" in refusal.value.rule for other in others)
    assert stored(copied_settings) == before


def test_a_check_that_fails_stops_the_run_before_the_champion(finished_run, copied_settings, monkeypatch):
    module = import_module("cbi_pipeline.stages.leaderboard")
    complete = module.leaderboard
    monkeypatch.setattr(
        module, "leaderboard", lambda reference: [{**r, "rmse_ratio_9m": None} for r in complete(reference)]
    )
    (copied_settings.models_dir / "champion.json").unlink()
    with pytest.raises(CbiError, match="every_entry_is_scored_at_every_horizon") as refusal:
        execute_job(copied_settings, "retrain")
    assert "make ui" in refusal.value.fix
    assert read_champion(copied_settings.models_dir) is None
    assert stored(copied_settings) == finished_run.stored


# --- the checks by themselves ------------------------------------------------------------------------------------


def check_stored_rows(settings):
    return checks.stored_rows_equal_the_forecast(
        load_reference(settings, "daily_predictions", PredictionsRef),
        warehouse=WarehouseResource(run_settings=SettingsResource(values_json=settings.model_dump_json())),
    )


def test_stored_rows_are_checked(finished_run):
    assert check_stored_rows(finished_run.settings).passed


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DELETE FROM predictions WHERE horizon_months = 9", "2024-12-31, 9 months is missing"),
        ("UPDATE predictions SET q05 = q05 - 1e-9 WHERE horizon_months = 3", "2024-12-31, 3 months is different"),
        ("UPDATE predictions SET status_reasons = 'none' WHERE horizon_months = 3", "3 months is different"),
    ],
)
def test_a_row_that_is_missing_or_different_fails_the_check(copied_settings, statement, told):
    change_warehouse(copied_settings, statement)
    result = check_stored_rows(copied_settings)
    assert not result.passed
    assert told in result.description
    assert "; " not in result.description


def test_the_scorecard_is_checked_for_every_horizon(finished_run, monkeypatch):
    reference = load_reference(finished_run.settings, "scorecard", ScorecardRef)
    assert checks.every_entry_is_scored_at_every_horizon(reference).passed
    scores = load_scores(reference)
    without = scores[~((scores["entry"] == "tcn") & (scores["horizon_months"] == 9))]
    monkeypatch.setattr(import_module("cbi_pipeline.stages.leaderboard"), "load_scores", lambda _: without)
    result = checks.every_entry_is_scored_at_every_horizon(reference)
    assert not result.passed
    assert result.description == "missing: tcn at 9 months"


def test_features_of_another_catalogue_fail_their_check(finished_run):
    reference = load_reference(finished_run.settings, "curated_features", FeaturesRef)
    assert checks.features_are_locked(reference).passed
    result = checks.features_are_locked(reference.model_copy(update={"feature_hash": "0" * 64}))
    assert not result.passed
    assert "are not those of this version" in result.description


def test_references_are_readable_json_without_data(finished_run):
    folder = finished_run.settings.dagster_dir / "references"
    files = sorted(folder.rglob("*.json"))
    assert len(files) == 7 + 3 + 3 + 1 + 2 + 3 + 18
    for file in files:
        assert file.stat().st_size < 5_000
        assert json.loads(file.read_text())
    written = load_reference(finished_run.settings, "warehouse/metrics", WarehouseRef)
    assert (written.rows, written.inserted) == (len(finished_run.stored["metrics"]),) * 2
