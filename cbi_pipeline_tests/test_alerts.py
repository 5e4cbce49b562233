"""Alerts against a local webhook and mail server: sent once, tried again after a failure, and never with a secret."""

from __future__ import annotations

import base64
import fcntl
import logging
import os
import socket
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email import message_from_string
from email.policy import default

import pytest

from cbi_pipeline.alerts import KEPT, WORTH_SENDING, Alert, AlertBox, Email, MacNotification, Webhook, channels
from cbi_pipeline.errors import AlertError, SettingsError
from cbi_pipeline.settings import EMAIL_KEY, WEBHOOK_KEY, load_settings, nearest_known, unknown_variables
from cbi_pipeline_tests.mail_server import mail_server
from cbi_pipeline_tests.webhook_server import webhook

NOW = datetime(2024, 12, 30, 23, 0, tzinfo=UTC)
SECRET = "/services/T0/B0/nobody-may-see-this"
PASSWORD = "nor-this-password"
ALERT = Alert(
    key="run/1", happened="the job daily failed\nBundleError: <b> & c", not_done="the forecast.", look="`cbi ui`"
)


@pytest.fixture
def box(tmp_path) -> AlertBox:
    return AlertBox(tmp_path / "alerts.json")


def mailbox(port: int, **more) -> Email:
    given = {"receiver": "desk@example.org", "sender": "cbi@example.org", "host": "127.0.0.1", "security": "none"}
    return Email(port=port, **{**given, **more})


def test_a_webhook_gets_one_message_in_slacks_format(box):
    with webhook(200) as server:
        for _ in range(3):
            box.post(ALERT, NOW)
            assert box.send([Webhook(server.url + SECRET)], NOW) == []
    assert server.asked == [SECRET]
    assert server.texts == [
        "*CBI: the job daily failed*\nBundleError: &lt;b&gt; &amp; c\nNot done: the forecast.\nLook: `cbi ui`"
    ]


def test_a_message_that_was_not_taken_is_tried_again_and_then_no_more(box):
    box.post(ALERT, NOW)
    with webhook(500, 200) as server:
        way = Webhook(server.url + SECRET)
        (problem,) = box.send([way], NOW)
        assert "answered 500" in str(problem)
        assert box.waiting() == 1
        assert box.send([way], NOW) == []
        assert box.send([way], NOW) == []
    assert (len(server.asked), len(server.texts), box.waiting()) == (2, 1, 0)


def test_a_webhook_that_never_answers_holds_the_tick_up_once_and_no_other_way(box):
    box.post(ALERT, NOW)
    box.post(ALERT.model_copy(update={"key": "run/2"}), NOW)
    with webhook(None) as server, mail_server() as mail:
        started = time.monotonic()
        (problem,) = box.send([Webhook(server.url + SECRET, seconds=0.5), mailbox(mail.port)], NOW)
        assert time.monotonic() - started < 5
    assert "did not answer (TimeoutError)" in str(problem)
    assert (len(server.asked), len(mail.messages)) == (1, 2)
    assert [posted.sent_by for posted in box.read().values()] == [("e-mail",), ("e-mail",)]
    assert box.waiting() == 2


def test_a_way_that_works_is_not_used_again_when_another_is_mended(box):
    box.post(ALERT, NOW)
    with webhook(500, 200) as server, mail_server() as mail:
        ways = [Webhook(server.url + SECRET), mailbox(mail.port)]
        assert len(box.send(ways, NOW)) == 1
        assert box.send(ways, NOW) == []
    assert (len(server.texts), len(mail.messages), box.waiting()) == (1, 1, 0)


def test_a_mail_holds_the_whole_text(box):
    box.post(ALERT, NOW)
    with mail_server() as mail:
        assert box.send([mailbox(mail.port)], NOW) == []
    message = message_from_string(mail.messages[0], policy=default)
    assert (message["Subject"], message["From"], message["To"]) == (
        "CBI: the job daily failed",
        "cbi@example.org",
        "desk@example.org",
    )
    assert message.get_content().splitlines() == [ALERT.title, *ALERT.details.splitlines()]


def test_a_mail_server_that_refuses_or_never_answers_is_an_error():
    with mail_server(refuses=True) as mail, pytest.raises(AlertError, match="SMTPSenderRefused 550"):
        mailbox(mail.port).send(ALERT)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(AlertError, match="Disconnected"):
        mailbox(silent.getsockname()[1], seconds=0.3).send(ALERT)
    with pytest.raises(AlertError, match="SMTPNotSupportedError"), mail_server() as mail:
        mailbox(mail.port, security="starttls").send(ALERT)


def test_macos_gets_the_text_as_arguments(tmp_path, monkeypatch):
    """`osascript` exists on macOS alone: here a program of that name writes down what it is given."""
    program = tmp_path / "osascript"
    program.write_text(f'#!/bin/sh\nfor part; do echo "$part"; done > {tmp_path}/given\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    MacNotification().send(ALERT.model_copy(update={"happened": 'a "quoted" end run'}))
    lines = (tmp_path / "given").read_text().splitlines()
    assert lines[6:] == ['CBI: a "quoted" end run', "Not done: the forecast.", "Look: `cbi ui`"]
    program.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(AlertError, match="CalledProcessError"):
        MacNotification().send(ALERT)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(AlertError, match="FileNotFoundError"):
        MacNotification().send(ALERT)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.org" + SECRET,
        "hooks.example.org" + SECRET,
        "https://" + SECRET,
        "https://[" + SECRET,
        "https://hooks.example.org:port" + SECRET,
        "http://127.0.0.1:1/a b" + SECRET,
        "http://127.0.0.1:1/\u20ac" + SECRET,
    ],
)
def test_an_address_that_cannot_be_used_is_an_error_without_it(url):
    with pytest.raises(AlertError) as refusal:
        Webhook(url).send(ALERT)
    assert SECRET not in "".join(traceback.format_exception(refusal.value))


@pytest.mark.parametrize("status", [301, 307, 403, 404, 500])
def test_no_secret_shows_in_logs_errors_or_files(box, status, tmp_path, caplog, capfd):
    """The server says the secret back; refused, redirected, signed in in vain, or unreachable."""
    caplog.set_level(logging.DEBUG)
    box.post(ALERT, NOW)
    with webhook(status) as server, mail_server() as mail:
        ways = [Webhook(server.url + SECRET), mailbox(mail.port, user="desk", password=PASSWORD)]
        problems = box.send(ways, NOW)
        assert len(server.asked) == 1
    problems += box.send([Webhook("http://127.0.0.1:9" + SECRET)], NOW)
    assert len(problems) == 3
    assert "SMTPAuthenticationError 535" in str(problems[1])
    shown = "".join("".join(traceback.format_exception(problem)) + repr(problem.__dict__) for problem in problems)
    shown += repr(ways) + caplog.text + "".join(repr(record.__dict__) for record in caplog.records)
    shown += "".join(capfd.readouterr())
    shown += "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    plain = base64.b64encode(f"\0desk\0{PASSWORD}".encode()).decode()
    assert not [secret for secret in (SECRET, PASSWORD, plain) if secret in shown]


def test_settings_and_keys_name_the_ways(monkeypatch):
    keys = {WEBHOOK_KEY: "https://hooks.example.org/x", EMAIL_KEY: PASSWORD}
    assert channels(load_settings(), {}.get) == []
    mail = {"alert_email_to": "desk@example.org", "alert_email_host": "mail.example.org", "alert_email_user": "desk"}
    named = channels(load_settings(alert_macos=True, **mail), keys.get)
    assert [way.name for way in named] == ["webhook", "e-mail", "macOS notification"]
    assert named[0] == Webhook("https://hooks.example.org/x")
    expected = Email("desk@example.org", "desk@example.org", "mail.example.org", 587, "starttls", "desk", PASSWORD)
    assert named[1] == expected
    for wrong in ({"alert_email_to": "desk@example.org"}, {**mail, "alert_email_security": "none"}):
        with pytest.raises(SettingsError, match="CBI_ALERT_EMAIL"):
            load_settings(**wrong)
    assert unknown_variables({WEBHOOK_KEY: "", EMAIL_KEY: "", "CBI_ALERT_WEBHOOK": ""}) == ["CBI_ALERT_WEBHOOK"]
    assert nearest_known("CBI_ALERT_WEBHOOK") == WEBHOOK_KEY
    monkeypatch.setenv(WEBHOOK_KEY, "https://hooks.example.org/x")
    assert "hooks.example.org" not in load_settings().model_dump_json()


def test_without_a_way_alerts_wait_and_old_ones_are_given_up(box):
    box.post(ALERT, NOW)
    assert box.send([], NOW) == []
    assert box.waiting() == 1
    with webhook(200) as server:
        (problem,) = box.send([Webhook(server.url)], NOW + WORTH_SENDING + timedelta(seconds=1))
        assert "given up" in str(problem)
        assert box.send([Webhook(server.url)], NOW) == []
    assert (server.asked, box.waiting()) == ([], 0)


def test_the_box_forgets_what_was_sent_long_ago_and_nothing_that_waits(box):
    box.post(ALERT, NOW)
    box.post(ALERT.model_copy(update={"key": "run/2"}), NOW)
    with webhook(200, 500) as server:
        box.send([Webhook(server.url)], NOW)
    assert not box.post(ALERT, NOW + KEPT)
    assert box.post(ALERT.model_copy(update={"key": "run/3"}), NOW + KEPT)
    assert list(box.read()) == ["run/2", "run/3"]


def test_a_box_that_was_damaged_says_which_file(box, tmp_path):
    (tmp_path / "alerts.json").write_text('{"run/1": {}}')
    with pytest.raises(AlertError, match=r"alerts\.json"):
        box.post(ALERT, NOW)


def test_those_who_post_at_once_lose_nothing(tmp_path):
    """Each call opens the lock anew, so that threads exclude each other as processes do."""
    path = tmp_path / "alerts.json"

    def post(number: int) -> bool:
        return AlertBox(path).post(ALERT.model_copy(update={"key": f"run/{number % 20}"}), NOW)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(post, range(60))) == 20
    assert set(AlertBox(path).read()) == {f"run/{number}" for number in range(20)}
    assert {file.name for file in tmp_path.iterdir()} == {"alerts.json", "alerts.lock"}


def test_two_senders_do_not_send_the_same_message(box, tmp_path):
    box.post(ALERT, NOW)
    with webhook(200) as server:
        with (tmp_path / "alerts.sending").open("a") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            assert box.send([Webhook(server.url)], NOW) == []
            assert (server.asked, box.waiting()) == ([], 1)
        assert box.send([Webhook(server.url)], NOW) == []
        assert (len(server.asked), box.waiting()) == (1, 0)
