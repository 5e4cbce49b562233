"""MPOB's report of closing stocks against a local server that packs the real stocks into MPOB's layout."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import mpob as parse
from cbi_pipeline.sources.fetch import mpob
from cbi_pipeline_tests.sources.fetch.server import HTML_PAGE, Answer, Asked, quick_web, serving
from cbi_pipeline_tests.sources.fetch.shapes import closing_stock

DECEMBER_DUE = "2025-01-15T12:00:00+00:00"
UNDER_CONSTRUCTION = b"This page is under construction"


def _service(provider_dir: Path, last: str = "2024-12", first_year: int = 2017):
    def answer(asked: Asked, _: int) -> Answer:
        assert (asked.path, asked.fields["excel"], asked.fields["val"][4:]) == (mpob.REPORT, "Y", "11")
        year = int(asked.fields["val"][:4])
        return Answer(closing_stock(provider_dir, year, last) if first_year <= year <= 2024 else UNDER_CONSTRUCTION)

    return answer


def _fetch(data_dir: Path, url: str, now: str) -> dict[str, str]:
    fetched = mpob.fetch(data_dir, datetime.fromisoformat(now), base_url=url, new_web=quick_web)
    return {file.path.name: file.outcome for file in fetched}


def test_the_workbooks_say_what_the_table_says(tmp_path: Path, provider_dir: Path) -> None:
    with serving(_service(provider_dir)) as server:
        fetched = _fetch(tmp_path, server.url, DECEMBER_DUE)
        assert fetched == {f"closing_stock_{year}.xlsx": "new" for year in range(2024, 2016, -1)}
        asked = len(server.asked)
        assert set(_fetch(tmp_path, server.url, DECEMBER_DUE).values()) == {"not due"}
        assert len(server.asked) == asked
    pd.testing.assert_frame_equal(parse.read_macro_series(tmp_path), parse.read_macro_series(provider_dir))


def test_a_month_is_asked_for_when_it_is_due(tmp_path: Path, provider_dir: Path) -> None:
    with serving(_service(provider_dir, "2024-11", first_year=2024)) as server:
        assert _fetch(tmp_path, server.url, "2024-12-20T00:00:00+00:00") == {"closing_stock_2024.xlsx": "new"}
        asked = len(server.asked)
        assert _fetch(tmp_path, server.url, "2024-12-20T00:00:00+00:00") == {"closing_stock_2024.xlsx": "not due"}
        assert [one.fields["val"] for one in server.asked[asked:]] == ["202311"]
        assert _fetch(tmp_path, server.url, "2025-01-15T11:59:00+00:00") == {"closing_stock_2024.xlsx": "not due"}
    with serving(_service(provider_dir, first_year=2024)) as server:
        assert _fetch(tmp_path, server.url, DECEMBER_DUE) == {"closing_stock_2024.xlsx": "updated"}
        # the year that has begun is asked for when its January is due, and is not open yet
        assert _fetch(tmp_path, server.url, "2025-02-15T12:00:00+00:00") == {"closing_stock_2024.xlsx": "not due"}
        assert [one.fields["val"] for one in server.asked[-2:]] == ["202511", "202311"]


def _of_2024(service_answer: Answer):
    """The workbook of 2024 is as given, no other year is open."""
    return lambda asked, _: service_answer if asked.fields["val"] == "202411" else Answer(UNDER_CONSTRUCTION)


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (lambda folder: HTML_PAGE + b" " * 1000, "must be a workbook"),
        (lambda folder: closing_stock(folder, 2024)[:-900], "must be a workbook"),
        (lambda folder: closing_stock(folder, 2023), "workbook of that year, but it is of 2023"),
        (lambda folder: closing_stock(folder, 2024, row="TOTAL"), "one row TOTAL PALM OIL"),
        (lambda folder: closing_stock(folder, 2024, "2024-10"), "history does not shrink"),
        (lambda folder: closing_stock(folder, 2024, "2024-11", gap="n.a."), "must be a number"),
        (lambda folder: closing_stock(folder, 2024, "2024-11", gap=1835.6), "must have values, between"),
    ],
)
def test_a_good_file_outlives_a_bad_download(tmp_path: Path, provider_dir: Path, damage, rule: str) -> None:
    with serving(_service(provider_dir, "2024-11", first_year=2024)) as server:
        _fetch(tmp_path, server.url, "2024-12-20T00:00:00+00:00")
    path = parse.workbook_path(tmp_path, 2024)
    before = path.read_bytes()
    with serving(_of_2024(Answer(damage(provider_dir)))) as server, pytest.raises(SourceError, match=rule):
        _fetch(tmp_path, server.url, DECEMBER_DUE)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_faults_of_the_service_leave_no_file(tmp_path: Path, provider_dir: Path) -> None:
    book = closing_stock(provider_dir, 2024)
    for answer, rule in (
        (Answer(HTML_PAGE), "must be a workbook"),
        (Answer(book, sent_bytes=900), "could not be read"),
        (Answer(status=500), "500"),
        (Answer(status=429), "429"),
        (Answer(UNDER_CONSTRUCTION), "has no year open"),
    ):
        with serving(_of_2024(answer)) as server, pytest.raises(SourceError, match=rule):
            _fetch(tmp_path, server.url, DECEMBER_DUE)
    assert not list(tmp_path.rglob("*.xlsx"))


def test_a_busy_service_is_asked_again(tmp_path: Path, provider_dir: Path) -> None:
    book = closing_stock(provider_dir, 2024)

    def answer(asked: Asked, count: int) -> Answer:
        if asked.fields["val"] != "202411":
            return Answer(UNDER_CONSTRUCTION)
        return (Answer(status=500), Answer(book, sent_bytes=900), Answer(book))[count - 1]

    with serving(answer) as server:
        assert _fetch(tmp_path, server.url, DECEMBER_DUE) == {"closing_stock_2024.xlsx": "new"}
