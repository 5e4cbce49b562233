"""A local webhook: it records what it is sent and answers by script; None in the script is no answer at all."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class WebhookServer(ThreadingHTTPServer):
    """`answers` are used one after the other, the last of them from then on."""

    daemon_threads = True

    def __init__(self, answers: list[int | None]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers, self.asked, self.texts = answers, list[str](), list[str]()
        self.stopped = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: WebhookServer

    def do_POST(self) -> None:
        self.server.asked.append(self.path)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        if answer is None:
            self.server.stopped.wait(30)
            return
        if answer == 200:
            assert self.headers["Content-Type"] == "application/json"
            self.server.texts.append(body["text"])
        said = self.path.encode()
        self.send_response(answer, self.path)
        self.send_header("Location", f"{self.server.url}/elsewhere")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@contextmanager
def webhook(*answers: int | None) -> Iterator[WebhookServer]:
    with WebhookServer(list(answers)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.stopped.set()
        server.shutdown()
        thread.join()
