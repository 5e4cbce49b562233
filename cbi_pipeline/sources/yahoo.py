"""Yahoo Finance daily rows of the nearest contract, unadjusted (`ZL=F` and others): prices without a key.

Two formats: the CSV of the history page (`ZL=F_2000_2019.csv`) and the answer of the chart service (`ZL=F.chart.json`),
whose rows count after the end of the CSV. A bar of the chart service is stamped with midnight at its exchange; beside
them stands the quote of the moment. A date counts once its session is over:
- its bar, if the answer was made after `SESSION_END` of that date;
- else its quote, if that was made from `SESSION_END` to 14:00 Chicago: it is the session's last price. A later quote is
  after the moment at which a trade date is looked at, or belongs to the evening session of the next one.

Nothing is mended: a row whose open, high and low cannot be true keeps its close (the settlement, which may lie
outside the range of the electronic session) and has gaps for the other three; a date that is no CBOT session is
left out. Yahoo names no contract, so rolls are unknown (null).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfoNotFoundError

import numpy as np
import pandas as pd

from cbi_pipeline import market_calendar
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import provider_files
from cbi_pipeline.sources.price_csv import read_price_csv

FOLDER: Final = "yahoo"
SYMBOLS: Final[tuple[str, ...]] = ("ZL", "ZS", "ZM", "CL")
"""Symbols with a CSV of the history; the chart service has heating oil, `HO=F`, as well."""
DECIMALS: Final = 3
"""Yahoo serves 32-bit floats (34.43 as 34.43000030517578): rounding to a decimal beyond the tick restores the price."""

FIRST_SETTLED: Final[dict[str, pd.Timestamp]] = dict.fromkeys(("ZL", "ZS", "ZM"), pd.Timestamp("2002-07-01"))
"""First date on which a row is that day's settlement.

Before it Yahoo carries the thin overnight session of those years (ZL: 2 to 25 contracts a day), whose last price is
mostly the day before's settlement: in 2000-01 its daily return correlates 0.28 with that of the exchange's contracts on
the same day and 0.68 with the day before, from 2002-07 on 0.96 and -0.07. A price under the wrong date is worse than
none."""

SESSION_END: Final = pd.Timedelta(hours=13, minutes=15)
"""Chicago; soybean oil settles here, WTI a quarter of an hour later."""

_RANGE: Final = ["open", "high", "low"]
_BAR: Final = (*_RANGE, "close", "volume")
_log = logging.getLogger(__name__)


def history_path(data_dir: Path, symbol: str) -> Path:
    """Where the CSV of the history page lies."""
    return data_dir / FOLDER / f"{symbol}=F_2000_2019.csv"


def chart_path(data_dir: Path, symbol: str) -> Path:
    """Where the answer of the chart service lies."""
    return data_dir / FOLDER / f"{symbol}=F.chart.json"


def read_daily(data_dir: Path, symbol: str) -> pd.DataFrame:
    """Daily rows of one symbol: of the history CSV, then those of the chart answer after it; either may be absent.

    Returns:
        Columns symbol, trade_date, open, high, low, close (the exchange's own unit), volume (contracts), contract,
        is_roll, roll_ratio (all three null), available_at (UTC), source; sorted by trade_date, CBOT sessions only,
        from `FIRST_SETTLED` on.

    Raises:
        SourceError: there is neither file, or one breaks its format.
    """
    history, chart = history_path(data_dir, symbol), chart_path(data_dir, symbol)
    if not history.is_file() and not chart.is_file():
        rule = f"The provider's file is missing, and so is {chart.name}."
        raise SourceError(str(history), rule, "fetch the second: `cbi sources fetch yahoo`.")
    parts = [_read_history(history)] if history.is_file() else []
    if chart.is_file():
        bars = read_chart(chart, f"{symbol}=F")
        parts.append(bars[bars["trade_date"] > parts[0]["trade_date"].max()] if parts else bars)
    first = FIRST_SETTLED.get(symbol, market_calendar.FIRST_DAY)
    settled = [part[part["trade_date"] >= first] for part in parts]
    rows = pd.concat([clean_rows(part) for part in settled if not part.empty], ignore_index=True)
    rows.insert(0, "symbol", symbol)
    rows = rows.assign(
        contract=None,
        is_roll=None,
        roll_ratio=None,
        available_at=market_calendar.as_of_times(pd.DatetimeIndex(rows["trade_date"])),
        source=f"yahoo {symbol}=F daily",
    )
    return rows.astype({"volume": "Int64", "contract": "string", "is_roll": "boolean", "roll_ratio": "float64"})


def _read_history(path: Path) -> pd.DataFrame:
    raw = read_price_csv(path, date_column="Date", numbers=["Open", "High", "Low", "Close", "Volume"])
    return raw.rename(columns={"Date": "trade_date"}).rename(columns=str.lower)


def read_chart(path: Path, ticker: str) -> pd.DataFrame:
    """The answer of the chart service as trade_date, open, high, low, close, volume: one row a finished date.

    Raises:
        SourceError: missing file, another series than the ticker by day, columns of unequal length, a
            value that is no number, or no row.
    """
    answer = provider_files.read_json(path)
    try:
        (result,) = answer["chart"]["result"]
        about, (quote,) = result["meta"], result["indicators"]["quote"]
        asked = (about["symbol"], about["dataGranularity"])
        moments = pd.to_datetime(pd.Series(result["timestamp"], dtype="int64"), unit="s", utc=True)
        local = moments.dt.tz_convert(about["exchangeTimezoneName"])
        made_at = pd.Timestamp(int(about["regularMarketTime"]), unit="s", tz="UTC")
        columns = {name: pd.array(quote[name], dtype="Float64").to_numpy("float64", na_value=np.nan) for name in _BAR}
        bars = pd.DataFrame({"trade_date": local.dt.tz_localize(None).dt.normalize(), **columns})
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ZoneInfoNotFoundError) as error:
        rule = f"It must be an answer of the chart service with bars of one symbol ({type(error).__name__}: {error})."
        raise provider_files.other_shape(path, rule) from error
    if asked != (ticker, "1d"):
        raise provider_files.other_shape(path, f"It must hold {ticker} by day, but holds {asked[0]} by {asked[1]}.")
    is_bar = local.dt.tz_localize(None) == bars["trade_date"]
    provider_files.refuse_duplicates(bars[is_bar], ("trade_date",), path)
    quoted = moments.dt.tz_convert(market_calendar.EXCHANGE_ZONE).dt.tz_localize(None)
    session_end = quoted.dt.normalize() + SESSION_END
    as_of = quoted.dt.normalize() + pd.Timedelta(hours=market_calendar.AS_OF_HOUR)
    is_last_price = ~is_bar & (quoted >= session_end) & (quoted <= as_of)
    over = (bars["trade_date"] + SESSION_END).dt.tz_localize(market_calendar.EXCHANGE_ZONE) <= made_at
    bars = bars.assign(is_quote=~is_bar)[(is_bar & over) | is_last_price].sort_values(["trade_date", "is_quote"])
    bars = bars.drop_duplicates("trade_date", keep="first").drop(columns="is_quote").reset_index(drop=True)
    if bars["close"].notna().sum() == 0:
        raise provider_files.other_shape(path, "It must hold at least one finished trade date with a close.")
    return bars.astype({"trade_date": "datetime64[ns]"})


def clean_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """CBOT sessions that have a close; open, high and low become gaps where they cannot be true.

    That is where high < max(open, close), low > min(open, close), or where every one of them in the whole file is
    a whole number though the closes are not (Yahoo rounded them, as in its old crude-oil history).

    Args:
        rows: columns trade_date, open, high, low, close, volume.
    """
    is_session = rows["trade_date"].isin(market_calendar.sessions(rows["trade_date"].min(), rows["trade_date"].max()))
    usable = is_session & rows["close"].notna()
    _log.info("yahoo: %d rows left out: no CBOT session, or no close", int((~usable).sum()))
    rows = rows[usable].reset_index(drop=True).round(dict.fromkeys([*_RANGE, "close"], DECIMALS))
    body = rows[["open", "close"]]
    impossible = (rows["high"] < body.max(axis=1)) | (rows["low"] > body.min(axis=1))
    if (rows[_RANGE] % 1 == 0).all(axis=None) and (rows["close"] % 1 != 0).any():
        impossible[:] = True
    return rows.assign(**{name: rows[name].mask(impossible) for name in _RANGE})
