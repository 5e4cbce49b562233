"""The contracts of the warehouse tables, against the rows that are written and their own rules."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import Literal

import pytest

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.forecast import ForecastRow, Status
from cbi_pipeline.contracts.warehouse import EXPERIMENTS, METRICS, PREDICTIONS, SCORECARDS, WAREHOUSE_TABLES


def test_predictions_has_exactly_the_fields_of_a_forecast_row():
    types = {
        date: "DATE",
        datetime: "TIMESTAMP",
        float: "FLOAT64",
        str: "STRING",
        Status: "STRING",
        Literal[3, 6, 9, 12]: "INT64",
    }
    assert HORIZONS_MONTHS == (3, 6, 9, 12)
    fields = [(name, types[field.annotation], "REQUIRED") for name, field in ForecastRow.model_fields.items()]
    assert [(column.name, column.type, column.mode) for column in PREDICTIONS.columns] == fields


def test_keys_are_those_of_the_design():
    assert {name: table.key for name, table in WAREHOUSE_TABLES.items()} == {
        "predictions": ("as_of_date", "horizon_months", "model_version"),
        "metrics": ("scorecard_id", "entry", "horizon_months", "fold", "metric"),
        "scorecards": ("scorecard_id",),
        "experiments": ("experiment_id", "scorecard_id"),
        "out_of_fold_forecasts": ("scorecard_id", "entry", "fold", "as_of_date", "horizon_months"),
        "realized_prices": ("trade_date", "dataset_version"),
        "gate_verdicts": ("judgement_id", "name", "horizon_months"),
        "model_registry": ("promoted_at", "model_version"),
        "data_quality": ("dataset_version", "features_key", "source"),
        "feature_importance": ("selection_id", "feature"),
        "live_skill": ("evaluation_id", "horizon_months", "metric"),
    }


@pytest.mark.parametrize("table", WAREHOUSE_TABLES.values(), ids=lambda table: table.name)
def test_key_write_stamp_and_published_columns_are_all_columns_once(table):
    parts = [*table.key, *table.write_stamp, *table.published_columns]
    assert sorted(parts) == sorted(table.column_names)
    of_the_run = {
        EXPERIMENTS.name: {"profile", "dataset_version", "training_seconds"},
        SCORECARDS.name: {"profile", "dataset_version"},
    }.get(table.name, set())
    assert set(table.write_stamp) == {"created_at", "run_id", "code_commit"} | of_the_run
    assert len(table.cluster_by) <= 4
    assert all(column.description for column in table.columns)


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"key": ("scorecard_id", "value")}, "must be REQUIRED"),
        ({"key": ("nothing",)}, "no such columns"),
        ({"cluster_by": ("nothing",)}, "no such columns"),
        ({"write_stamp": ("nothing",)}, "no such columns"),
        ({"partition_by": "entry"}, "neither DATE nor TIMESTAMP"),
        ({"key": ("created_at",)}, "write stamp"),
        ({"columns": (*METRICS.columns, METRICS.columns[0])}, "used twice"),
    ],
)
def test_a_contract_that_contradicts_itself_is_refused(roles, message):
    with pytest.raises(ValueError, match=message):
        replace(METRICS, **roles)


def test_metrics_may_only_lack_their_value():
    assert [column.name for column in METRICS.columns if column.mode == "NULLABLE"] == ["value"]


def test_experiments_may_only_lack_errors():
    ratios = [f"rmse_ratio_{horizon}m" for horizon in (3, 6, 9, 12)]
    assert [column.name for column in EXPERIMENTS.columns if column.mode == "NULLABLE"] == ratios
