"""Jobs of BigQuery: started once under a name of their own, waited for, and started again only where that can help.

Whoever runs one (`bigquery.py`, `raw_tables.py`) gives the SQL or the rows; region, labels, byte ceiling and retries
are the same for all of them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from cbi_pipeline.errors import WarehouseError
from cbi_pipeline.warehouse.bigquery_errors import explained, job_retry_of, retry_of

if TYPE_CHECKING:
    import pyarrow as pa
    from google.cloud import bigquery

    from cbi_pipeline.contracts.warehouse import WarehouseTable

DEFAULT_BYTES_BILLED: Final = 10 * 2**30
RETRY_SECONDS: Final = 120.0
JOB_SECONDS: Final = 900.0
JOB_LABELS: Final = {"app": "cbi"}
_PARAMETER_TYPES: Final = (
    (bool, "BOOL"),
    (int, "INT64"),
    (float, "FLOAT64"),
    (str, "STRING"),
    (datetime, "TIMESTAMP"),
    (date, "DATE"),
)
"""The first that fits counts: a bool is an int, and a datetime a date."""


class Jobs:
    """Jobs in one region of one project, with the credentials of the environment unless a client is given.

    Args:
        project: Google Cloud project that pays for the jobs.
        region: every job runs in it.
        maximum_bytes_billed: a query that would read more is refused.
        client: an open client; made from the environment when first needed by default.
        retry_seconds: how long a request, or a job that failed by chance, is tried again.
        job_seconds: how long a job may take.
    """

    def __init__(
        self,
        project: str,
        region: str,
        *,
        maximum_bytes_billed: int = DEFAULT_BYTES_BILLED,
        client: bigquery.Client | None = None,
        retry_seconds: float = RETRY_SECONDS,
        job_seconds: float = JOB_SECONDS,
    ) -> None:
        self.project, self.region, self.maximum_bytes = project, region, maximum_bytes_billed
        self._given, self._retry_seconds, self._job_seconds = client, retry_seconds, job_seconds

    @cached_property
    def client(self) -> bigquery.Client:
        """The client through which all requests go."""
        if self._given is not None:
            return self._given
        from google.cloud import bigquery

        return bigquery.Client(project=self.project, location=self.region)

    @property
    def retry(self) -> Any:
        """Retry of one request."""
        return retry_of(self._retry_seconds)

    @contextmanager
    def explained(self, subject: str, made_by: str = "cbi warehouse migrate") -> Iterator[None]:
        """What the client raises inside becomes one `WarehouseError` about `subject`, made by the command `made_by`."""
        _require_client(subject)
        with explained(subject, self._retry_seconds, made_by):
            yield

    def config(self, params: Mapping[str, Any] | None = None, *, dry_run: bool = False) -> bigquery.QueryJobConfig:
        """Settings of a query: its parameters, the byte ceiling, the labels."""
        from google.cloud import bigquery

        return bigquery.QueryJobConfig(
            query_parameters=[_parameter(name, value) for name, value in (params or {}).items()],
            maximum_bytes_billed=self.maximum_bytes,
            labels=JOB_LABELS,
            dry_run=dry_run,
            use_query_cache=not dry_run,
        )

    def run(self, start: Callable[[str], Any], name: str, *, still_there: Callable[[], bool] = lambda: True) -> Any:
        """Start a job under an id made of `name` and wait for it; one that fails by chance is started again.

        An id that is taken is this very job, whose answer was lost, or which a run before this one started: it is
        waited for, not started twice. If it failed, or what it made is gone, the next free id is taken.

        Args:
            start: start the job under the id that is given.
            name: what the ids begin with.
            still_there: whether what an earlier job made can still be used.

        Returns:
            the job, done.
        """
        from google.api_core.exceptions import Conflict

        ids = (f"{name}-{number}" for number in range(1_000))

        def attempt() -> Any:
            for job_id in ids:
                try:
                    job = start(job_id)
                except Conflict:
                    job = self.client.get_job(job_id, location=self.region, retry=self.retry)
                    if job.state == "DONE" and (job.error_result or not still_there()):
                        continue
                self._wait(job)
                return job
            raise WarehouseError(f"job {name}", "A thousand jobs of this name failed.", "read what they say.")

        return job_retry_of(self._retry_seconds)(attempt)()

    def _wait(self, job: Any) -> None:
        try:
            job.result(retry=self.retry, timeout=self._job_seconds)
        except TimeoutError:
            raise WarehouseError(
                f"job {job.job_id}",
                f"It has not ended after {self._job_seconds:.0f} s.",
                f"look what it does (`bq show -j {job.job_id}`), and run again when it has ended, or cancel it.",
            ) from None

    def query(self, sql: str | Callable[[str], str], name: str, params: Mapping[str, Any] | None = None) -> Any:
        """Run one statement or script as a job called `name`, to its end.

        Args:
            sql: its text, all names full; or what makes the text from the id of the attempt.
            name: of the job: equal for what may be run again and must then not be started twice.
            params: values of its parameters.
        """
        config = self.config(params)

        def start(job_id: str) -> Any:
            text = sql if isinstance(sql, str) else sql(job_id)
            return self.client.query(
                text, job_id=job_id, job_config=config, location=self.region, retry=self.retry, job_retry=None
            )

        return self.run(start, name)

    def load(self, table: WarehouseTable, content: bytes, destination: str, name: str) -> None:
        """Load parquet into a table made anew with the columns of `table`, as a job called `name`."""
        from google.cloud import bigquery

        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            schema=[bigquery.SchemaField(c.name, c.type, mode=c.mode) for c in table.columns],
            write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
            labels=JOB_LABELS,
        )
        self.run(
            self.retry(
                lambda job_id: self.client.load_table_from_file(
                    io.BytesIO(content),
                    destination,
                    job_id=job_id,
                    job_config=config,
                    location=self.region,
                    num_retries=0,
                )
            ),
            name,
            still_there=lambda: self._exists(destination),
        )

    def _exists(self, table: str) -> bool:
        from google.api_core.exceptions import NotFound

        try:
            self.client.get_table(table, retry=self.retry)
        except NotFound:
            return False
        return True

    def rows(
        self, sql: str, params: Mapping[str, Any] | None = None, *, default_dataset: str | None = None
    ) -> list[dict[str, Any]]:
        """Run a statement that changes nothing, or may be run twice; its rows.

        Args:
            sql: its text.
            params: values of its parameters.
            default_dataset: where tables without a dataset are found, in DDL that only BigQuery can parse.
        """
        config = self.config(params)
        if default_dataset is not None:
            config.default_dataset = default_dataset
        found = self.client.query_and_wait(
            sql,
            job_config=config,
            location=self.region,
            retry=self.retry,
            job_retry=job_retry_of(self._retry_seconds),
        )
        return [dict(row.items()) for row in found]

    def remove_table(self, name: str) -> None:
        """Remove a table that may be gone already."""
        self.client.delete_table(name, not_found_ok=True, retry=self.retry)


def to_load_parquet(staged: pa.Table) -> bytes:
    """Rows as the parquet of a load job."""
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(staged, sink, compression="zstd")
    return sink.getvalue()


def _parameter(name: str, value: Any) -> bigquery.ScalarQueryParameter | bigquery.ArrayQueryParameter:
    """A named parameter of the type that its value has; a list is an array of the type of its first value."""
    from google.cloud import bigquery

    first = value[0] if isinstance(value, list) and value else value
    for kind, bigquery_type in _PARAMETER_TYPES:
        if isinstance(first, kind):
            if isinstance(value, list):
                return bigquery.ArrayQueryParameter(name, bigquery_type, value)
            return bigquery.ScalarQueryParameter(name, bigquery_type, value)
    raise WarehouseError(
        f"parameter {name}", f"BigQuery takes no {type(value).__name__} as a parameter.", "give a plain value."
    )


def _require_client(location: str) -> None:
    from importlib.util import find_spec

    if find_spec("google") is None or find_spec("google.cloud.bigquery") is None:
        fix = "install it: `make install-dev`, or pip install '.[gcp]'."
        raise WarehouseError(location, "google-cloud-bigquery is not installed.", fix)
