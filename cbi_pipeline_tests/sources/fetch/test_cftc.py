"""The CFTC's yearly zips against a local server that packs the real files, among rows of other markets."""

from __future__ import annotations

import re
import shutil
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import cftc as parse
from cbi_pipeline.sources.fetch import archives, cftc
from cbi_pipeline_tests.sources.fetch.server import HTML_PAGE, Answer, Asked, quick_web, serving
from cbi_pipeline_tests.sources.fetch.shapes import cot_back_history, cot_socrata, zipped

YEARS = range(2022, 2025)


@pytest.fixture(autouse=True)
def _few_years(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cftc, "FIRST_YEAR", YEARS[0])


def _official(folder: Path, year: int) -> bytes:
    """The stored rows with a row of another market before each, as the whole yearly file has them."""
    header, *rows = (folder / f"fut_disagg_txt_{year}.txt").read_bytes().splitlines(keepends=True)
    other = [row.replace(b"005602", b"001602").replace(b"007601", b"001612") for row in rows[:10]]
    return zipped(header + b"".join(other + rows))


def _name(asked: Asked) -> str:
    return asked.path.rsplit("/", 1)[1].removesuffix(".zip")


def _fetch(data_dir: Path, url: str, now: str) -> dict[str, str]:
    moment = datetime.fromisoformat(now)
    fetched = list(cftc.fetch(data_dir, moment, base_url=url, socrata_url=url, new_web=quick_web))
    return {file.path.stem.rsplit("_", 1)[1]: file.outcome for file in fetched if file.path.suffix == ".txt"}


@pytest.fixture
def almost_current(tmp_path: Path, provider_dir: Path) -> Path:
    """A data folder whose last yearly file lacks its last report."""
    folder = tmp_path / "cftc"
    folder.mkdir()
    for name in (parse.BACK_HISTORY_FILE, parse.EXCEPTIONS_FILE):
        shutil.copy(provider_dir / "cftc" / name, folder)
    for year in YEARS:
        lines = (provider_dir / "cftc" / f"fut_disagg_txt_{year}.txt").read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if b",2024-12-31," not in line]
        (folder / f"fut_disagg_txt_{year}.txt").write_bytes(b"".join(kept))
    return tmp_path


def test_missing_years_are_stored_and_finished_years_are_not_asked_for(tmp_path: Path, provider_dir: Path) -> None:
    official = {year: _official(provider_dir / "cftc", year) for year in YEARS}
    (tmp_path / "cftc").mkdir()
    shutil.copy(provider_dir / "cftc" / parse.BACK_HISTORY_FILE, tmp_path / "cftc")
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
    with serving(lambda *_: Answer(zipped(whole.read_bytes()))) as server:
        # as of Tuesday 31 December, in a week with a holiday: published on Monday 6 January at 15:30 New York
        assert _fetch(almost_current, server.url, "2025-01-06T20:29:00+00:00")["2024"] == "not due"
        assert _fetch(almost_current, server.url, "2025-01-06T20:30:00+00:00")["2024"] == "updated"
        assert [_name(asked) for asked in server.asked] == ["fut_disagg_txt_2024"]
    assert (almost_current / "cftc" / whole.name).read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (lambda text: HTML_PAGE, "zip of one text"),
        (lambda text: zipped(text)[:-200], "zip of one text"),
        (lambda text: zipped(text.replace(b"CFTC_Contract_Market_Code", b"Market")), "header must name"),
        (lambda text: zipped(text.replace(b"Open_Interest_All", b"OI")), "header must name"),
        (
            lambda text: zipped(text.replace(b"FutOnly", b"Combined").replace(b"Combined_or", b"FutOnly_or")),
            "futures-only",
        ),
        (lambda text: zipped(b"".join(text.splitlines(keepends=True)[:-9])), "history does not shrink"),
        (lambda text: zipped(text.splitlines(keepends=True)[0]), "must hold a report"),
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
    monkeypatch.setattr(archives, "LARGEST_TEXT_BYTES", 1000)
    with pytest.raises(SourceError, match="no larger than 1,000 bytes"):
        cftc.rows_of_markets(zipped(b"0" * 100_000), "fut_disagg_txt_2024.txt")


def test_rows_of_every_year_are_kept_byte_for_byte(provider_dir: Path) -> None:
    for year in range(2010, 2025):
        name = f"fut_disagg_txt_{year}.txt"
        kept = cftc.rows_of_markets(_official(provider_dir / "cftc", year), name)
        assert kept == (provider_dir / "cftc" / name).read_bytes()


def test_a_fresh_machine_gets_the_back_history_and_the_late_publications(tmp_path: Path, provider_dir: Path) -> None:
    folder = provider_dir / "cftc"
    history = cot_back_history(folder)

    def answer(asked: Asked, _: int) -> Answer:
        name = _name(asked)
        return Answer(zipped(history, "F_Disagg06_16.txt") if "hist" in name else _official(folder, int(name[-4:])))

    with serving(answer) as server:
        _fetch(tmp_path, server.url, "2025-01-09T00:00:00+00:00")
    for name in (parse.OFFICIAL_BACK_HISTORY_FILE, parse.EXCEPTIONS_FILE, "fut_disagg_txt_2024.txt"):
        assert (tmp_path / "cftc" / name).is_file()
    rows, real = parse.read_cot_weekly(tmp_path), parse.read_cot_weekly(provider_dir)
    assert set(rows["source"]) == {parse.SOURCE}
    oil = real[(real["market_code"] == "007601") & (real["report_date"] < "2010-01-01")].reset_index(drop=True)
    ours = rows[(rows["market_code"] == "007601") & (rows["report_date"] < "2010-01-01")].reset_index(drop=True)
    pd.testing.assert_frame_equal(ours.drop(columns="source"), oil.drop(columns="source"))


class Socrata:
    """The Socrata service with the reports of 2024, as far as it is used here; zips are not there."""

    def __init__(self, provider_dir: Path, published_to: str) -> None:
        self.folder, self.published_to, self.damage = provider_dir / "cftc", published_to, lambda page: page

    def __call__(self, asked: Asked, _: int) -> Answer:
        if asked.path != cftc.SOCRATA:
            return Answer(status=404)
        assert asked.fields["$select"] == ",".join(parse.SOCRATA_COLUMNS)
        after = re.search(r"> '([\d-]+)'", asked.fields["$where"])[1]
        assert all(code in asked.fields["$where"] for code in parse.MARKET_CODES)
        header, *rows = cot_socrata(self.folder, 2024, after, self.published_to).splitlines(keepends=True)
        first, size = int(asked.fields["$offset"]), int(asked.fields["$limit"])
        return Answer(self.damage(header + b"".join(rows[first : first + size])))


@pytest.fixture
def years_before(almost_current: Path) -> Path:
    """A data folder without the file of 2024."""
    (almost_current / "cftc" / "fut_disagg_txt_2024.txt").unlink()
    return almost_current


NOON_OF_26_JULY, EVENING_OF_26_JULY, AUGUST = (
    f"2024-{moment}+00:00" for moment in ("07-26T16:00:00", "07-26T19:30:00", "08-03T00:00:00")
)


def _recent(data_dir: Path, url: str, now: str) -> list[tuple[str, str]]:
    moment = datetime.fromisoformat(now)
    fetched = list(cftc.fetch(data_dir, moment, base_url=url, socrata_url=url, new_web=quick_web))
    return [(file.path.name, file.outcome) for file in fetched if "2024" in file.path.name]


def test_the_current_year_comes_from_socrata_page_by_page_and_only_what_is_new(
    years_before: Path, provider_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cftc, "PAGE_ROWS", 50)
    with serving(Socrata(provider_dir, "2024-07-16")) as server:
        assert _recent(years_before, server.url, NOON_OF_26_JULY) == [("72hh-3qpy_2024.csv", "new")]
        offsets = [asked.fields["$offset"] for asked in server.asked if asked.path == cftc.SOCRATA]
        assert offsets == ["0", "50", "100"]  # 29 reports of four markets
        assert _recent(years_before, server.url, NOON_OF_26_JULY) == [("72hh-3qpy_2024.csv", "not due")]
    with serving(Socrata(provider_dir, "2024-07-23")) as server:
        assert _recent(years_before, server.url, EVENING_OF_26_JULY) == [("72hh-3qpy_2024.csv", "updated")]
        assert len(server.asked) == 1
        assert "> '2024-07-16'" in server.asked[0].fields["$where"]
        # due and not there: a late publication
        assert _recent(years_before, server.url, AUGUST) == [("72hh-3qpy_2024.csv", "unchanged")]
    rows, real = parse.read_cot_weekly(years_before), parse.read_cot_weekly(provider_dir)
    expected = real[real["report_date"].between("2022-01-01", "2024-07-23")].reset_index(drop=True)
    found = rows[rows["report_date"] >= "2022-01-01"].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected)
    assert cftc.newest_report(years_before).isoformat() == "2024-07-23"


def test_the_yearly_zip_stands_in_for_socrata_and_takes_its_place(years_before: Path, provider_dir: Path) -> None:
    whole = zipped((provider_dir / "cftc" / "fut_disagg_txt_2024.txt").read_bytes())
    with serving(Socrata(provider_dir, "2024-07-16")) as server:
        _recent(years_before, server.url, NOON_OF_26_JULY)
    with serving(lambda asked, _: Answer(whole) if asked.path.endswith("2024.zip") else Answer(status=503)) as server:
        assert _recent(years_before, server.url, AUGUST) == [("fut_disagg_txt_2024.txt", "new")]
    rows, real = parse.read_cot_weekly(years_before), parse.read_cot_weekly(provider_dir)
    pd.testing.assert_frame_equal(
        rows[rows["report_date"] >= "2022-01-01"].reset_index(drop=True),
        real[real["report_date"] >= "2022-01-01"].reset_index(drop=True),
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda page: HTML_PAGE,
        lambda page: page.replace(b"open_interest_all", b"open_interest"),
        lambda page: page.replace(b"FutOnly", b"Combined"),
        lambda page: page.replace(b"2024-07-23", b"23/07/2024"),
        lambda page: page[:-40],
        lambda page: page.replace(b"2024-07-23", b"2024-07-16"),
    ],
)
def test_reports_outlive_a_bad_answer_of_socrata(years_before: Path, provider_dir: Path, damage) -> None:
    with serving(Socrata(provider_dir, "2024-07-16")) as server:
        _recent(years_before, server.url, NOON_OF_26_JULY)
    path = years_before / "cftc" / "72hh-3qpy_2024.csv"
    before = path.read_bytes()
    service = Socrata(provider_dir, "2024-07-23")
    service.damage = damage
    with serving(service) as server, pytest.raises(SourceError, match="404"):  # of the zip that is asked for next
        _recent(years_before, server.url, EVENING_OF_26_JULY)
    assert path.read_bytes() == before
