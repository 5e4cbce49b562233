"""A proxy on loopback in front of a test server, which answers some requests with the faults of a real network."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

CUT_REQUEST: Final = -1
"""The connection breaks before the server has the whole request."""
CUT_ANSWER: Final = -2
"""The server does what is asked, and its answer is lost halfway."""
_OWN: Final = {"host", "connection", "transfer-encoding", "content-length", "accept-encoding", "date", "server"}
_ADDRESSES: Final = ("location",)
"""Headers of an answer that send the client on to an address of the server, which must be the proxy's."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)


@dataclass(slots=True)
class _Rule:
    fault: int
    method: str
    path: str
    body: bytes
    times: int
    answer: bytes

    def matches(self, request: Request) -> bool:
        return self.method in ("", request.method) and self.path in request.path and self.body in request.body


def refusal(message: str, reason: str) -> bytes:
    """Body of an error of a Google API."""
    detail = {"message": message, "domain": "global", "reason": reason}
    return json.dumps({"error": {"message": message, "errors": [detail]}}).encode()


class FaultyProxy(ThreadingHTTPServer):
    """Forwards to `target`; the next `times` requests that match get the fault instead. `requests`: all that came.

    Every answer is dated by this machine's clock plus `clock_offset_seconds`.
    """

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self.url = target, f"http://127.0.0.1:{self.server_address[1]}"
        self.requests: list[Request] = []
        self.hits, self._lock = 0, threading.Lock()
        self.clock_offset_seconds = 0.0
        self._rules: list[_Rule] = []

    def inject(
        self,
        fault: int,
        *,
        method: str = "",
        path: str = "",
        body: bytes = b"",
        times: int = 1,
        answer: bytes = refusal("injected", ""),
    ) -> None:
        """From now on: an HTTP status or a cut, for requests of `method` (any if empty) that hold `path` and `body`.

        Whatever was injected before is forgotten.
        """
        with self._lock:
            self._rules, self.hits = [], 0
        self.also(fault, method=method, path=path, body=body, times=times, answer=answer)

    def also(
        self, fault: int, *, method: str = "", path: str = "", body: bytes = b"", times: int = 1, answer: bytes = b""
    ) -> None:
        """`inject`, besides what was injected before."""
        with self._lock:
            self._rules.append(_Rule(fault, method, path, body, times, answer))

    def rule_for(self, request: Request) -> _Rule | None:
        with self._lock:
            self.requests.append(request)
            found = next((rule for rule in self._rules if rule.times > 0 and rule.matches(request)), None)
            if found is not None:
                found.times -= 1
                self.hits += 1
            return found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def date_time_string(self, timestamp: float | None = None) -> str:
        moment = time.time() if timestamp is None else timestamp
        return super().date_time_string(moment + self.server.clock_offset_seconds)

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        rule = self.server.rule_for(Request(self.command, self.path, dict(self.headers), body))
        fault = rule.fault if rule is not None else None
        if fault == CUT_REQUEST:
            self._cut()
            return
        if rule is not None and rule.fault > 0:
            self._send(rule.fault, {"Content-Type": "application/json"}, rule.answer)
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OWN}
        request = urllib.request.Request(self.server.target + self.path, body or None, headers, method=self.command)
        try:
            with urllib.request.urlopen(request) as answer:
                status, found, content = answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            status, found, content = error.code, error.headers, error.read()
        kept = {name: self._through_here(name, value) for name, value in found.items() if name.lower() not in _OWN}
        if fault == CUT_ANSWER:
            self._send(status, kept, content, cut=True)
            return
        self._send(status, kept, content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def _through_here(self, name: str, value: str) -> str:
        return value.replace(self.server.target, self.server.url) if name.lower() in _ADDRESSES else value

    def _send(self, status: int, headers: dict[str, str], content: bytes, *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self._cut()

    def _cut(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Nothing: a test says what it found."""


@contextmanager
def faulty_proxy(target: str) -> Iterator[FaultyProxy]:
    """A proxy in front of `target` (its URL) for the length of the block."""
    with FaultyProxy(target) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
