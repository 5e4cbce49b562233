"""Each right of an account on Google Cloud, asked through a proxy that refuses one call at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from cbi_pipeline import cli
from cbi_pipeline.reports import doctor_gcp
from cbi_pipeline.reports.doctor import Finding
from cbi_pipeline.reports.doctor_gcp import examine_gcp
from cbi_pipeline.settings import Settings
from cbi_pipeline.warehouse import BigQueryWarehouse
from cbi_pipeline_tests.bigquery_server import PROJECT, REGION
from cbi_pipeline_tests.faulty_proxy import CUT_ANSWER, FaultyProxy, faulty_proxy

MEMBER = f"serviceAccount:mac@{PROJECT}.iam.gserviceaccount.com"
DATASET = "doctor"


@pytest.fixture(scope="module")
def _made() -> set[str]:
    return set()


@pytest.fixture
def proxies(
    gcp_environment, bigquery_url, _gcs_url, bundle_uri, monkeypatch, _made
) -> Iterator[dict[str, FaultyProxy]]:
    """A proxy before each service, and a warehouse that is in order."""
    if not _made:
        BigQueryWarehouse(PROJECT, DATASET, REGION).migrate()
        _made.add(DATASET)
    with ExitStack() as stack:
        found = {"bigquery": stack.enter_context(faulty_proxy(bigquery_url))}
        found["storage"] = stack.enter_context(faulty_proxy(_gcs_url))
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", found["bigquery"].url)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", found["storage"].url)
        yield found


@pytest.fixture
def settings(bundle_uri: str, tmp_path) -> Settings:
    return Settings(project_dir=tmp_path, gcp_project=PROJECT, bigquery_dataset=DATASET, bundle_uri=bundle_uri)


def failed(settings: Settings, **options: bool) -> dict[str, Finding]:
    return {finding.subject: finding for finding in examine_gcp(settings, **options) if not finding.ok}


def test_an_account_with_all_rights_passes_and_nothing_is_left_behind(proxies, settings, bundle_uri):
    from google.cloud import bigquery, storage

    findings = examine_gcp(settings)
    assert [finding.subject for finding in findings if not finding.ok] == []
    assert [finding.subject for finding in findings] == [
        "clock", "credentials", "BigQuery jobs", "dataset doctor", "dataset doctor_views", "dataset doctor_staging",
        "read rows", "add rows", "authorised views", "read views", "staging tables", "list bundles", "read bundles",
    ]  # fmt: skip
    assert set(failed(settings, publisher=True)) == {"dataset doctor_raw"}  # nobody has loaded a bundle
    assert not list(bigquery.Client(PROJECT).list_tables(f"{PROJECT}.{DATASET}_staging"))
    assert not list(storage.Client(project="test").list_blobs(bundle_uri.split("/")[2]))


ON_TABLES = f"GRANT `projects/{PROJECT}/roles/cbiWriter` ON SCHEMA `{PROJECT}`.{DATASET} TO"
ON_STAGING = f"GRANT `roles/bigquery.dataEditor` ON SCHEMA `{PROJECT}`.{DATASET}_staging TO"
ON_VIEWS = f"GRANT `roles/bigquery.dataViewer` ON SCHEMA `{PROJECT}`.{DATASET}_views TO"
CALLS = [
    ("bigquery", {"method": "POST", "path": "/jobs", "body": b"SELECT 1"}, "BigQuery jobs", "roles/bigquery.jobUser"),
    ("bigquery", {"method": "GET", "path": f"/datasets/{DATASET}?"}, f"dataset {DATASET}", ON_TABLES),
    ("bigquery", {"method": "GET", "path": f"/datasets/{DATASET}_views?"}, f"dataset {DATASET}_views", ON_VIEWS),
    ("bigquery", {"method": "GET", "path": f"/datasets/{DATASET}_staging?"}, f"dataset {DATASET}_staging", ON_STAGING),
    ("bigquery", {"method": "GET", "path": "/predictions"}, "read rows", ON_TABLES),
    ("bigquery", {"method": "POST", "path": ":testIamPermissions"}, "add rows", ON_TABLES),
    ("bigquery", {"method": "POST", "path": "/jobs", "body": b"vw_latest_forecast"}, "read views", ON_VIEWS),
    ("bigquery", {"method": "POST", "path": f"/{DATASET}_staging/tables"}, "staging tables", ON_STAGING),
    ("bigquery", {"method": "DELETE", "path": f"/{DATASET}_staging/tables"}, "staging tables", ON_STAGING),
    ("storage", {"method": "GET", "path": "/o?"}, "list bundles", "roles/storage.objectViewer"),
    ("storage", {"method": "GET", "path": "/o/"}, "read bundles", "roles/storage.objectViewer"),
    ("storage", {"method": "GET", "path": "testPermissions"}, "read bundles", "roles/storage.objectViewer"),
    ("storage", {"method": "GET", "path": "=storage.objects.create"}, "publish bundles", "roles/storage.objectCreator"),
    ("storage", {"method": "POST", "path": "/upload/"}, "write exports", "roles/storage.objectUser"),
    ("storage", {"method": "DELETE", "path": "/o/"}, "write exports", "roles/storage.objectUser"),
]


@pytest.mark.parametrize(("service", "call", "subject", "role"), CALLS)
def test_a_refused_call_names_the_role_and_the_command_that_grants_it(proxies, settings, service, call, subject, role):
    proxies[service].inject(403, times=99, **call)
    found = failed(settings, publisher=True)
    assert subject in found
    assert "answered 403 Forbidden" in found[subject].found
    assert role in found[subject].fix
    assert MEMBER in found[subject].fix


@pytest.mark.parametrize(
    ("service", "call", "subject", "told"),
    [
        ("bigquery", {"path": f"/datasets/{DATASET}?"}, f"dataset {DATASET}", "cbi warehouse migrate"),
        ("bigquery", {"path": "/predictions"}, "read rows", "cbi warehouse migrate"),
        ("bigquery", {"path": "/jobs", "body": b"SELECT 1"}, "BigQuery jobs", "CBI_GCP_PROJECT"),
        ("storage", {"path": "/o?"}, "list bundles", "CBI_BUNDLE_URI"),
    ],
)
def test_what_is_not_there_names_what_makes_it_or_the_setting(proxies, settings, service, call, subject, told):
    proxies[service].inject(404, times=99, **call)
    found = failed(settings)
    assert "answered 404 NotFound" in found[subject].found
    assert told in found[subject].fix


@pytest.mark.parametrize("service", ["bigquery", "storage"])
def test_an_expired_sign_in_says_sign_in(proxies, settings, service):
    proxies[service].inject(401, times=10**6)
    found = failed(settings)
    assert len(found) >= 2
    assert all("gcloud auth application-default login" in finding.fix for finding in found.values())


def test_a_refused_key_ends_the_questions_and_no_secret_is_told(
    proxies, settings, token_server, service_account_key, monkeypatch
):
    monkeypatch.setattr(token_server, "refusal", {"error": "invalid_grant", "error_description": "secret-of-the-key"})
    findings = examine_gcp(settings)
    assert [finding.subject for finding in findings] == ["clock", "credentials"]
    assert "RefreshError" in findings[1].found
    told = repr(findings)
    assert "secret-of-the-key" not in told
    monkeypatch.setattr(token_server, "refusal", None)
    told += repr(examine_gcp(settings, publisher=True))
    proxies["bigquery"].inject(403, times=10**6)
    told += repr(examine_gcp(settings))
    assert token_server.issued
    assert not [token for token in token_server.issued if token in told]
    assert service_account_key.read_text()[100:200] not in told
    assert "PRIVATE" not in told


@pytest.mark.parametrize(("offset", "told"), [(3600, "60 minutes behind"), (-3600, "60 minutes ahead of")])
def test_a_clock_an_hour_off_is_told_even_if_the_service_refuses(proxies, settings, offset, told):
    proxies["bigquery"].clock_offset_seconds = offset
    proxies["bigquery"].inject(401, path="/bigquery/v2/projects", times=1)
    assert told in failed(settings)["clock"].found
    proxies["bigquery"].clock_offset_seconds = 60
    assert "clock" not in failed(settings)


def test_no_answer_is_no_verdict_on_rights(proxies, settings, monkeypatch):
    monkeypatch.setattr(doctor_gcp, "RETRY_SECONDS", 0.5)
    proxies["bigquery"].inject(CUT_ANSWER, times=10**6)
    found = failed(settings)
    assert "run `cbi doctor --gcp` again" in found["BigQuery jobs"].fix
    assert "GRANT" not in found["read rows"].fix


def test_another_region_and_missing_settings_are_told(proxies, settings, tmp_path):
    elsewhere = settings.model_copy(update={"bigquery_location": "europe-west1"})
    assert f"it is in {REGION}, CBI_BIGQUERY_LOCATION is europe-west1" in failed(elsewhere)[f"dataset {DATASET}"].found
    assert failed(Settings(project_dir=tmp_path))["GCP project"].fix == "export CBI_GCP_PROJECT=<project id>"
    without = settings.model_copy(update={"bundle_uri": ""})
    assert failed(without) == {}


def test_views_that_may_not_read_the_tables_are_told(proxies, settings):
    from google.cloud import bigquery

    client = bigquery.Client(PROJECT)
    dataset = client.get_dataset(f"{PROJECT}.{DATASET}")
    before = dataset.access_entries
    dataset.access_entries = [entry for entry in before if entry.entity_type != "dataset"]
    client.update_dataset(dataset, ["access_entries"])
    try:
        assert "doctor_views is not among those that may read the tables" in failed(settings)["authorised views"].found
    finally:
        dataset = client.get_dataset(dataset)
        dataset.access_entries = before
        client.update_dataset(dataset, ["access_entries"])


def test_the_command_ends_with_1_if_a_right_is_missing(proxies, bundle_uri, starter_dir, tmp_path, monkeypatch, capsys):
    for name, value in {
        "CBI_PROJECT_DIR": str(tmp_path),
        "CBI_STARTER_DIR": str(starter_dir),
        "CBI_GCP_PROJECT": PROJECT,
        "CBI_BIGQUERY_DATASET": DATASET,
        "CBI_BUNDLE_URI": bundle_uri,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["cbi", "doctor", "--gcp"])
    monkeypatch.setattr(cli.console, "_width", 400)
    codes = []
    for fault in (0, 403):
        proxies["storage"].inject(fault, path="/o?", times=99 if fault else 0)
        with pytest.raises(SystemExit) as end:
            cli.main()
        codes.append(end.value.code)
    assert codes == [0, 1]
    assert "gcloud storage buckets add-iam-policy-binding" in capsys.readouterr().out
