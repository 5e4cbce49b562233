"""Files that a person brings: the real ones are put in place, whatever does not read or is shorter is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cbi_pipeline import cli_sources
from cbi_pipeline.cli import app
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import bursa, mpob, provenance_of
from cbi_pipeline.sources.fetch import by_hand, feeds
from cbi_pipeline_tests.sources.fetch.server import HTML_PAGE
from cbi_pipeline_tests.sources.fetch.shapes import closing_stock

REAL = {
    "fcpo": bursa.FCPO_FILE,
    "usdmyr": bursa.USDMYR_FILE,
    "mpob": f"mpob/{mpob.FILE_NAME}",
    "inmet": "weather/stations_daily.parquet",
    "inta": "weather/stations_daily.parquet",
}


def test_whatever_is_not_fetched_can_be_brought() -> None:
    assert {feed.name for feed in feeds.FEEDS if feed.fetch is None} | {"mpob"} == set(REAL)
    with pytest.raises(SourceError, match="not put in place by hand"):
        by_hand.put("fred", Path("DGS10.csv"), Path("data"))


@pytest.mark.parametrize("name", REAL)
def test_the_real_file_is_put_where_its_reader_finds_it(name: str, provider_dir: Path, tmp_path: Path) -> None:
    saved = tmp_path / "Downloads (1)"
    saved.write_bytes((provider_dir / REAL[name]).read_bytes())
    data_dir = tmp_path / "market"
    placed = by_hand.put(name, saved, data_dir)
    assert (placed.path, placed.outcome) == (data_dir / REAL[name], "new")
    assert placed.path.read_bytes() == saved.read_bytes()
    assert by_hand.put(name, saved, data_dir).outcome == "unchanged"
    if name not in ("inmet", "inta"):
        feed = feeds.find_feed(name)
        assert feed.last(data_dir) == feed.last(provider_dir) == placed.last
        assert provenance_of(feed.source).folder == placed.path.parent.name


@pytest.mark.parametrize("name", ["fcpo", "usdmyr", "mpob", "inmet"])
def test_a_file_that_does_not_read_or_is_shorter_changes_nothing(name: str, provider_dir: Path, tmp_path: Path) -> None:
    content = (provider_dir / REAL[name]).read_bytes()
    data_dir, saved = tmp_path / "market", tmp_path / "saved"
    saved.write_bytes(content)
    path = by_hand.put(name, saved, data_dir).path
    shorter = b"".join(content.splitlines(keepends=True)[:-3])
    for damaged, rule in ((HTML_PAGE, "header|station table"), (shorter, "does not shrink|station table")):
        saved.write_bytes(damaged)
        with pytest.raises(SourceError, match=rule) as refused:
            by_hand.put(name, saved, data_dir)
        assert refused.value.subject == str(saved)
        assert path.read_bytes() == content
        assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_workbook_of_mpob_says_itself_of_which_year_it_is(
    provider_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CBI_PROJECT_DIR", str(tmp_path))
    monkeypatch.setattr(cli_sources, "console", Console(width=200))
    saved = tmp_path / "mpobdownload.xlsx"
    saved.write_bytes(closing_stock(provider_dir, 2024))
    told = CliRunner().invoke(app, ["sources", "import", "mpob", str(saved)])
    assert told.exit_code == 0, told.exception
    path = mpob.workbook_path(tmp_path / "data" / "market", 2024)
    assert f"mpob: {path} new, to 2024-12-01" in told.output
    assert path.read_bytes() == saved.read_bytes()
    saved.write_bytes(HTML_PAGE)
    refused = CliRunner().invoke(app, ["sources", "import", "mpob", str(saved)]).exception
    assert isinstance(refused, SourceError)
    assert "must be a workbook" in refused.rule
    absent = CliRunner().invoke(app, ["sources", "import", "fcpo", str(tmp_path / "absent.csv")]).exception
    assert isinstance(absent, SourceError)
    assert absent.rule == "There is no such file."
