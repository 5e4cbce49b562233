"""A process that writes predictions to BigQuery and may be killed meanwhile; it starts in milliseconds."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

LOADED_BEFORE = ["google.cloud.bigquery", "pandas", "pyarrow.parquet", "sqlglot", "cbi_pipeline.warehouse.bigquery"]


def start_writing(
    environment: dict[str, str], rows: list[dict[str, Any]], writer: str
) -> tuple[BaseProcess, Connection]:
    """Start it; the connection tells `True` when it begins to write, and what it wrote when it is done."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*LOADED_BEFORE, __name__])
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_write, args=(there, environment, rows, writer))
    process.start()
    there.close()
    return process, here


def _write(told: Connection, environment: dict[str, str], rows: list[dict[str, Any]], writer: str) -> None:
    from cbi_pipeline.warehouse import BigQueryWarehouse

    os.environ.update(environment)
    warehouse = BigQueryWarehouse("cbi-test", "cbi", "us-central1", retry_seconds=10, writer=writer)
    warehouse.row_count("predictions")  # it signs in before it begins
    told.send(True)
    told.send(str(warehouse.merge("predictions", rows)))
