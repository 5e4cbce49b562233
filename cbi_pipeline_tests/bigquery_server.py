"""A server that speaks the protocol of BigQuery, on loopback, and a server of access tokens.

The real client talks to both: it signs in with a service account's key that is made for the test, as it would with one
of Google's.
"""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError
from urllib.parse import parse_qs
from uuid import uuid4

import pytest

from cbi_pipeline_tests.gcs_server import free_port
from cbi_pipeline_tests.install_emulators import FOLDER, INSTALLED, NO_PYTHON, server_environment

PROJECT = "cbi-test"
REGION = "us-central1"


@contextmanager
def bigquery_server(folder: Path, gcs_url: str) -> Iterator[str]:
    """Start the server with its data in `folder`, reading and writing gs:// at `gcs_url`; its URL.

    Skips where it is not installed.
    """
    if not INSTALLED.exists():
        pytest.skip(f"the BigQuery server is not installed: {NO_PYTHON}")
    with running_server(folder, gcs_url, free_port()) as (url, _):
        yield url


@contextmanager
def running_server(folder: Path, gcs_url: str, port: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The server on a given port, so that a test can kill it and start it again on the same data."""
    own = ("--host", "127.0.0.1", "--port", str(port), "--grpc-port", str(free_port()), "--project", PROJECT)
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [FOLDER / "bin" / "local-bigquery", *own, "--data-dir", folder / "data"],
            stdout=log,
            stderr=log,
            env=server_environment() | {"STORAGE_EMULATOR_HOST": gcs_url},
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(f"{url}/bigquery/v2/projects/{PROJECT}/datasets", process, folder / "server.log")
            yield url, process
        finally:
            process.kill()
            process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise RuntimeError(f"the BigQuery server did not answer at {url}:\n{log.read_text()[-2000:]}")


@dataclass
class TokenServer:
    """Signs service accounts in. `refusal`: what it answers instead of a token; `lifetime_seconds`: of a token."""

    url: str
    issued: list[str]
    refusal: dict[str, str] | None = None
    lifetime_seconds: int = 3600


@contextmanager
def token_server() -> Iterator[TokenServer]:
    """A server of access tokens; `issued` holds all that it gave, for a test to look for where none may be."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            refused = state.refusal or _untimely(sent)
            if refused is not None:
                self._send(400, refused)
                return
            state.issued.append(f"ya29.{uuid4().hex}")
            token = {"access_token": state.issued[-1], "expires_in": state.lifetime_seconds, "token_type": "Bearer"}
            self._send(200, token)

        def _send(self, status: int, answer: dict[str, object]) -> None:
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing: a test says what it found."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state = TokenServer(f"http://127.0.0.1:{server.server_address[1]}/token", [])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()


def _untimely(request: str) -> dict[str, str] | None:
    """Google's refusal if the moment in a signed request for a token is more than five minutes off."""
    claims = parse_qs(request)["assertion"][0].split(".")[1]
    signed_at = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["iat"]
    if abs(signed_at - time.time()) <= 5 * 60:
        return None
    return {
        "error": "invalid_grant",
        "error_description": "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable "
        "timeframe. Check your iat and exp values in the JWT claim.",
    }


def write_key(path: Path, token_url: str) -> str:
    """Write the key of a service account that signs in at `token_url`, made now; returns the private key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": uuid4().hex,
        "private_key": private.decode(),
        "client_email": f"mac@{PROJECT}.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": token_url,
    }
    path.write_text(json.dumps(key))
    return private.decode()
