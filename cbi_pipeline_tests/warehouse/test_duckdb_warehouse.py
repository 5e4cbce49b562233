"""Storage in DuckDB: what is written, what is refused, what is read back."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import product
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cbi_pipeline.contracts.warehouse import EXPERIMENTS, METRICS, PREDICTIONS, WAREHOUSE_TABLES
from cbi_pipeline.errors import WarehouseError
from cbi_pipeline.warehouse import DuckDBWarehouse, MergeResult

ALL_ROWS = "SELECT * FROM predictions ORDER BY as_of_date, horizon_months, model_version"


@pytest.fixture
def warehouse(duckdb_warehouse):
    return duckdb_warehouse


def stored(warehouse: DuckDBWarehouse, table: str = "predictions") -> list[dict]:
    return warehouse.query(f"SELECT * FROM {table} ORDER BY created_at").to_pylist()


def test_location_is_the_file(tmp_path):
    assert DuckDBWarehouse(tmp_path / "w.duckdb").location == str(tmp_path / "w.duckdb")


@pytest.mark.parametrize("table", WAREHOUSE_TABLES.values(), ids=lambda table: table.name)
def test_migrate_makes_each_table_as_its_contract_says(warehouse, table):
    types = {"STRING": "VARCHAR", "INT64": "BIGINT", "FLOAT64": "DOUBLE", "DATE": "DATE"}
    expected = [(c.name, types.get(c.type, "TIMESTAMP WITH TIME ZONE"), c.mode == "NULLABLE") for c in table.columns]
    with duckdb.connect(warehouse.path, read_only=True) as connection:
        columns = connection.execute(
            "SELECT column_name, data_type, is_nullable FROM duckdb_columns() "
            "WHERE table_name = ? ORDER BY column_index",
            [table.name],
        ).fetchall()
        key = connection.execute(
            "SELECT constraint_column_names FROM duckdb_constraints() "
            "WHERE table_name = ? AND constraint_type = 'PRIMARY KEY'",
            [table.name],
        ).fetchall()
    assert columns == expected
    assert key == [(list(table.key),)]


def test_migrate_again_keeps_the_rows(warehouse, forecast_row):
    warehouse.merge("predictions", [forecast_row()])
    warehouse.migrate()
    assert stored(warehouse) == [forecast_row()]


@pytest.mark.parametrize(
    ("alteration", "named"),
    [
        ("ALTER TABLE metrics ALTER n_eff TYPE FLOAT", "n_eff"),
        ("ALTER TABLE metrics ALTER n DROP NOT NULL", "'n'"),
        ("ALTER TABLE metrics ADD COLUMN comment VARCHAR", "comment"),
        ("CREATE OR REPLACE TABLE metrics AS SELECT * FROM metrics", "PRIMARY KEY"),
    ],
)
def test_migrate_refuses_a_table_that_differs_from_its_contract(warehouse, alteration, named):
    with duckdb.connect(warehouse.path) as connection:
        connection.execute("DROP VIEW vw_latest_forecast")
        connection.execute(alteration)
    with pytest.raises(WarehouseError, match=r"differ from their contracts") as refusal:
        warehouse.migrate()
    assert named in str(refusal.value)
    with pytest.raises(WarehouseError, match="vw_latest_forecast"):
        warehouse.latest_forecast()


def test_rows_come_back_as_they_were_written(warehouse, forecast_row):
    rows = [forecast_row(horizon_months=h, predicted_price=45.0 + 1 / 3 + h) for h in (3, 6, 9, 12)]
    assert warehouse.merge("predictions", rows) == MergeResult(inserted=4, unchanged=0)
    assert warehouse.query(ALL_ROWS).to_pylist() == rows
    assert warehouse.query(ALL_ROWS).schema.types == PREDICTIONS.arrow_schema.types


def test_extreme_values_come_back_as_they_were_written(warehouse, metric_row):
    east = timezone(timedelta(hours=14))
    rows = [
        metric_row(metric="a", value=None, n=-(2**63), created_at=datetime(1, 1, 2, tzinfo=UTC)),
        metric_row(metric="b", value=5e-324, n=2**63 - 1, created_at=datetime(2023, 3, 1, 1, tzinfo=east)),
        metric_row(metric="c", value=1.7976931348623157e308, entry="größe '; \\ \n \u0001", run_id=""),
        metric_row(metric="d", value=-0.1, created_at=datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
    ]
    warehouse.merge("metrics", rows)
    found = warehouse.query("SELECT * FROM metrics ORDER BY metric")
    assert found.to_pylist() == rows
    assert found.schema.field("created_at").type == pa.timestamp("us", tz="UTC")
    assert found["created_at"][1].as_py().isoformat() == "2023-02-28T11:00:00+00:00"


def test_frame_arrow_and_mappings_are_written_alike(tmp_path, forecast_row):
    rows = [forecast_row(horizon_months=h) for h in (3, 12)]
    frame = pd.DataFrame(rows)
    frame["as_of_date"] = pd.to_datetime(frame["as_of_date"]).astype("datetime64[ns]")
    frame["created_at"] = frame["created_at"].astype("datetime64[ns, UTC]")
    frame["status"] = frame["status"].astype("category")
    shuffled = frame[frame.columns[::-1]]
    for number, offered in enumerate((rows, frame, shuffled, pa.Table.from_pylist(rows))):
        warehouse = DuckDBWarehouse(tmp_path / f"{number}.duckdb")
        warehouse.migrate()
        assert warehouse.merge("predictions", offered) == MergeResult(2, 0)
        assert warehouse.query(ALL_ROWS).to_pylist() == rows


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


@pytest.mark.parametrize("column", PREDICTIONS.published_columns)
def test_a_published_forecast_never_changes(warehouse, forecast_row, column):
    published = forecast_row()
    warehouse.merge("predictions", [published])
    changed = published | {column: altered(published[column])}
    with pytest.raises(WarehouseError) as refusal:
        warehouse.merge("predictions", [forecast_row(horizon_months=9), changed])
    message = str(refusal.value)
    assert "as_of_date=2023-03-01, horizon_months=3, model_version=model-a" in message
    assert f"{column}: stored {published[column]!r}, offered {changed[column]!r}" in message
    assert [name for name in PREDICTIONS.column_names if f"{name}: stored" in message] == [column]
    assert stored(warehouse) == [published]


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


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -np.inf, np.float32("nan")])
@pytest.mark.parametrize("kind", ["rows", "frame", "object frame", "arrow"])
def test_not_finite_is_refused(warehouse, metric_row, wrong, kind):
    rows = [metric_row(metric="a"), metric_row(metric="b", value=wrong)]
    offered = {
        "rows": lambda: rows,
        "frame": lambda: pd.DataFrame(rows),
        "object frame": lambda: pd.DataFrame(rows).astype({"value": object}),
        "arrow": lambda: pa.Table.from_pylist(rows),
    }[kind]()
    with pytest.raises(WarehouseError, match=r"metrics\.value: 1 of 2 values are NaN or infinite"):
        warehouse.merge("metrics", offered)
    assert stored(warehouse, "metrics") == []


@pytest.mark.parametrize("column", PREDICTIONS.column_names)
def test_a_required_value_cannot_be_null(warehouse, forecast_row, column):
    with pytest.raises(WarehouseError, match=rf"predictions\.{column}: .*REQUIRED"):
        warehouse.merge("predictions", [forecast_row() | {column: None}])
    assert stored(warehouse) == []


@pytest.mark.parametrize(
    ("column", "value"),
    [
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
    ],
)
def test_a_value_of_another_type_is_refused(warehouse, forecast_row, column, value):
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


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("SELECT @a", None),
        ("SELECT 1", {"a": 1}),
        ("SELECT * FROM nowhere", None),
        ("SELEC 1", None),
        ("SELECT 1; SELECT 2", None),
        ("DELETE FROM metrics WHERE TRUE", None),
        ("DROP TABLE metrics", None),
        ("INSERT INTO metrics SELECT * FROM metrics", None),
    ],
)
def test_query_refuses_what_is_no_valid_read(warehouse, metric_row, sql, params):
    warehouse.merge("metrics", [metric_row()])
    with pytest.raises(WarehouseError):
        warehouse.query(sql, params)
    assert len(stored(warehouse, "metrics")) == 1


@pytest.mark.parametrize("call", ["merge", "latest_forecast"])
def test_only_migrate_makes_the_file(tmp_path, forecast_row, call):
    warehouse = DuckDBWarehouse(tmp_path / "none.duckdb")
    arguments = ("predictions", [forecast_row()]) if call == "merge" else ()
    with pytest.raises(WarehouseError, match=r"does not exist yet.*DuckDBWarehouse\.migrate"):
        getattr(warehouse, call)(*arguments)
    assert not warehouse.path.exists()


def test_a_missing_table_is_refused_with_the_way_to_make_it(tmp_path, forecast_row):
    duckdb.connect(tmp_path / "empty.duckdb").close()
    with pytest.raises(WarehouseError, match=r"predictions does not exist[\s\S]*DuckDBWarehouse\.migrate"):
        DuckDBWarehouse(tmp_path / "empty.duckdb").merge("predictions", [forecast_row()])


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "warehouse.duckdb"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(WarehouseError, match="not a valid DuckDB"):
        DuckDBWarehouse(path).migrate()


def test_metrics_may_only_lack_their_value():
    assert [column.name for column in METRICS.columns if column.mode == "NULLABLE"] == ["value"]


def test_experiments_may_only_lack_errors():
    ratios = [f"rmse_ratio_{horizon}m" for horizon in (3, 6, 9, 12)]
    assert [column.name for column in EXPERIMENTS.columns if column.mode == "NULLABLE"] == ratios


def test_importing_the_warehouse_loads_no_driver():
    script = (
        "import sys, cbi_pipeline.warehouse; "
        "sys.exit(str([m for m in ('duckdb', 'sqlglot', 'pandas', 'google', 'torch') if m in sys.modules]))"
    )
    root = Path(__file__).parents[2]
    loaded = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert loaded.stderr.strip() == "[]"
