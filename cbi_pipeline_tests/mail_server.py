"""A local SMTP server that keeps what it is given; it may refuse whoever signs in, or answer nothing at all."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class MailServer(socketserver.ThreadingTCPServer):
    """Without encryption, on loopback. `messages` are the mails that were taken, headers and all."""

    daemon_threads = True

    def __init__(self, *, refuses: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.refuses, self.messages = refuses, list[str]()

    @property
    def port(self) -> int:
        return self.server_address[1]


class _Session(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self._say("220 test")
        for line in self.rfile:
            command = line.decode().strip()
            match command.split(" ")[0].upper():
                case "EHLO":
                    self._say("250-test", "250 AUTH PLAIN LOGIN")
                case "AUTH":
                    self._say(f"535 no, not with {command}")
                case "MAIL" if self.server.refuses:
                    self._say("550 refused")
                case "DATA":
                    self._say("354 go on")
                    self.server.messages.append(self._body())
                    self._say("250 taken")
                case "QUIT":
                    self._say("221 bye")
                    return
                case _:
                    self._say("250 fine")

    def _body(self) -> str:
        lines: list[str] = []
        while (line := self.rfile.readline().decode()) != ".\r\n":
            lines.append(line)
        return "".join(lines)

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


@contextmanager
def mail_server(*, refuses: bool = False) -> Iterator[MailServer]:
    with MailServer(refuses=refuses) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
