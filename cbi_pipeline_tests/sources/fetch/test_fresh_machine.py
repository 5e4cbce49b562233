"""`cbi run --fetch` on a machine with a network and no keys: from nothing to a forecast, and what stands in its way."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

from cbi_pipeline import cli, cli_sources
from cbi_pipeline.errors import SettingsError, SourceError
from cbi_pipeline.sources import power as parse_power
from cbi_pipeline.sources import weather
from cbi_pipeline.sources.fetch import (
    cftc,
    databento,
    emts,
    feeds,
    fred,
    ghcn,
    mpob,
    power,
    term_structure,
    wasde,
    worldbank,
    yahoo,
)
from cbi_pipeline_tests.projects import STARTER
from cbi_pipeline_tests.sources.fetch.server import Answer, Asked, quick_web, serving
from cbi_pipeline_tests.sources.fetch.shapes import (
    as_gauge,
    carver_snapshots,
    chicago,
    closing_stock,
    cot_back_history,
    ghcn_answer,
    oce_wasde,
    page_with,
    pink_sheet,
    power_answer,
    rin_data,
    station_days,
    yahoo_chart,
    yahoo_history,
    zipped,
)

NOW = datetime.fromisoformat("2025-01-02T15:00:00+00:00")
MODULES = {
    "fred": fred,
    "cftc": cftc,
    "yahoo": yahoo,
    "term_structure": term_structure,
    "worldbank": worldbank,
    "wasde": wasde,
    "emts": emts,
    "ghcn": ghcn,
    "mpob": mpob,
    "power": power,
}


STANDS_FOR = {
    "POWER Sorriso": "A901 Cuiaba",
    "POWER Rio Verde": "POWER Maringá",
    "POWER Cascavel": "POWER Marechal Cândido Rondon",
    "POWER Passo Fundo": "POWER Planalto",
    "POWER Rosario": "NH0046 UNR - Zavalla (EMC)",
    "POWER Pergamino": "NH0437 INTA - Reconquista (EMC)",
    "POWER Marcos Juarez": "NH0098 INTA - Rafaela (EMC)",
    "POWER Des Moines": "Daymet loc_39 IA Belmond/Kanawha",
    "POWER Champaign": "Daymet loc_17 IL Champaign",
    "POWER Indianapolis": "Daymet loc_38 IN West Lafayette",
    "USW00014933 Des Moines IA": "WH GHCND:USW00014933 Des Moines IA",
    "USW00094870 Champaign IL": "Daymet loc_26 IL Villa Grove",
    "USW00093819 Indianapolis IN": "Daymet loc_20 IN Wanatah",
}
"""Of places without a real answer of the service: a real station nearby, each another: no two have one weather."""


class Internet:
    """Every keyless service with its real data to the end of 2024; what is in `down` answers 503."""

    def __init__(self, provider_dir: Path, prices: pd.DataFrame) -> None:
        self.folder, self.prices, self.down = provider_dir, prices, set[str]()
        days = {name: rows.query("date >= '2012'") for name, rows in station_days(provider_dir).items()}
        self.power = {point.station: days[STANDS_FOR.get(point.station, point.station)] for point in parse_power.POINTS}
        self.gauges = {
            station_id: as_gauge(days[STANDS_FOR.get(name, name)]) for station_id, name in weather.served_ids().items()
        }

    def __call__(self, asked: Asked, _: int) -> Answer:
        service, content = self._answer(asked)
        if service in self.down:
            return Answer(status=503)
        return Answer(status=404) if content is None else Answer(content)

    def _answer(self, asked: Asked) -> tuple[str, bytes | None]:
        path, name = asked.path, asked.path.rsplit("/", 1)[1]
        if path == "/graph/fredgraph.csv":
            return "fred", self._fred(asked.fields["id"])
        if path.startswith(cftc.ZIPS):
            stored = self.folder / "cftc" / name.replace(".zip", ".txt")
            if "hist" in name:
                return "cftc", zipped(cot_back_history(self.folder / "cftc"))
            return "cftc", zipped(stored.read_bytes()) if stored.is_file() else None
        if path.startswith("/v8/finance/chart/"):
            return "yahoo", self._yahoo(name)
        if path == term_structure.ADDRESS:
            return "term_structure", carver_snapshots(self.folder)
        if path in (worldbank.PAGE, emts.PAGE):
            return "pages", page_with("/CMO-Historical-Data-Monthly.xlsx", "/rindata_dec2024.csv")
        if path == "/CMO-Historical-Data-Monthly.xlsx":
            return "worldbank", pink_sheet(self.folder, slice(None, -1))
        if path == "/rindata_dec2024.csv":
            return "emts", rin_data(self.folder, slice(None, -1))
        if path == mpob.REPORT:
            year = int(asked.fields["val"][:4])
            return "mpob", closing_stock(self.folder, year, "2024-11") if year >= 2022 else b"under construction"
        if path.startswith(wasde.FOLDER):
            span = re.search(r"data-(.+)\.(csv|zip)", name)
            first, last = span[1].split("-to-") if "-to-" in span[1] else (span[1], span[1])
            if last > "2024-12":
                return "wasde", None
            rows = oce_wasde(self.folder, first, last)
            return "wasde", zipped(rows) if span[2] == "zip" else rows
        if path == power.SERVICE:
            latitude, longitude = float(asked.fields["latitude"]), float(asked.fields["longitude"])
            asked_for = [p.station for p in parse_power.POINTS if (p.latitude, p.longitude) == (latitude, longitude)]
            return "power", power_answer(self.power[asked_for[0]], latitude, longitude)
        assert path == ghcn.SERVICE, path
        return "ghcn", ghcn_answer(self.gauges[asked.fields["stations"]], asked.fields["stations"])

    def _fred(self, series: str) -> bytes:
        if series != "DEXMAUS":
            return (self.folder / "fred" / f"{series}.csv").read_bytes()
        rates = (self.folder / "palm" / "usdmyr_2001_on.csv").read_bytes()
        return rates.replace(b"date,usdmyr", b"observation_date,DEXMAUS")

    def _yahoo(self, ticker: str) -> bytes | None:
        """The nearest contract has the rows of the starter, as January 2025 has; March has those of Yahoo's history."""
        if ticker == "ZLH25.CBT":
            rows = yahoo_history(self.folder, name="2015_on").query("Date >= '2023-06'")
        elif ticker in ("ZLF25.CBT", *(f"{symbol}=F" for symbol in databento.databento.SYMBOLS)):
            rows = self.prices[self.prices["symbol"] == ticker[:2]]
            rows = rows[rows["Date"] >= "2023-06-01"] if ticker == "ZLF25.CBT" else rows
        else:
            return None
        return yahoo_chart(rows, chicago("2025-01-02 09:00"), ticker)


@pytest.fixture
def internet(provider_dir: Path, starter_tables: dict[str, pd.DataFrame]) -> Internet:
    prices = starter_tables["futures_daily"].rename(columns=str.capitalize)
    prices = prices.rename(columns={"Trade_date": "Date", "Symbol": "symbol"})
    prices["Volume"] = prices["Volume"].astype("float64").replace(0.0, 1.0)
    return Internet(provider_dir, prices)


@pytest.fixture
def run_cbi(internet: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run a command line on an empty machine whose only addresses are those of the local server."""
    for name, value in {
        "CBI_PROJECT_DIR": str(tmp_path),
        "CBI_STARTER_DIR": str(STARTER),
        "CBI_PROFILE": "smoke",
        "CBI_DEVICE": "cpu",
        "CBI_THREADS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("DATABENTO_API_KEY", raising=False)
    monkeypatch.setattr(cli_sources, "_now", lambda: NOW)
    for module in (cli, cli_sources):
        monkeypatch.setattr(module, "console", Console(width=300))

    with serving(internet) as server:

        def local(feed: feeds.Feed) -> feeds.Feed:
            module = MODULES.get(feed.name)
            if module is None:
                return feed
            urls = {"base_url": server.url} | ({"socrata_url": server.url} if module is cftc else {})
            return replace(feed, fetch=lambda folder, now, _: module.fetch(folder, now, new_web=quick_web, **urls))

        monkeypatch.setattr(feeds, "FEEDS", tuple(local(feed) for feed in feeds.FEEDS))
        yield lambda *words: CliRunner().invoke(cli.app, list(words))


@pytest.mark.slow
def test_from_nothing_to_a_forecast_without_a_key(run_cbi, internet: Internet, tmp_path: Path) -> None:
    result = run_cbi("run", "--fetch")
    assert result.exit_code == 0, (result.output, result.exception)
    shown = result.output
    assert "ZL soybean oil, last trade date 2024-12-31" in shown
    assert "Without fcpo (futures_daily/FCPO) these features are missing: palm_price, palm_spread" in shown
    assert "Without mpob" not in shown
    assert "databento with DATABENTO_API_KEY (not set) adds the most active contract" in shown
    for feed in MODULES:
        assert re.search(rf"fetch {feed}: done .* new", shown), feed
    # one display: fetching, the bundle and the run, in that order
    assert shown.index("fetch fred") < shown.index("bundle: done") < shown.index("curated features: done")
    again = run_cbi("sources", "fetch")
    assert again.exit_code == 0, again.output
    assert not re.search(r": \S+ (new|updated), to", again.output)
    # a service that fails later does not keep the run from going on with what is there, and is named
    internet.down = {"yahoo"}
    for path in (tmp_path / "data" / "market" / "yahoo").glob("ZM=F*"):
        path.unlink()
    refused = run_cbi("run", "--fetch")
    assert isinstance(refused.exception, SourceError)
    assert "ZM=F" in str(refused.exception)
    assert "yahoo could not be fetched" in str(refused.exception)


def test_without_prices_nothing_is_built_and_the_reason_is_named(run_cbi, internet: Internet, tmp_path: Path) -> None:
    internet.down = {"yahoo", "power", "ghcn", "wasde", "worldbank", "cftc"}
    result = run_cbi("run", "--fetch")
    assert isinstance(result.exception, SourceError)
    assert "There must be prices" in result.exception.rule
    assert "yahoo could not be fetched" in result.exception.rule
    assert "503" in result.exception.rule
    assert not (tmp_path / "data" / "bundles").exists()


def test_runs_that_use_a_bucket_do_not_fetch(run_cbi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CBI_BUNDLE_URI", "gs://bucket/prefix")
    result = run_cbi("run", "--fetch")
    assert isinstance(result.exception, SettingsError)
    assert "without --fetch" in result.exception.fix
