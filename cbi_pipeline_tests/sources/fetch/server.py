"""A local HTTP server that gives scripted answers, faults of the protocol among them, and records what was asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from cbi_pipeline.sources.fetch.web import Web

HTML_PAGE = b"<!DOCTYPE html><html><head><title>Service unavailable</title></head><body>Sorry.</body></html>"


@dataclass(frozen=True)
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    sent_bytes: int | None = None
    """Fewer than the announced length: the connection is cut there."""


@dataclass(frozen=True)
class Asked:
    path: str
    fields: dict[str, str]
    authorization: str | None
    at: float


class Server(ThreadingHTTPServer):
    """`answer(asked, count)` decides; count is how often that path has been asked for before."""

    daemon_threads = True

    def __init__(self, answer: Callable[[Asked, int], Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer, self.asked = answer, list[Asked]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._reply({})

    def do_POST(self) -> None:
        self._reply(dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode())))

    def _reply(self, form: dict[str, str]) -> None:
        parts = urlsplit(self.path)
        asked = Asked(
            parts.path, dict(parse_qsl(parts.query)) | form, self.headers.get("Authorization"), time.monotonic()
        )
        count = sum(earlier.path == asked.path for earlier in self.server.asked)
        self.server.asked.append(asked)
        answer = self.server.answer(asked, count)
        self.send_response(answer.status)
        for name, value in ({"Content-Length": str(len(answer.body))} | answer.headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body[: answer.sent_bytes])
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@contextmanager
def serving(answer: Callable[[Asked, int], Answer]) -> Iterator[Server]:
    with Server(answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def quick_web(key: str | None = None) -> Web:
    """A client that waits for nothing."""
    return Web(pause_seconds=0.0, wait_seconds=0.0, key=key)
