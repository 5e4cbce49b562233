"""Every column type, extreme values, NULLs, both ends of the calendar, time zones: equal after each way out."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cbi_pipeline.contracts.warehouse import ARROW_TYPES, DATA_QUALITY, METRICS, WAREHOUSE_TABLES
from cbi_pipeline.errors import WarehouseError
from cbi_pipeline_tests.warehouse.conftest import rows_in

EAST, WEST = timezone(timedelta(hours=14)), timezone(-timedelta(hours=11, minutes=30))
FIRST, LAST = date(1, 1, 1), date(9999, 12, 31)
FIRST_MOMENT = datetime(1, 1, 1, tzinfo=UTC)
LAST_MOMENT = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
TEXTS = ["größe '; \\ \n \u0001 %s @a `b` {c}", "", " ", "大豆油 🫘 \u202e", '"quoted"\r\n\t', "NULL", "x" * 20_000]


@pytest.fixture
def numbers(metric_row) -> list[dict[str, Any]]:
    """Rows of `metrics` with the extremes of FLOAT64, INT64, STRING and TIMESTAMP, and NULL."""
    floats = [None, 5e-324, 1.7976931348623157e308, -1.7976931348623157e308, -0.1, 1 / 3, 0.0, 2.0**53 + 2]
    whole = [-(2**63), 2**63 - 1, 0, -1, 2**53 + 1, 1, 2, 3]
    moments = [
        FIRST_MOMENT,
        LAST_MOMENT,
        datetime(2023, 3, 1, 1, tzinfo=EAST),
        datetime(2023, 3, 1, 1, tzinfo=WEST),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(2023, 3, 26, 1, 30, 0, 1, tzinfo=UTC),
    ]
    return [
        metric_row(metric=str(n), value=value, n=count, created_at=at, entry=TEXTS[n % len(TEXTS)], run_id="")
        for n, (value, count, at) in enumerate(zip(floats, whole, moments, strict=True))
    ]


@pytest.fixture
def days() -> list[dict[str, Any]]:
    """Rows of `data_quality` with both ends of DATE, a leap day, and NULL."""
    newest = [None, FIRST, LAST, date(2024, 2, 29), date(1582, 10, 10), date(1970, 1, 1)]
    row = {
        "dataset_version": "data-1",
        "features_key": "key",
        "raw_table": "macro",
        "as_of_date": LAST,
        "maximum_age_days": 45,
        "outcome": "fresh",
        "reason": "",
        "created_at": datetime(2023, 3, 1, tzinfo=UTC),
        "run_id": "run-1",
        "code_commit": "c" * 40,
    }
    return [row | {"source": f"macro/{n}", "newest_date": day} for n, day in enumerate(newest)]


def test_the_rows_hold_every_column_type_and_null(numbers, days):
    used = {column.type for table in (METRICS, DATA_QUALITY) for column in table.columns}
    assert used == set(ARROW_TYPES) - {"BOOL"}, "only raw tables have flags: bundle/test_export.py"
    assert numbers[0]["value"] is days[0]["newest_date"] is None


def test_what_was_written_is_queried(warehouse, numbers, days):
    for table, rows, order in (("metrics", numbers, "metric"), ("data_quality", days, "source")):
        assert warehouse.merge(table, rows).inserted == len(rows)
        found = warehouse.query(f"SELECT * FROM {table} ORDER BY {order}")
        assert found.to_pylist() == rows
        assert found.schema.types == WAREHOUSE_TABLES[table].arrow_schema.types
        assert warehouse.merge(table, rows).unchanged == len(rows)
    moment = warehouse.query("SELECT created_at FROM metrics WHERE metric = '2'")["created_at"][0]
    assert moment.as_py().isoformat() == "2023-02-28T11:00:00+00:00"
    floats = warehouse.query("SELECT value FROM metrics ORDER BY metric")["value"].to_pylist()
    assert [repr(value) for value in floats] == [repr(row["value"]) for row in numbers]


def test_what_was_written_is_exported_to_parquet_and_read_back(bigquery_warehouse, bundle_uri, numbers, days, tmp_path):
    """As the bundle builder takes raw tables: EXPORT DATA to gs://, then the files of the bucket."""
    from google.cloud import storage

    bucket, _, folder = bundle_uri.removeprefix("gs://").partition("/")
    for table, rows, order in (("metrics", numbers, "metric"), ("data_quality", days, "source")):
        bigquery_warehouse.merge(table, rows)
        bigquery_warehouse._execute(
            f"EXPORT DATA OPTIONS (uri = '{bundle_uri}/{table}/*.parquet', format = 'PARQUET', overwrite = true) "
            f"AS SELECT * FROM `{bigquery_warehouse.full_name(table)}`"
        )
        blobs = list(storage.Client(project="test").list_blobs(bucket, prefix=f"{folder}/{table}/"))
        parts = []
        for number, blob in enumerate(blobs):
            blob.download_to_filename(tmp_path / f"{table}-{number}.parquet")
            parts.append(pq.read_table(tmp_path / f"{table}-{number}.parquet"))
        read = pa.concat_tables(parts).sort_by(order)
        contract = WAREHOUSE_TABLES[table]
        assert read.column_names == list(contract.column_names)
        assert read.cast(pa.schema([(f.name, f.type) for f in contract.arrow_schema])).to_pylist() == rows


def test_what_is_no_number_never_reaches_a_table(warehouse, numbers):
    for wrong in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(WarehouseError, match=r"metrics\.value: 1 of 8 values are NaN or infinite"):
            warehouse.merge("metrics", [numbers[0] | {"value": wrong}, *numbers[1:]])
    assert rows_in(warehouse, "metrics") == 0
