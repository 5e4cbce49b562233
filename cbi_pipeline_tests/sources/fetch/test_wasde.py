"""OCE's archives and monthly CSVs against a local server that has the real soybean-oil balances in OCE's columns."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import wasde as parse
from cbi_pipeline.sources.fetch import wasde
from cbi_pipeline_tests.sources.fetch.server import HTML_PAGE, Answer, Asked, quick_web, serving
from cbi_pipeline_tests.sources.fetch.shapes import oce_wasde, zipped

HISTORY = "wasde_us_soybean_oil_by_release"
NOVEMBER, DECEMBER = "2024-11-20T00:00:00+00:00", "2024-12-10T17:00:00+00:00"
OUT = [str(month) for month in pd.period_range("2021-01", "2024-12", freq="M")]


class Service:
    """USDA as far as it is used here."""

    def __init__(self, provider_dir: Path, published: list[str] | None = None) -> None:
        self.folder, self.published, self.damage = provider_dir, OUT if published is None else published, {}

    def __call__(self, asked: Asked, _: int) -> Answer:
        name = asked.path.removeprefix(f"{wasde.FOLDER}/oce-wasde-report-data-")
        if name in self.damage:
            return self.damage[name]
        if name.endswith(".zip"):
            first, last = name.removesuffix(".zip").split("-to-")
            return Answer(zipped(oce_wasde(self.folder, first, last), name.replace(".zip", ".csv")))
        month = name.removesuffix(".csv")
        return Answer(oce_wasde(self.folder, month, month)) if month in self.published else Answer(status=404)


def _fetch(data_dir: Path, url: str, now: str) -> dict[str, str]:
    fetched = wasde.fetch(data_dir, datetime.fromisoformat(now), base_url=url, new_web=quick_web)
    return {file.path.stem.removeprefix("oce-wasde-report-data-"): file.outcome for file in fetched}


def _sorted(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values(["series_id", "release_date", "marketing_year"], ignore_index=True)


@pytest.fixture
def to_november(tmp_path: Path, provider_dir: Path) -> Path:
    """A data folder with the file by release, without its last release."""
    (tmp_path / "usda").mkdir()
    lines = (provider_dir / "usda" / parse.FILE_NAME).read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("2024-12")]
    (tmp_path / "usda" / parse.FILE_NAME).write_text("".join(kept))
    return tmp_path


def test_a_fresh_machine_gets_every_vintage(tmp_path: Path, provider_dir: Path) -> None:
    with serving(Service(provider_dir)) as server:
        outcomes = _fetch(tmp_path, server.url, DECEMBER)
    assert outcomes == dict.fromkeys([HISTORY, "2010-04-to-2015-12", "2016-01-to-2020-12", *OUT], "new")
    expected = parse.read_fundamentals(provider_dir)
    pd.testing.assert_frame_equal(_sorted(parse.read_fundamentals(tmp_path)), _sorted(expected))


def test_what_follows_the_file_by_release_is_asked_for_once(to_november: Path, provider_dir: Path) -> None:
    with serving(Service(provider_dir)) as server:
        assert _fetch(to_november, server.url, NOVEMBER) == {HISTORY: "not due"}
        assert server.asked == []
        assert _fetch(to_november, server.url, DECEMBER) == {HISTORY: "not due", "2024-12": "new"}
        assert _fetch(to_november, server.url, DECEMBER) == {HISTORY: "not due"}
        assert len(server.asked) == 1
    expected = parse.read_fundamentals(provider_dir)
    pd.testing.assert_frame_equal(_sorted(parse.read_fundamentals(to_november)), _sorted(expected))


def test_a_month_that_is_not_there_is_passed_over(to_november: Path, provider_dir: Path) -> None:
    with serving(Service(provider_dir, published=["2024-11"])) as server:
        assert _fetch(to_november, server.url, DECEMBER) == {HISTORY: "not due"}
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("now", "month"),
    [
        ("2024-12-08T16:59:00+00:00", "2024-11"),
        ("2024-12-08T17:00:00+00:00", "2024-12"),
        ("2025-01-01T04:00:00+00:00", "2024-12"),
        ("2025-01-01T06:00:00+00:00", "2024-12"),
        ("2024-12-09T01:00:00+00:00", "2024-12"),
    ],
)
def test_a_month_is_due_from_its_8th_day_at_noon(now: str, month: str) -> None:
    assert str(wasde.due_month(datetime.fromisoformat(now))) == month


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (lambda content: HTML_PAGE, "header must begin with WasdeNumber"),
        (lambda content: content.replace(b"Commodity", b"Crop"), "header must name Commodity"),
        (lambda content: content.replace(b"Attribute", b"Item"), "must name"),
        (lambda content: content.replace(b"Million Pounds", b"Million Bushels"), "in million pounds"),
        (lambda content: content.replace(b"2024-12-10", b"2024-11-08"), "release of 2024-12, but holds 2024-11"),
        (lambda content: content.replace(b"2024-12-10", b"12/10/2024"), "does not have the format"),
        (lambda content: content + content.split(b"\n", 1)[1], "repeat"),
        (lambda content: content.split(b"\n", 1)[0] + b"\n", "in million pounds"),
    ],
)
def test_a_release_that_does_not_read_is_not_stored(to_november: Path, provider_dir: Path, damage, rule: str) -> None:
    service = Service(provider_dir)
    service.damage["2024-12.csv"] = Answer(damage(oce_wasde(provider_dir, "2024-12", "2024-12")))
    with serving(service) as server, pytest.raises(SourceError, match=rule):
        _fetch(to_november, server.url, DECEMBER)
    assert [path.name for path in (to_november / "usda").iterdir()] == [parse.FILE_NAME]


def test_a_first_fetch_goes_on_where_it_was_cut(tmp_path: Path, provider_dir: Path) -> None:
    service = Service(provider_dir)
    service.damage["2021-02.csv"] = Answer(oce_wasde(provider_dir, "2021-02", "2021-02"), sent_bytes=300)
    with serving(service) as server:
        with pytest.raises(SourceError, match="could not be read"):
            _fetch(tmp_path, server.url, DECEMBER)
        service.damage.clear()
        asked = len(server.asked)
        assert list(_fetch(tmp_path, server.url, DECEMBER)) == [HISTORY, *OUT[1:]]
        assert len(server.asked) - asked == len(OUT) - 1


def test_the_projection_of_the_month_before_does_not_count(tmp_path: Path, provider_dir: Path) -> None:
    path = tmp_path / "oce-wasde-report-data-2024-12.csv"
    path.write_bytes(oce_wasde(provider_dir, "2024-12", "2024-12"))
    rows = parse.read_oce_file(path).set_index(["series_id", "marketing_year"])["value"]
    assert rows[parse.SERIES["ending_stocks"], "2024/25"] == 1506.0
    text = path.read_text().replace('"2024","12"', '"2024","10"').replace('"2024",12', '"2024",10')
    path.write_text(text)
    with pytest.raises(SourceError, match="repeat"):
        parse.read_oce_file(path)


def test_files_of_both_kinds_do_not_count_twice(tmp_path: Path, provider_dir: Path) -> None:
    (tmp_path / "usda").mkdir()
    shutil.copy(provider_dir / "usda" / parse.FILE_NAME, tmp_path / "usda")
    (tmp_path / "usda" / "oce-wasde-report-data-2024-11.csv").write_bytes(oce_wasde(provider_dir, "2024-11", "2024-11"))
    pd.testing.assert_frame_equal(parse.read_fundamentals(tmp_path), parse.read_fundamentals(provider_dir))
