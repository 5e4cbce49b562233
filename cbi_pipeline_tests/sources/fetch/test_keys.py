"""No key shows anywhere: not in logs of any level, errors and their causes, output, or files."""

from __future__ import annotations

import base64
import json
import logging
import traceback
from collections.abc import Callable
from pathlib import Path

import keyring
import pytest
from rich.console import Console
from typer.testing import CliRunner

from cbi_pipeline import cli_sources
from cbi_pipeline.cli import app
from cbi_pipeline.sources.fetch import databento, feeds
from cbi_pipeline.sources.fetch.keys import KEYCHAIN_SERVICE, find_key
from cbi_pipeline.sources.fetch.web import Web
from cbi_pipeline_tests.sources.fetch.server import HTML_PAGE, Answer, Asked, serving

KEY = "db-a-key-that-nobody-may-see"
TRACES = (KEY, base64.b64encode(f"{KEY}:".encode()).decode(), base64.b64encode(KEY.encode()).decode().rstrip("="))


def _in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "get_password", lambda service, name: None)
    for feed in feeds.FEEDS:
        if feed.key is not None:
            monkeypatch.setenv(feed.key, KEY)


def _in_keychain(monkeypatch: pytest.MonkeyPatch) -> None:
    for feed in feeds.FEEDS:
        if feed.key is not None:
            monkeypatch.delenv(feed.key, raising=False)
    monkeypatch.setattr(keyring, "get_password", lambda service, name: KEY if service == KEYCHAIN_SERVICE else None)


def _range_then(last: Answer) -> Callable[[Asked, int], Answer]:
    def answer(asked: Asked, _: int) -> Answer:
        if asked.path.endswith("get_dataset_range"):
            return Answer(json.dumps({"end": "2010-07-01T00:00:00Z"}).encode())
        return Answer(b"1.25") if asked.path.endswith("get_cost") else last

    return answer


@pytest.mark.parametrize("stored", [_in_environment, _in_keychain])
@pytest.mark.parametrize(
    "answer",
    [
        lambda *_: Answer(status=401, body=KEY.encode()),
        lambda *_: Answer(status=500),
        lambda *_: Answer(status=302, headers={"Location": "http://127.0.0.1:9/elsewhere"}),
        lambda *_: Answer(HTML_PAGE, sent_bytes=10),
        _range_then(Answer(HTML_PAGE)),
        _range_then(Answer(status=402)),
    ],
)
def test_a_key_shows_nowhere(
    answer: Callable[[Asked, int], Answer],
    stored: Callable[[pytest.MonkeyPatch], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stored(monkeypatch)
    assert find_key(databento.KEY) == KEY
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("CBI_PROJECT_DIR", str(tmp_path))
    monkeypatch.setattr(cli_sources, "console", Console(width=200))
    with serving(answer) as server:

        def fetch(data_dir, _, agree):
            web = Web(pause_seconds=0.0, wait_seconds=0.0, key=find_key(databento.KEY))
            return databento.fetch(data_dir, agree, base_url=server.url, new_web=lambda: web)

        keyed = feeds.Feed(
            "databento", "databento GLBX.MDP3", feeds.find_feed("databento").last, 4, fetch, databento.KEY
        )
        monkeypatch.setattr(feeds, "FEEDS", tuple(keyed if f.name == "databento" else f for f in feeds.FEEDS))
        run = CliRunner().invoke
        results = [
            run(app, ["sources", "list"]),
            run(app, ["sources", "status"]),
            run(app, ["sources", "fetch", "databento", "--max-cost", "5"]),
        ]
        assert results[2].exit_code == 1
        assert any(asked.authorization for asked in server.asked)
    shown = "".join(result.output for result in results)
    for result in results:
        if result.exc_info is not None:
            shown += "".join(traceback.format_exception(*result.exc_info))
    shown += caplog.text + "".join(repr(record.__dict__) for record in caplog.records)
    shown += "".join(path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file())
    assert "HTTP Request" in shown
    assert not [trace for trace in TRACES if trace in shown]
