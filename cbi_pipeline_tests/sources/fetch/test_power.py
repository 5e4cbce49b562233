"""NASA POWER's daily service against a local server that answers with the real days of Chicago and Buenos Aires."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import power as parse
from cbi_pipeline.sources import weather
from cbi_pipeline.sources.fetch import power
from cbi_pipeline_tests.sources.fetch.server import HTML_PAGE, Answer, Asked, quick_web, serving
from cbi_pipeline_tests.sources.fetch.shapes import power_answer, power_days

NOW = "2025-01-03T18:00:00+00:00"
CHICAGO = next(point for point in parse.POINTS if point.station == "POWER Chicago")


class Service:
    """POWER as far as it is used here: northern points have Chicago's days, southern ones those of Buenos Aires."""

    def __init__(self, provider_dir: Path, last: str) -> None:
        self.days = {}
        for city in ("Chicago", "Buenos_Aires"):
            days = power_days(provider_dir, city)
            days = days[days["date"] >= "2024-10-01"].copy()  # a quarter is enough here, and quicker
            not_there_yet = days["date"] > last
            days.loc[not_there_yet, ["PRECTOTCORR", "T2M_MAX", "T2M_MIN"]] = -999.0
            self.days[city] = days
        self.damage = {}

    def __call__(self, asked: Asked, _: int) -> Answer:
        assert asked.path == power.SERVICE
        assert (asked.fields["community"], asked.fields["start"]) == ("AG", "19850101")
        latitude, longitude = float(asked.fields["latitude"]), float(asked.fields["longitude"])
        days = self.days["Chicago" if latitude > 0 else "Buenos_Aires"]
        return self.damage.get(latitude) or Answer(power_answer(days, latitude, longitude))


def _fetch(data_dir: Path, url: str, now: str = NOW) -> dict[str, str]:
    fetched = power.fetch(data_dir, datetime.fromisoformat(now), base_url=url, new_web=quick_web)
    return {file.path.stem: file.outcome for file in fetched}


def test_every_agreed_point_is_fetched_once_a_day(tmp_path: Path, provider_dir: Path) -> None:
    with serving(Service(provider_dir, "2024-12-30")) as server:
        outcomes = _fetch(tmp_path, server.url, "2025-01-02T18:00:00+00:00")
        assert set(outcomes.values()) == {"new"}
        assert set(outcomes) == {
            *("Sorriso", "Rio_Verde", "Cascavel", "Passo_Fundo", "Rosario", "Pergamino", "Marcos_Juarez"),
            *("Des_Moines", "Champaign", "Indianapolis", "Chicago", "Buenos_Aires"),
        }
        asked = len(server.asked)
        assert set(_fetch(tmp_path, server.url, "2025-01-03T17:59:00+00:00").values()) == {"not due"}
        assert len(server.asked) == asked
    with serving(Service(provider_dir, "2024-12-31")) as server:
        assert set(_fetch(tmp_path, server.url).values()) == {"updated"}


def test_the_answer_says_what_the_collected_file_says(tmp_path: Path, provider_dir: Path) -> None:
    with serving(Service(provider_dir, "2024-12-31")) as server:
        _fetch(tmp_path, server.url)
    rows = weather.read_weather_daily(tmp_path)
    assert set(rows["station"]) == {point.station for point in parse.POINTS}
    assert rows["available_at"].iloc[-1] == pd.Timestamp("2025-01-03 18:00", tz="UTC")
    collected = weather.read_weather_daily(provider_dir)
    for station in ("POWER Chicago", "POWER Buenos Aires"):
        ours = rows[rows["station"] == station].reset_index(drop=True)
        theirs = collected[(collected["station"] == station) & (collected["date"] >= "2024-10-01")]
        pd.testing.assert_frame_equal(ours, theirs.reset_index(drop=True), check_exact=False, atol=1e-9)


def test_a_point_that_is_served_takes_the_place_of_the_collected_one_whole(tmp_path: Path, provider_dir: Path) -> None:
    with serving(Service(provider_dir, "2024-12-31")) as server:
        _fetch(tmp_path, server.url)
    shutil.copy(provider_dir / "weather" / weather.FILE_NAME, tmp_path / "weather")
    rows = weather.read_weather_daily(tmp_path)
    assert not rows.duplicated(["station", "date"]).any()
    assert rows.loc[rows["station"] == "POWER Chicago", "date"].min() == pd.Timestamp("2024-10-01")
    assert set(rows["station"]) == {s.name for s in weather.STATIONS} | {p.station for p in parse.POINTS}


def test_a_region_without_a_station_is_refused(tmp_path: Path, provider_dir: Path) -> None:
    path = parse.path_of(tmp_path, CHICAGO)
    path.parent.mkdir(parents=True)
    days = power_days(provider_dir).head(30)
    path.write_bytes(power_answer(days, CHICAGO.latitude, CHICAGO.longitude))
    with pytest.raises(SourceError, match="argentina, brazil has none"):
        weather.read_weather_daily(tmp_path)


def _with(content: bytes, change) -> bytes:
    answer = json.loads(content)
    change(answer)
    return json.dumps(answer).encode()


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (lambda content: HTML_PAGE, "not readable JSON"),
        (lambda content: content[:-200], "not readable JSON"),
        (lambda content: content.replace(b'"T2M_MAX"', b'"TMAX"'), "POWER's daily service"),
        (lambda content: content.replace(b'"units": "C"', b'"units": "F"'), "must be in"),
        (lambda content: content.replace(b'"LST"', b'"UTC"'), "by UTC"),
        (lambda content: _with(content, lambda a: a["geometry"]["coordinates"].reverse()), "is of"),
        (lambda content: _with(content, lambda a: a["header"].update(fill_value="none")), "POWER's daily service"),
        (lambda content: _with(content, lambda a: a["properties"]["parameter"]["T2M_MIN"].popitem()), None),
        (lambda content: b'{"messages": ["No data was found"], "header": {}}', "POWER's daily service"),
    ],
)
def test_a_good_file_outlives_a_bad_download(tmp_path: Path, provider_dir: Path, damage, rule: str | None) -> None:
    with serving(Service(provider_dir, "2024-12-30")) as server:
        _fetch(tmp_path, server.url, "2025-01-02T18:00:00+00:00")
    before = {path.name: path.read_bytes() for path in (tmp_path / parse.FOLDER).iterdir()}
    service = Service(provider_dir, "2024-12-31")
    first = parse.POINTS[0]
    content = power_answer(service.days["Buenos_Aires"], first.latitude, first.longitude)
    service.damage[first.latitude] = Answer(damage(content))
    with serving(service) as server:
        if rule is None:  # an element that lacks a day is a gap of that day
            assert set(_fetch(tmp_path, server.url).values()) == {"updated"}
            assert pd.isna(parse.read_point(parse.path_of(tmp_path, first), first)["tmin_c"].iloc[-1])
            return
        with pytest.raises(SourceError, match=rule):
            _fetch(tmp_path, server.url)
    assert {path.name: path.read_bytes() for path in (tmp_path / parse.FOLDER).iterdir()} == before
