"""The raw tables in BigQuery, dataset `<dataset>_raw`: made, filled from a bundle, and exported to a bucket.

Every load is one transaction over all tables, and every export reads all tables as they stood at one moment, so that
no bundle holds half of a load.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from cbi_pipeline.errors import WarehouseError
from cbi_pipeline.warehouse import raw_statements, statements
from cbi_pipeline.warehouse.bigquery_catalogue import RAW_DATASETS, Catalogue
from cbi_pipeline.warehouse.bigquery_jobs import Jobs, to_load_parquet
from cbi_pipeline.warehouse.dialect import qualified
from cbi_pipeline.warehouse.raw_statements import RAW, REVISIONS
from cbi_pipeline.warehouse.rows import would_change

if TYPE_CHECKING:
    import pyarrow as pa

_KEPT: Final = "table `revisions` keeps what the replaced rows said"


@dataclass(frozen=True, slots=True)
class RawLoad:
    """What a load did to one raw table.

    Args:
        added: rows whose key was new.
        revised: stored rows that were replaced, because what the provider says of them differs.
        recomputed: stored rows of which only a column that is computed from the whole series differs.
        unchanged: rows that were stored already, as they are.
    """

    added: int
    revised: int
    recomputed: int
    unchanged: int


@dataclass(frozen=True, slots=True)
class Exported:
    """One raw table in a bucket: the folder of its shards below the export's address, and how many rows they hold."""

    folder: str
    rows: int


class RawTables:
    """Raw tables of one dataset.

    Args:
        jobs: how statements are run, and in which project and region.
        dataset: the dataset of the warehouse; the raw tables are in `<dataset>_raw`.
        writer: what a run that may be repeated is called; one of its own for every instance by default. Ids of jobs
            hang on it.
    """

    def __init__(self, jobs: Jobs, dataset: str, *, writer: str | None = None) -> None:
        self._jobs, self._dataset, self._writer = jobs, dataset, writer or uuid4().hex
        self._loads = 0

    @property
    def location(self) -> str:
        """`bigquery:project.dataset_raw`."""
        return f"bigquery:{self._jobs.project}.{self._dataset}_raw"

    def full_name(self, name: str) -> str:
        """`project.dataset_raw.table`."""
        return f"{self._jobs.project}.{self._dataset}_raw.{name}"

    def create(self) -> None:
        """Make dataset and tables that are missing.

        Raises:
            WarehouseError: a dataset is in another region, or a table differs from its contract.
        """
        jobs = self._jobs
        with self._explained(self.location):
            catalogue = Catalogue(
                jobs.client, jobs.project, self._dataset, jobs.region, jobs.retry, full_name=self.full_name
            )
            catalogue.ensure_datasets(RAW_DATASETS)
            for table, statement in zip((*RAW.values(), REVISIONS), raw_statements.create_tables(), strict=True):
                if catalogue.find(table.name) is None:
                    jobs.rows(qualified(statement, self.full_name))
            if different := catalogue.table_differences((*RAW.values(), REVISIONS), structure_only=True):
                raise WarehouseError(
                    self.location,
                    f"The tables differ from their contracts: {'; '.join(different)}.",
                    "alter them as cloud/sql/raw_tables.sql has them; observations are in them.",
                )

    def load(
        self,
        tables: Mapping[str, pa.Table],
        dataset_version: str,
        *,
        accept_revisions: bool = False,
        progress: Callable[[str], None] | None = None,
    ) -> dict[str, RawLoad]:
        """Bring the tables of a bundle into the raw tables: all of them or none. No stored row is removed.

        Args:
            tables: every raw table, checked, in the schema of its contract.
            dataset_version: the bundle's.
            accept_revisions: replace stored rows of which the bundle says something else, and keep what they said in
                table `revisions`; otherwise such rows are an error.
            progress: told in a few words what is being done.

        Returns:
            What was done, by table.

        Raises:
            WarehouseError: a stored row would be revised (the message names rows and columns), or BigQuery refuses;
                nothing is changed then.
        """
        self._loads += 1
        identity = f"{self._writer}-{self._loads}"
        with self._staged(tables, identity, progress) as staging:
            found = {name: self._compare(name, staging[name], len(rows)) for name, rows in tables.items()}
            revised = [name for name, outcome in found.items() if outcome.revised]
            if revised and not accept_revisions:
                raise self._refusal(revised, staging)
            if any(outcome.added or outcome.revised or outcome.recomputed for outcome in found.values()):
                if progress is not None:
                    progress("writing all tables in one transaction")
                self._replace(staging, dataset_version, identity)
        return found

    def export(self, uri: str, progress: Callable[[str], None] | None = None) -> tuple[datetime, dict[str, Exported]]:
        """Write every raw table, as they all stood at one moment, below an address in a bucket.

        Args:
            uri: `gs://bucket/folder`; the bucket must be in the region of the tables.
            progress: told in a few words what is being done.

        Returns:
            That moment, and what was written by table.

        Raises:
            WarehouseError: BigQuery refuses.
        """
        with self._explained(self.location):
            moment = self._jobs.rows("SELECT CURRENT_TIMESTAMP() AS moment")[0]["moment"].astimezone(UTC)
            counts = self._jobs.rows(qualified(raw_statements.count_snapshot(), self.full_name), {"moment": moment})
        rows = {count["name"]: count["n_rows"] for count in counts}
        exported: dict[str, Exported] = {}
        for name in RAW:
            if progress is not None:
                progress(f"exporting {name} ({rows[name]:,} rows)")
            exported[name] = Exported(self._export(name, uri, moment), rows[name])
        return moment, exported

    def _export(self, name: str, uri: str, moment: datetime) -> str:
        """Export one table; the folder of its shards. Each attempt has one of its own: shards that a broken attempt
        left would be read as rows."""
        select = qualified(raw_statements.select_snapshot(RAW[name]), self.full_name)
        job_name = f"cbi-export-{name}-{moment:%Y%m%dT%H%M%S%f}-{self._writer}"
        with self._explained(f"{self.location}, export of {name}, job {job_name}"):
            job = self._jobs.query(
                lambda job_id: raw_statements.export_data(f"{uri}/{job_id}/*.parquet", select),
                job_name,
                {"moment": moment},
            )
        return str(job.job_id)

    @contextmanager
    def _staged(
        self, tables: Mapping[str, pa.Table], identity: str, progress: Callable[[str], None] | None
    ) -> Iterator[dict[str, str]]:
        """The tables as staging tables for the length of the block: full name by name."""
        staging: dict[str, str] = {}
        try:
            for name, rows in tables.items():
                if progress is not None:
                    progress(f"loading {name} ({rows.num_rows:,} rows)")
                content = to_load_parquet(rows)
                told = hashlib.sha256(identity.encode() + content).hexdigest()[:24]
                staging[name] = f"{self._jobs.project}.{self._dataset}_staging.raw_{name}_{told}"
                job_name = f"cbi-load-raw-{name}-{told}"
                with self._explained(f"{self.location}, load of {name}, job {job_name}"):
                    self._jobs.load(RAW[name], content, staging[name], job_name)
            yield staging
        finally:
            with self._explained(self.location):
                for full_name in staging.values():
                    self._jobs.remove_table(full_name)

    def _compare(self, name: str, staging: str, rows: int) -> RawLoad:
        with self._explained(f"{self.location}, comparison of {name}"):
            found = self._jobs.rows(qualified(raw_statements.compare(RAW[name], staging), self.full_name))[0]
        return RawLoad(**found, unchanged=rows - sum(found.values()))

    def _refusal(self, revised: list[str], staging: Mapping[str, str]) -> WarehouseError:
        with self._explained(self.location):
            found = {
                name: self._jobs.rows(qualified(statements.changed_rows(RAW[name], staging[name]), self.full_name))
                for name in revised
            }
        return WarehouseError(
            "; ".join(would_change(RAW[name], rows).subject for name, rows in found.items()),
            f"Stored raw rows would be revised ({_counts(found)}); nothing was written.",
            f"if the provider did revise them, load again with --accept-revisions: {_KEPT}.",
        )

    def _replace(self, staging: Mapping[str, str], dataset_version: str, identity: str) -> None:
        steps = [
            qualified(step(RAW[name], staging[name]), self.full_name)
            for name in staging
            for step in (raw_statements.keep_revised, raw_statements.replace_revised, raw_statements.insert_new)
        ]
        script = ";\n".join(["BEGIN TRANSACTION", *steps, "COMMIT TRANSACTION"]) + ";"
        job_name = f"cbi-write-raw-{dataset_version}-{identity}"
        with self._explained(f"{self.location}, write of all tables, job {job_name}"):
            self._jobs.query(script, job_name, {"revised_at": datetime.now(UTC), "dataset_version": dataset_version})

    def _explained(self, subject: str) -> AbstractContextManager[None]:
        return self._jobs.explained(subject, made_by="cbi bundle load")


def _counts(found: Mapping[str, list[dict[str, object]]]) -> str:
    return ", ".join(f"{name}: {rows[0]['changed_rows']}" for name, rows in found.items())
