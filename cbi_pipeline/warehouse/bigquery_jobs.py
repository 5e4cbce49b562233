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
        retry_seconds: how long a request is tried again after an error that may pass.
    """

    def __init__(
        self,
        project: str,
        region: str,
        *,
        maximum_bytes_billed: int = DEFAULT_BYTES_BILLED,
        client: bigquery.Client | None = None,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self.project, self.region, self.maximum_bytes = project, region, maximum_bytes_billed
        self._given, self._retry_seconds = client, retry_seconds

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
    def explained(self, subject: str) -> Iterator[None]:
        """What the client raises inside becomes one `WarehouseError` about `subject`."""
        _require_client(subject)
        with explained(subject, self._retry_seconds):
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

    def run(self, start: Callable[[str], Any], name: str) -> Any:
        """Start a job under an id made of `name` and wait for it; one that fails by chance is started again.

        An id that is taken is this very job, whose answer was lost: it is waited for, not started twice.
        """
        from google.api_core.exceptions import Conflict

        attempts = iter(range(1_000))

        def attempt() -> Any:
            job_id = f"{name}-{next(attempts)}"
            try:
                job = start(job_id)
            except Conflict:
                job = self.client.get_job(job_id, location=self.region, retry=self.retry)
            job.result(retry=self.retry)
            return job

        return job_retry_of(self._retry_seconds)(attempt)()

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
            lambda job_id: self.retry(self.client.load_table_from_file)(
                io.BytesIO(content), destination, job_id=job_id, job_config=config, location=self.region, num_retries=0
            ),
            name,
        )

    def rows(self, sql: str, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Run a statement that changes nothing, or may be run twice; its rows."""
        found = self.client.query_and_wait(sql, job_config=self.config(params), location=self.region, retry=self.retry)
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
