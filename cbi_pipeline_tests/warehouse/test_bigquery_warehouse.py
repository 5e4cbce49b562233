"""What concerns BigQuery alone: datasets, the whole of the DDL, what `migrate` does there, ids of jobs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from google.cloud import bigquery

from cbi_pipeline.contracts.warehouse import SCHEMA_MIGRATIONS, WAREHOUSE_TABLES
from cbi_pipeline.contracts.warehouse_views import WAREHOUSE_VIEWS
from cbi_pipeline.errors import WarehouseError
from cbi_pipeline.warehouse import BigQueryWarehouse
from cbi_pipeline.warehouse.migrations import migrations
from cbi_pipeline_tests.bigquery_server import PROJECT, REGION
from cbi_pipeline_tests.faulty_proxy import faulty_proxy
from cbi_pipeline_tests.warehouse.conftest import empty_tables, execute

LABELS = {"app": "cbi", "layer": "warehouse"}
LEGACY = {"INTEGER": "INT64", "FLOAT": "FLOAT64"}
WRITES = {"POST", "PUT", "PATCH", "DELETE"}


@pytest.fixture
def client(gcp_environment) -> bigquery.Client:
    return bigquery.Client(project=PROJECT, location=REGION)


def test_location_and_console_name_the_dataset(bigquery_warehouse):
    assert bigquery_warehouse.location == "bigquery:cbi-test.cbi"
    assert bigquery_warehouse.full_name("vw_gate_status") == "cbi-test.cbi_views.vw_gate_status"
    assert bigquery_warehouse.console_url("metrics") == (
        "https://console.cloud.google.com/bigquery?project=cbi-test&ws=!1m5!1m4!4m3!1scbi-test!2scbi!3smetrics"
    )


@pytest.mark.parametrize("table", [SCHEMA_MIGRATIONS, *WAREHOUSE_TABLES.values()], ids=lambda table: table.name)
def test_a_table_is_made_as_its_contract_says(bigquery_warehouse, client, table):
    found = client.get_table(f"{PROJECT}.cbi.{table.name}")
    assert [
        (field.name, LEGACY.get(field.field_type, field.field_type), field.mode, field.description)
        for field in found.schema
    ] == [(column.name, column.type, column.mode, column.description) for column in table.columns]
    assert found.description == table.description
    assert found.labels == LABELS
    assert (found.time_partitioning.type_, found.time_partitioning.field) == (table.partition_unit, table.partition_by)
    assert tuple(found.clustering_fields) == table.cluster_by
    assert tuple(found.table_constraints.primary_key.columns) == table.key


def test_views_say_what_they_are_and_may_read_the_tables(bigquery_warehouse, client):
    for view in WAREHOUSE_VIEWS.values():
        found = client.get_table(f"{PROJECT}.cbi_views.{view.name}")
        assert (found.table_type, found.description) == ("VIEW", view.description)
    entries = [entry for entry in client.get_dataset(f"{PROJECT}.cbi").access_entries if entry.entity_type == "dataset"]
    assert [entry.entity_id for entry in entries] == [
        {"dataset": {"projectId": PROJECT, "datasetId": "cbi_views"}, "targetTypes": ["VIEWS"]}
    ]


def test_all_datasets_are_in_the_region_and_staging_is_swept(bigquery_warehouse, client):
    found = {suffix: client.get_dataset(f"{PROJECT}.cbi{suffix}") for suffix in ("", "_views", "_staging")}
    assert {dataset.location for dataset in found.values()} == {REGION}
    assert all(dataset.labels == LABELS and dataset.description for dataset in found.values())
    expirations = [dataset.default_table_expiration_ms for dataset in found.values()]
    assert expirations == [None, None, 24 * 60 * 60 * 1000]


def test_two_migrations_at_once_make_one_warehouse(client):
    """This server fails a statement that meets another's; BigQuery lets them wait. Either way the next run ends it."""
    both = [BigQueryWarehouse(PROJECT, "at_once", REGION, retry_seconds=20) for _ in range(2)]

    def migrate(warehouse: BigQueryWarehouse) -> str:
        try:
            return f"{len(warehouse.migrate())} applied"
        except WarehouseError as error:
            return error.rule

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(migrate, both))
    assert all("applied" in outcome or "Failed to commit DuckLake" in outcome for outcome in outcomes), outcomes
    both[0].migrate()
    rows = both[0].query("SELECT version FROM schema_migrations ORDER BY version").to_pylist()
    assert rows == [{"version": migration.version} for migration in migrations()]
    assert both[0].differences() == []
    assert both[1].migrate() == ()
    for suffix in ("", "_views", "_staging"):
        client.delete_dataset(f"{PROJECT}.at_once{suffix}", delete_contents=True)


def test_migrate_writes_nothing_where_all_is_in_place(bigquery_warehouse, bigquery_url, monkeypatch):
    """So that an account which may only write rows can call it: it reads metadata, and runs one SELECT."""
    with faulty_proxy(bigquery_url) as proxy:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", proxy.url)
        BigQueryWarehouse(PROJECT, "cbi", REGION).migrate()
    sent = [request for request in proxy.requests if request.method in WRITES]
    queries = [request.json["configuration"]["query"]["query"] for request in sent]
    assert queries == [queries[0]] * 2
    assert queries[0].startswith("SELECT\n  version")
    assert sent[0].json["configuration"]["dryRun"]


@pytest.mark.parametrize("suffix", ["", "_views", "_staging"])
def test_a_dataset_in_another_region_is_an_error(client, suffix):
    name = f"elsewhere_{uuid4().hex[:8]}"
    elsewhere = bigquery.Dataset(f"{PROJECT}.{name}{suffix}")
    elsewhere.location = "EU"
    client.create_dataset(elsewhere)
    with pytest.raises(WarehouseError, match=rf"{name}{suffix}: It is in EU.*must be in us-central1.*_LOCATION=EU"):
        BigQueryWarehouse(PROJECT, name, REGION).migrate()
    found = BigQueryWarehouse(PROJECT, name, REGION).differences()
    assert f"dataset {name}{suffix} is in EU, should be in us-central1" in found
    assert list(client.list_tables(f"{PROJECT}.{name}{suffix}")) == []


def test_only_migrate_makes_the_datasets(gcp_environment, client, forecast_row):
    missing = BigQueryWarehouse(PROJECT, "missing", REGION, retry_seconds=5)
    calls = {
        "load of predictions, job cbi-load": lambda: missing.merge("predictions", [forecast_row()]),
        "query: SELECT": missing.latest_forecast,
        "table metrics": lambda: missing.row_count("metrics"),
    }
    for named, call in calls.items():
        with pytest.raises(WarehouseError, match=rf"{named}[\s\S]*404[\s\S]*`cbi warehouse migrate` makes what"):
            call()
    assert "missing" not in {dataset.dataset_id for dataset in client.list_datasets()}
    assert [state.applied_at for state in missing.migration_states()] == [None] * len(migrations())
    assert [text.split()[-2:] for text in missing.differences()] == [["is", "missing"]] * (
        1 + len(WAREHOUSE_TABLES) + len(WAREHOUSE_VIEWS) + 3
    )


def test_differences_tell_what_migrate_tolerates(gcp_environment, client):
    """Descriptions, labels, the way in for views: no row depends on them, and `cbi warehouse diff` names them."""
    warehouse = BigQueryWarehouse(PROJECT, "alterable", REGION, retry_seconds=10)
    warehouse.migrate()
    execute(warehouse, "ALTER TABLE metrics SET OPTIONS (description = 'mine', labels = [('app', 'other')])")
    execute(warehouse, "ALTER TABLE metrics ALTER COLUMN n SET OPTIONS (description = 'count')")
    execute(warehouse, "CREATE OR REPLACE VIEW vw_gate_status AS SELECT 1 AS one")
    assert warehouse.migrate() == ()
    found = warehouse.differences()
    assert found == [
        "table metrics: description is mine, should be "
        "One out-of-fold metric of one leaderboard entry per scorecard, horizon and fold.",
        "table metrics: description of n is count, should be scored rows",
        f"table metrics: labels is {LABELS | {'app': 'other'}}, should be {LABELS}",
    ]
    execute(warehouse, "DROP TABLE metrics")
    execute(warehouse, "DELETE FROM schema_migrations WHERE TRUE")


# --- a run that is repeated --------------------------------------------------------------------------------------


class Died(BaseException):
    """The process ended here."""


def jobs(client: bigquery.Client, kind: str, since: set[str]) -> list[str]:
    found = {job.job_id for job in client.list_jobs(max_results=1000)} - since
    return [job_id for job_id in found if job_id.startswith(f"cbi-{kind}-predictions")]


@pytest.mark.parametrize("moment", ["after the load", "after the MERGE"])
def test_a_run_that_is_repeated_finds_the_jobs_of_the_one_that_died(
    bigquery_warehouse, client, forecast_row, monkeypatch, moment
):
    """Died after the load, or after the MERGE: one load, one MERGE in all, and the count is that of the first."""
    before = {job.job_id for job in client.list_jobs(max_results=1000)}
    offered = [forecast_row(horizon_months=h) for h in (3, 6, 9)]
    bigquery_warehouse.merge("predictions", offered[:1])
    writer = uuid4().hex
    first = BigQueryWarehouse(PROJECT, "cbi", REGION, client=client, writer=writer)

    def die(*_: object, **__: object) -> None:
        raise Died

    with monkeypatch.context() as dying:
        dying.setattr(*((first, "_insert_new") if moment == "after the load" else (client, "delete_table")), die)
        with pytest.raises(Died):
            first.merge("predictions", offered)
    again = BigQueryWarehouse(PROJECT, "cbi", REGION, client=client, writer=writer)
    assert str(again.merge("predictions", offered)) == "2 inserted, 1 unchanged"
    found = bigquery_warehouse.query("SELECT * FROM predictions ORDER BY horizon_months").to_pylist()
    assert found == offered
    assert {kind: len(jobs(client, kind, before)) for kind in ("load", "merge")} == {"load": 2, "merge": 2}
    assert list(client.list_tables(f"{PROJECT}.cbi_staging")) == []
    assert str(again.merge("predictions", offered)) == "0 inserted, 3 unchanged"


def test_a_repeated_run_writes_again_what_was_removed_meanwhile(bigquery_warehouse, client, forecast_row):
    """A writer's second write of the same rows is another job: what it says holds now."""
    writer = BigQueryWarehouse(PROJECT, "cbi", REGION, client=client, writer=uuid4().hex)
    assert str(writer.merge("predictions", [forecast_row()])) == "1 inserted, 0 unchanged"
    empty_tables(bigquery_warehouse)
    assert str(writer.merge("predictions", [forecast_row()])) == "1 inserted, 0 unchanged"


def test_a_repeated_run_loads_again_what_was_swept_from_staging(bigquery_warehouse, client, forecast_row, monkeypatch):
    """A table of staging lives for a day, the id of its load for months."""
    writer = uuid4().hex
    first = BigQueryWarehouse(PROJECT, "cbi", REGION, client=client, writer=writer)

    def die(*_: object) -> None:
        raise Died

    monkeypatch.setattr(first, "_insert_new", die)
    with pytest.raises(Died):
        first.merge("predictions", [forecast_row()])
    for table in client.list_tables(f"{PROJECT}.cbi_staging"):
        client.delete_table(table)
    again = BigQueryWarehouse(PROJECT, "cbi", REGION, client=client, writer=writer)
    assert str(again.merge("predictions", [forecast_row()])) == "1 inserted, 0 unchanged"


def test_a_repeated_run_is_not_bound_to_the_failure_of_the_one_before(bigquery_warehouse, client, forecast_row):
    """The id of a job that failed stays taken; once its cause is mended, the same run goes through."""
    published, offered = forecast_row(last_price=50.0), [forecast_row(), forecast_row(horizon_months=6)]
    bigquery_warehouse.merge("predictions", [published])
    writer = uuid4().hex
    for _ in range(2):
        refused = BigQueryWarehouse(PROJECT, "cbi", REGION, client=client, writer=writer)
        with pytest.raises(WarehouseError, match=r"last_price: stored 50\.0, offered 45\.25"):
            refused.merge("predictions", offered)
    assert list(client.list_tables(f"{PROJECT}.cbi_staging")) == []
    empty_tables(bigquery_warehouse)
    again = BigQueryWarehouse(PROJECT, "cbi", REGION, client=client, writer=writer)
    assert str(again.merge("predictions", offered)) == "2 inserted, 0 unchanged"
