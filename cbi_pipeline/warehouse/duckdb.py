"""The embedded warehouse: one DuckDB file, written by one process at a time, for the shortest time."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cbi_pipeline.contracts.warehouse import SCHEMA_MIGRATIONS, WAREHOUSE_TABLES
from cbi_pipeline.errors import WarehouseError
from cbi_pipeline.warehouse import statements
from cbi_pipeline.warehouse.base import MergeResult, MigrationState
from cbi_pipeline.warehouse.dialect import check_query, to_duckdb
from cbi_pipeline.warehouse.migrations import Migration, migrations, pending
from cbi_pipeline.warehouse.rows import find_contract, stage, would_change

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from cbi_pipeline.warehouse.base import Rows

Result = TypeVar("Result")

_STAGING: Final = "staged_rows"
_RETRY_SECONDS: Final = 0.05
_ONE_THREAD: Final = threading.Lock()
_MIGRATE: Final = "create the tables with DuckDBWarehouse.migrate(), as `cbi run` does."


class DuckDBWarehouse:
    """`Warehouse` in the DuckDB file at `path`.

    DuckDB lets one process write a file, and no other read it meanwhile. So each call attaches the
    file, does its work in one transaction and detaches it; a call that finds the file held (by the
    Dagster UI, another run, or another thread) tries again until `lock_wait_seconds` have passed.

    Args:
        path: database file; it and its folder are made by `migrate`.
        lock_wait_seconds: how long a call waits for the file.
    """

    def __init__(self, path: Path, *, lock_wait_seconds: float = 10.0) -> None:
        self.path = Path(path)
        self.lock_wait_seconds = lock_wait_seconds

    @property
    def location(self) -> str:
        """Path of the database file."""
        return str(self.path)

    def migrate(self) -> tuple[Migration, ...]:
        """Apply the pending migrations and make all views, in one transaction.

        Returns:
            The migrations that were applied.

        Raises:
            WarehouseError: a table differs from its contract, or newer code has migrated the file (nothing is changed
                then), or the file cannot be opened.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)

        def work(connection: duckdb.DuckDBPyConnection) -> tuple[Migration, ...]:
            connection.begin()
            connection.execute(to_duckdb(statements.create_table(SCHEMA_MIGRATIONS)))
            due = pending(_applied(connection), self.location)
            for migration in due:
                for statement in migration.statements:
                    connection.execute(to_duckdb(statement))
                connection.register(_STAGING, stage(SCHEMA_MIGRATIONS, [migration.record()]))
                connection.execute(to_duckdb(statements.insert_new(SCHEMA_MIGRATIONS, _STAGING)))
            if different := _differences(connection):
                raise WarehouseError(
                    self.location,
                    f"The tables differ from their contracts: {'; '.join(different)}.",
                    "move the file away and run again to get a new one, or alter the tables; published rows are in it.",
                )
            for name, query in statements.view_queries().items():
                connection.execute(to_duckdb(f"CREATE OR REPLACE VIEW {name} AS {query}"))
            connection.commit()
            return due

        return self._run(work, subject=self.location, read_only=False)

    def migration_states(self) -> tuple[MigrationState, ...]:
        """Every migration of this code, and when it was applied to this file."""
        self._require_file()
        sql = "SELECT version, sha256, created_at FROM schema_migrations"

        def work(connection: duckdb.DuckDBPyConnection) -> dict[int, tuple[str, Any]]:
            known = SCHEMA_MIGRATIONS.name in _definitions(connection)
            rows = connection.sql(sql).to_arrow_table().to_pylist() if known else []
            return {row["version"]: (row["sha256"], row["created_at"]) for row in rows}

        applied = self._run(work, subject=self.location, read_only=True)
        pending({version: sha256 for version, (sha256, _) in applied.items()}, self.location)
        return tuple(MigrationState(one, applied.get(one.version, ("", None))[1]) for one in migrations())

    def differences(self) -> list[str]:
        """In what tables and views differ from their contracts, in words."""
        self._require_file()

        def work(connection: duckdb.DuckDBPyConnection) -> list[str]:
            sql = "SELECT view_name FROM duckdb_views() WHERE database_name = current_database()"
            views = {row[0] for row in connection.execute(sql).fetchall()}
            missing = [f"view {name} is missing" for name in statements.view_queries() if name not in views]
            return [*_differences(connection), *missing]

        return self._run(work, subject=self.location, read_only=True)

    def full_name(self, name: str) -> str:
        """`<file name>.main.<table>`, as DuckDB calls it where the file is attached."""
        return f"{self.path.stem}.main.{name}"

    def console_url(self, name: str) -> str | None:
        """None: a file has no page."""
        return None

    def row_count(self, name: str) -> int:
        """Rows of a table or view."""
        self._require_file()

        def work(connection: duckdb.DuckDBPyConnection) -> int:
            return connection.table(name).count("*").fetchall()[0][0]

        return self._run(work, subject=f"{self.location}, {name}", read_only=True)

    def merge(self, table_name: str, rows: Rows) -> MergeResult:
        """Insert the rows whose key is new: all of them, or none.

        Args:
            table_name: a table of `contracts.warehouse.WAREHOUSE_TABLES`.
            rows: mappings, a frame or an arrow table with exactly the columns of the contract.

        Raises:
            WarehouseError: a row breaks the contract, or would change a published row (the message
                names rows and columns); nothing is written then.
        """
        table = find_contract(table_name)
        staged = stage(table, rows)
        self._require_file()

        def work(connection: duckdb.DuckDBPyConnection) -> MergeResult:
            connection.register(_STAGING, staged)
            connection.begin()
            changed = connection.sql(to_duckdb(statements.changed_rows(table, _STAGING))).to_arrow_table()
            if changed.num_rows:
                raise would_change(table, changed.to_pylist())
            counted = connection.execute(to_duckdb(statements.insert_new(table, _STAGING))).fetchall()
            connection.commit()
            inserted = int(counted[0][0])
            return MergeResult(inserted=inserted, unchanged=staged.num_rows - inserted)

        return self._run(work, subject=f"{self.location}, table {table_name}", read_only=False)

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> pa.Table:
        """Read with one BigQuery statement; `@name` in it takes `params["name"]`.

        Raises:
            WarehouseError: the statement is not valid, writes, or its parameters do not match.
        """
        check_query(sql, params)
        translated = to_duckdb(sql)
        self._require_file()

        def work(connection: duckdb.DuckDBPyConnection) -> pa.Table:
            relation = connection.sql(translated, params=dict(params) if params else None)
            if relation is None:
                raise WarehouseError(self.location, "The statement returns no rows.", "send a SELECT.")
            return relation.to_arrow_table()

        return self._run(work, subject=f"{self.location}, query", read_only=True)

    def latest_forecast(self) -> list[dict[str, Any]]:
        """Rows of `vw_latest_forecast`, shortest horizon first; empty before the first forecast."""
        return self.query("SELECT * FROM vw_latest_forecast ORDER BY horizon_months").to_pylist()

    def copy_to(self, target: Path) -> None:
        """Copy the file as it stands after its last transaction, while nobody can write it."""
        self._require_file()

        def work(connection: duckdb.DuckDBPyConnection) -> None:
            connection.execute("CHECKPOINT")  # what waits in the log beside the file goes into it
            shutil.copyfile(self.path, target)

        self._run(work, subject=self.location, read_only=False)

    def _run(self, work: Callable[[duckdb.DuckDBPyConnection], Result], *, subject: str, read_only: bool) -> Result:
        """Attach the file, do `work`, detach it; try again while another holds the file."""
        import duckdb

        deadline = time.monotonic() + self.lock_wait_seconds
        while True:
            with _in_this_process(deadline, subject):
                try:
                    with _attached(str(self.path), "warehouse", read_only=read_only) as connection:
                        return work(connection)
                except duckdb.Error as error:
                    if not _is_held_elsewhere(error):
                        raise WarehouseError(subject, f"DuckDB refuses: {error}", _remedy(error)) from error
                    if time.monotonic() >= deadline:
                        raise _still_held(subject, str(error)) from error
            time.sleep(_RETRY_SECONDS)

    def _require_file(self) -> None:
        if not self.path.exists():
            raise WarehouseError(self.location, "The warehouse does not exist yet.", _MIGRATE)


@lru_cache(maxsize=1)
def _engine() -> duckdb.DuckDBPyConnection:
    """DuckDB without a file, for the life of the process: to start it takes longer than what is done with a file."""
    import duckdb

    spill = Path(tempfile.gettempdir()) / f"cbi-duckdb-{os.getpid()}"  # made if a query outgrows the memory
    engine = duckdb.connect(":memory:", config={"temp_directory": str(spill)})
    engine.execute("SET GLOBAL TimeZone = 'UTC'")
    atexit.register(_engine.cache_clear)  # DuckDB complains of objects that outlive it
    return engine


@contextmanager
def _attached(file: str, name: str, *, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the file, as `name`; what it has not committed at the end is rolled back.

    The name is not the file's: DuckDB reserves some.
    """
    from sqlglot.expressions import Literal

    engine = _engine()
    engine.execute(f"ATTACH {Literal.string(file).sql('duckdb')} AS {name}" + (" (READ_ONLY)" if read_only else ""))
    try:
        with engine.cursor() as connection:
            connection.execute(f"USE {name}")
            yield connection
    finally:
        engine.execute(f"DETACH {name}")


def _applied(connection: duckdb.DuckDBPyConnection) -> dict[int, str]:
    return dict(connection.execute("SELECT version, sha256 FROM schema_migrations").fetchall())


def _differences(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Compare every table with one made from its contract in an empty database."""
    with _attached(":memory:", "contracts") as scratch:
        for table in (SCHEMA_MIGRATIONS, *WAREHOUSE_TABLES.values()):
            scratch.execute(to_duckdb(statements.create_table(table)))
        contracts = _definitions(scratch)
    tables = _definitions(connection)
    return [
        f"table {name} has {sorted(tables[name] - expected)}, should have {sorted(expected - tables[name])}"
        for name, expected in contracts.items()
        if tables[name] != expected
    ]


def _definitions(connection: duckdb.DuckDBPyConnection) -> defaultdict[str, set[tuple[str, ...]]]:
    """Columns (position, name, type, mode) and primary key of every table, as DuckDB's catalogue tells."""
    found: defaultdict[str, set[tuple[str, ...]]] = defaultdict(set)
    for table, position, name, data_type, nullable in connection.execute(
        "SELECT table_name, column_index, column_name, data_type, is_nullable FROM duckdb_columns() "
        "WHERE database_name = current_database() AND NOT internal"
    ).fetchall():
        found[table].add((f"{position:03d}", name, data_type, "NULLABLE" if nullable else "REQUIRED"))
    for table, kind, names in connection.execute(
        "SELECT table_name, constraint_type, constraint_column_names FROM duckdb_constraints() "
        "WHERE database_name = current_database() AND constraint_type <> 'NOT NULL'"
    ).fetchall():
        found[table].add((kind, *names))
    return found


@contextmanager
def _in_this_process(deadline: float, subject: str) -> Iterator[None]:
    """Let one thread at a time use DuckDB files: opening one from two threads at once is not safe in DuckDB 2.0."""
    if not _ONE_THREAD.acquire(timeout=max(0.0, deadline - time.monotonic())):
        raise _still_held(subject, "another thread of this process is using a warehouse.")
    try:
        yield
    finally:
        _ONE_THREAD.release()


def _is_held_elsewhere(error: duckdb.Error) -> bool:
    """Whether the file is open in another process, or in this one by other means than this class."""
    message = str(error)
    return "Could not set lock on file" in message or "Unique file handle conflict" in message


def _still_held(subject: str, detail: str) -> WarehouseError:
    return WarehouseError(
        subject,
        f"The file stayed in use: {detail}",
        "close the program that holds it, or run again when it is done; nothing was written.",
    )


def _remedy(error: duckdb.Error) -> str:
    import duckdb

    if isinstance(error, duckdb.CatalogException):
        return _MIGRATE
    if isinstance(error, duckdb.IOException) or "Could not write file" in str(error):
        return "check CBI's warehouse path, its permissions and the free disk space."
    return "correct the statement or its parameters."
