"""What every warehouse stores, refuses and reads back: each test runs once in DuckDB and once in BigQuery."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cbi_pipeline.contracts.warehouse import PREDICTIONS
from cbi_pipeline.errors import WarehouseError
from cbi_pipeline.warehouse import MergeResult

ALL_ROWS = "SELECT * FROM predictions ORDER BY as_of_date, horizon_months, model_version"


def stored(warehouse: Any, table: str = "predictions") -> list[dict]:
    return warehouse.query(f"SELECT * FROM {table} ORDER BY created_at").to_pylist()


def test_migrate_again_keeps_the_rows(warehouse, forecast_row):
    warehouse.merge("predictions", [forecast_row()])
    warehouse.migrate()
    assert stored(warehouse) == [forecast_row()]


def test_rows_come_back_as_they_were_written(warehouse, forecast_row):
    rows = [forecast_row(horizon_months=h, predicted_price=45.0 + 1 / 3 + h) for h in (3, 6, 9, 12)]
    assert warehouse.merge("predictions", rows) == MergeResult(inserted=4, unchanged=0)
    assert warehouse.query(ALL_ROWS).to_pylist() == rows
    assert warehouse.query(ALL_ROWS).schema.types == PREDICTIONS.arrow_schema.types


def test_frame_arrow_and_mappings_are_written_alike(warehouse, forecast_row):
    """Each under a model version of its own, and otherwise the same rows."""

    def rows(number: int) -> list[dict]:
        return [forecast_row(horizon_months=h, model_version=f"model-{number}") for h in (3, 12)]

    def frame(number: int) -> pd.DataFrame:
        made = pd.DataFrame(rows(number))
        made["as_of_date"] = pd.to_datetime(made["as_of_date"]).astype("datetime64[ns]")
        made["created_at"] = made["created_at"].astype("datetime64[ns, UTC]")
        made["status"] = made["status"].astype("category")
        return made

    for offered in (rows(0), frame(1), frame(2)[frame(2).columns[::-1]], pa.Table.from_pylist(rows(3))):
        assert warehouse.merge("predictions", offered) == MergeResult(2, 0)
    expected = [row for number in range(4) for row in rows(number)]
    found = warehouse.query("SELECT * FROM predictions ORDER BY model_version, horizon_months").to_pylist()
    assert found == expected


def test_row_count_counts_tables_and_views(warehouse, forecast_row):
    before = warehouse.row_count("predictions")
    warehouse.merge("predictions", [forecast_row(horizon_months=h) for h in (3, 6)])
    assert warehouse.row_count("predictions") - before == 2
    assert warehouse.row_count("vw_latest_forecast") == 2


def test_no_rows_is_no_write(warehouse):
    assert warehouse.merge("predictions", []) == MergeResult(0, 0)
    assert warehouse.latest_forecast() == []


def test_rerun_is_a_no_op_and_says_so(warehouse, forecast_row):
    first = [forecast_row(horizon_months=h) for h in (3, 6)]
    warehouse.merge("predictions", first)
    again = [
        forecast_row(horizon_months=h, run_id="run-2", created_at=datetime(2023, 3, 2, 7, tzinfo=UTC))
        for h in (3, 6, 9)
    ]
    assert warehouse.merge("predictions", again) == MergeResult(inserted=1, unchanged=2)
    assert warehouse.query(ALL_ROWS).to_pylist() == [*first, again[2]]
    assert str(MergeResult(inserted=1, unchanged=2)) == "1 inserted, 2 unchanged"


def altered(value: object) -> object:
    return value + (timedelta(days=1) if isinstance(value, date) else "x" if isinstance(value, str) else 1)


def test_a_published_forecast_never_changes(warehouse, forecast_row):
    """One day for every column that could change: a refusal names each of them in its own row, and no other."""
    columns = PREDICTIONS.published_columns
    days = [date(2023, 3, 1) + timedelta(days=n) for n in range(len(columns))]
    published = [forecast_row(as_of_date=day) for day in days]
    warehouse.merge("predictions", published)
    changed = [row | {name: altered(row[name])} for row, name in zip(published, columns, strict=True)]
    new = forecast_row(horizon_months=9)
    for first in range(0, len(columns), 5):
        named = range(first, min(first + 5, len(columns)))
        with pytest.raises(WarehouseError) as refusal:
            warehouse.merge("predictions", [new, *changed[first : first + 5]])
        assert f"never change, {len(named)} would" in str(refusal.value)
        described = refusal.value.subject.split("; predictions ")
        assert len(described) == len(named)
        for text, n in zip(described, named, strict=True):
            assert f"as_of_date={days[n]}, horizon_months=3, model_version=model-a" in text
            stored_value, offered = published[n][columns[n]], changed[n][columns[n]]
            assert f"{columns[n]}: stored {stored_value!r}, offered {offered!r}" in text
            assert [name for name in PREDICTIONS.column_names if f"{name}: stored" in text] == [columns[n]]
    assert warehouse.query(ALL_ROWS).to_pylist() == published


@pytest.mark.parametrize(("before", "after"), [(11.5, None), (None, 11.5), (11.5, 11.500000000000002)])
def test_a_published_metric_never_changes(warehouse, metric_row, before, after):
    warehouse.merge("metrics", [metric_row(value=before)])
    with pytest.raises(WarehouseError, match="value: stored"):
        warehouse.merge("metrics", [metric_row(value=after)])
    assert stored(warehouse, "metrics") == [metric_row(value=before)]


def test_an_undefined_metric_is_unchanged_by_a_rerun(warehouse, metric_row):
    warehouse.merge("metrics", [metric_row(value=None)])
    assert warehouse.merge("metrics", [metric_row(value=None)]) == MergeResult(0, 1)


def test_refusal_counts_all_differing_rows_and_shows_five(warehouse, forecast_row):
    days = [date(2023, 3, 1) + timedelta(days=n) for n in range(8)]
    warehouse.merge("predictions", [forecast_row(as_of_date=day) for day in days])
    with pytest.raises(WarehouseError, match=r"never change, 7 would") as refusal:
        warehouse.merge("predictions", [forecast_row(as_of_date=day, last_price=50.0) for day in days[1:]])
    assert str(refusal.value).count("last_price: stored 45.25, offered 50.0") == 5


@pytest.mark.parametrize("kind", ["rows", "frame", "object frame", "arrow"])
def test_not_finite_is_refused(warehouse, metric_row, kind):
    for wrong in (float("nan"), float("inf"), -np.inf, np.float32("nan")):
        rows = [metric_row(metric="a"), metric_row(metric="b", value=wrong)]
        offered = {
            "rows": lambda rows=rows: rows,
            "frame": lambda rows=rows: pd.DataFrame(rows),
            "object frame": lambda rows=rows: pd.DataFrame(rows).astype({"value": object}),
            "arrow": lambda rows=rows: pa.Table.from_pylist(rows),
        }[kind]()
        with pytest.raises(WarehouseError, match=r"metrics\.value: 1 of 2 values are NaN or infinite"):
            warehouse.merge("metrics", offered)
    assert stored(warehouse, "metrics") == []


def test_a_required_value_cannot_be_null(warehouse, forecast_row):
    for column in PREDICTIONS.column_names:
        with pytest.raises(WarehouseError, match=rf"predictions\.{column}: .*REQUIRED"):
            warehouse.merge("predictions", [forecast_row(), forecast_row(horizon_months=6) | {column: None}])
    assert stored(warehouse) == []


OTHER_TYPES = [
    ("as_of_date", datetime(2023, 3, 1, 5)),
    ("as_of_date", datetime(2023, 3, 1, tzinfo=UTC)),
    ("as_of_date", "2023-03-01"),
    ("as_of_date", pd.NaT),
    ("created_at", datetime(2023, 3, 1, 5)),
    ("created_at", date(2023, 3, 1)),
    ("created_at", "2023-03-01T00:00:00Z"),
    ("horizon_months", 3.5),
    ("horizon_months", "3"),
    ("horizon_months", 2**63),
    ("last_price", "45"),
    ("last_price", True),
    ("model_version", 7),
    ("model_version", b"model"),
]


def test_a_value_of_another_type_is_refused(warehouse, forecast_row):
    for column, value in OTHER_TYPES:
        with pytest.raises(WarehouseError, match=rf"predictions\.{column}: "):
            warehouse.merge("predictions", [forecast_row() | {column: value}])
    assert stored(warehouse) == []


def test_a_time_of_day_in_a_frame_is_refused_for_a_date(warehouse, forecast_row):
    frame = pd.DataFrame([forecast_row()])
    frame["as_of_date"] = pd.to_datetime(["2023-03-01 05:00"])
    with pytest.raises(WarehouseError, match="time of day"):
        warehouse.merge("predictions", frame)


@pytest.mark.parametrize(
    ("column", "mixed"),
    [
        ("as_of_date", [date(2023, 3, 1), datetime(2023, 3, 2, 5)]),
        ("as_of_date", [date(2023, 3, 1), datetime(2023, 3, 2, tzinfo=UTC)]),
        ("created_at", [datetime(2023, 3, 1, tzinfo=UTC), datetime(2023, 3, 2)]),
    ],
)
def test_one_value_that_would_lose_its_zone_or_time_is_refused(warehouse, forecast_row, column, mixed):
    rows = [forecast_row(horizon_months=h) | {column: value} for h, value in zip((3, 6), mixed, strict=True)]
    with pytest.raises(WarehouseError, match=rf"predictions\.{column}: "):
        warehouse.merge("predictions", rows)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("created_at", pd.to_datetime(["2023-03-01 00:00:00.123456789+00:00"])),
        ("n", np.array([2**63], dtype="uint64")),
        ("n_eff", np.array([2**53 + 1])),
    ],
)
def test_a_frame_value_that_would_be_rounded_is_refused(warehouse, metric_row, column, values):
    frame = pd.DataFrame([metric_row()])
    frame[column] = values
    with pytest.raises(WarehouseError, match=rf"metrics\.{column}: The values do not fit"):
        warehouse.merge("metrics", frame)


def test_missing_and_unknown_columns_are_refused(warehouse, forecast_row):
    without = {name: value for name, value in forecast_row().items() if name != "q50"}
    with pytest.raises(WarehouseError, match=r"missing \['q50'\]"):
        warehouse.merge("predictions", [without])
    with pytest.raises(WarehouseError, match=r"unknown \['note'\]"):
        warehouse.merge("predictions", pd.DataFrame([forecast_row() | {"note": "x"}]))
    doubled = pa.Table.from_pylist([forecast_row()]).append_column("q50", pa.array([1.0]))
    with pytest.raises(WarehouseError, match="25 are offered"):
        warehouse.merge("predictions", doubled)


def test_a_key_offered_twice_is_refused(warehouse, forecast_row):
    with pytest.raises(WarehouseError, match=r"horizon_months=6.*1 keys are offered more than once"):
        warehouse.merge("predictions", [forecast_row(), forecast_row(horizon_months=6), forecast_row(horizon_months=6)])
    assert stored(warehouse) == []


def test_an_unknown_table_is_refused(warehouse):
    with pytest.raises(WarehouseError, match="scores"):
        warehouse.merge("scores", [])


def test_the_view_equals_pandas(warehouse, forecast_row):
    days = [date(2023, 3, 1), date(2023, 3, 2), date(2023, 3, 3)]
    written = [datetime(2023, 3, 3, hour, tzinfo=UTC) for hour in (20, 22, 21, 22)]  # b and d tie; c is late but older
    rows = [
        forecast_row(as_of_date=day, horizon_months=h, model_version=f"model-{m}", created_at=at, last_price=40.0 + n)
        for n, (day, h, (m, at)) in enumerate(product(days, (12, 3, 6), zip("abcd", written, strict=True)))
    ]
    rows += [forecast_row(as_of_date=days[1], horizon_months=9, created_at=datetime(2024, 1, 1, tzinfo=UTC))]
    rows = [
        row
        for row in rows
        if (row["as_of_date"], row["horizon_months"], row["model_version"]) != (days[2], 6, "model-d")
    ]
    warehouse.merge("predictions", rows[::-1])

    frame = pd.DataFrame(rows)
    newest = frame[frame["as_of_date"] == frame["as_of_date"].max()]
    last = newest.sort_values(["created_at", "model_version"]).groupby("horizon_months").tail(1)
    expected = last.sort_values("horizon_months").to_dict("records")
    assert [row["model_version"] for row in expected] == ["model-d", "model-b", "model-d"]
    assert warehouse.latest_forecast() == expected


def test_query_takes_named_parameters(warehouse, metric_row):
    rows = [metric_row(horizon_months=h, created_at=datetime(2023, 3, h, tzinfo=UTC)) for h in (3, 6, 9)]
    warehouse.merge("metrics", rows)
    sql = (
        "SELECT horizon_months FROM metrics "
        "WHERE entry = @entry AND created_at < @before AND horizon_months IN UNNEST(@hs)"
    )
    found = warehouse.query(
        sql, {"entry": "anchor", "before": datetime(2023, 3, 9, tzinfo=UTC), "hs": [6, 9]}
    ).to_pylist()
    assert found == [{"horizon_months": 6}]
    hostile = {"entry": "x' OR 'a'='a", "before": datetime(2099, 1, 1, tzinfo=UTC), "hs": [3]}
    assert warehouse.query(sql, hostile).num_rows == 0


NO_READS = [
    ("SELECT @a", None),
    ("SELECT 1", {"a": 1}),
    ("SELECT * FROM nowhere", None),
    ("SELEC 1", None),
    ("SELECT 1; SELECT 2", None),
    ("DELETE FROM metrics WHERE TRUE", None),
    ("DROP TABLE metrics", None),
    ("INSERT INTO metrics SELECT * FROM metrics", None),
]


def test_query_refuses_what_is_no_valid_read(warehouse, metric_row):
    warehouse.merge("metrics", [metric_row()])
    for sql, params in NO_READS:
        with pytest.raises(WarehouseError):
            warehouse.query(sql, params)
    assert stored(warehouse, "metrics") == [metric_row()]


def test_importing_the_warehouse_loads_no_driver():
    script = (
        "import sys, cbi_pipeline.warehouse; "
        "sys.exit(str([m for m in ('duckdb', 'sqlglot', 'pandas', 'google', 'torch') if m in sys.modules]))"
    )
    root = Path(__file__).parents[2]
    loaded = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert loaded.stderr.strip() == "[]"
