"""Faults between this machine and the bucket: a retry that succeeds, or one error and nothing by halves."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import pytest

from cbi_pipeline.bundle.gcs import GcsBundleStore
from cbi_pipeline.bundle.sync import sync_bundle
from cbi_pipeline.contracts.manifest import SUCCESS_FILE
from cbi_pipeline.errors import StoreError
from cbi_pipeline_tests.faulty_proxy import CUT_ANSWER, CUT_REQUEST, faulty_proxy


class SoonAgain(GcsBundleStore):
    """A store whose retries, the library's own, wait milliseconds where they would wait seconds."""

    @cached_property
    def _retry(self) -> Any:
        return super()._retry.with_delay(initial=0.01, maximum=0.05)


PASSING = [429, 500, 502, 503, 504, CUT_REQUEST, CUT_ANSWER]


@pytest.fixture
def proxy(_gcs_url, bundle_uri, monkeypatch):
    """A proxy that every client made from now on talks to; the bucket is there already."""
    with faulty_proxy(_gcs_url) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        yield proxy


@pytest.fixture
def store(proxy, bundle_uri) -> GcsBundleStore:
    return SoonAgain(bundle_uri, retry_seconds=20)


@pytest.mark.parametrize("fault", [429, 503, CUT_REQUEST, CUT_ANSWER])
@pytest.mark.parametrize("what", ["futures_daily.parquet", SUCCESS_FILE])
def test_a_passing_fault_of_an_upload_is_retried(proxy, store, bundle, tmp_path, fault, what):
    proxy.inject(fault, method="POST", path="/upload/", body=what.encode())
    store.publish(bundle)
    assert proxy.hits == 1
    proxy.inject(0, times=0)
    copy = sync_bundle(store, bundle.name, tmp_path / "here").path
    assert (copy / SUCCESS_FILE).read_bytes() == (bundle / SUCCESS_FILE).read_bytes()


@pytest.mark.parametrize("fault", PASSING)
def test_a_passing_fault_of_a_download_is_retried(proxy, store, bundle, tmp_path, fault):
    store.publish(bundle)
    proxy.inject(fault, path="futures_daily.parquet")
    copy = sync_bundle(store, bundle.name, tmp_path / "here").path
    assert (copy / SUCCESS_FILE).read_bytes() == (bundle / SUCCESS_FILE).read_bytes()
    assert proxy.hits == 1


@pytest.mark.parametrize(("fault", "told"), [(401, "no valid credentials"), (403, "answered 403")])
def test_a_refusal_is_one_error_with_its_fix_and_nothing_is_sealed(proxy, store, bundle, tmp_path, fault, told):
    proxy.inject(fault, method="POST", path="/upload/", times=99)
    with pytest.raises(StoreError, match=told) as refusal:
        store.publish(bundle)
    assert proxy.hits == 1
    assert ("roles/storage" if fault == 403 else "sign in again") in refusal.value.fix
    proxy.inject(0, times=0)
    assert store.sealed() == ()
    assert store.publish(bundle)
    proxy.inject(fault, path="weather_daily.parquet", times=99)
    with pytest.raises(StoreError, match=told):
        sync_bundle(store, bundle.name, tmp_path)
    assert not (tmp_path / bundle.name).exists()


def test_a_fault_that_stays_ends_in_one_error(proxy, bundle_uri):
    proxy.inject(503, times=10**6)
    with pytest.raises(StoreError, match="no whole answer came from the store within 2 s") as refusal:
        SoonAgain(bundle_uri, retry_seconds=2).sealed()
    assert proxy.hits > 1
    assert "run the same command again" in refusal.value.fix
