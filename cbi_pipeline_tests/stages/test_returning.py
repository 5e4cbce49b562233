"""Return manifests: written once, found again by a re-run, and what they say of the rows is what SQL says."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

import pytest
from google.cloud import storage
from pydantic import ValidationError

from cbi_pipeline.bundle.gcs import GcsBundleStore
from cbi_pipeline.contracts.returned import ReturnManifest, returned_table
from cbi_pipeline.contracts.warehouse import MODEL_REGISTRY, PREDICTIONS
from cbi_pipeline.errors import BundleError, StoreError, WarehouseError
from cbi_pipeline.stages.returning import RETURNS_FOLDER, publish_return
from cbi_pipeline_tests.faulty_proxy import CUT_ANSWER, CUT_REQUEST, faulty_proxy
from cbi_pipeline_tests.projects import REPOSITORY

DAY = date(2024, 12, 31)
ROWS = [{"as_of_date": DAY, "horizon_months": h, "model_version": "tcn-1"} for h in (3, 6, 9, 12)]
GIVEN = {
    "rows": {"predictions": ROWS},
    "as_of_date": DAY,
    "dataset_version": "20241231T210000Z-0123abcd",
    "model_version": "tcn-1",
    "warehouse": "bigquery:cbi-test.cbi",
    "run_id": "run-1",
    "code_commit": "c" * 40,
    "created_at": datetime(2024, 12, 31, 22, tzinfo=UTC),
}
LATER = {"run_id": "run-2", "code_commit": "d" * 40, "created_at": datetime(2025, 1, 1, 22, tzinfo=UTC)}


@pytest.fixture
def store(bundle_uri: str) -> GcsBundleStore:
    return GcsBundleStore(bundle_uri)


@pytest.fixture
def proxy(_gcs_url, bundle_uri, monkeypatch):
    """A proxy that every client made from now on talks to; the bucket is there already."""
    with faulty_proxy(_gcs_url) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        yield proxy


def test_a_return_is_written_once_and_a_re_run_is_a_no_op(store, bundle_uri):
    first = publish_return(store, **GIVEN)
    assert first.written
    assert first.uri == f"{bundle_uri}/returns/{first.manifest.file_name}"
    assert first.manifest.file_name.startswith("2024-12-31-tcn-1-")
    content = store.read(RETURNS_FOLDER, first.manifest.file_name)
    assert ReturnManifest.model_validate_json(content) == first.manifest
    again = publish_return(store, **GIVEN | LATER | {"rows": {"predictions": ROWS[::-1]}})
    assert (again.written, again.manifest) == (False, first.manifest)
    assert store.read(RETURNS_FOLDER, first.manifest.file_name) == content
    assert store.sealed() == ()


def test_other_rows_are_another_return_beside_the_first(store):
    first = publish_return(store, **GIVEN)
    second = publish_return(store, **GIVEN | {"rows": {"predictions": ROWS[:3]}})
    assert second.written
    assert set(store.names(RETURNS_FOLDER)) == {first.manifest.file_name, second.manifest.file_name}


def test_of_eight_writers_one_writes_and_all_agree(bundle_uri):
    def write(number: int):
        stamp = {"run_id": f"run-{number}", "created_at": datetime(2025, 1, 1, number, tzinfo=UTC)}
        return publish_return(GcsBundleStore(bundle_uri), **GIVEN | stamp)

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(write, range(8)))
    assert [one.written for one in done].count(True) == 1
    assert len({one.manifest.to_json() for one in done}) == 1


def test_what_somebody_else_wrote_under_the_name_is_not_replaced(store, bundle_uri):
    name = publish_return(store, **GIVEN).manifest.file_name
    bucket = storage.Client(project="test").bucket(bundle_uri.split("/")[2])
    bucket.blob(f"cbi/{RETURNS_FOLDER}/{name}").upload_from_string("{}")
    with pytest.raises(BundleError, match="a return manifest has the fields"):
        publish_return(store, **GIVEN)
    other = publish_return(store, **GIVEN | {"rows": {"predictions": ROWS[:1]}}).manifest
    bucket.blob(f"cbi/{RETURNS_FOLDER}/{name}").upload_from_string(other.to_json())
    with pytest.raises(BundleError, match="never replaced"):
        publish_return(store, **GIVEN)


@pytest.mark.parametrize("fault", [429, 503, CUT_REQUEST, CUT_ANSWER])
def test_a_passing_fault_is_retried(proxy, bundle_uri, fault):
    proxy.inject(fault, method="POST", path="/upload/")
    done = publish_return(GcsBundleStore(bundle_uri, retry_seconds=20), **GIVEN)
    assert proxy.hits == 1
    assert publish_return(GcsBundleStore(bundle_uri), **GIVEN | LATER).manifest == done.manifest


def test_a_refusal_names_the_role_and_leaves_nothing(proxy, bundle_uri):
    proxy.inject(403, method="POST", path="/upload/", times=9)
    with pytest.raises(StoreError, match=r"roles/storage\.objectUser"):
        publish_return(GcsBundleStore(bundle_uri), **GIVEN)
    proxy.inject(0, times=0)
    assert GcsBundleStore(bundle_uri).names(RETURNS_FOLDER) == ()


def test_unknown_tables_repeated_keys_and_bad_names_are_refused(store):
    with pytest.raises(WarehouseError, match="has only"):
        publish_return(store, **GIVEN | {"rows": {"forecasts": ROWS}})
    with pytest.raises(ValueError, match="a key stands twice"):
        publish_return(store, **GIVEN | {"rows": {"predictions": [*ROWS, ROWS[0]]}})
    with pytest.raises(ValidationError, match="model_version"):
        publish_return(store, **GIVEN | {"model_version": "../tcn"})
    assert store.names(RETURNS_FOLDER) == ()


def test_keys_hash_as_the_sql_of_the_page_does(gcp_environment):
    """The receiver's check in docs/gcp.md, run over the same rows."""
    from google.cloud import bigquery

    page = (REPOSITORY / "docs" / "gcp.md").read_text()
    sql = next(part for part in page.split("```sql")[1:] if "keys_sha256" in part).split("```")[0]
    rows = ", ".join(
        f"STRUCT(DATE '2024-12-31' AS as_of_date, {h} AS horizon_months, 'tcn-1' AS model_version)"
        for h in (3, 6, 9, 12)
    )
    sql = sql.replace("`my-project.cbi.predictions`", f"UNNEST([{rows}])")
    parameters = [
        bigquery.ScalarQueryParameter("as_of_date", "DATE", DAY),
        bigquery.ScalarQueryParameter("model_version", "STRING", "tcn-1"),
    ]
    config = bigquery.QueryJobConfig(query_parameters=parameters)
    (row,) = bigquery.Client("cbi-test").query_and_wait(sql, job_config=config)
    told = returned_table(PREDICTIONS, ROWS)
    assert (row["n"], row["keys_sha256"]) == (told.rows, told.keys_sha256)


def test_a_moment_in_a_key_is_written_in_utc():
    moment = datetime(2024, 12, 31, 22, 0, 0, 5, tzinfo=UTC)
    new_york = datetime.fromisoformat("2024-12-31T17:00:00.000005-05:00")
    one, same = (
        returned_table(MODEL_REGISTRY, [{"promoted_at": at, "model_version": "m"}]) for at in (moment, new_york)
    )
    assert one == same
    assert json.loads(one.model_dump_json())["rows"] == 1
