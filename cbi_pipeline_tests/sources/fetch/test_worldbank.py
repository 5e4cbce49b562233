"""The Pink Sheet's page and workbook against a local server that packs the real prices into the World Bank's layout."""

from __future__ import annotations

import io
import zipfile
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import provider_files
from cbi_pipeline.sources import worldbank as parse
from cbi_pipeline.sources.fetch import worldbank
from cbi_pipeline_tests.sources.fetch.server import HTML_PAGE, Answer, Asked, quick_web, serving
from cbi_pipeline_tests.sources.fetch.shapes import page_with, pink_sheet

LINK = f"/en/doc/5d903e84-0350012021/related/{parse.WORKBOOK}"
TO_NOVEMBER = slice(None, -1)
DECEMBER_DUE = "2025-01-06T12:00:00+00:00"


def _service(workbook: bytes, page: bytes | None = None, sent_bytes: int | None = None):
    def answer(asked: Asked, _: int) -> Answer:
        if asked.path == worldbank.PAGE:
            return Answer(page or page_with("/related/CMO-Pink-Sheet-December-2024.pdf", LINK))
        return Answer(workbook, sent_bytes=sent_bytes) if asked.path == LINK else Answer(status=404)

    return answer


def _fetch(data_dir: Path, url: str, now: str) -> list[tuple[str, str]]:
    fetched = worldbank.fetch(data_dir, datetime.fromisoformat(now), base_url=url, new_web=quick_web)
    return [(file.path.name, file.outcome) for file in fetched]


def test_the_workbook_says_what_the_table_says(tmp_path: Path, provider_dir: Path) -> None:
    with serving(_service(pink_sheet(provider_dir))) as server:
        assert _fetch(tmp_path, server.url, DECEMBER_DUE) == [(parse.WORKBOOK, "new")]
    pd.testing.assert_frame_equal(parse.read_macro_series(tmp_path), parse.read_macro_series(provider_dir))


def test_a_month_is_asked_for_when_it_is_due(tmp_path: Path, provider_dir: Path) -> None:
    with serving(_service(pink_sheet(provider_dir, TO_NOVEMBER))) as server:
        assert _fetch(tmp_path, server.url, "2024-12-20T00:00:00+00:00")[0][1] == "new"
        assert _fetch(tmp_path, server.url, "2025-01-06T11:59:00+00:00")[0][1] == "not due"
        assert len(server.asked) == 2
    with serving(_service(pink_sheet(provider_dir))) as server:
        assert _fetch(tmp_path, server.url, DECEMBER_DUE)[0][1] == "updated"


def _without(content: bytes, member: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(packed, "w") as new:
        for name in old.namelist():
            if name != member:
                new.writestr(name, old.read(name))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (lambda folder: HTML_PAGE, "must be a workbook"),
        (lambda folder: pink_sheet(folder)[:-3000], "must be a workbook"),
        (lambda folder: _without(pink_sheet(folder), "xl/workbook.xml"), "must be a workbook"),
        (lambda folder: pink_sheet(folder, unit="(EUR/mt)"), "unit below each name"),
        (lambda folder: pink_sheet(folder, slice(None, -2)), "history does not shrink"),
    ],
)
def test_a_good_file_outlives_a_bad_download(tmp_path: Path, provider_dir: Path, damage, rule: str) -> None:
    with serving(_service(pink_sheet(provider_dir, TO_NOVEMBER))) as server:
        _fetch(tmp_path, server.url, "2024-12-20T00:00:00+00:00")
    path = tmp_path / "worldbank" / parse.WORKBOOK
    before = path.read_bytes()
    with serving(_service(damage(provider_dir))) as server, pytest.raises(SourceError, match=rule):
        _fetch(tmp_path, server.url, DECEMBER_DUE)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_page_without_the_link_and_a_cut_connection_leave_no_file(tmp_path: Path, provider_dir: Path) -> None:
    book = pink_sheet(provider_dir)
    for service, rule in (
        (_service(book, HTML_PAGE), "must link to a file named like"),
        (_service(book, sent_bytes=9000), "could not be read"),
        (_service(book, page_with(LINK.replace("0350012021", "0050012026"))), "404"),
    ):
        with serving(service) as server, pytest.raises(SourceError, match=rule):
            _fetch(tmp_path, server.url, DECEMBER_DUE)
    assert not list(tmp_path.rglob("*.xlsx"))


def test_a_workbook_that_unpacks_without_end_is_refused(
    tmp_path: Path, provider_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_files, "LARGEST_WORKBOOK_BYTES", 10_000)
    with (
        serving(_service(pink_sheet(provider_dir))) as server,
        pytest.raises(SourceError, match="no more than 10,000 bytes"),
    ):
        _fetch(tmp_path, server.url, DECEMBER_DUE)
