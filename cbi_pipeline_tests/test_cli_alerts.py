"""`cbi alerts` on a local webhook."""

from __future__ import annotations

from datetime import UTC, datetime

import keyring
import pytest

from cbi_pipeline.alerts import Alert, Webhook, open_box
from cbi_pipeline.settings import WEBHOOK_KEY
from cbi_pipeline_tests.webhook_server import webhook

SECRET = "/services/nobody-may-see-this"


@pytest.fixture(autouse=True)
def _no_keychain(monkeypatch):
    monkeypatch.setattr(keyring, "get_password", lambda service, name: None)
    monkeypatch.setenv("COLUMNS", "200")


def test_a_test_message_goes_out_by_every_way_that_is_set(cbi):
    with webhook(200, 500) as server:
        cbi.set(WEBHOOK_KEY, server.url + SECRET)
        good, bad = cbi("alerts", "test"), cbi("alerts", "test")
    assert (good.code, bad.code) == (0, 1)
    assert "sent by webhook" in good.out
    assert "answered 500" in bad.out
    assert SECRET not in good.out + bad.out + good.err + bad.err
    assert "this is a test" in server.texts[0]
    assert "no such setting" not in good.err


def test_without_a_way_it_says_how_to_set_one(cbi):
    answer = cbi("alerts", "test")
    assert answer.code == 1
    assert "keyring set cbi CBI_ALERT_WEBHOOK_URL" in answer.err


def test_the_list_says_what_was_sent_and_what_waits(cbi, new_settings):
    box, now = open_box(new_settings), datetime(2024, 12, 30, 23, 0, tzinfo=UTC)
    with webhook(200) as server:
        box.post(Alert(key="run/1", happened="one", not_done="a", look="b"), now)
        box.send([Webhook(server.url)], now)
    box.post(Alert(key="run/2", happened="two", not_done="a", look="b"), now)
    out = cbi("alerts", "list").out
    assert "2024-12-30 23:00 webhook one run/1" in out.replace("┃", "").replace("  ", " ")
    assert "2024-12-30 23:00 waits two run/2" in out
