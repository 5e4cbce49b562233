from __future__ import annotations

from itertools import product

import pytest

from cbi_pipeline import stages
from cbi_pipeline.contracts.references import FailedCellRef, PredictionsRef
from cbi_pipeline.errors import ModelError, WarehouseError
from cbi_pipeline.modeling.config import TARGETS
from cbi_pipeline.orchestration.run import load_reference
from cbi_pipeline.stages.evaluation import load_scores
from cbi_pipeline.stages.publishing import differing_rows
from cbi_pipeline.warehouse import DuckDBWarehouse


@pytest.fixture
def warehouse(tmp_path) -> DuckDBWarehouse:
    made = DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    made.migrate()
    return made


@pytest.fixture
def predictions(finished_run) -> PredictionsRef:
    return load_reference(finished_run.settings, "daily_predictions", PredictionsRef)


def test_predictions_are_written_once(predictions, warehouse):
    first = stages.publish_predictions(predictions, warehouse)
    second = stages.publish_predictions(predictions, warehouse)
    assert (first.inserted, first.unchanged, first.rows) == (4, 0, 4)
    assert (second.inserted, second.unchanged, second.rows) == (0, 4, 4)
    assert differing_rows(predictions, warehouse) == []


def test_an_empty_warehouse_lacks_every_row(predictions, warehouse):
    assert differing_rows(predictions, warehouse) == [
        f"2024-12-31, {horizon} months is missing" for horizon in (3, 6, 9, 12)
    ]


def test_metrics_are_written_once_and_undefined_ones_are_null(lineage, warehouse):
    scores = load_scores(lineage.scorecard)
    first = stages.publish_metrics(lineage.scorecard, warehouse, run_id="one")
    second = stages.publish_metrics(lineage.scorecard, warehouse, run_id="two")
    assert (first.inserted, first.rows) == (len(scores), len(scores))
    assert (second.inserted, second.unchanged) == (0, len(scores))
    rows = warehouse.query("SELECT value, run_id FROM metrics").to_pylist()
    assert {row["run_id"] for row in rows} == {"one"}
    assert sum(row["value"] is None for row in rows) == scores["value"].isna().sum() > 0
    assert not any(row["value"] != row["value"] for row in rows)


def test_a_published_metric_never_changes(lineage, warehouse, monkeypatch):
    stages.publish_metrics(lineage.scorecard, warehouse, run_id="one")
    other = load_scores(lineage.scorecard)
    other.loc[0, "value"] += 0.5
    monkeypatch.setattr("cbi_pipeline.stages.publishing.load_scores", lambda _: other)
    with pytest.raises(WarehouseError, match="1 would"):
        stages.publish_metrics(lineage.scorecard, warehouse, run_id="two")


def publish_experiments(lineage, warehouse, cells=None, **options):
    options = {"profile": "smoke", "run_id": "one"} | options
    return stages.publish_experiments(lineage.scorecard, cells or lineage.cells, warehouse, **options)


def test_experiments_are_written_once(lineage, warehouse):
    architectures = {cell.architecture for cell in lineage.cells.values()}
    first = publish_experiments(lineage, warehouse)
    second = publish_experiments(lineage, warehouse, profile="full", run_id="two")
    assert (first.inserted, first.rows) == (2 * len(architectures),) * 2
    assert (second.inserted, second.unchanged) == (0, first.rows)
    rows = stages.experiments(warehouse)
    assert {(row["architecture"], row["target"]) for row in rows} == set(product(architectures, TARGETS))
    assert {(row["folds"], row["profile"], row["run_id"]) for row in rows} == {(2, "smoke", "one")}


def test_a_published_experiment_never_changes(lineage, warehouse, monkeypatch):
    publish_experiments(lineage, warehouse)
    monkeypatch.setattr("cbi_pipeline.stages.publishing.pooled_metrics", lambda *_, **__: {})
    with pytest.raises(WarehouseError, match="4 would"):
        publish_experiments(lineage, warehouse)


def test_an_experiment_with_a_failed_cell_is_not_published(lineage, warehouse):
    key, cell = next(iter(lineage.cells.items()))
    keys = cell.model_dump(include={"architecture", "fold", "features_key", "anchors_key", "scalers_key"})
    failed = FailedCellRef(**keys, reason="The training loss is nan.")
    with pytest.raises(ModelError, match="The training loss is nan"):
        publish_experiments(lineage, warehouse, {**lineage.cells, key: failed})
    assert stages.experiments(warehouse) == []


def test_the_view_shows_what_was_published(predictions, warehouse):
    reference, rows = stages.latest_forecast(warehouse)
    assert (reference.rows, rows) == (0, [])
    stages.publish_predictions(predictions, warehouse)
    reference, rows = stages.latest_forecast(warehouse)
    assert reference.rows == 4
    assert [row["horizon_months"] for row in rows] == [3, 6, 9, 12]
