"""Dagster's databases as dagster.yaml names them: Dagster's own in all but the number of engines."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import dagster as dg
import pytest
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from cbi_pipeline.orchestration import storage
from cbi_pipeline.orchestration.instance import open_instance


@dg.asset
def counted() -> int:
    return 1


def materialise(instance: dg.DagsterInstance) -> str:
    return dg.materialize([counted], instance=instance).run_id


def test_an_instance_of_the_project_uses_them(new_settings):
    with open_instance(new_settings) as instance:
        assert isinstance(instance.run_storage, storage.RunStorage)
        assert isinstance(instance.event_log_storage, storage.EventLogStorage)
        assert isinstance(instance.schedule_storage, storage.ScheduleStorage)


def test_the_files_are_those_of_dagster(new_settings):
    """Dagster's own classes begin a project and read it later; between them CBI's go on with it."""
    home = new_settings.dagster_dir
    DagsterSqliteStorage.from_local(str(home))
    begun = {str(path.relative_to(home)) for path in home.rglob("*.db")}
    with open_instance(new_settings) as instance:
        run_id = materialise(instance)
        events = instance.all_logs(run_id)
    own = DagsterSqliteStorage.from_local(str(home))
    assert [(run.run_id, run.status.value) for run in own.run_storage.get_runs()] == [(run_id, "SUCCESS")]
    assert [record.event_log_entry for record in own.event_log_storage.get_records_for_run(run_id).records] == events
    assert len(events) > 5
    assert begun == {"history/runs.db", "history/runs/index.db", "schedules/schedules.db"}
    assert {str(path.relative_to(home)) for path in home.rglob("*.db")} == {*begun, f"history/runs/{run_id}.db"}


def test_a_database_has_one_engine(new_settings):
    with open_instance(new_settings) as instance:
        storage._engine.cache_clear()
        materialise(instance)
        calls = storage._engine.cache_info()
    assert calls.misses <= 3  # runs, index, the run's own
    assert calls.hits > 20


def test_threads_lose_no_event(new_settings):
    keys = [dg.AssetKey(["counted", str(n)]) for n in range(40)]
    with open_instance(new_settings) as instance, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: instance.report_runless_asset_event(dg.AssetMaterialization(key)), keys))
        assert set(instance.get_asset_keys()) == set(keys)


def insert_two(connect: Callable[[], AbstractContextManager[Connection]]) -> None:
    with connect() as connection:
        connection.execute(text("INSERT INTO numbers VALUES (1)"))
        connection.execute(text("INSERT INTO numbers VALUES (1)"))


@pytest.mark.parametrize("name", ["run_storage", "event_log_storage", "schedule_storage"])
def test_what_fails_is_rolled_back(new_settings, name):
    with open_instance(new_settings) as instance:
        own = getattr(instance, name)
        connect = own.index_connection if name == "event_log_storage" else own.connect
        with connect() as connection:
            connection.execute(text("CREATE TABLE numbers (n INTEGER UNIQUE)"))
        with pytest.raises(IntegrityError):
            insert_two(connect)
        with connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM numbers")).scalar() == 0
