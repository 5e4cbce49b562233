"""Alerts: what happened, what was not done, how to look at it; one message each, by the ways that settings name.

An alert is put into a box on disk under its key before anything is sent, so that a retry, a restart or a second sensor
does not repeat it, and a message that could not be sent is tried again. Which events are worth an alert is decided by
`orchestration.alerting`; nothing here imports Dagster.

The webhook's address and the mail password are secrets: no error below holds what a server answered or a library says,
only codes and names of errors, and `http.client` and `smtplib` log nothing.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import smtplib
import ssl
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Final, Literal, Protocol
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from cbi_pipeline.atomic import replace_file
from cbi_pipeline.errors import AlertError
from cbi_pipeline.settings import EMAIL_KEY, WEBHOOK_KEY, Settings

TIME_LIMIT_SECONDS: Final = 10.0
KEPT: Final = timedelta(days=180)
"""How long the box knows a key; nothing that old is looked at again."""
WORTH_SENDING: Final = timedelta(days=7)
"""A message that could not be sent for so long is given up."""
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class Alert(BaseModel):
    """One message. `key` says which event it is about: the same key is never sent twice."""

    model_config = ConfigDict(frozen=True)

    key: str
    happened: str
    not_done: str
    look: str

    @property
    def title(self) -> str:
        """The first line."""
        return f"CBI: {self.happened.splitlines()[0]}"

    @property
    def details(self) -> str:
        """What follows the first line."""
        more = self.happened.splitlines()[1:]
        return "\n".join([*more, f"Not done: {self.not_done}", f"Look: {self.look}"])


class Channel(Protocol):
    """A way to send an alert."""

    @property
    def name(self) -> str:
        """What it is called in errors and in the box."""

    def send(self, alert: Alert) -> None:
        """Send it.

        Raises:
            AlertError: it could not be sent; the error holds no secret.
        """


@dataclass(frozen=True)
class Webhook:
    """A JSON POST in Slack's format: `{"text": ...}`. Redirects are not followed."""

    url: str = field(repr=False)
    name: str = "webhook"
    seconds: float = TIME_LIMIT_SECONDS

    def send(self, alert: Alert) -> None:
        """As `Channel.send`."""
        try:
            parts = urlsplit(self.url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise self._not_an_address() from None
        if not host or parts.scheme not in ("https", "http") or (parts.scheme == "http" and host not in _LOOPBACK):
            raise self._not_an_address()
        text = f"*{_for_slack(alert.title)}*\n{_for_slack(alert.details)}"
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(host, port, timeout=self.seconds)
        try:
            connection.request("POST", path, json.dumps({"text": text}), {"Content-Type": "application/json"})
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise AlertError(
                self.name,
                f"The server did not answer ({type(error).__name__}).",
                f"check the network and the address in {WEBHOOK_KEY}; the message is tried again.",
            ) from None
        finally:
            connection.close()
        if not 200 <= status < 300:
            raise AlertError(
                self.name,
                f"The server answered {status}.",
                f"check that the webhook still exists and {WEBHOOK_KEY} is its address; the message is tried again.",
            )

    def _not_an_address(self) -> AlertError:
        return AlertError(
            self.name,
            f"{WEBHOOK_KEY} is no https:// address.",
            "copy the webhook's address whole and store it again.",
        )


@dataclass(frozen=True)
class Email:
    """A plain-text mail by SMTP."""

    receiver: str
    sender: str
    host: str
    port: int
    security: Literal["starttls", "tls", "none"]
    user: str = ""
    password: str = field(default="", repr=False)
    name: str = "e-mail"
    seconds: float = TIME_LIMIT_SECONDS

    def send(self, alert: Alert) -> None:
        """As `Channel.send`."""
        message = EmailMessage()
        message["Subject"], message["From"], message["To"] = alert.title, self.sender, self.receiver
        message.set_content(f"{alert.title}\n{alert.details}\n")
        try:
            with self._connection() as server:
                if self.security == "starttls":
                    server.starttls(context=ssl.create_default_context())
                if self.user:
                    server.login(self.user, self.password)
                server.send_message(message)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            code = f" {error.smtp_code}" if isinstance(error, smtplib.SMTPResponseException) else ""
            raise AlertError(
                self.name,
                f"{self.host}:{self.port} did not take the message ({type(error).__name__}{code}).",
                f"check CBI_ALERT_EMAIL_HOST, _PORT, _SECURITY, _USER and the password in {EMAIL_KEY}; the message is "
                "tried again.",
            ) from None

    def _connection(self) -> smtplib.SMTP:
        if self.security == "tls":
            return smtplib.SMTP_SSL(self.host, self.port, timeout=self.seconds, context=ssl.create_default_context())
        return smtplib.SMTP(self.host, self.port, timeout=self.seconds)


@dataclass(frozen=True)
class MacNotification:
    """A notification of macOS, by `osascript`."""

    name: str = "macOS notification"

    def send(self, alert: Alert) -> None:
        """As `Channel.send`. The text is an argument, not part of the script."""
        script = ["on run argv", "display notification (item 2 of argv) with title (item 1 of argv)", "end run"]
        lines = [part for line in script for part in ("-e", line)]
        command = ["osascript", *lines, alert.title, alert.details]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=TIME_LIMIT_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            raise AlertError(
                self.name,
                f"osascript did not show the message ({type(error).__name__}).",
                "set CBI_ALERT_MACOS=false where there is no macOS with someone logged in; the message is tried again.",
            ) from None


def _for_slack(text: str) -> str:
    """Slack takes three characters for its own."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def channels(settings: Settings, find_key: Callable[[str], str | None]) -> list[Channel]:
    """The ways that settings and keys name; none where nothing is set."""
    ways: list[Channel] = []
    if url := find_key(WEBHOOK_KEY):
        ways.append(Webhook(url))
    if settings.alert_email_to:
        ways.append(
            Email(
                receiver=settings.alert_email_to,
                sender=settings.alert_email_from or settings.alert_email_to,
                host=settings.alert_email_host,
                port=settings.alert_email_port,
                security=settings.alert_email_security,
                user=settings.alert_email_user,
                password=(find_key(EMAIL_KEY) or "") if settings.alert_email_user else "",
            )
        )
    return [*ways, *([MacNotification()] if settings.alert_macos else [])]


class Posted(BaseModel):
    """An alert in the box: when it was put there, by which ways it went out, and whether that is all."""

    alert: Alert
    at: datetime
    sent_by: tuple[str, ...] = ()
    done: bool = False


_BOX: Final = TypeAdapter(dict[str, Posted])


def _given_up(key: str) -> AlertError:
    return AlertError(
        f"alert {key}",
        f"It could not be sent for {WORTH_SENDING.days} days and is given up.",
        "mend what sends it.",
    )


class AlertBox:
    """The alerts of a project, in one file that is replaced whole. Processes and threads may use it at once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, Posted]:
        """Every alert by its key, oldest first.

        Raises:
            AlertError: the file is not one that was written here.
        """
        if not self._path.exists():
            return {}
        try:
            return _BOX.validate_json(self._path.read_bytes())
        except ValidationError as error:
            raise AlertError(
                str(self._path),
                f"The file of alerts cannot be read ({error.error_count()} errors).",
                "move it away; alerts that are still true may then come once more.",
            ) from None

    def post(self, alert: Alert, now: datetime) -> bool:
        """Put an alert in, unless its key is known; whether it is new."""
        with self._locked("lock"):
            box = self.read()
            if alert.key in box:
                return False
            kept = {key: posted for key, posted in box.items() if not posted.done or now - posted.at < KEPT}
            self._write({**kept, alert.key: Posted(alert=alert, at=now)})
        return True

    def waiting(self) -> int:
        """How many alerts have not gone out."""
        return sum(not posted.done for posted in self.read().values())

    def send(self, ways: Sequence[Channel], now: datetime) -> list[AlertError]:
        """Send what is in the box and has not gone out by every way, oldest first.

        A way that fails is left alone until the next call. Where another process is sending, or there is no way,
        nothing is done. A process that dies between sending and noting it sends that one message again.

        Returns:
            Why messages could not be sent; they stay in the box.
        """
        problems: dict[str, AlertError] = {}
        try:
            with self._locked("sending", wait=False):
                for key, posted in self.read().items() if ways else ():
                    if posted.done:
                        continue
                    if now - posted.at > WORTH_SENDING:
                        problems[key] = _given_up(key)
                        self._mark(key, posted.sent_by, done=True)
                    else:
                        self._send(key, posted, ways, problems)
        except BlockingIOError:
            return []
        return list(problems.values())

    def _send(self, key: str, posted: Posted, ways: Sequence[Channel], problems: dict[str, AlertError]) -> None:
        sent = posted.sent_by
        for way in ways:
            if way.name in sent or way.name in problems:
                continue
            try:
                way.send(posted.alert)
            except AlertError as problem:
                problems[way.name] = problem
                continue
            sent = (*sent, way.name)
            self._mark(key, sent, done=all(other.name in sent for other in ways))

    def _mark(self, key: str, sent: tuple[str, ...], *, done: bool) -> None:
        with self._locked("lock"):
            box = self.read()
            box[key] = box[key].model_copy(update={"sent_by": sent, "done": done})
            self._write(box)

    def _write(self, box: dict[str, Posted]) -> None:
        replace_file(self._path, _BOX.dump_json(box, indent=1))

    @contextmanager
    def _locked(self, name: str, *, wait: bool = True) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(f".{name}").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield


def open_box(settings: Settings) -> AlertBox:
    """The box of the settings' project."""
    return AlertBox(settings.dagster_dir / "alerts.json")
