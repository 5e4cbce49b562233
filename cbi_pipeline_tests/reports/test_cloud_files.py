"""The generated files of `cloud/` are those of the contracts, and a BigQuery server runs them."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from google.cloud import bigquery

from cbi_pipeline.bundle.export import to_frame
from cbi_pipeline.bundle.gcs import GcsBundleStore
from cbi_pipeline.bundle.read import read_arrow_tables, read_manifest
from cbi_pipeline.bundle.rules import to_checked_table
from cbi_pipeline.contracts.tables import RAW_TABLES
from cbi_pipeline.reports.cloud_files import CLOUD_DIR, cloud_files
from cbi_pipeline.settings import Settings
from cbi_pipeline.warehouse.bigquery_jobs import Jobs
from cbi_pipeline.warehouse.raw_tables import RawTables
from cbi_pipeline_tests.bigquery_server import PROJECT, REGION


@pytest.mark.parametrize("path", sorted(cloud_files()), ids=lambda path: path.name)
def test_a_generated_file_is_current(path: Path) -> None:
    assert path.read_text() == cloud_files()[path], "run: python -m cbi_pipeline.reports.cloud_files"


def statements_of(path: Path) -> list[str]:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("--")]
    return [part.strip() for part in ("\n".join(lines) + "\n").split(";\n") if part.strip()]


@pytest.mark.slow
def test_the_sql_files_make_and_export_the_raw_tables(gcp_environment, bundle_uri, starter_dir):
    client = bigquery.Client(PROJECT, location=REGION)
    made = bigquery.Dataset(f"{PROJECT}.byhand_raw")
    made.location = REGION
    client.create_dataset(made)
    default = bigquery.DatasetReference(PROJECT, "byhand_raw")
    for statement in statements_of(CLOUD_DIR / "sql" / "raw_tables.sql"):
        client.query_and_wait(statement, job_config=bigquery.QueryJobConfig(default_dataset=default))
    table = client.get_table(f"{PROJECT}.byhand_raw.weather_daily")
    assert (table.time_partitioning.type_, table.time_partitioning.field) == ("MONTH", "date")
    assert table.clustering_fields == ["region", "station"]
    assert {field.name: field.mode for field in table.schema}["tmin_c"] == "NULLABLE"
    assert all(field.description for field in table.schema)
    raw, starter = (
        RawTables(Jobs(PROJECT, REGION), "byhand"),
        read_arrow_tables(starter_dir, read_manifest(starter_dir)),
    )
    raw.create()  # finds nothing to make and nothing that differs
    raw.load(starter, "20241231T000000Z-00000000")
    moment = bigquery.ScalarQueryParameter("moment", "TIMESTAMP", datetime.now(UTC))
    config = bigquery.QueryJobConfig(default_dataset=default, query_parameters=[moment])
    for statement in statements_of(CLOUD_DIR / "sql" / "export.sql"):
        client.query_and_wait(statement.replace("${EXPORT_URI}", bundle_uri), job_config=config)
    store = GcsBundleStore(bundle_uri)
    for name, contract in RAW_TABLES.items():
        shards = [pq.read_table(io.BytesIO(store.read(name, shard))) for shard in store.names(name)]
        exported = to_checked_table(contract, to_frame(contract, shards, name), name, "")
        assert exported.equals(starter[name].replace_schema_metadata(None))


def test_the_job_sets_settings_that_exist():
    import yaml

    job = yaml.safe_load((CLOUD_DIR / "run" / "export.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["template"]["spec"]["containers"]
    given = {entry["name"]: entry["value"] for entry in container["env"]}
    values = {name.removeprefix("CBI_").lower(): value for name, value in given.items()}
    assert set(values) <= set(Settings.model_fields)
    settings = Settings(**values)
    assert settings.export_uri.partition("/cbi")[0] != settings.bundle_uri.partition("/cbi")[0]
    assert container["args"] == ["bundle", "export"]
    workflow = yaml.safe_load((CLOUD_DIR / "schedule" / "daily.yaml").read_text())
    assert f"/jobs/{job['metadata']['name']}" in str(workflow)
    scheduler = json.loads((CLOUD_DIR / "schedule" / "scheduler.json").read_text())
    assert scheduler["httpTarget"]["uri"].endswith("/workflows/cbi-daily/executions")
