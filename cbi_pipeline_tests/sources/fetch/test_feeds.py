"""The list of products with their ages, and the `cbi sources` commands."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cbi_pipeline import cli_sources
from cbi_pipeline.cli import app
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import SOURCES, provenance_of
from cbi_pipeline.sources.fetch import databento, feeds, fred
from cbi_pipeline_tests.sources.fetch.server import Answer, quick_web, serving


def test_every_product_is_a_feed() -> None:
    assert {feed.source for feed in feeds.FEEDS} == {product.source for product in SOURCES}
    assert len({feed.name for feed in feeds.FEEDS}) == len(feeds.FEEDS)
    with pytest.raises(SourceError, match="no such source"):
        feeds.find_feed("bloomberg")


@pytest.mark.parametrize("feed", [f for f in feeds.FEEDS if f.name != "alfred"], ids=lambda feed: feed.name)
def test_the_age_of_the_real_files_is_told(feed: feeds.Feed, provider_dir: Path) -> None:
    status = feeds.status_of(feed, provider_dir, provenance_of(feed.source).folder, date(2025, 1, 3))
    assert status.state == {"yahoo": "late", "term_structure": "late", "inta": "late"}.get(feed.name, "current")
    assert status.last is not None
    assert status.last <= date(2024, 12, 31)


def test_a_folder_that_is_not_there_and_a_file_that_does_not_read(tmp_path: Path) -> None:
    feed = feeds.find_feed("fred")
    assert feeds.status_of(feed, tmp_path, "fred", date(2025, 1, 3)).state == "missing"
    (tmp_path / "fred").mkdir()
    status = feeds.status_of(feed, tmp_path, "fred", date(2025, 1, 3))
    assert (status.state, status.last) == ("unreadable", None)
    assert "DGS10.csv" in status.problem


def test_a_bundle_does_not_do_without_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CBI_PROJECT_DIR", str(tmp_path))
    refused = CliRunner().invoke(app, ["bundle", "build", "--without", "fcpo,power"]).exception
    assert isinstance(refused, SourceError)
    assert refused.subject == "power"


@pytest.fixture
def run_cbi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CBI_PROJECT_DIR", str(tmp_path))
    monkeypatch.setattr(cli_sources, "console", Console(width=200))
    return lambda *words: CliRunner().invoke(app, ["sources", *words])


def test_the_list_names_each_source_and_shows_no_key(run_cbi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(databento.KEY, "db-a-key-that-nobody-may-see")
    shown = run_cbi("list").output
    assert all(feed.name in shown for feed in feeds.FEEDS)
    assert f"{databento.KEY} (found)" in shown
    assert "nobody-may-see" not in shown


def test_the_status_of_a_machine_without_files(run_cbi) -> None:
    result = run_cbi("status")
    assert result.exit_code == 0
    assert result.output.count("missing") == len(feeds.FEEDS)


def test_fetch_says_what_came_what_failed_and_what_is_still_missing(
    run_cbi, tmp_path: Path, starter_tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    macro = starter_tables["macro_series"]

    def answer(asked, _) -> Answer:
        name = asked.fields["id"]
        rows = macro[macro["series_id"] == ("USDMYR" if name == "DEXMAUS" else name)].rename(
            columns={"date": "observation_date", "value": name}
        )
        return Answer(rows[["observation_date", name]].to_csv(index=False, date_format="%Y-%m-%d").encode())

    with serving(answer) as server:

        def fetch(data_dir, now, _):
            return fred.fetch(data_dir, now, base_url=server.url, new_web=quick_web)

        working = feeds.Feed("fred", "FRED", feeds.find_feed("fred").last, 12, fetch)
        others = [feed for feed in feeds.FEEDS if feed.name != "fred"]
        by_hand = [feed for feed in others if feed.fetch is None or feed.key is not None]
        monkeypatch.setattr(feeds, "FEEDS", (working, *by_hand))
        result = run_cbi("fetch")
        monkeypatch.setattr(feeds, "FEEDS", (working, *others))
        named = run_cbi("fetch", "fred")
    assert result.exit_code == 0, result.output
    assert "DGS10.csv new, to 2024-12-31" in result.output
    assert "databento with DATABENTO_API_KEY (not set) adds" in result.output
    assert "has nothing yet of: cftc, yahoo, term_structure, worldbank, wasde, rfs, ghcn, power" in named.output
    assert "can do without: fcpo, emts, mpob" in result.output
    failing = run_cbi("fetch", "inmet", "databento")
    assert failing.exit_code == 1
    assert "inmet: Its files are not fetched" in failing.output
    assert "set DATABENTO_API_KEY in the environment" in failing.output
