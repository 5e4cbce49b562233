"""How a warehouse comes to its tables and views: from nothing, an older state; never over what it does not know."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cbi_pipeline.contracts.warehouse import METRICS
from cbi_pipeline.errors import WarehouseError
from cbi_pipeline.warehouse import BigQueryWarehouse, statements
from cbi_pipeline.warehouse.migrations import migrations
from cbi_pipeline_tests.bigquery_server import PROJECT, REGION
from cbi_pipeline_tests.warehouse.conftest import execute


@pytest.fixture(params=["duckdb", "bigquery"])
def alterable(request, duckdb_warehouse):
    """A warehouse of each kind whose `metrics`, views and `schema_migrations` the test may alter."""
    if request.param == "duckdb":
        yield duckdb_warehouse
        return
    request.getfixturevalue("gcp_environment")
    made = BigQueryWarehouse(PROJECT, "alterable", REGION, retry_seconds=10)
    made.migrate()
    yield made
    execute(made, "DROP TABLE IF EXISTS metrics")
    execute(made, statements.create_table(METRICS))
    first = migrations()[0]
    execute(made, f"UPDATE schema_migrations SET version = 1, sha256 = '{first.sha256}' WHERE version IN (1, 9999)")


def versions(warehouse) -> list[int]:
    rows = warehouse.query("SELECT version FROM schema_migrations ORDER BY version")
    return rows["version"].to_pylist()


def test_migrations_from_nothing_give_the_contracts(warehouse):
    assert warehouse.differences() == []
    assert versions(warehouse) == [migration.version for migration in migrations()]


def test_states_tell_what_was_applied_and_when(warehouse):
    states = warehouse.migration_states()
    assert [state.migration for state in states] == list(migrations())
    age = datetime.now(UTC) - states[0].applied_at
    assert timedelta(0) <= age < timedelta(hours=1)


def test_migrate_applies_each_migration_once_and_adopts_tables_that_are_older(alterable, metric_row):
    alterable.merge("metrics", [metric_row()])
    assert alterable.migrate() == ()
    execute(alterable, "DROP TABLE schema_migrations")
    assert [state.applied_at for state in alterable.migration_states()] == [None] * len(migrations())
    assert alterable.migrate() == migrations()
    assert alterable.query("SELECT * FROM metrics").to_pylist() == [metric_row()]
    assert versions(alterable) == [migration.version for migration in migrations()]


def test_an_applied_migration_never_changes(alterable):
    execute(alterable, "UPDATE schema_migrations SET sha256 = 'other' WHERE version = 1")
    for call in (alterable.migrate, alterable.migration_states):
        with pytest.raises(WarehouseError, match=r"version 1: .*sha256 other.*restore the file"):
            call()


def test_a_warehouse_that_newer_code_has_migrated_is_left_alone(alterable):
    execute(alterable, "UPDATE schema_migrations SET version = 9999 WHERE version = 1")
    execute(alterable, "DROP VIEW vw_gate_status")
    for call in (alterable.migrate, alterable.migration_states):
        with pytest.raises(WarehouseError, match=r"\[9999\] were applied.*update this machine's code"):
            call()
    assert "view vw_gate_status is missing" in alterable.differences()


ALTERATIONS = [
    (["ALTER TABLE metrics ALTER COLUMN n DROP NOT NULL"], "NULLABLE"),
    (["ALTER TABLE metrics ADD COLUMN comment STRING"], "comment"),
    (["DROP TABLE metrics", "CREATE TABLE metrics AS SELECT 1 AS n"], "created_at"),
    (["DROP TABLE metrics"], "metrics"),
]


def test_migrate_refuses_a_table_altered_behind_its_back(alterable):
    """And changes nothing: a view that is missing, too, stays missing."""
    execute(alterable, "DROP VIEW vw_model_leaderboard")
    for alterations, named in ALTERATIONS:
        for sql in alterations:
            execute(alterable, sql)
        with pytest.raises(WarehouseError, match=r"differ from their contracts: table metrics") as refusal:
            alterable.migrate()
        assert named in str(refusal.value)
        different = alterable.differences()
        assert different[-1] == "view vw_model_leaderboard is missing"
        assert all(text.startswith("table metrics") for text in different[:-1])
        execute(alterable, "DROP TABLE IF EXISTS metrics")
        execute(alterable, statements.create_table(METRICS))
    alterable.migrate()
    assert alterable.differences() == []


def test_a_view_that_was_changed_or_dropped_is_put_back(alterable, forecast_row):
    execute(alterable, "CREATE OR REPLACE VIEW vw_latest_forecast AS SELECT * FROM predictions WHERE FALSE")
    execute(alterable, "DROP VIEW vw_gate_status")
    assert "view vw_gate_status is missing" in alterable.differences()
    assert alterable.migrate() == ()
    assert alterable.differences() == []
    alterable.merge("predictions", [forecast_row()])
    assert alterable.latest_forecast() == [forecast_row()]
    execute(alterable, "DELETE FROM predictions WHERE TRUE")
