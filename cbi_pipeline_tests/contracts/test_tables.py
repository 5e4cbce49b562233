"""Raw-table contracts: what importing them may not change."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
from datetime import datetime, timedelta, timezone
import pyarrow as pa
from cbi_pipeline.contracts.tables import RAW_TABLES, UTC_TIMESTAMP
for contract in RAW_TABLES.values():
    contract.pandera_schema()
import cbi_pipeline.bundle.rules
east = datetime(2023, 3, 1, 1, tzinfo=timezone(timedelta(hours=14)))
print(pa.array([east], UTC_TIMESTAMP)[0].as_py().isoformat())
"""


def test_pandera_does_not_make_pyarrow_drop_time_zones() -> None:
    answer = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "2023-02-28T11:00:00+00:00"
