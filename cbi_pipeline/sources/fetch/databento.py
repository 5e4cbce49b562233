"""Databento's hourly bars: what follows the newest file, a file a month, after its price was agreed to.

Nothing is bought twice: a request starts where the newest file ends, and the newest end is the last midnight UTC
that the provider has whole (a change of contract falls on midnight too). Endpoints and fields:
https://databento.com/docs/api-reference-historical.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Final

import pandas as pd

from cbi_pipeline.errors import SourceError
from cbi_pipeline.progress import counted
from cbi_pipeline.sources import databento, databento_curve
from cbi_pipeline.sources.fetch.install import Coverage, Fetched, install
from cbi_pipeline.sources.fetch.keys import require_key
from cbi_pipeline.sources.fetch.web import Web

BASE_URL: Final = "https://hist.databento.com"
KEY: Final = "DATABENTO_API_KEY"
Span = tuple[pd.Timestamp, pd.Timestamp]
"""From, inclusive, and until, exclusive: midnights UTC."""


@dataclass(frozen=True, slots=True)
class Product:
    """What is asked for into one folder.

    Args:
        folder: under the data folder.
        series: continuous symbols of the request.
        names: those that are read, by symbol.
        first_day: where the first request begins.
    """

    folder: str
    series: tuple[str, ...]
    names: Mapping[str, str]
    first_day: pd.Timestamp


PRICES: Final = Product(
    databento.FOLDER,
    tuple(f"{symbol}.v.0" for symbol in databento.REQUESTED),
    databento.NAMES,
    pd.Timestamp("2010-06-06", tz="UTC"),
)
"""The most active contract of each symbol; the data set begins on that day."""
CURVE: Final = Product(
    databento_curve.FOLDER,
    tuple(databento_curve.NAMES),
    databento_curve.NAMES,
    pd.Timestamp("2023-12-01", tz="UTC"),
)
"""The two nearest listed contracts, from where the collected contract prices end."""


def keyed_web() -> Web:
    """A client that carries the key. Raises SourceError where there is none."""
    return Web(key=require_key(KEY))


def fetch(
    data_dir: Path,
    agree: Callable[[float], bool],
    *,
    base_url: str = BASE_URL,
    new_web: Callable[[], Web] = keyed_web,
) -> Iterator[Fetched]:
    """Buy and store the bars after the newest file of `<data_dir>/databento/`.

    Args:
        agree: asked once, with the price of all that is missing in US dollars; False stops before anything is bought.

    Raises:
        SourceError: no key, the price was not agreed to, or the provider cannot be reached or serves another product.
    """
    with new_web() as web:
        until = _available_until(web, base_url)
        missing = [(product, span) for product in (PRICES, CURVE) for span in missing_spans(data_dir, product, until)]
        if missing:
            price = sum(_price(web, base_url, product, span) for product, span in missing)
            if not agree(price):
                first = min(span[0] for _, span in missing).date()
                raise SourceError(
                    "Databento",
                    f"The bars from {first} on cost {price:.2f} US dollars, and that was not agreed to.",
                    "agree to the price, or fetch the keyless sources only.",
                )
        else:
            newest = _newest(data_dir / databento.FOLDER)
            yield Fetched(newest, "not due", _coverage(newest).last)
        for product, span in counted("fetch databento", missing, lambda item: f"{item[1][0]:%Y-%m}"):
            content = web.post(f"{base_url}/v0/timeseries.get_range", {**_request(product, span), **_FILE_FORMAT})
            path = data_dir / product.folder / file_name(span)
            yield install(path, content, partial(_coverage, names=product.names, asked=span))
        for path in sorted((data_dir / CURVE.folder).glob("*.dbn.zst")):
            if not databento_curve.symbology_path(path).is_file():
                yield _fetch_contracts(web, base_url, path)


def _fetch_contracts(web: Web, base_url: str, path: Path) -> Fetched:
    """Ask which contract each number in a file of the curve is; this costs nothing."""
    file = databento.read_file(path, CURVE.names)
    numbers = sorted({str(number) for number in file.bars["instrument_id"]})
    asked = {
        "dataset": databento.DATASET,
        "symbols": ",".join(numbers),
        "stype_in": "instrument_id",
        "stype_out": "raw_symbol",
        "start_date": f"{file.covered_from:%Y-%m-%d}",
        "end_date": f"{file.covered_until:%Y-%m-%d}",
    }

    def read(candidate: Path) -> Coverage:
        rows = databento_curve.check_contracts(candidate, set(numbers))
        return Coverage(len(rows), _last_day(file))

    answer = web.post(f"{base_url}/v0/symbology.resolve", asked)
    return install(databento_curve.symbology_path(path), answer, read)


def newest_day(data_dir: Path) -> date:
    """The last day that the newest file covers. Raises SourceError where there is no readable file."""
    folder = data_dir / databento.FOLDER
    return _coverage(max(folder.glob("*.dbn.zst"), default=folder / "*.dbn.zst")).last


def missing_spans(data_dir: Path, product: Product, until: pd.Timestamp) -> list[Span]:
    """The months, or parts of one, between the end of the newest file and `until`."""
    folder = data_dir / product.folder
    has_files = any(folder.glob("*.dbn.zst"))
    start = databento.read_file(_newest(folder), product.names).covered_until if has_files else product.first_day
    if start >= until:
        return []
    months = pd.date_range(start.normalize(), until, freq="MS", inclusive="neither")
    return list(itertools.pairwise([start, *months[(months > start) & (months < until)], until]))


def file_name(span: Span) -> str:
    """As the provider names files: first and last day, inclusive."""
    last = span[1] - pd.Timedelta(days=1)
    return f"glbx-mdp3-{span[0]:%Y%m%d}-{last:%Y%m%d}.{databento.SCHEMA}.dbn.zst"


_FILE_FORMAT: Final = {"stype_out": "instrument_id", "encoding": "dbn", "compression": "zstd"}


def _request(product: Product, span: Span) -> dict[str, str]:
    return {
        "dataset": databento.DATASET,
        "schema": databento.SCHEMA,
        "stype_in": "continuous",
        "symbols": ",".join(product.series),
        "start": span[0].isoformat(),
        "end": span[1].isoformat(),
    }


def _available_until(web: Web, base_url: str) -> pd.Timestamp:
    answer = _json(web.get(f"{base_url}/v0/metadata.get_dataset_range", {"dataset": databento.DATASET}))
    try:
        until = pd.Timestamp(str(answer["end"])).tz_convert("UTC").normalize()
    except (KeyError, TypeError, ValueError) as error:
        raise _other_answer("metadata.get_dataset_range", "an `end` with a time zone") from error
    return until


def _price(web: Web, base_url: str, product: Product, span: Span) -> float:
    answer = _json(web.post(f"{base_url}/v0/metadata.get_cost", _request(product, span)))
    if isinstance(answer, bool) or not isinstance(answer, int | float) or not 0 <= answer < float("inf"):
        raise _other_answer("metadata.get_cost", "a price in US dollars")
    return float(answer)


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise _other_answer("metadata", "JSON") from error


def _other_answer(endpoint: str, expected: str) -> SourceError:
    return SourceError(
        f"Databento {endpoint}", f"The answer must be {expected}.", "fetch again later; nothing was bought."
    )


def _newest(folder: Path) -> Path:
    return max(folder.glob("*.dbn.zst"))


def _coverage(path: Path, names: Mapping[str, str] = databento.NAMES, asked: Span | None = None) -> Coverage:
    """What a file holds. Raises SourceError if it does not read or answers another request than `asked`."""
    file = databento.read_file(path, names)
    if asked is not None and (file.covered_from, file.covered_until) != asked:
        raise SourceError(
            str(path),
            f"The file must cover {asked[0]} to {asked[1]}, but covers {file.covered_from} to {file.covered_until}.",
            "fetch again.",
        )
    return Coverage(len(file.bars), _last_day(file))


def _last_day(file: databento.HourlyBars) -> date:
    return (file.covered_until - pd.Timedelta(1, "ns")).date()
