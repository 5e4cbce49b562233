"""Kill -9 of a writer at random moments, and of the server: each key once, whole, and the next run completes."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import pytest

from cbi_pipeline.errors import WarehouseError
from cbi_pipeline.warehouse import BigQueryWarehouse, MergeResult
from cbi_pipeline_tests.bigquery_server import PROJECT, REGION, running_server
from cbi_pipeline_tests.gcs_server import free_port
from cbi_pipeline_tests.install_emulators import INSTALLED
from cbi_pipeline_tests.warehouse.mortal_writer import start_writing

SEED = 20261126
KILLS = 30
DAYS = 5
OF_GOOGLE = ("BIGQUERY_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT")

pytestmark = pytest.mark.slow


def rows_of(forecast_row, batch: int) -> list[dict]:
    """What one run writes: five days of forecasts that no other run writes."""
    first = date(2000, 1, 3) + timedelta(days=DAYS * batch)
    late = date(2099, 1, 5)
    return [
        forecast_row(as_of_date=first + timedelta(days=n), target_date=late, horizon_months=h, run_id=f"run-{batch}")
        for n in range(DAYS)
        for h in (3, 6, 9, 12)
    ]


def by_run(warehouse: BigQueryWarehouse) -> Counter[str]:
    found = warehouse.query("SELECT run_id, COUNT(*) AS n FROM predictions GROUP BY run_id").to_pylist()
    return Counter({row["run_id"]: row["n"] for row in found})


def assert_exactly(warehouse: BigQueryWarehouse, expected: list[dict]) -> None:
    found = warehouse.query("SELECT * FROM predictions ORDER BY as_of_date, horizon_months").to_pylist()
    assert found == expected


def test_a_writer_that_is_killed_at_any_moment_leaves_whole_writes(bigquery_warehouse, forecast_row):
    """30 runs, each killed while it writes; every second is repeated at once under its own name, as Dagster retries a
    step, while what it had asked for may still be running; the rest is completed by the next run, all at once."""
    environment = {name: os.environ[name] for name in OF_GOOGLE}
    process, told = start_writing(environment, rows_of(forecast_row, 0), "run-0")
    assert told.recv()
    began = time.monotonic()
    assert told.recv() == f"{4 * DAYS} inserted, 0 unchanged"
    whole_seconds = time.monotonic() - began
    process.join()

    chance, alive = random.Random(SEED), 0
    for batch in range(1, KILLS + 1):
        rows = rows_of(forecast_row, batch)
        process, told = start_writing(environment, rows, f"run-{batch}")
        assert told.recv()
        time.sleep(chance.uniform(0, whole_seconds))
        alive += not told.poll()
        process.kill()
        process.join()
        if batch % 2:
            again = BigQueryWarehouse(PROJECT, "cbi", REGION, retry_seconds=10, writer=f"run-{batch}")
            done = again.merge("predictions", rows)
            assert done.inserted + done.unchanged == len(rows)
            assert {done.inserted, done.unchanged} == {0, len(rows)}
    print(f"seed {SEED}: {alive} of {KILLS} writers were killed before they were done, of {whole_seconds:.2f} s each")
    assert alive >= KILLS // 2

    found = by_run(bigquery_warehouse)
    assert set(found.values()) == {4 * DAYS}
    every = [row for batch in range(KILLS + 1) for row in rows_of(forecast_row, batch)]
    done = bigquery_warehouse.merge("predictions", every)
    assert done.inserted + done.unchanged == len(every)
    assert_exactly(bigquery_warehouse, every)
    assert bigquery_warehouse.merge("predictions", every) == MergeResult(0, len(every))


def test_a_server_that_is_killed_while_it_writes_loses_nothing_it_said_was_done(
    gcp_environment, tmp_path, forecast_row, monkeypatch
):
    """It comes back on the same data after two kills; what a run was told is there, the next run writes the rest.

    A job that was running when this server died stays in that state; a writer says so after `job_seconds`.
    """
    if not INSTALLED.exists():
        pytest.skip("the BigQuery server is not installed")
    port, chance, gcs_url = free_port(), random.Random(SEED), os.environ["STORAGE_EMULATOR_HOST"]
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"http://127.0.0.1:{port}")

    def warehouse() -> BigQueryWarehouse:
        return BigQueryWarehouse(PROJECT, "mortal", REGION, retry_seconds=60, job_seconds=8)

    with running_server(tmp_path, gcs_url, port):
        warehouse().migrate()
    said: dict[int, str] = {}

    def write_on(first: int) -> None:
        for batch in range(first, first + 3):
            try:
                said[batch] = str(warehouse().merge("predictions", rows_of(forecast_row, batch)))
            except WarehouseError as error:
                said[batch] = error.rule

    with ThreadPoolExecutor(1) as pool:
        for first in (0, 3):
            with running_server(tmp_path, gcs_url, port) as (_, server):
                writing = pool.submit(write_on, first)
                time.sleep(chance.uniform(0.3, 1.5))
                server.kill()
            with running_server(tmp_path, gcs_url, port):
                writing.result(timeout=100)
                found = by_run(warehouse())
                assert set(found.values()) <= {4 * DAYS}
                assert {f"run-{batch}" for batch, text in said.items() if "inserted" in text} <= found.keys()
                assert {text for text in said.values() if "inserted" not in text} <= {"It has not ended after 8 s."}
    with running_server(tmp_path, gcs_url, port):
        every = [row for batch in range(6) for row in rows_of(forecast_row, batch)]
        warehouse().merge("predictions", every)
        assert_exactly(warehouse(), every)
