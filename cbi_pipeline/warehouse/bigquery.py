"""The warehouse of record: three datasets of BigQuery in one region.

`<dataset>` holds the tables, `<dataset>_views` the views (authorised to read the tables, so that whoever may read the
views needs no right on the tables), `<dataset>_staging` what is being loaded, for a day at most.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from cbi_pipeline.contracts.warehouse import SCHEMA_MIGRATIONS, WarehouseTable
from cbi_pipeline.contracts.warehouse_views import WAREHOUSE_VIEWS
from cbi_pipeline.errors import WarehouseError
from cbi_pipeline.warehouse import statements
from cbi_pipeline.warehouse.base import MergeResult, MigrationState
from cbi_pipeline.warehouse.bigquery_catalogue import Catalogue
from cbi_pipeline.warehouse.bigquery_jobs import DEFAULT_BYTES_BILLED, JOB_SECONDS, RETRY_SECONDS, Jobs, to_load_parquet
from cbi_pipeline.warehouse.dialect import check_query, qualified, shorten
from cbi_pipeline.warehouse.migrations import Migration, migrations, pending
from cbi_pipeline.warehouse.rows import find_contract, stage, would_change

if TYPE_CHECKING:
    import pyarrow as pa
    from google.cloud import bigquery

    from cbi_pipeline.warehouse.base import Rows

_APPLIED_SQL: Final = "SELECT version, sha256, created_at FROM schema_migrations"


class BigQueryWarehouse:
    """`Warehouse` in BigQuery, with the credentials of the environment unless a client is given.

    A write is a load job into a staging table, then one MERGE, which is a transaction by itself. Ids of both jobs hang
    on writer, table and rows, so that a request whose answer was lost, or a step that is run again after a crash,
    finds its own job instead of starting a second one.

    Args:
        project: Google Cloud project that holds the datasets and pays for the jobs.
        dataset: dataset of the tables.
        region: every dataset must be in it, and every job runs in it.
        maximum_bytes_billed: a query that would read more is refused.
        storage_api: read results through the BigQuery Storage API.
        client: an open client; made from the environment when first needed by default.
        writer: what a run that may be repeated is called; one of its own for every instance by default.
        retry_seconds: how long a request is tried again after an error that may pass.
        job_seconds: how long a job may take.
    """

    def __init__(
        self,
        project: str,
        dataset: str,
        region: str,
        *,
        maximum_bytes_billed: int = DEFAULT_BYTES_BILLED,
        storage_api: bool = False,
        client: bigquery.Client | None = None,
        writer: str | None = None,
        retry_seconds: float = RETRY_SECONDS,
        job_seconds: float = JOB_SECONDS,
    ) -> None:
        self.project, self.dataset, self.region = project, dataset, region
        self._storage_api, self._writer = storage_api, writer or uuid4().hex
        self._jobs = Jobs(
            project,
            region,
            maximum_bytes_billed=maximum_bytes_billed,
            client=client,
            retry_seconds=retry_seconds,
            job_seconds=job_seconds,
        )
        self._writes: Counter[str] = Counter()

    @property
    def location(self) -> str:
        """`bigquery:project.dataset`."""
        return f"bigquery:{self.project}.{self.dataset}"

    def full_name(self, name: str) -> str:
        """`project.dataset.table`."""
        return f"{self.project}.{self.dataset}{'_views' if name in WAREHOUSE_VIEWS else ''}.{name}"

    def console_url(self, name: str) -> str | None:
        """The page of a table or view in the Google Cloud console."""
        project, dataset, table = self.full_name(name).split(".")
        return (
            f"https://console.cloud.google.com/bigquery?project={project}"
            f"&ws=!1m5!1m4!4m3!1s{project}!2s{dataset}!3s{table}"
        )

    def migrate(self) -> tuple[Migration, ...]:
        """Make the datasets that are missing, apply the pending migrations, replace views that differ.

        Where all is in place nothing is written, and an account that may only write rows can call it.

        Returns:
            The migrations that were applied.

        Raises:
            WarehouseError: a dataset is in another region, a table differs from its contract, newer code has migrated
                the warehouse, or the account may not do what is needed.
        """
        catalogue = self._catalogue
        with self._explained(self.location):
            catalogue.ensure_datasets()
            if catalogue.find(SCHEMA_MIGRATIONS.name) is None:
                self._execute(statements.create_table(SCHEMA_MIGRATIONS))
        due = pending({version: sha256 for version, (sha256, _) in self._applied().items()}, self.location)
        for migration in due:
            with self._explained(f"{self.location}, migration {migration.version} ({migration.name})"):
                for statement in migration.statements:
                    self._execute(statement)
                self._execute(statements.record_migration(), migration.record())
        with self._explained(self.location):
            if different := catalogue.table_differences(structure_only=True):
                raise WarehouseError(
                    self.location,
                    f"The tables differ from their contracts: {'; '.join(different)}.",
                    "alter the tables with a migration; published rows are in them.",
                )
            for view in WAREHOUSE_VIEWS.values():
                if catalogue.view_difference(view, self._view_query(view.name)):
                    self._execute(statements.create_view(view, self._view_query(view.name)))
            catalogue.authorise_views()
        return due

    def migration_states(self) -> tuple[MigrationState, ...]:
        """Every migration of this code, and when it was applied."""
        with self._explained(self.location):
            applied = self._applied() if self._catalogue.find(SCHEMA_MIGRATIONS.name) is not None else {}
        pending({version: sha256 for version, (sha256, _) in applied.items()}, self.location)
        return tuple(MigrationState(one, applied.get(one.version, ("", None))[1]) for one in migrations())

    def differences(self) -> list[str]:
        """In what datasets, tables and views differ from what `migrate` makes, in words."""
        with self._explained(self.location):
            views = [
                self._catalogue.view_difference(view, self._view_query(view.name)) for view in WAREHOUSE_VIEWS.values()
            ]
            tables = self._catalogue.table_differences(structure_only=False)
            return [*self._catalogue.dataset_differences(), *tables, *filter(None, views)]

    def row_count(self, name: str) -> int:
        """Rows of a table (from its metadata, without reading it) or of a view."""
        if name in WAREHOUSE_VIEWS:
            return self.query(f"SELECT COUNT(*) AS n FROM {name}")["n"][0].as_py()
        with self._explained(f"{self.location}, table {name}"):
            return int(self._client.get_table(self.full_name(name), retry=self._retry).num_rows)

    def merge(self, table_name: str, rows: Rows) -> MergeResult:
        """Insert the rows whose key is new: all of them, or none.

        Args:
            table_name: a table of `contracts.warehouse.WAREHOUSE_TABLES`.
            rows: mappings, a frame or an arrow table with exactly the columns of the contract.

        Raises:
            WarehouseError: a row breaks the contract, or would change a published row (the message
                names rows and columns), or BigQuery refuses; nothing is written then.
        """
        table = find_contract(table_name)
        staged = stage(table, rows)
        if not staged.num_rows:
            return MergeResult(inserted=0, unchanged=0)
        content = to_load_parquet(staged)
        identity = self._identity(table, content)
        staging = f"{self.project}.{self.dataset}_staging.{table.name}_{identity}"
        self._load(table, staging, content, identity)
        inserted = self._insert_new(table, staging, staged, identity)
        with self._explained(staging):
            self._jobs.remove_table(staging)
        return MergeResult(inserted=inserted, unchanged=staged.num_rows - inserted)

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> pa.Table:
        """Read with one BigQuery statement; `@name` in it takes `params["name"]`.

        It is planned first, at no cost: one that would read more than `maximum_bytes_billed` is not run.

        Raises:
            WarehouseError: the statement is not valid, writes, reads too much, or its parameters do not match.
        """
        check_query(sql, params)
        text, subject = qualified(sql, self.full_name), f"{self.location}, query: {shorten(sql)}"
        with self._explained(subject):
            plan = self._client.query(
                text, job_config=self._jobs.config(params, dry_run=True), location=self.region, retry=self._retry
            )
            _refuse_write(subject, plan.statement_type)
            self._refuse_excess(subject, plan.total_bytes_processed or 0)
        job_id = f"cbi-query-{uuid4().hex}"
        with self._explained(f"{subject}, job {job_id}"):
            job = self._jobs.query(text, job_id, params)
            return job.result(retry=self._retry).to_arrow(create_bqstorage_client=self._storage_api)

    def latest_forecast(self) -> list[dict[str, Any]]:
        """Rows of `vw_latest_forecast`, shortest horizon first; empty before the first forecast."""
        return self.query("SELECT * FROM vw_latest_forecast ORDER BY horizon_months").to_pylist()

    @property
    def _client(self) -> bigquery.Client:
        return self._jobs.client

    @cached_property
    def _catalogue(self) -> Catalogue:
        return Catalogue(self._client, self.project, self.dataset, self.region, self._retry, self.full_name)

    @property
    def _retry(self) -> Any:
        return self._jobs.retry

    def _explained(self, subject: str) -> AbstractContextManager[None]:
        return self._jobs.explained(subject)

    def _identity(self, table: WarehouseTable, content: bytes) -> str:
        """What distinguishes this write: equal for the same rows, written as often as now by the same writer."""
        told = hashlib.sha256(b"\0".join([self._writer.encode(), table.name.encode(), content])).hexdigest()[:24]
        self._writes[told] += 1
        return f"{told}_{self._writes[told]}"

    def _load(self, table: WarehouseTable, staging: str, content: bytes, identity: str) -> None:
        name = f"cbi-load-{table.name}-{identity}"
        with self._explained(f"{self.location}, load of {table.name}, job {name}"):
            self._jobs.load(table, content, staging, name)

    def _insert_new(self, table: WarehouseTable, staging: str, staged: pa.Table, identity: str) -> int:
        sql = qualified(statements.insert_new_or_fail(table, staging), self.full_name)
        bounds = _bounds(table, staged)
        name = f"cbi-merge-{table.name}-{identity}"
        with self._explained(f"{self.location}, MERGE into {table.name}, job {name}"):
            from google.api_core.exceptions import BadRequest

            try:
                job = self._jobs.query(sql, name, bounds)
            except BadRequest as error:
                if statements.WOULD_CHANGE not in str(error.message):
                    raise
                select = qualified(statements.changed_rows(table, staging, bounded=True), self.full_name)
                changed = self._jobs.rows(select, bounds)
                self._jobs.remove_table(staging)
                raise would_change(table, changed) from None
            return int(job.num_dml_affected_rows or 0)

    def _execute(self, sql: str, params: Mapping[str, Any] | None = None) -> None:
        """Run DDL, or DML on `schema_migrations`: what can be run twice."""
        self._jobs.rows(qualified(sql, self.full_name), params, default_dataset=f"{self.project}.{self.dataset}")

    def _applied(self) -> dict[int, tuple[str, datetime]]:
        rows = self.query(_APPLIED_SQL).to_pylist()
        return {row["version"]: (row["sha256"], row["created_at"]) for row in rows}

    def _view_query(self, name: str) -> str:
        return qualified(statements.view_queries()[name], self.full_name)

    def _refuse_excess(self, subject: str, estimated_bytes: int) -> None:
        allowed = self._jobs.maximum_bytes
        if estimated_bytes > allowed:
            raise WarehouseError(
                subject,
                f"It would read {estimated_bytes:,} bytes, at most {allowed:,} may be billed for a query.",
                "narrow the range of dates, or raise CBI_MAXIMUM_BYTES_BILLED.",
            )


def _refuse_write(subject: str, statement_type: str | None) -> None:
    if statement_type != "SELECT":
        raise WarehouseError(subject, f"A query only reads, this is {statement_type}.", "send a SELECT.")


def _bounds(table: WarehouseTable, staged: pa.Table) -> dict[str, Any]:
    """First and last value of the partition column, where keys lie between them: MERGE opens no other partition."""
    import pyarrow.compute as pc

    if not statements.prunable(table):
        return {}
    found = pc.min_max(staged[table.partition_by]).as_py()
    return {"first": found["min"], "last": found["max"]}
