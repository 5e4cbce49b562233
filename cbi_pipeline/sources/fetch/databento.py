"""Databento's hourly bars: what follows the newest file, a file a month, after its price was agreed to.

Nothing is bought twice: a request starts where the newest file ends, and the newest end is the last midnight UTC
that the provider has whole (a change of contract falls on midnight too). Endpoints and fields:
https://databento.com/docs/api-reference-historical.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Final

import pandas as pd

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import databento
from cbi_pipeline.sources.fetch.install import Coverage, Fetched, install
from cbi_pipeline.sources.fetch.keys import require_key
from cbi_pipeline.sources.fetch.web import Web

BASE_URL: Final = "https://hist.databento.com"
KEY: Final = "DATABENTO_API_KEY"
FIRST_DAY: Final = pd.Timestamp("2010-06-06", tz="UTC")
"""The data set begins here."""

Span = tuple[pd.Timestamp, pd.Timestamp]
"""From, inclusive, and until, exclusive: midnights UTC."""


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
    folder = data_dir / databento.FOLDER
    with new_web() as web:
        spans = missing_spans(folder, _available_until(web, base_url))
        if not spans:
            newest = _newest(folder)
            yield Fetched(newest, "not due", _coverage(newest).last)
            return
        price = sum(_price(web, base_url, span) for span in spans)
        if not agree(price):
            raise SourceError(
                "Databento",
                f"The bars from {spans[0][0].date()} on cost {price:.2f} US dollars, and that was not agreed to.",
                "agree to the price, or fetch the keyless sources only.",
            )
        for span in spans:
            content = web.post(f"{base_url}/v0/timeseries.get_range", {**_request(span), **_FILE_FORMAT})
            yield install(folder / file_name(span), content, partial(_coverage, asked=span))


def newest_day(data_dir: Path) -> date:
    """The last day that the newest file covers. Raises SourceError where there is no readable file."""
    folder = data_dir / databento.FOLDER
    return _coverage(max(folder.glob("*.dbn.zst"), default=folder / "*.dbn.zst")).last


def missing_spans(folder: Path, until: pd.Timestamp) -> list[Span]:
    """The months, or parts of one, between the end of the newest file and `until`."""
    start = databento.read_file(_newest(folder)).covered_until if any(folder.glob("*.dbn.zst")) else FIRST_DAY
    if start >= until:
        return []
    months = pd.date_range(start.normalize(), until, freq="MS", inclusive="neither")
    return list(itertools.pairwise([start, *months[(months > start) & (months < until)], until]))


def file_name(span: Span) -> str:
    """As the provider names files: first and last day, inclusive."""
    last = span[1] - pd.Timedelta(days=1)
    return f"glbx-mdp3-{span[0]:%Y%m%d}-{last:%Y%m%d}.{databento.SCHEMA}.dbn.zst"


_FILE_FORMAT: Final = {"stype_out": "instrument_id", "encoding": "dbn", "compression": "zstd"}


def _request(span: Span) -> dict[str, str]:
    return {
        "dataset": databento.DATASET,
        "schema": databento.SCHEMA,
        "stype_in": "continuous",
        "symbols": ",".join(f"{symbol}.v.0" for symbol in databento.SYMBOLS),
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


def _price(web: Web, base_url: str, span: Span) -> float:
    answer = _json(web.post(f"{base_url}/v0/metadata.get_cost", _request(span)))
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


def _coverage(path: Path, asked: Span | None = None) -> Coverage:
    """What a file holds. Raises SourceError if it does not read or answers another request than `asked`."""
    file = databento.read_file(path)
    if asked is not None and (file.covered_from, file.covered_until) != asked:
        raise SourceError(
            str(path),
            f"The file must cover {asked[0]} to {asked[1]}, but covers {file.covered_from} to {file.covered_until}.",
            "fetch again.",
        )
    return Coverage(len(file.bars), (file.covered_until - pd.Timedelta(1, "ns")).date())
