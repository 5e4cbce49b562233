"""R. Carver's file against a local server that has the real contract prices in its format."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import term_structure as parse
from cbi_pipeline.sources.fetch import term_structure
from cbi_pipeline_tests.sources.fetch.server import HTML_PAGE, Answer, quick_web, serving
from cbi_pipeline_tests.sources.fetch.shapes import carver_snapshots

NOW = datetime.now(UTC)


def _fetch(data_dir: Path, url: str, now: datetime = NOW) -> list[tuple[str, str]]:
    fetched = term_structure.fetch(data_dir, now, base_url=url, new_web=quick_web)
    return [(file.path.name, file.outcome) for file in fetched]


def test_the_file_says_what_the_collected_one_says_and_is_asked_for_once_a_week(
    tmp_path: Path, provider_dir: Path
) -> None:
    content = carver_snapshots(provider_dir)
    with serving(lambda *_: Answer(content)) as server:
        assert _fetch(tmp_path, server.url) == [("SOYOIL.csv", "new")]
        assert _fetch(tmp_path, server.url) == [("SOYOIL.csv", "not due")]
        path = tmp_path / parse.SNAPSHOTS
        eight_days_ago = (NOW - timedelta(days=8)).timestamp()
        os.utime(path, (eight_days_ago, eight_days_ago))
        assert _fetch(tmp_path, server.url) == [("SOYOIL.csv", "unchanged")]
        assert _fetch(tmp_path, server.url) == [("SOYOIL.csv", "not due")]
        assert [asked.path for asked in server.asked] == [term_structure.ADDRESS] * 2
    pd.testing.assert_frame_equal(parse.read_futures_curve(tmp_path), parse.read_futures_curve(provider_dir))


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (lambda content: HTML_PAGE, "header must be"),
        (lambda content: b"404: Not Found", "header must be"),
        (lambda content: content.replace(b"FORWARD_CONTRACT", b"FWD_CONTRACT"), "header must be"),
        (lambda content: b"\n".join(content.splitlines()[:-5]) + b"\n", "history does not shrink"),
        (lambda content: content.splitlines(keepends=True)[0], "at least one row"),
        (lambda content: content + content.splitlines(keepends=True)[-1], "repeat"),
        (lambda content: content.replace(b" 19:00:00,", b" 7 pm,", 1), "does not have the format"),
    ],
)
def test_a_good_file_outlives_a_bad_download(tmp_path: Path, provider_dir: Path, damage, rule: str) -> None:
    content = carver_snapshots(provider_dir)
    with serving(lambda *_: Answer(content)) as server:
        _fetch(tmp_path, server.url)
    with serving(lambda *_: Answer(damage(content))) as server, pytest.raises(SourceError, match=rule):
        _fetch(tmp_path, server.url, NOW + timedelta(days=8))
    assert (tmp_path / parse.SNAPSHOTS).read_bytes() == content


def test_a_cut_connection_leaves_no_file(tmp_path: Path, provider_dir: Path) -> None:
    cut = Answer(carver_snapshots(provider_dir), sent_bytes=9000)
    with serving(lambda *_: cut) as server, pytest.raises(SourceError, match="could not be read"):
        _fetch(tmp_path, server.url)
    assert not list(tmp_path.rglob("*.csv"))
