"""Faults between this machine and BigQuery: a retry that succeeds, or one clear error and nothing by halves.

After each of them the same run is repeated, without the fault, and the table holds exactly the offered rows. No
message, traceback or log line holds the private key or a token.
"""

from __future__ import annotations

import json
import logging
import traceback
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from cbi_pipeline.errors import WarehouseError
from cbi_pipeline.warehouse import BigQueryWarehouse
from cbi_pipeline_tests.bigquery_server import PROJECT, REGION
from cbi_pipeline_tests.faulty_proxy import CUT_ANSWER, CUT_REQUEST, faulty_proxy, refusal
from cbi_pipeline_tests.warehouse.conftest import rows_in

UPLOAD, BODY = {"method": "POST", "path": "/upload/"}, {"method": "PUT", "path": "/upload/"}
MERGE, POLL = {"method": "POST", "body": b"MERGE INTO"}, {"method": "GET", "path": "/queries/cbi-merge"}
SWEEP = {"method": "DELETE", "path": "cbi_staging"}
LASTING = 1_000
MISSING_REGION = "Not found: Dataset cbi-test:cbi was not found in location us-central1"


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """The library's own retries, which wait milliseconds where they would wait seconds."""
    from google.cloud.bigquery import retry

    monkeypatch.setattr(retry, "DEFAULT_RETRY", retry.DEFAULT_RETRY.with_delay(initial=0.02, maximum=0.2))


@pytest.fixture(autouse=True)
def secrets(caplog, token_server, service_account_key):
    """What nobody may read; the log of a test, down to DEBUG, is searched when it ends."""
    caplog.set_level(logging.DEBUG)

    def known() -> list[str]:
        key = json.loads(Path(service_account_key).read_text())
        return [key["private_key_id"], *key["private_key"].split("\n")[1:-2], *token_server.issued]

    yield known
    assert token_server.issued
    assert not [secret for secret in known() if secret in caplog.text]


@pytest.fixture
def proxy(bigquery_warehouse, bigquery_url, monkeypatch):
    """In front of the server that holds an empty warehouse: every client made from now on talks through it."""
    with faulty_proxy(bigquery_url) as proxy:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", proxy.url)
        yield proxy


@pytest.fixture
def offered(forecast_row) -> list[dict]:
    return [forecast_row(horizon_months=h) for h in (3, 6, 9, 12)]


def behind(seconds: float = 8.0, writer: str | None = None) -> BigQueryWarehouse:
    return BigQueryWarehouse(PROJECT, "cbi", REGION, retry_seconds=seconds, writer=writer)


def stored(warehouse: BigQueryWarehouse) -> list[dict]:
    return warehouse.query("SELECT * FROM predictions ORDER BY horizon_months").to_pylist()


def refused(secrets, call) -> WarehouseError:
    with pytest.raises(WarehouseError) as caught:
        call()
    shown, error = "".join(traceback.format_exception(caught.value)), caught.value
    while error is not None:
        shown += repr(error) + str(vars(error))
        error = error.__context__
    assert not [secret for secret in secrets() if secret in shown]
    return caught.value


# --- what passes -------------------------------------------------------------------------------------------------

PASSING = {
    "429": (429, "rateLimitExceeded"),
    "403 for the rate": (403, "rateLimitExceeded"),
    "500": (500, "internalError"),
    "502": (502, "badGateway"),
    "503": (503, "backendError"),
    "401, a token that has run out": (401, "authError"),
    "cut before it is sent": (CUT_REQUEST, ""),
    "cut in its answer": (CUT_ANSWER, ""),
}


@pytest.mark.parametrize("name", PASSING)
def test_a_write_survives_a_fault_at_each_of_its_requests(proxy, bigquery_warehouse, offered, token_server, name):
    fault, reason = PASSING[name]
    issued = len(token_server.issued)
    for request in (UPLOAD, BODY, MERGE, POLL, SWEEP):
        proxy.also(fault, **request, answer=refusal("injected", reason))
    assert str(behind().merge("predictions", offered)) == "4 inserted, 0 unchanged"
    assert proxy.hits == 5
    assert stored(bigquery_warehouse) == offered
    assert list(bigquery_warehouse._client.list_tables(f"{PROJECT}.cbi_staging")) == []
    assert len(token_server.issued) == issued + (6 if fault == 401 else 1)


@pytest.mark.parametrize("name", ["503", "401, a token that has run out", "cut before it is sent", "cut in its answer"])
def test_a_read_survives_a_fault_at_each_of_its_requests(proxy, bigquery_warehouse, offered, name):
    fault, reason = PASSING[name]
    bigquery_warehouse.merge("predictions", offered)
    requests = ({"method": "POST", "body": b'"dryRun": true'}, {"method": "POST", "body": b"cbi-query-"})
    for request in (*requests, {"method": "GET", "path": "/queries/cbi-query-"}):
        proxy.also(fault, **request, answer=refusal("injected", reason))
    assert stored(behind()) == offered
    assert proxy.hits == 3


def failed_job(reason: str) -> bytes:
    """The answer to a job that was started and ended in an error."""
    error = {"reason": reason, "message": f"ended with {reason}"}
    return json.dumps(
        {
            "jobReference": {"projectId": PROJECT, "jobId": "cbi-merge-failed", "location": REGION},
            "configuration": {"query": {}},
            "status": {"state": "DONE", "errorResult": error, "errors": [error]},
        }
    ).encode()


@pytest.mark.parametrize("reason", ["jobBackendError", "backendError", "internalError", "jobRateLimitExceeded"])
def test_a_job_that_fails_by_chance_is_started_again_under_another_id(proxy, bigquery_warehouse, offered, reason):
    proxy.inject(200, **MERGE, answer=failed_job(reason))
    assert str(behind().merge("predictions", offered)) == "4 inserted, 0 unchanged"
    ids = [one.json["jobReference"]["jobId"] for one in proxy.requests if b"MERGE INTO" in one.body]
    assert [job_id.rsplit("-", 1)[1] for job_id in ids] == ["0", "1"]
    assert stored(bigquery_warehouse) == offered


# --- what does not -----------------------------------------------------------------------------------------------

REFUSALS = {
    "403": (403, "accessDenied", "Access Denied: no bigquery.jobs.create", "`cbi doctor --gcp` names the role"),
    "404": (404, "notFound", "Not found: Dataset cbi-test:cbi", "`cbi warehouse migrate` makes what is missing"),
    "region": (404, "notFound", MISSING_REGION, "CBI_BIGQUERY_LOCATION, the region of all datasets"),
    "quota": (403, "quotaExceeded", "Quota exceeded: load jobs per table", "wait until the quota is free again"),
    "400": (400, "invalid", "Invalid value", "correct the statement"),
    "401": (401, "authError", "Request had invalid authentication credentials", "sign in again"),
}


@pytest.mark.parametrize(
    ("name", "what"), [*((name, "MERGE") for name in REFUSALS), ("403", "load"), ("quota", "load"), ("401", "load")]
)
def test_a_refusal_is_one_clear_error_at_once(proxy, bigquery_warehouse, secrets, offered, name, what):
    status, reason, message, fix = REFUSALS[name]
    where, writer = {"load": UPLOAD, "MERGE": MERGE}[what], uuid4().hex
    proxy.inject(status, **where, times=LASTING, answer=refusal(message, reason))
    error = refused(secrets, lambda: behind(writer=writer).merge("predictions", offered))
    assert f"job cbi-{what.lower()}-predictions-" in error.subject
    assert what in error.subject
    assert f"BigQuery answers {status} {reason}" in error.rule
    assert message in error.rule
    assert fix in error.fix
    assert proxy.hits == (3 if status == 401 else 1)
    assert rows_in(bigquery_warehouse, "predictions") == 0
    proxy.inject(0, times=0)
    assert str(behind(writer=writer).merge("predictions", offered)) == "4 inserted, 0 unchanged"
    assert stored(bigquery_warehouse) == offered


def test_a_quota_that_a_job_exceeds_is_one_clear_error(proxy, bigquery_warehouse, secrets, offered):
    proxy.inject(200, **MERGE, times=LASTING, answer=failed_job("quotaExceeded"))
    error = refused(secrets, lambda: behind().merge("predictions", offered))
    assert "403 quotaExceeded: " in error.rule
    assert "wait until the quota is free" in error.fix
    assert proxy.hits == 1
    assert rows_in(bigquery_warehouse, "predictions") == 0


@pytest.mark.parametrize(
    ("fault", "where"),
    [
        (429, "load"),
        *((fault, "body") for fault in (503, CUT_REQUEST, CUT_ANSWER)),
        *((fault, "MERGE") for fault in (503, CUT_REQUEST, CUT_ANSWER)),
    ],
)
def test_a_fault_that_lasts_is_one_clear_error(proxy, bigquery_warehouse, secrets, offered, fault, where):
    """Whether the write went through is not known then; it is whole or absent, and the repeated run tells."""
    request, writer = {"load": UPLOAD, "body": BODY, "MERGE": MERGE}[where], uuid4().hex
    proxy.inject(fault, **request, times=LASTING, answer=refusal("injected", "backendError"))
    error = refused(secrets, lambda: behind(0.6, writer).merge("predictions", offered))
    assert f"job cbi-{'merge' if where == 'MERGE' else 'load'}-predictions-" in error.subject
    assert (f"answers {fault}" if fault > 0 else "No whole answer came from BigQuery within 1 s") in error.rule
    assert "run the same command again" in error.fix
    assert proxy.hits >= 1
    assert rows_in(bigquery_warehouse, "predictions") == (4 if (fault, where) == (CUT_ANSWER, "MERGE") else 0)
    proxy.inject(0, times=0)
    assert str(behind(writer=writer).merge("predictions", offered)) == "4 inserted, 0 unchanged"
    assert stored(bigquery_warehouse) == offered


def test_a_query_that_fails_shows_its_text_and_the_job(proxy, secrets):
    proxy.inject(403, body=b"cbi-query-", answer=refusal("Access Denied", "accessDenied"), times=LASTING)
    error = refused(secrets, lambda: behind().query("SELECT entry FROM metrics"))
    assert "bigquery:cbi-test.cbi, query: SELECT entry FROM metrics, job cbi-query-" in error.subject


# --- signing in --------------------------------------------------------------------------------------------------


@pytest.fixture
def tokens(token_server):
    """The server of tokens; afterwards it is as it was."""
    yield token_server
    token_server.refusal, token_server.lifetime_seconds = None, 3600


def refused_to_sign_in(secrets, offered) -> None:
    error = refused(secrets, lambda: behind(2.0).merge("predictions", offered))
    assert error.rule == "There are no valid credentials (RefreshError)."
    assert "GOOGLE_APPLICATION_CREDENTIALS" in error.fix
    assert "compare this machine's clock with the true time" in error.fix


def test_a_key_that_was_withdrawn_is_one_clear_error(bigquery_warehouse, secrets, offered, tokens):
    tokens.refusal = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
    refused_to_sign_in(secrets, offered)
    tokens.refusal = None
    assert behind().merge("predictions", offered).inserted == 4


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_an_hour_off_is_one_clear_error(bigquery_warehouse, secrets, offered, monkeypatch, hours):
    """The server of tokens looks at the moment in the signed request, as Google's does."""
    from google.auth import _helpers

    now = _helpers.utcnow
    monkeypatch.setattr(_helpers, "utcnow", lambda: now() + timedelta(hours=hours))
    refused_to_sign_in(secrets, offered)
    monkeypatch.setattr(_helpers, "utcnow", now)
    assert behind().merge("predictions", offered).inserted == 4


def test_a_token_that_runs_out_at_once_is_renewed_for_each_request(bigquery_warehouse, offered, tokens):
    issued, tokens.lifetime_seconds = len(tokens.issued), 1
    assert behind().merge("predictions", offered).inserted == 4
    assert len(tokens.issued) >= issued + 4
    assert stored(bigquery_warehouse) == offered
