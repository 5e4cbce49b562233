"""NCEI's data service against a local server that answers with the real days of Milwaukee."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import ghcn as parse
from cbi_pipeline.sources import weather
from cbi_pipeline.sources.fetch import ghcn
from cbi_pipeline_tests.sources.fetch.server import HTML_PAGE, Answer, Asked, quick_web, serving
from cbi_pipeline_tests.sources.fetch.shapes import ghcn_answer, ghcn_days

MILWAUKEE = "USW00014839"
NOW = "2025-01-03T00:00:00+00:00"


class Service:
    """NCEI as far as it is used here: every station has Milwaukee's days."""

    def __init__(self, provider_dir: Path, last: str = "2024-12-31") -> None:
        days = ghcn_days(provider_dir)
        self.days = days[(days["DATE"] <= last) & (days["DATE"] >= "2024-10-01")]
        self.damage = {}

    def __call__(self, asked: Asked, _: int) -> Answer:
        assert asked.path == ghcn.SERVICE
        assert (asked.fields["dataset"], asked.fields["units"]) == ("daily-summaries", "metric")
        station = asked.fields["stations"]
        return self.damage.get(station) or Answer(ghcn_answer(self.days, station))


def _fetch(data_dir: Path, url: str, now: str = NOW) -> dict[str, str]:
    fetched = ghcn.fetch(data_dir, datetime.fromisoformat(now), base_url=url, new_web=quick_web)
    return {file.path.stem: file.outcome for file in fetched}


def test_every_served_station_is_fetched_when_a_day_is_due(tmp_path: Path, provider_dir: Path) -> None:
    with serving(Service(provider_dir)) as server:
        outcomes = _fetch(tmp_path, server.url, "2025-01-02T17:59:00+00:00")
        assert outcomes == dict.fromkeys(weather.served_ids(), "new")
        asked = len(server.asked)
        # the airports' day is public after one day, the cooperative observers' after two
        outcomes = _fetch(tmp_path, server.url, "2025-01-02T18:00:00+00:00")
        assert set(outcomes.values()) == {"not due", "unchanged"}
        assert len(server.asked) - asked == list(outcomes.values()).count("unchanged") == 4
        assert outcomes[MILWAUKEE] == "unchanged"


def test_the_answer_says_what_the_collected_file_says(tmp_path: Path, provider_dir: Path) -> None:
    shutil.copytree(provider_dir / "weather", tmp_path / "weather", ignore=lambda *_: ["official_formats"])
    (tmp_path / "weather").chmod(0o755)
    with serving(Service(provider_dir)) as server:
        _fetch(tmp_path, server.url)
    rows = weather.read_weather_daily(tmp_path)
    collected = weather.read_weather_daily(provider_dir)
    name = weather.served_ids()[MILWAUKEE]
    ours = rows[rows["station"] == name].reset_index(drop=True)
    theirs = collected[(collected["station"] == name) & (collected["date"] >= "2024-10-01")].reset_index(drop=True)
    pd.testing.assert_frame_equal(ours, theirs, check_exact=False, atol=0.06)
    assert set(rows["station"]) == {s.name for s in (*weather.STATIONS, *weather.SERVED_STATIONS)}
    elsewhere = ~collected["station"].isin(weather.served_ids().values())
    kept = rows[rows["station"].isin(collected.loc[elsewhere, "station"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, collected[elsewhere].reset_index(drop=True))


def test_a_value_that_failed_a_check_of_noaa_is_a_gap(tmp_path: Path, provider_dir: Path) -> None:
    days = ghcn_days(provider_dir).tail(3)
    content = ghcn_answer(days, MILWAUKEE).replace(b'",,W,2400"', b'",I,W,2400"', 1)
    path = tmp_path / f"{MILWAUKEE}.csv"
    path.write_bytes(content)
    rows = parse.read_station(path)
    assert rows["precip_mm"].isna().tolist() == [True, False, False]
    assert rows[["tmax_c", "tmin_c"]].notna().all(axis=None)


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (lambda content: HTML_PAGE, "must name"),
        (lambda content: content.replace(b'"TMAX"', b'"TMEAN"'), "must name"),
        (lambda content: content.replace(b'"USW00014839"', b'"USW00014840"', 1), "must hold station"),
        (lambda content: content + content.splitlines(keepends=True)[-1], "repeat"),
        (lambda content: content.replace(b'"2024-12-30"', b'"30/12/2024"'), "does not have the format"),
        (lambda content: content.splitlines(keepends=True)[0], "must hold a value"),
        (lambda content: b"".join(content.splitlines(keepends=True)[:-9]), "history does not shrink"),
        (lambda content: b"", "not a readable CSV"),
    ],
)
def test_a_good_file_outlives_a_bad_download(tmp_path: Path, provider_dir: Path, damage, rule: str) -> None:
    service = Service(provider_dir)
    with serving(service) as server:
        _fetch(tmp_path, server.url)
    before = {path.name: path.read_bytes() for path in (tmp_path / parse.FOLDER).iterdir()}
    service.damage[MILWAUKEE] = Answer(damage(ghcn_answer(service.days, MILWAUKEE)))
    with serving(service) as server, pytest.raises(SourceError, match=rule):
        _fetch(tmp_path, server.url, "2025-01-04T00:00:00+00:00")
    assert {path.name: path.read_bytes() for path in (tmp_path / parse.FOLDER).iterdir()} == before


def test_a_busy_service_is_asked_again_and_a_broken_one_leaves_no_file(tmp_path: Path, provider_dir: Path) -> None:
    service = Service(provider_dir)
    with serving(lambda asked, count: Answer(status=503) if count == 0 else service(asked, count)) as server:
        assert set(_fetch(tmp_path / "busy", server.url).values()) == {"new"}
    cut = Answer(ghcn_answer(service.days, MILWAUKEE), sent_bytes=700)
    with serving(lambda *_: cut) as server, pytest.raises(SourceError, match="could not be read"):
        _fetch(tmp_path / "broken", server.url)
    assert not list((tmp_path / "broken").rglob("*.csv"))
