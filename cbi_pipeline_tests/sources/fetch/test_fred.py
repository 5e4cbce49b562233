"""FRED's download against a local server that serves the real series of the starter bundle in FRED's format."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources.fetch import fred
from cbi_pipeline_tests.sources.fetch.server import HTML_PAGE, Answer, Asked, quick_web, serving

LATER = datetime.fromisoformat("2025-02-01T00:00:00+00:00")


@pytest.fixture
def series(starter_tables: dict[str, pd.DataFrame]) -> dict[str, bytes]:
    macro = starter_tables["macro_series"]
    files = {}
    for name in fred.SERIES:
        rows = macro[macro["series_id"] == ("USDMYR" if name == "DEXMAUS" else name)].sort_values("date")
        text = rows.assign(observation_date=rows["date"].dt.strftime("%Y-%m-%d")).rename(columns={"value": name})
        files[name] = text[["observation_date", name]].to_csv(index=False).encode()
    return files


def _fetch(data_dir: Path, url: str, now: datetime = LATER) -> dict[str, str]:
    return {file.path.stem: file.outcome for file in fred.fetch(data_dir, now, base_url=url, new_web=quick_web)}


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_served_is_stored_and_asked_for_only_when_due(tmp_path: Path, series: dict[str, bytes]) -> None:
    short = {name: b"".join(content.splitlines(keepends=True)[:-5]) for name, content in series.items()}
    with serving(lambda asked, count: Answer((short if count < len(series) else series)[asked.fields["id"]])) as server:
        assert set(_fetch(tmp_path, server.url).values()) == {"new"}
        assert _contents(tmp_path / "fred") == {f"{name}.csv": content for name, content in short.items()}
        assert set(_fetch(tmp_path, server.url).values()) == {"updated"}
        assert _contents(tmp_path / "fred") == {f"{name}.csv": content for name, content in series.items()}
        assert set(_fetch(tmp_path, server.url).values()) == {"unchanged"}
        asked_before = len(server.asked)
        new_year = datetime.fromisoformat("2025-01-02T12:00:00+00:00")
        assert set(_fetch(tmp_path, server.url, new_year).values()) == {"not due"}
        assert len(server.asked) == asked_before
        assert {asked.path for asked in server.asked} == {"/graph/fredgraph.csv"}


def test_an_interrupted_fetch_goes_on_with_what_is_missing(tmp_path: Path, series: dict[str, bytes]) -> None:
    now = datetime.fromisoformat("2025-01-01T00:00:00+00:00")
    broken = True

    def answer(asked: Asked, _: int) -> Answer:
        return Answer(status=404) if broken and asked.fields["id"] == "VIXCLS" else Answer(series[asked.fields["id"]])

    with serving(answer) as server:
        with pytest.raises(SourceError, match="404"):
            _fetch(tmp_path, server.url, now)
        broken = False
        outcomes = _fetch(tmp_path, server.url, now)
    assert outcomes["DGS10"] == outcomes["DGS2"] == "not due"
    assert outcomes["VIXCLS"] == "new"


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (lambda content: HTML_PAGE, "header must be"),
        (lambda content: content.replace(b"observation_date", b"DATE"), "header must be"),
        (lambda content: content[:-60], "history does not shrink|does not have the format|must be a number"),
        (lambda content: b"".join(content.splitlines(keepends=True)[:-1]), "history does not shrink"),
        (lambda content: content.splitlines(keepends=True)[0], "must hold a value"),
        (lambda content: b"", "not a readable CSV"),
        (lambda content: content + b"2024-13-01,4.5\n", "does not have the format"),
    ],
)
def test_a_good_file_outlives_a_bad_download(tmp_path: Path, series: dict[str, bytes], damage, rule: str) -> None:
    with serving(lambda asked, _: Answer(series[asked.fields["id"]])) as server:
        _fetch(tmp_path, server.url)
    before = _contents(tmp_path / "fred")
    bad = {name: damage(content) for name, content in series.items()}
    with serving(lambda asked, _: Answer(bad[asked.fields["id"]])) as server, pytest.raises(SourceError, match=rule):
        _fetch(tmp_path, server.url)
    assert _contents(tmp_path / "fred") == before


def test_a_cut_connection_leaves_no_file(tmp_path: Path, series: dict[str, bytes]) -> None:
    with (
        serving(lambda asked, _: Answer(series[asked.fields["id"]], sent_bytes=500)) as server,
        pytest.raises(SourceError, match="could not be read"),
    ):
        _fetch(tmp_path, server.url)
    assert not list(tmp_path.rglob("*.csv"))
