"""Dagster's SQLite databases, named by dagster.yaml: as Dagster's own, with one engine a database (decision 0026)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Self

from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, NullPool, create_engine

_ENGINES = 16
"""Databases whose engine is kept: each run has its own, and a daemon sees many."""


@lru_cache(maxsize=_ENGINES)
def _engine(url: str) -> Engine:
    """An engine without a pool: a connection lasts for one call, the statements that SQLAlchemy compiled stay."""
    return create_engine(url, poolclass=NullPool, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})


@contextmanager
def _transaction(url: str) -> Iterator[Connection]:
    with _engine(url).connect() as connection, connection.begin():
        yield connection


class EventLogStorage(SqliteEventLogStorage):
    """Dagster's event log, a database a run and the index over all."""

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        url = self.conn_string_for_shard(shard)
        with self._db_lock:
            if shard not in self._initialized_dbs:
                self._initdb(_engine(url))
                self._initialized_dbs.add(shard)
            with _transaction(url) as connection:
                yield connection


class RunStorage(SqliteRunStorage):
    """Dagster's runs, their tags, and the heartbeats of the daemon."""

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """One transaction."""
        with _transaction(self._conn_string) as connection:
            yield connection


class ScheduleStorage(SqliteScheduleStorage):
    """Dagster's schedules, sensors and their ticks."""

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """One transaction."""
        with _transaction(self._conn_string) as connection:
            yield connection


class Storage(DagsterSqliteStorage):
    """The three storages in the folder `base_dir`, in the same files as Dagster's own."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)  # makes the databases, or looks whether they are of this version
        self._run_storage = RunStorage(self._run_storage._conn_string)
        self._event_log_storage = EventLogStorage(self._event_log_storage._base_dir)
        self._schedule_storage = ScheduleStorage(self._schedule_storage._conn_string)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """For Dagster, which reads dagster.yaml."""
        return cls.from_local(config_value["base_dir"], inst_data)
