"""ALFRED's first releases against a local server that has the real dollar index in the service's shape."""

from __future__ import annotations

import json
import logging
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import fred as parse
from cbi_pipeline.sources.fetch import alfred
from cbi_pipeline.sources.fetch.web import Web
from cbi_pipeline_tests.sources.fetch.server import HTML_PAGE, Answer, Asked, serving

KEY = "0123456789abcdef0123456789abcdef"
NOW = datetime.fromisoformat("2025-01-10T00:00:00+00:00")


def _web() -> Web:
    return Web(pause_seconds=0.0, wait_seconds=0.0, key=KEY, key_parameter=alfred.KEY_PARAMETER)


class Service:
    """The observations service as far as it is used here: every value first published on the day after it."""

    def __init__(self, provider_dir: Path) -> None:
        self.folder, self.damage = provider_dir / "fred", lambda content: content

    def __call__(self, asked: Asked, _: int) -> Answer:
        if asked.fields.get("api_key") != KEY:
            return Answer(b'{"error_code": 400, "error_message": "Bad Request. api_key"}', status=400)
        assert (asked.path, asked.fields["output_type"]) == (alfred.SERVICE, "4")
        rows = pd.read_csv(self.folder / f"{asked.fields['series_id']}.csv", dtype=str, keep_default_na=False)
        rows = rows[rows["observation_date"] >= "2024-01-01"]
        listed = [
            {
                "realtime_start": f"{pd.Timestamp(day) + pd.Timedelta(days=1):%Y-%m-%d}",
                "realtime_end": "9999-12-31",
                "date": day,
                "value": value or ".",
            }
            for day, value in rows.itertuples(index=False)
        ]
        first, size = int(asked.fields["offset"]), int(asked.fields["limit"])
        page = {"output_type": 4, "count": len(listed), "observations": listed[first : first + size]}
        return Answer(self.damage(json.dumps(page).encode()))


def _fetch(data_dir: Path, url: str) -> dict[str, str]:
    return {file.path.stem: file.outcome for file in alfred.fetch(data_dir, NOW, base_url=url, new_web=_web)}


def test_first_releases_come_page_by_page_and_the_reader_takes_them(
    tmp_path: Path, provider_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alfred, "PAGE_ROWS", 100)
    with serving(Service(provider_dir)) as server:
        assert _fetch(tmp_path, server.url) == dict.fromkeys(alfred.SERIES, "new")
        assert len(server.asked) == 3 * len(alfred.SERIES)  # 262 weekdays of 2024
    assert alfred.newest(tmp_path).isoformat() == "2024-12-31"
    for name in alfred.SERIES:
        (tmp_path / "fred" / f"{name}.csv").symlink_to(provider_dir / "fred" / f"{name}.csv")
    rows = parse.read_macro_series(tmp_path)
    pd.testing.assert_frame_equal(rows, parse.read_macro_series(provider_dir))


def test_the_first_value_counts_from_its_day_if_it_was_on_time(tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {
            "series_id": "DTWEXBGS",
            "date": pd.to_datetime(["2006-01-02", "2024-12-23", "2024-12-24"]),
            "value": [100.0, 129.0, 130.0],
            "available_at": pd.to_datetime(["2006-01-09 21:15", "2024-12-30 21:15", "2024-12-30 21:15"], utc=True),
            "source": "FRED",
        }
    )
    first = pd.DataFrame(
        {
            "date": rows["date"],
            "first_value": [101.0, 128.0, 130.5],
            "published_on": pd.to_datetime(["2019-02-19", "2024-12-30", "2025-01-06"]),
        }
    )
    known = parse.as_first_published(rows, first)
    assert known["value"].tolist() == [100.0, 128.0, 130.5]
    moments = ["2006-01-09 21:15", "2024-12-30 21:15", "2025-01-06 21:15"]
    assert known["available_at"].tolist() == [pd.Timestamp(moment, tz="UTC") for moment in moments]


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (lambda content: HTML_PAGE, "observations with their count"),
        (lambda content: content[:-30], "observations with their count"),
        (lambda content: content.replace(b'"count"', b'"total"'), "observations with their count"),
        (lambda content: content.replace(b'"output_type": 4', b'"output_type": 1'), "initial releases"),
        (lambda content: content.replace(b'"realtime_start"', b'"first"'), "series/observations"),
        (lambda content: content.replace(b"2024-06-03", b"2024-06-04"), "repeat"),
    ],
)
def test_an_answer_that_does_not_read_is_not_stored(tmp_path: Path, provider_dir: Path, damage, rule: str) -> None:
    service = Service(provider_dir)
    service.damage = damage
    with serving(service) as server, pytest.raises(SourceError, match=rule):
        _fetch(tmp_path, server.url)
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    "fault",
    [
        Answer(status=400),
        Answer(status=503),
        Answer(b"{}", sent_bytes=1),
        Answer(status=302, headers={"Location": "http://localhost:9/elsewhere"}),
    ],
)
def test_the_key_is_in_the_address_of_the_service_and_nowhere_else(
    tmp_path: Path, fault: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(lambda *_: fault) as server:
        with pytest.raises(SourceError) as caught:
            _fetch(tmp_path, server.url)
        assert server.asked[0].fields["api_key"] == KEY
        assert server.asked[0].authorization is None
    assert "HTTP Request" in caplog.text or fault.sent_bytes
    everything = caplog.text + "".join(repr(record.__dict__) for record in caplog.records)
    assert KEY not in everything + str(caught.value) + repr(caught.value.__cause__) + repr(caught.value.__context__)


def test_the_key_does_not_follow_to_another_host(tmp_path: Path, provider_dir: Path) -> None:
    with serving(lambda *_: Answer(b"{}")) as other:
        moved = Answer(status=302, headers={"Location": other.url.replace("127.0.0.1", "localhost") + "/x"})
        with serving(lambda *_: moved) as server, _web() as client:
            client.get(server.url + "/file", {"series_id": "DGS10"})
            assert server.asked[0].fields["api_key"] == KEY
        assert "api_key" not in other.asked[0].fields
