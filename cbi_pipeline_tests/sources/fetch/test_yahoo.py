"""Yahoo's chart service against a local server that answers with the real history in the service's shape."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import databento
from cbi_pipeline.sources.fetch import yahoo
from cbi_pipeline_tests.sources.fetch.server import HTML_PAGE, Answer, Asked, quick_web, serving
from cbi_pipeline_tests.sources.fetch.shapes import chicago, yahoo_chart, yahoo_history

FRONTS = tuple(f"{symbol}=F" for symbol in databento.SYMBOLS)
CONTRACTS = ("ZLZ24.CBT", "ZLF25.CBT", "ZLH25.CBT")
ASKED = (*FRONTS, *CONTRACTS, *(f"ZL{code}25.CBT" for code in "KNQUV"))
FRIDAY, MONDAY, TUESDAY = (chicago(f"2024-12-{day} 15:00") for day in (27, 30, 31))


@pytest.fixture
def history(provider_dir: Path) -> pd.DataFrame:
    return yahoo_history(provider_dir, name="2015_on")


def _service(history: pd.DataFrame, now: pd.Timestamp) -> Callable[[Asked, int], Answer]:
    """Every symbol with the rows of ZL to the day before `now`, as the service has them in the afternoon."""

    def answer(asked: Asked, _: int) -> Answer:
        ticker = asked.path.rsplit("/", 1)[1]
        if ticker not in (*FRONTS, *CONTRACTS):
            return Answer(b'{"chart": {"result": null, "error": {"code": "Not Found"}}}', status=404)
        assert asked.fields["interval"] == "1d"
        assert int(asked.fields["period2"]) == int(now.timestamp())
        rows = history[history["Date"] < now.tz_localize(None).normalize()]
        return Answer(yahoo_chart(rows, now.replace(hour=13, minute=20), ticker, quote=40.25))

    return answer


def _fetch(data_dir: Path, url: str, now: pd.Timestamp) -> dict[str, str]:
    moment = datetime.fromisoformat(now.isoformat())
    fetched = yahoo.fetch(data_dir, moment, base_url=url, new_web=quick_web)
    return {file.path.name.removesuffix(".chart.json"): file.outcome for file in fetched}


def _closes(data_dir: Path) -> pd.Series:
    return yahoo.yahoo.read_daily(data_dir, "ZL").set_index("trade_date")["close"]


def test_a_symbol_is_asked_for_once_a_session(tmp_path: Path, history: pd.DataFrame) -> None:
    with serving(_service(history, MONDAY)) as server:
        assert _fetch(tmp_path, server.url, MONDAY) == dict.fromkeys((*FRONTS, *CONTRACTS), "new")
        assert [asked.path.rsplit("/", 1)[1] for asked in server.asked] == list(ASKED)
        assert _fetch(tmp_path, server.url, MONDAY) == dict.fromkeys((*FRONTS, *CONTRACTS), "not due")
    assert _closes(tmp_path)["2024-12-30"] == 40.25
    before_its_close = TUESDAY.replace(hour=13)
    with serving(_service(history, before_its_close)) as server:
        assert set(_fetch(tmp_path, server.url, before_its_close).values()) == {"not due"}
    with serving(_service(history, TUESDAY)) as server:
        assert set(_fetch(tmp_path, server.url, TUESDAY).values()) == {"updated"}
    # the bar of Monday has taken the place of its quote
    assert _closes(tmp_path)["2024-12-30"] == history.set_index("Date")["Close"]["2024-12-30"].round(3)


def test_a_fetch_goes_on_with_what_is_missing(tmp_path: Path, history: pd.DataFrame) -> None:
    answer, refused = _service(history, MONDAY), True

    def moody(asked: Asked, count: int) -> Answer:
        return Answer(status=429) if refused and "ZM=F" in asked.path else answer(asked, count)

    with serving(moody) as server:
        with pytest.raises(SourceError, match="429"):
            _fetch(tmp_path, server.url, MONDAY)
        refused = False
        outcomes = _fetch(tmp_path, server.url, MONDAY)
    assert [outcomes[name] for name in FRONTS] == ["not due", "not due", "new", "new", "new"]


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (lambda content: HTML_PAGE, "not readable JSON"),
        (lambda content: content[:-40], "not readable JSON"),
        (lambda content: content.replace(b'"close"', b'"last"'), "chart service"),
        (lambda content: content.replace(b'"1d"', b'"3mo"'), "by day"),
        (lambda content: b'{"chart": {"result": null, "error": {"code": "Not Found"}}}', "chart service"),
    ],
)
def test_a_good_file_outlives_a_bad_download(tmp_path: Path, history: pd.DataFrame, damage, rule: str) -> None:
    with serving(_service(history, FRIDAY)) as server:
        _fetch(tmp_path, server.url, FRIDAY)
    before = {path.name: path.read_bytes() for path in (tmp_path / "yahoo").iterdir()}
    answer = _service(history, MONDAY)
    with (
        serving(lambda asked, count: Answer(damage(answer(asked, count).body))) as server,
        pytest.raises(SourceError, match=rule),
    ):
        _fetch(tmp_path, server.url, MONDAY)
    assert {path.name: path.read_bytes() for path in (tmp_path / "yahoo").iterdir()} == before


def test_a_shorter_history_is_refused(tmp_path: Path, history: pd.DataFrame) -> None:
    with serving(_service(history, FRIDAY)) as server:
        _fetch(tmp_path, server.url, FRIDAY)
    with (
        serving(_service(history.iloc[100:], MONDAY)) as server,
        pytest.raises(SourceError, match="history does not shrink"),
    ):
        _fetch(tmp_path, server.url, MONDAY)


def test_a_cut_connection_leaves_no_file(tmp_path: Path, history: pd.DataFrame) -> None:
    answer = _service(history, MONDAY)
    with (
        serving(lambda asked, count: Answer(answer(asked, count).body, sent_bytes=5000)) as server,
        pytest.raises(SourceError, match="could not be read"),
    ):
        _fetch(tmp_path, server.url, MONDAY)
    assert not list(tmp_path.rglob("*.json"))
