"""Several writers at once, as threads and as processes: every key once, whole, nothing lost; on every warehouse."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

from cbi_pipeline.contracts.forecast import ForecastRow
from cbi_pipeline.warehouse import BigQueryWarehouse

ROOT = Path(__file__).parents[2]
WRITERS = 8
DAYS = 3

WRITER = """
import json, sys
from datetime import timedelta
from pathlib import Path
from cbi_pipeline.contracts.forecast import ForecastRow
from cbi_pipeline.warehouse import BigQueryWarehouse, DuckDBWarehouse
kind, where, row, number, days = sys.argv[1:]
row, number, days = ForecastRow.model_validate_json(row).model_dump(), int(number), int(days)
if kind == "bigquery":
    warehouse = BigQueryWarehouse(*where.split("."), "us-central1", retry_seconds=120)
else:
    warehouse = DuckDBWarehouse(Path(where), lock_wait_seconds=120)
def offer(first_day):
    return [row | {"as_of_date": row["as_of_date"] + timedelta(days=first_day + n), "horizon_months": h,
                   "run_id": f"writer-{number}"} for n in range(days) for h in (3, 6, 9, 12)]
print("ready", flush=True)
sys.stdin.readline()
written = {}
for what, first_day in {"same": 0, "overlapping": 100 + number, "different": 200 + 10 * number}.items():
    written[what] = warehouse.merge("predictions", offer(first_day)).inserted
print(json.dumps(written))
"""


def start(warehouse, row: dict, number: int) -> subprocess.Popen[str]:
    is_bigquery = isinstance(warehouse, BigQueryWarehouse)
    where = f"{warehouse.project}.{warehouse.dataset}" if is_bigquery else warehouse.location
    kind = "bigquery" if is_bigquery else "duckdb"
    command = [sys.executable, "-c", WRITER, kind, where, ForecastRow(**row).model_dump_json(), str(number), str(DAYS)]
    return subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_eight_processes_that_write_same_overlapping_and_different_rows(warehouse, forecast_row):
    """They start together. Each key is inserted by one of them, and is whole: all columns of one writer's row."""
    row = forecast_row(target_date=date(2099, 1, 5), as_of_date=date(2020, 1, 1))
    writers = [start(warehouse, row, number) for number in range(WRITERS)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    reports = [writer.communicate(timeout=240) for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * WRITERS, [errors[-2000:] for _, errors in reports]
    inserted = sum((Counter(json.loads(printed)) for printed, _ in reports), Counter())
    assert inserted == {
        "same": 4 * DAYS,
        "overlapping": 4 * (DAYS + WRITERS - 1),
        "different": 4 * DAYS * WRITERS,
    }
    found = warehouse.query("SELECT * FROM predictions").to_pylist()
    keys = {(one["as_of_date"], one["horizon_months"], one["model_version"]) for one in found}
    assert len(found) == len(keys) == sum(inserted.values())
    for one in found:
        whose = {name: one[name] for name in ("as_of_date", "horizon_months", "run_id")}
        assert one == row | whose
    by_writer = Counter(one["run_id"] for one in found)
    assert by_writer == {f"writer-{n}": sum(json.loads(out).values()) for n, (out, _) in enumerate(reports)}


def test_threads_that_write_the_same_and_other_keys_lose_and_double_nothing(warehouse, forecast_row):
    """One warehouse object, used by all of them."""

    def write(own: int) -> int:
        inserted = 0
        for day in range(3):
            shared = forecast_row(as_of_date=date(2020, 1, 1) + timedelta(days=day), run_id=f"writer-{own}")
            mine = forecast_row(as_of_date=date(2020, 1, 1) + timedelta(days=day), model_version=f"model-{own}")
            inserted += warehouse.merge("predictions", [shared, mine]).inserted
            assert warehouse.query("SELECT COUNT(*) AS n FROM predictions").to_pylist()[0]["n"] >= inserted
        return inserted

    warehouse.lock_wait_seconds = 90.0
    with ThreadPoolExecutor(4) as pool:
        inserted = list(pool.map(write, range(4)))
    assert sum(inserted) == 3 * (1 + 4)
    found = warehouse.query("SELECT as_of_date, horizon_months, model_version FROM predictions").to_pylist()
    assert len({tuple(row.values()) for row in found}) == len(found) == 15
