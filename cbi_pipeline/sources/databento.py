"""Databento GLBX.MDP3 hourly bars (DBN files) to one row per CBOT trade date.

The product is `ohlcv-1h` with continuous symbols `.v.0`: the contract with the highest volume of the day
before, unadjusted; the contract changes at 00:00 UTC and only there. Format: Databento Binary Encoding,
https://databento.com/docs/standards-and-conventions/databento-binary-encoding.

How hourly bars become a row:
- a bar's trade date is `market_calendar.trade_dates` of its start, so the evening session, and any bar of a
  weekend or holiday, belongs to the next session;
- a trade date that mixes two contracts (rolls fall into the evening session) is built from the bars of the
  newer one only;
- a trade date is written only if its bars reach the end of the session (`LAST_BAR_HOUR`) and the files
  cover it to 14:00 Chicago. A session that the provider lost stays a gap.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import databento_dbn
import numpy as np
import pandas as pd
import pyarrow as pa

from cbi_pipeline import market_calendar
from cbi_pipeline.errors import SourceError

FOLDER: Final = "databento"
SYMBOLS: Final[tuple[str, ...]] = ("ZL", "ZS", "ZM", "CL", "HO")
"""Symbols that are read; the files hold `REQUESTED`, so that another can be read without buying its history."""
REQUESTED: Final[tuple[str, ...]] = ("ZL", "ZS", "ZM", "ZC", "ZW", "CL", "HO", "RB", "6L", "ZN", "ZT")
LAST_BAR_HOUR: Final = 12
"""Chicago hour that the last bar of a complete trade date must reach: half-days close at 12:05."""
LAST_BAR_HOUR_BEFORE: Final = (pd.Timestamp("2015-07-06"), 11)
"""The same before this date, when half-days closed at 12:00."""

DATASET: Final = "GLBX.MDP3"
SCHEMA: Final = "ohlcv-1h"
_SUFFIX: Final = ".v.0"
NAMES: Final = {symbol: symbol + _SUFFIX for symbol in SYMBOLS}
"""Symbol to the provider's name of the series."""
_PRICE_SCALE: Final = databento_dbn.FIXED_PRICE_SCALE
_LONGEST_CLOSURE: Final = pd.Timedelta(days=5)
_FIX: Final = (
    "request it again with the databento client: timeseries.get_range(dataset='GLBX.MDP3', schema='ohlcv-1h', "
    "stype_in='continuous', symbols=['ZL.v.0', 'ZS.v.0', 'ZM.v.0', 'CL.v.0', 'HO.v.0'], start=..., end=..., path=...)."
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HourlyBars:
    """Hourly bars and the span that the files were asked for.

    Args:
        bars: columns symbol, start (datetime64[ns, UTC]), instrument_id, open, high, low, close (the exchange's
            own unit), volume (contracts); sorted by symbol and start.
        covered_from, covered_until: first moment, and first moment after the last, UTC.
    """

    bars: pd.DataFrame
    covered_from: pd.Timestamp
    covered_until: pd.Timestamp


def has_files(data_dir: Path) -> bool:
    """Whether there is any `*.dbn.zst` file under `data_dir/databento`."""
    return any((data_dir / FOLDER).glob("*.dbn.zst"))


def read_hourly_bars(data_dir: Path, folder_name: str = FOLDER, names: Mapping[str, str] = NAMES) -> HourlyBars:
    """Read every `*.dbn.zst` file of one folder under `data_dir`.

    Args:
        folder_name: files of one request, a span each.
        names: symbol to the provider's name of the series, of those to keep.

    Raises:
        SourceError: the folder holds no file, a file is truncated or of another product, a symbol is missing, or
            the files leave a gap or overlap.
    """
    folder = data_dir / folder_name
    paths = sorted(folder.glob("*.dbn.zst"))
    if not paths:
        raise SourceError(str(folder), "The folder must hold at least one *.dbn.zst file.", _FIX)
    files = sorted(((read_file(path, names), path) for path in paths), key=lambda item: item[0].covered_from)
    for (before, earlier), (after, later) in itertools.pairwise(files):
        if before.covered_until != after.covered_from:
            raise SourceError(
                str(later),
                f"The files must follow each other without gap or overlap, but {earlier.name} ends at "
                f"{before.covered_until} and this one starts at {after.covered_from}.",
                _FIX,
            )
    bars = pd.concat([file.bars for file, _ in files], ignore_index=True)
    bars = bars.sort_values(["symbol", "start"], kind="stable", ignore_index=True)
    return HourlyBars(bars, files[0][0].covered_from, files[-1][0].covered_until)


def _decode(path: Path) -> tuple[databento_dbn.Metadata, np.ndarray]:
    """The header, and the records [n, 7] as int64: instrument_id, ts_event, open, high, low, close, volume."""
    decoder = databento_dbn.DBNDecoder()
    try:
        with pa.input_stream(str(path), compression="zstd") as stream:
            decoder.write(stream.read())
        decoded = decoder.decode()
        remainder = len(decoder.buffer())
    except (OSError, ValueError, databento_dbn.DBNError) as error:
        raise SourceError(str(path), f"The file must be complete zstd-compressed DBN, but: {error}.", _FIX) from error
    header = next((item for item in decoded if isinstance(item, databento_dbn.Metadata)), None)
    if header is None:
        raise SourceError(str(path), "The file must begin with a DBN header.", _FIX)
    if remainder:
        raise SourceError(str(path), f"The file must end with a whole record; {remainder} bytes are left over.", _FIX)
    if (header.dataset, str(header.schema), str(header.stype_in)) != (DATASET, SCHEMA, "continuous"):
        raise SourceError(
            str(path),
            f"The file must hold {DATASET} {SCHEMA} of continuous symbols, but holds {header.dataset} {header.schema} "
            f"of {header.stype_in}.",
            _FIX,
        )
    fields = [
        (bar.instrument_id, bar.ts_event, bar.open, bar.high, bar.low, bar.close, bar.volume)
        for bar in decoded
        if isinstance(bar, databento_dbn.OHLCVMsg)
    ]
    return header, np.array(fields, dtype=np.int64).reshape(-1, 7)


def read_file(path: Path, names: Mapping[str, str] = NAMES) -> HourlyBars:
    """Decode one file and keep the bars of the series in `names`, each under its symbol.

    Raises:
        SourceError: the file is truncated, of another product, lacks a symbol or ends before its header says.
    """
    header, records = _decode(path)
    covered_from, covered_until = pd.Timestamp(header.start, tz="UTC"), pd.Timestamp(header.end, tz="UTC")
    starts = records[:, 1]
    if not len(starts) or pd.Timestamp(starts.max(), tz="UTC") < covered_until - _LONGEST_CLOSURE:
        raise SourceError(str(path), f"The records must reach {covered_until}, the end that the header names.", _FIX)
    owner = _positions(path, header.mappings, records[:, 0], starts, tuple(names.values()))
    records, owner = records[owner >= 0], owner[owner >= 0]
    prices = records[:, 2:6]
    if (prices == databento_dbn.UNDEF_PRICE).any():
        raise SourceError(str(path), "A bar must have all four prices.", _FIX)
    bars = pd.DataFrame(prices / _PRICE_SCALE, columns=["open", "high", "low", "close"])
    bars["symbol"] = pd.Categorical.from_codes(owner.tolist(), dtype=pd.CategoricalDtype(list(names)))
    bars["start"] = pd.to_datetime(records[:, 1], utc=True)
    bars["instrument_id"] = records[:, 0]
    bars["volume"] = records[:, 6]
    return HourlyBars(bars, covered_from, covered_until)


def _positions(
    path: Path, mappings: Any, instruments: np.ndarray, starts: np.ndarray, names: Sequence[str]
) -> np.ndarray:
    """Position in `names` of the series that each record belonged to at its start, -1 for any other [n]."""
    owner = np.full(len(instruments), -1, dtype=np.int8)
    for position, name in enumerate(names):
        intervals = mappings.get(name, [])
        if not intervals:
            raise SourceError(str(path), f"The header must map {name} to its contracts.", _FIX)
        for interval in intervals:
            first, after = (pd.Timestamp(interval[end]).value for end in ("start_date", "end_date"))
            owner[(instruments == int(interval["symbol"])) & (starts >= first) & (starts < after)] = position
    return owner


def daily_bars(hourly: HourlyBars) -> pd.DataFrame:
    """One row per symbol and complete trade date.

    Returns:
        Columns symbol, trade_date, open, high, low, close, volume, contract (instrument_id as text), is_roll,
        roll_ratio, sorted by symbol and trade_date. `roll_ratio` is the first open of the new contract over the
        last close of the old one: adjacent hours where the roll falls inside trading, else across the night.
    """
    bars = hourly.bars.assign(trade_date=market_calendar.trade_dates(pd.DatetimeIndex(hourly.bars["start"])))
    bars["chain"] = _contract_chain(bars)
    groups = ["symbol", "trade_date"]
    newest = bars.groupby(groups, observed=True, sort=False)["instrument_id"].transform("last")
    rows = (
        bars[bars["instrument_id"] == newest]
        .groupby(groups, observed=True, sort=True)
        .agg(
            open=("open", "first"),
            high=("high", "max"),
            low=("low", "min"),
            close=("close", "last"),
            volume=("volume", "sum"),
            instrument_id=("instrument_id", "last"),
            chain=("chain", "last"),
            last_start=("start", "last"),
        )
        .reset_index()
    )
    complete = _is_complete(rows, hourly)
    for symbol, lost in rows[~complete].groupby("symbol", observed=True):
        _log.info("databento %s: %d trade dates lack the end of their session and are left out", symbol, len(lost))
    rows = rows[complete].reset_index(drop=True)
    same_symbol = rows["symbol"].eq(rows["symbol"].shift())
    rows["is_roll"] = same_symbol & rows["instrument_id"].ne(rows["instrument_id"].shift())
    rows["roll_ratio"] = (rows["chain"] / rows["chain"].shift()).where(rows["is_roll"])
    rows["contract"] = rows["instrument_id"].astype(str)
    rows["symbol"] = rows["symbol"].astype(str)
    return rows.drop(columns=["instrument_id", "chain", "last_start"])


def _contract_chain(bars: pd.DataFrame) -> pd.Series:
    """Product, up to each bar, of new open / old close over the changes of contract of its symbol [n]."""
    symbols = bars["symbol"]
    changed = symbols.eq(symbols.shift()) & bars["instrument_id"].ne(bars["instrument_id"].shift())
    return (bars["open"] / bars["close"].shift()).where(changed, 1.0).groupby(symbols, observed=True).cumprod()


def _is_complete(rows: pd.DataFrame, hourly: HourlyBars) -> pd.Series:
    """Whether a row's bars reach the end of its session, and the files cover it from evening to 14:00 Chicago."""
    days = pd.DatetimeIndex(rows["trade_date"])
    last_local = pd.DatetimeIndex(rows["last_start"]).tz_convert(market_calendar.EXCHANGE_ZONE).tz_localize(None)
    evening = (days - pd.Timedelta(hours=24 - 17)).tz_localize(market_calendar.EXCHANGE_ZONE)
    covered = (evening >= hourly.covered_from) & (market_calendar.as_of_times(days) <= hourly.covered_until)
    changed, earlier_hour = LAST_BAR_HOUR_BEFORE
    hour = np.where(days < changed, earlier_hour, LAST_BAR_HOUR)
    return pd.Series(covered & (last_local >= days + pd.to_timedelta(hour, unit="h")), index=rows.index)


def read_daily(data_dir: Path) -> pd.DataFrame:
    """`daily_bars` of the files under `data_dir/databento`, with available_at (UTC) and source.

    Raises:
        SourceError: as `read_hourly_bars`.
    """
    rows = daily_bars(read_hourly_bars(data_dir))
    rows["available_at"] = market_calendar.as_of_times(pd.DatetimeIndex(rows["trade_date"]))
    rows["source"] = f"databento {DATASET} {SCHEMA} " + rows["symbol"] + _SUFFIX
    return rows
