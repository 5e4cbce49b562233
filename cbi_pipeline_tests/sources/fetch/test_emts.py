"""EPA's page and file of RIN generation against a local server that has the real D4 totals in EPA's columns."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import epa
from cbi_pipeline.sources.fetch import emts
from cbi_pipeline_tests.sources.fetch.server import HTML_PAGE, Answer, Asked, quick_web, serving
from cbi_pipeline_tests.sources.fetch.shapes import page_with, rin_data

TO_NOVEMBER = slice(None, -1)
DECEMBER_DUE = "2025-01-21T17:00:00+00:00"
PAGE = page_with(
    "/system/files/other-files/2025-01/generationbreakout_dec2024.csv",
    "/system/files/other-files/2024-12/rindata_nov2024.csv",
    "/system/files/other-files/2025-01/rindata_dec2024.csv",
    "/system/files/other-files/2024-10/rindata_sep2024.csv",
)


def _service(content: bytes, page: bytes = PAGE, **fault):
    def answer(asked: Asked, _: int) -> Answer:
        if asked.path == emts.PAGE:
            return Answer(page)
        assert asked.path == "/system/files/other-files/2025-01/rindata_dec2024.csv"
        return Answer(content, **fault)

    return answer


def _fetch(data_dir: Path, url: str, now: str) -> list[tuple[str, str]]:
    fetched = emts.fetch(data_dir, datetime.fromisoformat(now), base_url=url, new_web=quick_web)
    return [(file.path.name, file.outcome) for file in fetched]


def test_the_file_says_what_the_table_says(tmp_path: Path, provider_dir: Path) -> None:
    with serving(_service(rin_data(provider_dir))) as server:
        assert _fetch(tmp_path, server.url, DECEMBER_DUE) == [("rindata.csv", "new")]
    pd.testing.assert_frame_equal(epa.read_macro_series(tmp_path), epa.read_macro_series(provider_dir))


def test_a_month_is_asked_for_when_it_is_due(tmp_path: Path, provider_dir: Path) -> None:
    with serving(_service(rin_data(provider_dir, TO_NOVEMBER))) as server:
        assert _fetch(tmp_path, server.url, "2024-12-25T00:00:00+00:00")[0][1] == "new"
        assert _fetch(tmp_path, server.url, "2025-01-21T16:59:00+00:00")[0][1] == "not due"
        assert len(server.asked) == 2
    with serving(_service(rin_data(provider_dir))) as server:
        assert _fetch(tmp_path, server.url, DECEMBER_DUE)[0][1] == "updated"


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (lambda content: HTML_PAGE, "header must name"),
        (lambda content: content.replace(b"Production Month", b"Month"), "header must name"),
        (lambda content: content.replace(b"\n4,", b"\n5,"), "fuel code 4"),
        (lambda content: content.replace(b"4,2024,11,", b"4,2024,10,"), "repeat"),
        (lambda content: content.replace(b"4,2024,11,", b"4,2024,13,"), "does not have the format"),
        (lambda content: b"\n".join(content.splitlines()[:-4]) + b"\n", "history does not shrink"),
        (lambda content: content.replace(b'4,2024,12,"', b'4,2024,12,"n/a'), "must be a number"),
    ],
)
def test_a_good_file_outlives_a_bad_download(tmp_path: Path, provider_dir: Path, damage, rule: str) -> None:
    with serving(_service(rin_data(provider_dir, TO_NOVEMBER))) as server:
        _fetch(tmp_path, server.url, "2024-12-25T00:00:00+00:00")
    path = tmp_path / "epa" / epa.RIN_DATA_NAME
    before = path.read_bytes()
    content = damage(rin_data(provider_dir))
    with serving(_service(content)) as server, pytest.raises(SourceError, match=rule):
        _fetch(tmp_path, server.url, DECEMBER_DUE)
    assert path.read_bytes() == before


def test_faults_of_the_service_leave_no_file(tmp_path: Path, provider_dir: Path) -> None:
    content = rin_data(provider_dir)
    for service, rule in (
        (_service(content, HTML_PAGE), "must link to a file named like"),
        (_service(content, sent_bytes=900), "could not be read"),
        (_service(content, status=500), "500"),
    ):
        with serving(service) as server, pytest.raises(SourceError, match=rule):
            _fetch(tmp_path, server.url, DECEMBER_DUE)
    assert not list(tmp_path.rglob("*.csv"))
