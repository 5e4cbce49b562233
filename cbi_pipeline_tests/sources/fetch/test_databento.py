"""Databento's endpoints against a local server that serves real monthly files and asks for the key."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import databento as parse
from cbi_pipeline.sources import databento_curve as parse_curve
from cbi_pipeline.sources.fetch import databento, keys
from cbi_pipeline_tests.sources.fetch.server import HTML_PAGE, Answer, Asked, Server, quick_web, serving
from cbi_pipeline_tests.sources.fetch.shapes import databento_curve as curve_file

KEY = "db-a-key-that-nobody-may-see"
DECEMBER = "glbx-mdp3-20241201-20241231.ohlcv-1h.dbn.zst"
JUNE, JULY, AUGUST = (
    f"glbx-mdp3-2010{span}.ohlcv-1h.dbn.zst" for span in ("0606-20100630", "0701-20100731", "0801-20100831")
)


class Service:
    """Databento as far as it is used here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.end: object = "2010-09-01T13:00:00.000000000Z"
        self.price: object = 1.25
        self.damage = {}

    def __call__(self, asked: Asked, _: int) -> Answer:
        if asked.authorization != "Basic " + base64.b64encode(f"{KEY}:".encode()).decode():
            return Answer(b'{"detail": "auth"}', status=401)
        if asked.path == "/v0/metadata.get_dataset_range":
            return Answer(json.dumps({"start": "2010-06-06T00:00:00.000000000Z", "end": self.end}).encode())
        if asked.path == "/v0/metadata.get_cost":
            return Answer(json.dumps(self.price).encode())
        assert asked.path == "/v0/timeseries.get_range"
        assert (asked.fields["encoding"], asked.fields["compression"]) == ("dbn", "zstd")
        last = pd.Timestamp(asked.fields["end"]) - pd.Timedelta(days=1)
        name = f"glbx-mdp3-{pd.Timestamp(asked.fields['start']):%Y%m%d}-{last:%Y%m%d}.ohlcv-1h.dbn.zst"
        return self.damage.get(name) or Answer((self.folder / name).read_bytes())


@pytest.fixture
def service(provider_dir: Path) -> Service:
    return Service(provider_dir / "databento")


@pytest.fixture
def server(service: Service) -> Iterator[Server]:
    with serving(service) as server:
        yield server


def _fetch(data_dir: Path, server: Server, *, agree: bool = True, prices: list[float] | None = None) -> dict[str, str]:
    def asked(price: float) -> bool:
        if prices is not None:
            prices.append(price)
        return agree

    fetched = databento.fetch(data_dir, asked, base_url=server.url, new_web=lambda: quick_web(KEY))
    return {file.path.name: file.outcome for file in fetched}


def _bought(server: Server) -> list[str]:
    return [asked.fields["start"][:10] for asked in server.asked if asked.path.endswith("get_range")]


def test_what_is_missing_is_bought_once_and_the_reader_reads_it(
    tmp_path: Path, server: Server, service: Service
) -> None:
    prices: list[float] = []
    assert _fetch(tmp_path, server, prices=prices) == {JUNE: "new", JULY: "new", AUGUST: "new"}
    assert prices == [3.75]
    for name in (JUNE, JULY, AUGUST):
        assert (tmp_path / "databento" / name).read_bytes() == (service.folder / name).read_bytes()
    assert parse.read_hourly_bars(tmp_path).covered_until == pd.Timestamp("2010-09-01", tz="UTC")
    assert _fetch(tmp_path, server, prices=prices) == {AUGUST: "not due"}
    assert _bought(server) == ["2010-06-06", "2010-07-01", "2010-08-01"]
    assert prices == [3.75]


def test_nothing_is_bought_unless_the_price_is_agreed_to(tmp_path: Path, server: Server) -> None:
    with pytest.raises(SourceError, match=r"cost 3\.75 US dollars, and that was not agreed to"):
        _fetch(tmp_path, server, agree=False)
    assert _bought(server) == []
    assert not list(tmp_path.rglob("*.zst"))


def test_a_fetch_goes_on_where_it_stopped(tmp_path: Path, server: Server, service: Service) -> None:
    service.damage[JULY] = Answer((service.folder / JULY).read_bytes(), sent_bytes=5000)
    with pytest.raises(SourceError, match="could not be read"):
        _fetch(tmp_path, server)
    assert [path.name for path in (tmp_path / "databento").iterdir()] == [JUNE]
    service.damage.clear()
    assert _fetch(tmp_path, server) == {JULY: "new", AUGUST: "new"}
    assert _bought(server).count("2010-06-06") == 1


@pytest.mark.parametrize("kind", ["html", "truncated", "another month"])
def test_a_file_that_does_not_read_is_not_stored(tmp_path: Path, server: Server, service: Service, kind: str) -> None:
    july = (service.folder / JULY).read_bytes()
    bodies = {"html": HTML_PAGE, "truncated": july[:-300], "another month": (service.folder / AUGUST).read_bytes()}
    service.damage[JULY] = Answer(bodies[kind])
    with pytest.raises(SourceError, match="What the provider sent"):
        _fetch(tmp_path, server)
    assert [path.name for path in (tmp_path / "databento").iterdir()] == [JUNE]


@pytest.mark.parametrize("end", [None, "yesterday", 3, "2010-09-01"])
def test_a_range_without_an_end_is_refused(tmp_path: Path, server: Server, service: Service, end: object) -> None:
    service.end = end
    with pytest.raises(SourceError, match="an `end` with a time zone"):
        _fetch(tmp_path, server)


@pytest.mark.parametrize("price", [None, "free", -1.0, True, {"detail": "x"}])
def test_a_price_that_is_none_is_refused(tmp_path: Path, server: Server, service: Service, price: object) -> None:
    service.price = price
    with pytest.raises(SourceError, match="a price in US dollars"):
        _fetch(tmp_path, server)
    assert _bought(server) == []


def test_a_part_of_a_month_is_followed_by_the_rest(tmp_path: Path, provider_dir: Path) -> None:
    (tmp_path / "databento").mkdir()
    shutil.copy(provider_dir / "databento" / JUNE, tmp_path / "databento")
    days = {day: pd.Timestamp(day, tz="UTC") for day in ("2010-07-01", "2010-07-20", "2010-08-01", "2010-08-03")}
    assert databento.missing_spans(tmp_path, databento.PRICES, days["2010-07-01"]) == []
    assert databento.missing_spans(tmp_path, databento.PRICES, days["2010-07-20"]) == [
        (days["2010-07-01"], days["2010-07-20"])
    ]
    assert databento.missing_spans(tmp_path, databento.PRICES, days["2010-08-03"]) == [
        (days["2010-07-01"], days["2010-08-01"]),
        (days["2010-08-01"], days["2010-08-03"]),
    ]
    assert databento.file_name((days["2010-07-01"], days["2010-08-01"])) == JULY


def test_a_key_comes_from_the_environment_then_from_the_keychain(monkeypatch: pytest.MonkeyPatch) -> None:
    import keyring
    import keyring.errors

    stored = {(keys.KEYCHAIN_SERVICE, databento.KEY): "from-the-keychain"}
    monkeypatch.setattr(keyring, "get_password", lambda service, name: stored.get((service, name)))
    monkeypatch.setenv(databento.KEY, "from-the-environment")
    assert keys.require_key(databento.KEY) == "from-the-environment"
    monkeypatch.delenv(databento.KEY)
    assert keys.require_key(databento.KEY) == "from-the-keychain"
    stored.clear()
    with pytest.raises(SourceError, match=r"DATABENTO_API_KEY: .* needs a key"):
        databento.keyed_web()

    def locked(service: str, name: str) -> str:
        raise keyring.errors.KeyringLocked("locked")

    monkeypatch.setattr(keyring, "get_password", locked)
    assert keys.find_key(databento.KEY) is None


class CurveService(Service):
    """Databento with December 2024 of the curve."""

    def __init__(self, provider_dir: Path) -> None:
        super().__init__(provider_dir / "databento")
        self.curve, self.numbers = curve_file(provider_dir)
        self.end = "2025-01-01T00:00:00Z"
        self.contracts = Answer(self._told())

    def _told(self) -> bytes:
        span = {"d0": "2024-12-01", "d1": "2025-01-01"}
        names = zip(self.numbers.values(), ("ZLF5", "ZLH5"), strict=True)
        return json.dumps({"result": {number: [{**span, "s": name}] for number, name in names}}).encode()

    def __call__(self, asked: Asked, count: int) -> Answer:
        if asked.path == "/v0/symbology.resolve":
            assert asked.fields["symbols"] == ",".join(sorted(self.numbers.values()))
            assert (asked.fields["start_date"], asked.fields["end_date"]) == ("2024-12-01", "2025-01-01")
            return self.contracts
        if asked.path == "/v0/timeseries.get_range" and asked.fields["symbols"] == "ZL.c.0,ZL.c.1":
            return Answer(self.curve)
        return super().__call__(asked, count)


@pytest.fixture
def december(tmp_path: Path, provider_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with December 2024 of the prices, before the curve of that month was bought."""
    (tmp_path / "databento").mkdir()
    shutil.copy(provider_dir / "databento" / DECEMBER, tmp_path / "databento")
    first = pd.Timestamp("2024-12-01", tz="UTC")
    monkeypatch.setattr(databento, "CURVE", replace(databento.CURVE, first_day=first))
    return tmp_path


def test_the_curve_is_bought_with_the_contracts_of_its_numbers(december: Path, provider_dir: Path) -> None:
    prices: list[float] = []
    with serving(CurveService(provider_dir)) as server:
        told = DECEMBER.replace(".dbn.zst", ".symbology.json")
        assert _fetch(december, server, prices=prices) == {DECEMBER: "new", told: "new"}
        assert prices == [1.25]
        assert _fetch(december, server, prices=prices) == {DECEMBER: "not due"}
        assert prices == [1.25]
    (december / "term_structure").symlink_to(provider_dir / "term_structure")
    assert parse_curve.read_futures_curve(december)["contract_month"].unique().tolist() == ["2025-01", "2025-03"]


@pytest.mark.parametrize(
    "answer", [b"{}", HTML_PAGE, b'{"result": {"1001": [{"d0": "2024-12-01", "d1": "2025-01-01", "s": "ZLF5"}]}}']
)
def test_contracts_that_were_not_told_are_asked_for_again_and_nothing_is_bought_twice(
    december: Path, provider_dir: Path, answer: bytes
) -> None:
    service = CurveService(provider_dir)
    good, service.contracts = service.contracts, Answer(answer)
    with serving(service) as server:
        with pytest.raises(SourceError, match="What the provider sent"):
            _fetch(december, server)
        service.contracts = good
        assert list(_fetch(december, server).values()) == ["not due", "new"]
        assert len(_bought(server)) == 1


def test_every_agreed_symbol_is_asked_for(tmp_path: Path, server: Server) -> None:
    _fetch(tmp_path, server)
    symbols = next(asked.fields["symbols"] for asked in server.asked if asked.path.endswith("get_range"))
    assert symbols == "ZL.v.0,ZS.v.0,ZM.v.0,ZC.v.0,ZW.v.0,CL.v.0,HO.v.0,RB.v.0,6L.v.0,ZN.v.0,ZT.v.0"
