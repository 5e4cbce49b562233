"""`cbi doctor --gcp`: whether this account may do on Google Cloud what CBI does there, each right by a harmless call.

What is missing is named as the role and the command that grants it. Only kinds of errors are passed on, never the text
of an answer, which may quote credentials.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from cbi_pipeline.reports.doctor import Finding
from cbi_pipeline.settings import Settings, current_environment

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.cloud import bigquery, storage

MAX_CLOCK_SECONDS: Final = 120.0
RETRY_SECONDS: Final = 5.0
WRITER_ROLE: Final = "cbiWriter"
"""Custom role of docs/gcp.md: read and add rows, without the right to alter or remove a table."""

_BIGQUERY_HOST: Final = "https://bigquery.googleapis.com"
_SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
_SIGN_IN: Final = (
    "gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS to the file of a valid key"
)
_AGAIN: Final = "run `cbi doctor --gcp` again when the service answers"


class _Denied(Exception):
    """Something is not as it should be, though the call was answered; `fix` where no grant mends it."""

    def __init__(self, found: str, fix: str = "") -> None:
        super().__init__(found)
        self.fix = fix


def examine_gcp(
    settings: Settings, *, publisher: bool = False, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> list[Finding]:
    """Every check, in the order in which a user would fix them; after a failed sign-in there is nothing to ask.

    Args:
        settings: project, datasets, region and bucket.
        publisher: check also what `cbi bundle load`, `export` and `publish` need; an empty object is written to the
            bucket of exports and removed.
        now: this machine's clock.
    """
    if not settings.gcp_project:
        return [Finding("GCP project", False, "CBI_GCP_PROJECT is empty", "export CBI_GCP_PROJECT=<project id>")]
    clock = _clock(now)
    access = _Access(settings)
    signed_in = access.sign_in()
    if not signed_in.ok:
        return [clock, signed_in]
    return [clock, signed_in, *access.bigquery_findings(publisher), *access.bucket_findings(publisher)]


def _clock(now: Callable[[], datetime]) -> Finding:
    """This machine's clock against the moment that Google's answer carries; any answer will do, a refusal too."""
    import httpx

    host = current_environment().get("BIGQUERY_EMULATOR_HOST", _BIGQUERY_HOST)
    try:
        answered = httpx.get(f"{host}/bigquery/v2/projects", timeout=RETRY_SECONDS).headers.get("date", "")
        behind = (parsedate_to_datetime(answered) - now()).total_seconds()
    except (httpx.HTTPError, ValueError) as error:
        return Finding("clock", False, f"no answer with a date from {host} ({type(error).__name__})", _AGAIN)
    if abs(behind) <= MAX_CLOCK_SECONDS:
        return Finding("clock", True, f"within {MAX_CLOCK_SECONDS:.0f} s of Google's")
    found = f"{abs(behind) / 60:.0f} minutes {'behind' if behind > 0 else 'ahead of'} Google's: tokens are refused"
    return Finding("clock", False, found, "sudo sntp -sS time.apple.com, or switch on automatic date and time")


class _Access:
    """One account's rights, asked with its own credentials."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._project = settings, settings.gcp_project
        self._member = "user:YOUR_ADDRESS"
        self._credentials: Credentials | None = None

    def sign_in(self) -> Finding:
        """Credentials are found and give a token."""
        import google.auth
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request

        try:
            credentials, _ = google.auth.default(scopes=_SCOPES)
            credentials.refresh(Request())
        except (GoogleAuthError, OSError, ValueError) as error:
            return Finding("credentials", False, f"no valid credentials ({type(error).__name__})", _SIGN_IN)
        self._credentials = credentials
        address = getattr(credentials, "service_account_email", None)
        if address:
            self._member = f"serviceAccount:{address}"
        return Finding("credentials", True, f"{address or type(credentials).__name__} has a token")

    def bigquery_findings(self, publisher: bool) -> list[Finding]:
        """What the warehouse needs: jobs, datasets in their region, rows to read and to add, staging, views."""
        dataset, region = self._settings.bigquery_dataset, self._settings.bigquery_location
        writer = f"projects/{self._project}/roles/{WRITER_ROLE}"
        job_user = self._grant_on_project("roles/bigquery.jobUser")
        roles = {"": writer, "_views": "roles/bigquery.dataViewer", "_staging": "roles/bigquery.dataEditor"}
        if publisher:
            roles["_raw"] = "roles/bigquery.dataEditor"
        grants = {suffix: self._grant_on_dataset(role, f"{dataset}{suffix}") for suffix, role in roles.items()}
        make = "cbi warehouse migrate, as someone who may create datasets (roles/bigquery.dataEditor on the project)"
        migrate = {suffix: "cbi bundle load <bundle>" if suffix == "_raw" else make for suffix in roles}
        return [
            self._ask("BigQuery jobs", job_user, "check CBI_GCP_PROJECT", lambda: self._dry_run("SELECT 1")),
            *(
                self._ask(f"dataset {dataset}{s}", grants[s], migrate[s], partial(self._region, s, region))
                for s in roles
            ),
            self._ask("read rows", grants[""], make, self._read_rows),
            self._ask("add rows", grants[""], make, self._may_add_rows),
            self._ask("authorised views", grants[""], make, self._views_are_authorised),
            self._ask(
                "read views",
                grants["_views"],
                make,
                lambda: self._dry_run(f"SELECT * FROM `{self._project}.{dataset}_views.vw_latest_forecast`"),
            ),
            self._ask("staging tables", grants["_staging"], make, self._make_and_remove_table),
        ]

    def bucket_findings(self, publisher: bool) -> list[Finding]:
        """What bundles need: to list and read the bucket; for who publishes, to write it and that of exports."""
        uri = self._settings.bundle_uri.rstrip("/")
        if not uri:
            return [Finding("bucket", True, "CBI_BUNDLE_URI is empty: bundles are those of this machine")]
        name, _, prefix = uri.removeprefix("gs://").partition("/")
        missing = f"check CBI_BUNDLE_URI; gcloud storage buckets describe gs://{name}"
        read = self._grant_on_bucket("roles/storage.objectViewer", name)
        checks = [
            self._ask("list bundles", read, missing, lambda: self._list(name, prefix)),
            self._ask("read bundles", read, missing, lambda: self._read(name, prefix)),
        ]
        if publisher:
            create = self._grant_on_bucket("roles/storage.objectCreator", name)
            checks.append(self._ask("publish bundles", create, missing, lambda: self._may_create(name)))
            exports = (self._settings.export_uri or uri).rstrip("/")
            bucket, _, folder = exports.removeprefix("gs://").partition("/")
            write = self._grant_on_bucket("roles/storage.objectUser", bucket)
            missing = f"check CBI_EXPORT_URI; gcloud storage buckets describe gs://{bucket}"
            checks.append(self._ask("write exports", write, missing, lambda: self._write(bucket, folder)))
        return checks

    def _ask(self, subject: str, grant: str, missing: str, call: Callable[[], str]) -> Finding:
        """One harmless call: `grant` is the fix of a refusal, `missing` that of something that is not there."""
        from google.api_core.exceptions import GoogleAPICallError, RetryError
        from google.auth.exceptions import GoogleAuthError
        from requests.exceptions import RequestException

        try:
            return Finding(subject, True, call())
        except _Denied as denied:
            return Finding(subject, False, str(denied), denied.fix or grant)
        except GoogleAPICallError as error:
            code = int(error.code or 0)
            fix = {401: _SIGN_IN, 403: grant, 404: missing}.get(code, _AGAIN)
            return Finding(subject, False, f"answered {code} {type(error).__name__}", fix)
        except GoogleAuthError as error:
            return Finding(subject, False, f"no valid credentials ({type(error).__name__})", _SIGN_IN)
        except (RetryError, RequestException, OSError) as error:
            return Finding(subject, False, f"no answer within {RETRY_SECONDS:.0f} s ({type(error).__name__})", _AGAIN)

    def _dry_run(self, sql: str) -> str:
        from google.cloud.bigquery import QueryJobConfig

        config = QueryJobConfig(dry_run=True, use_query_cache=False)
        location = self._settings.bigquery_location
        self._bigquery.query(sql, job_config=config, location=location, retry=self._retry, job_retry=None)
        return "planned, at no cost"

    def _region(self, suffix: str, region: str) -> str:
        found = str(self._bigquery.get_dataset(self._dataset(suffix), retry=self._retry).location)
        if found.lower() != region.lower():
            raise _Denied(f"it is in {found}, CBI_BIGQUERY_LOCATION is {region}", f"set CBI_BIGQUERY_LOCATION={found}")
        return f"in {found}"

    def _read_rows(self) -> str:
        rows = self._bigquery.list_rows(f"{self._dataset('')}.predictions", max_results=1, retry=self._retry)
        return f"predictions has {len(list(rows))} row to read" if rows.total_rows else "predictions is empty"

    def _may_add_rows(self) -> str:
        wanted = ["bigquery.tables.getData", "bigquery.tables.updateData"]
        table = f"{self._dataset('')}.predictions"
        answer = self._bigquery.test_iam_permissions(table, wanted, retry=self._retry)
        return _all_of(wanted, answer.get("permissions", ()))

    def _views_are_authorised(self) -> str:
        dataset = self._bigquery.get_dataset(self._dataset(""), retry=self._retry)
        views = f"{self._settings.bigquery_dataset}_views"
        granted = [entry.entity_id for entry in dataset.access_entries if entry.entity_type == "dataset"]
        if not any(entry["dataset"]["datasetId"] == views for entry in granted):
            found = f"{views} is not among those that may read the tables, or this account may not see it"
            raise _Denied(found, "cbi warehouse migrate, as someone who owns the dataset")
        return f"{views} may read the tables"

    def _make_and_remove_table(self) -> str:
        from google.cloud.bigquery import SchemaField, Table

        name = f"{self._dataset('_staging')}.doctor_{uuid4().hex}"
        self._bigquery.create_table(Table(name, [SchemaField("nothing", "INT64")]), retry=self._retry)
        self._bigquery.delete_table(name, retry=self._retry)
        return "an empty one was made and removed"

    def _list(self, bucket: str, prefix: str) -> str:
        found = self._storage.bucket(bucket).list_blobs(prefix=prefix, max_results=1, retry=self._storage_retry)
        return "listed, there are objects" if list(found) else "listed, there is nothing yet"

    def _read(self, bucket: str, prefix: str) -> str:
        """The rights as the bucket tells them where it can, and one object's metadata."""
        from google.api_core.exceptions import NotFound

        wanted = ["storage.objects.get", "storage.objects.list"]
        place = self._storage.bucket(bucket)
        with suppress(NotFound):  # the server has no such method, or no such bucket; the second shows in `_list`
            _all_of(wanted, place.test_iam_permissions(wanted, retry=self._storage_retry))
        there = place.blob(f"{prefix}/doctor".lstrip("/")).exists(retry=self._storage_retry)
        return "asked for one object" if there else "asked for one object that is not there"

    def _may_create(self, bucket: str) -> str:
        """Nothing is written: a bucket of bundles retains what is in it."""
        from google.api_core.exceptions import NotFound

        wanted = ["storage.objects.create"]
        try:
            granted = self._storage.bucket(bucket).test_iam_permissions(wanted, retry=self._storage_retry)
        except NotFound:
            return "the server cannot be asked; `cbi bundle publish` will show it"
        return _all_of(wanted, granted)

    def _write(self, bucket: str, prefix: str) -> str:
        blob = self._storage.bucket(bucket).blob(f"{prefix}/exporting/doctor-{uuid4().hex}".lstrip("/"))
        blob.upload_from_string(b"", if_generation_match=0, retry=self._storage_retry)
        blob.delete(retry=self._storage_retry)
        return "an empty object was written and removed"

    @cached_property
    def _bigquery(self) -> bigquery.Client:
        from google.cloud import bigquery

        location = self._settings.bigquery_location
        return bigquery.Client(project=self._project, location=location, credentials=self._credentials)

    @cached_property
    def _storage(self) -> storage.Client:
        from google.cloud import storage

        return storage.Client(project=self._project, credentials=self._credentials)

    @property
    def _retry(self) -> Any:
        from cbi_pipeline.warehouse.bigquery_errors import retry_of

        return retry_of(RETRY_SECONDS)

    @property
    def _storage_retry(self) -> Any:
        from google.cloud.storage.retry import DEFAULT_RETRY

        return DEFAULT_RETRY.with_timeout(RETRY_SECONDS)

    def _dataset(self, suffix: str) -> str:
        return f"{self._project}.{self._settings.bigquery_dataset}{suffix}"

    def _grant_on_project(self, role: str) -> str:
        return f"gcloud projects add-iam-policy-binding {self._project} --member={self._member} --role={role}"

    def _grant_on_dataset(self, role: str, dataset: str) -> str:
        sql = f'GRANT `{role}` ON SCHEMA `{self._project}`.{dataset} TO "{self._member}"'
        return f"bq query --location={self._settings.bigquery_location} --nouse_legacy_sql '{sql}'"

    def _grant_on_bucket(self, role: str, bucket: str) -> str:
        return f"gcloud storage buckets add-iam-policy-binding gs://{bucket} --member={self._member} --role={role}"


def _all_of(wanted: list[str], granted: list[str]) -> str:
    if missing := sorted(set(wanted) - set(granted)):
        raise _Denied(f"without {', '.join(missing)}")
    return ", ".join(wanted)
