"""The generated files of `cloud/`: SQL of the raw tables, and their declaration for Dataform.

Nothing is edited in them by hand: `python -m cbi_pipeline.reports.cloud_files` writes them from `contracts/tables.py`;
a test compares them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from cbi_pipeline.atomic import replace_file
from cbi_pipeline.contracts.tables import RAW_TABLES
from cbi_pipeline.settings import REPOSITORY_DIR
from cbi_pipeline.warehouse.raw_statements import RAW, create_tables, export_data, select_snapshot

CLOUD_DIR: Final = REPOSITORY_DIR / "cloud"
_MADE: Final = "Made from cbi_pipeline/contracts/tables.py by `python -m cbi_pipeline.reports.cloud_files`."

_TABLES_HEAD: Final = f"""\
-- {_MADE}
-- The raw tables, which `cbi bundle load` makes too. Run in dataset cbi_raw:
--   bq query --location=us-central1 --dataset_id=$PROJECT:cbi_raw --nouse_legacy_sql < cloud/sql/raw_tables.sql
"""
_EXPORT_HEAD: Final = f"""\
-- {_MADE}
-- What `cbi bundle export` runs, statement by statement, before it checks the rows and publishes them. All tables are
-- read as they stood at @moment. By hand, for a look at the shards:
--   EXPORT_URI=gs://bucket/folder envsubst < cloud/sql/export.sql | bq query --location=us-central1 \\
--     --dataset_id=$PROJECT:cbi_raw --nouse_legacy_sql --parameter=moment:TIMESTAMP:"$(date -u '+%F %T')"
"""


def cloud_files() -> dict[Path, str]:
    """Every generated file: its text by path."""
    tables = {
        name: {
            "description": contract.description,
            "key": list(contract.key),
            "eventDate": contract.event_date,
            "columns": {column.name: column.description for column in contract.columns},
        }
        for name, contract in RAW_TABLES.items()
    }
    exports = [export_data(f"${{EXPORT_URI}}/{name}/*.parquet", select_snapshot(table)) for name, table in RAW.items()]
    return {
        CLOUD_DIR / "sql" / "raw_tables.sql": _TABLES_HEAD + "".join(f"\n{sql};\n" for sql in create_tables()),
        CLOUD_DIR / "sql" / "export.sql": _EXPORT_HEAD + "".join(f"\n{sql};\n" for sql in exports),
        CLOUD_DIR / "dataform" / "includes" / "raw_tables.js": (
            f"// {_MADE}\nmodule.exports = {json.dumps(tables, indent=2)};\n"
        ),
    }


if __name__ == "__main__":
    for path, text in cloud_files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode())
