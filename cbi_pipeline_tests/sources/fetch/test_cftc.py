"""The CFTC's yearly zips against a local server that packs the real files, among rows of other markets."""

from __future__ import annotations

import io
import zipfile
from datetime import datetime
from pathlib import Path

import pytest

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources.fetch import cftc
from cbi_pipeline_tests.sources.fetch.server import HTML_PAGE, Answer, Asked, quick_web, serving

YEARS = range(2022, 2025)


@pytest.fixture(autouse=True)
def _few_years(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cftc, "FIRST_YEAR", YEARS[0])


def _zipped(text: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("f_year.txt", text)
    return packed.getvalue()


def _official(folder: Path, year: int) -> bytes:
    """The stored rows with a row of another market before each, as the whole yearly file has them."""
    header, *rows = (folder / f"fut_disagg_txt_{year}.txt").read_bytes().splitlines(keepends=True)
    other = [row.replace(b"005602", b"001602").replace(b"007601", b"001612") for row in rows[:10]]
    return _zipped(header + b"".join(other + rows))


def _name(asked: Asked) -> str:
    return asked.path.rsplit("/", 1)[1].removesuffix(".zip")


def _fetch(data_dir: Path, url: str, now: str) -> dict[str, str]:
    moment = datetime.fromisoformat(now)
    fetched = cftc.fetch(data_dir, moment, base_url=url, new_web=quick_web)
    return {file.path.stem.rsplit("_", 1)[1]: file.outcome for file in fetched}


@pytest.fixture
def almost_current(tmp_path: Path, provider_dir: Path) -> Path:
    """A data folder whose last yearly file lacks its last report."""
    folder = tmp_path / "cftc"
    folder.mkdir()
    for year in YEARS:
        lines = (provider_dir / "cftc" / f"fut_disagg_txt_{year}.txt").read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if b",2024-12-31," not in line]
        (folder / f"fut_disagg_txt_{year}.txt").write_bytes(b"".join(kept))
    return tmp_path


def test_missing_years_are_stored_and_finished_years_are_not_asked_for(tmp_path: Path, provider_dir: Path) -> None:
    official = {year: _official(provider_dir / "cftc", year) for year in YEARS}
    with serving(lambda asked, _: Answer(official[int(_name(asked)[-4:])])) as server:
        # the first report of 2025 is due on 10 January
        assert _fetch(tmp_path, server.url, "2025-01-09T00:00:00+00:00") == {str(year): "new" for year in YEARS}
        for year in YEARS:
            name = f"fut_disagg_txt_{year}.txt"
            assert (tmp_path / "cftc" / name).read_bytes() == (provider_dir / "cftc" / name).read_bytes()
        assert set(_fetch(tmp_path, server.url, "2025-01-09T00:00:00+00:00").values()) == {"not due"}
        assert len(server.asked) == len(YEARS)


def test_the_current_year_grows_report_by_report(almost_current: Path, provider_dir: Path) -> None:
    whole = provider_dir / "cftc" / "fut_disagg_txt_2024.txt"
    with serving(lambda *_: Answer(_zipped(whole.read_bytes()))) as server:
        # as of Tuesday 31 December, in a week with a holiday: published on Monday 6 January at 15:30 New York
        assert _fetch(almost_current, server.url, "2025-01-06T20:29:00+00:00")["2024"] == "not due"
        assert _fetch(almost_current, server.url, "2025-01-06T20:30:00+00:00")["2024"] == "updated"
        assert [_name(asked) for asked in server.asked] == ["fut_disagg_txt_2024"]
    assert (almost_current / "cftc" / whole.name).read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (lambda text: HTML_PAGE, "zip of one text"),
        (lambda text: _zipped(text)[:-200], "zip of one text"),
        (lambda text: _zipped(text.replace(b"CFTC_Contract_Market_Code", b"Market")), "header must name"),
        (lambda text: _zipped(text.replace(b"Open_Interest_All", b"OI")), "header must name"),
        (
            lambda text: _zipped(text.replace(b"FutOnly", b"Combined").replace(b"Combined_or", b"FutOnly_or")),
            "futures-only",
        ),
        (lambda text: _zipped(b"".join(text.splitlines(keepends=True)[:-9])), "history does not shrink"),
        (lambda text: _zipped(text.splitlines(keepends=True)[0]), "must hold a report"),
    ],
)
def test_a_good_file_outlives_a_bad_download(almost_current: Path, damage, rule: str) -> None:
    folder = almost_current / "cftc"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    whole = before["fut_disagg_txt_2024.txt"]
    with serving(lambda *_: Answer(damage(whole))) as server:
        with pytest.raises(SourceError, match=rule):
            _fetch(almost_current, server.url, "2025-02-01T00:00:00+00:00")
        assert len(server.asked) == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_zip_that_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cftc, "LARGEST_TEXT_BYTES", 1000)
    with pytest.raises(SourceError, match="no larger than 1,000 bytes"):
        cftc.rows_of_markets(_zipped(b"0" * 100_000), "fut_disagg_txt_2024.txt")


def test_rows_of_every_year_are_kept_byte_for_byte(provider_dir: Path) -> None:
    for year in range(2010, 2025):
        name = f"fut_disagg_txt_{year}.txt"
        kept = cftc.rows_of_markets(_official(provider_dir / "cftc", year), name)
        assert kept == (provider_dir / "cftc" / name).read_bytes()
