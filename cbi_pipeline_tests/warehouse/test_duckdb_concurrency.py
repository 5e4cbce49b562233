"""The one file between processes: who waits for whom, and a writer that dies; every key once, whole, nothing lost."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest

from cbi_pipeline.contracts.forecast import ForecastRow
from cbi_pipeline.errors import WarehouseError
from cbi_pipeline.warehouse import DuckDBWarehouse, MergeResult

ROOT = Path(__file__).parents[2]

PROLOGUE = """
import json, sys
from datetime import timedelta
from pathlib import Path
from cbi_pipeline.contracts.forecast import ForecastRow
from cbi_pipeline.warehouse import DuckDBWarehouse
row = ForecastRow.model_validate_json(sys.argv[2]).model_dump()
warehouse = DuckDBWarehouse(Path(sys.argv[1]), lock_wait_seconds=90.0)
def rows(first_day, days):
    return [row | {"as_of_date": row["as_of_date"] + timedelta(days=first_day + n), "horizon_months": h}
            for n in range(days) for h in (3, 6, 9, 12)]
"""

HOLDER = """
import duckdb, time
with duckdb.connect(sys.argv[1]):
    print("held", flush=True)
    time.sleep(float(sys.argv[3]))
"""

BATCH_DAYS = 1000
MORTAL = f"""
from cbi_pipeline.contracts.warehouse import PREDICTIONS
from cbi_pipeline.warehouse.rows import stage
for batch in range(50):
    offered = stage(PREDICTIONS, rows({BATCH_DAYS} * batch, {BATCH_DAYS}))
    print(batch, flush=True)
    warehouse.merge("predictions", offered)
"""


@pytest.fixture
def warehouse(duckdb_warehouse):
    return duckdb_warehouse


def start(script: str, warehouse: DuckDBWarehouse, row: dict, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROLOGUE + script, warehouse.location, ForecastRow(**row).model_dump_json()]
    return subprocess.Popen(
        [*command, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def count(warehouse: DuckDBWarehouse) -> dict[str, int]:
    """Rows and different keys in `predictions`."""
    rows = warehouse.query("SELECT COUNT(*) AS n FROM predictions")
    keys = warehouse.query("SELECT DISTINCT as_of_date, horizon_months, model_version FROM predictions")
    return {"n": rows["n"][0].as_py(), "k": keys.num_rows}


def test_a_write_waits_for_a_reader_in_the_same_process(warehouse, forecast_row):
    reader = duckdb.connect(warehouse.path, read_only=True)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(warehouse.merge, "predictions", [forecast_row()])
        time.sleep(0.3)
        assert not writing.done()
        reader.close()
        assert writing.result(timeout=10) == MergeResult(1, 0)


def test_a_call_waits_while_another_process_holds_the_file(warehouse, forecast_row):
    holder = start(HOLDER, warehouse, forecast_row(), 1.0)
    assert holder.stdout.readline() == "held\n"
    assert warehouse.merge("predictions", [forecast_row()]) == MergeResult(1, 0)
    assert holder.wait(timeout=20) == 0


def test_a_file_that_stays_held_is_one_clear_error(warehouse, forecast_row):
    holder = start(HOLDER, warehouse, forecast_row(), 60.0)
    assert holder.stdout.readline() == "held\n"
    warehouse.lock_wait_seconds = 0.2
    began = time.monotonic()
    for call in (
        lambda: warehouse.merge("predictions", [forecast_row()]),
        warehouse.latest_forecast,
        warehouse.migrate,
    ):
        with pytest.raises(WarehouseError, match=r"stayed in use: .*close the program"):
            call()
    assert time.monotonic() - began < 10
    holder.kill()
    holder.wait()
    assert warehouse.latest_forecast() == []


@pytest.mark.parametrize("moment", ["while it writes its log", "at once"])
def test_a_killed_writer_leaves_whole_writes_and_the_next_run_completes_the_rest(warehouse, forecast_row, moment):
    row = forecast_row(target_date=date(2999, 1, 5), as_of_date=date(2020, 1, 1))
    log = warehouse.path.with_name(warehouse.path.name + ".wal")
    writer = start(MORTAL, warehouse, row)
    for _ in range(3):
        writer.stdout.readline()
    while moment != "at once" and not log.exists():
        assert writer.poll() is None
    writer.kill()
    writer.wait()

    found = count(warehouse)
    batches, rest = divmod(found["n"], 4 * BATCH_DAYS)
    assert rest == 0
    assert batches >= 2
    assert found["k"] == found["n"]

    days = (batches + 2) * BATCH_DAYS
    again = [
        row | {"as_of_date": row["as_of_date"] + timedelta(days=day), "horizon_months": h}
        for day in range(days)
        for h in (3, 6, 9, 12)
    ]
    assert warehouse.merge("predictions", again) == MergeResult(inserted=8 * BATCH_DAYS, unchanged=found["n"])
    assert count(warehouse) == {"n": 4 * days, "k": 4 * days}
