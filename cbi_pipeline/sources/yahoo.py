"""Yahoo Finance daily rows of the nearest contract, unadjusted (`ZL=F` and others): history before Databento begins.

Nothing is mended: a row whose open, high and low cannot be true keeps its close (the settlement, which may lie
outside the range of the electronic session) and has gaps for the other three; a date that is no CBOT session is
left out. Yahoo names no contract, so rolls are unknown (null).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline import market_calendar
from cbi_pipeline.sources.price_csv import read_price_csv

FOLDER: Final = "yahoo"
SYMBOLS: Final[tuple[str, ...]] = ("ZL", "ZS", "ZM", "CL")
DECIMALS: Final = 3
"""Yahoo serves 32-bit floats (34.43 as 34.43000030517578): rounding to a decimal beyond the tick restores the price."""

FIRST_SETTLED: Final[dict[str, pd.Timestamp]] = dict.fromkeys(("ZL", "ZS", "ZM"), pd.Timestamp("2002-07-01"))
"""First date on which a row is that day's settlement.

Before it Yahoo carries the thin overnight session of those years (ZL: 2 to 25 contracts a day), whose last price is
mostly the day before's settlement: in 2000-01 its daily return correlates 0.28 with that of the exchange's contracts on
the same day and 0.68 with the day before, from 2002-07 on 0.96 and -0.07. A price under the wrong date is worse than
none."""

_RANGE: Final = ["open", "high", "low"]
_log = logging.getLogger(__name__)


def read_daily(data_dir: Path, symbol: str) -> pd.DataFrame:
    """Daily rows of one symbol of `SYMBOLS` from `data_dir/yahoo/<symbol>=F_2000_2019.csv`.

    Returns:
        Columns symbol, trade_date, open, high, low, close (the exchange's own unit), volume (contracts), contract,
        is_roll, roll_ratio (all three null), available_at (UTC), source; sorted by trade_date, CBOT sessions only,
        from `FIRST_SETTLED` on.

    Raises:
        SourceError: the file is missing or breaks its format.
    """
    path = data_dir / FOLDER / f"{symbol}=F_2000_2019.csv"
    raw = read_price_csv(
        path,
        date_column="Date",
        numbers=["Open", "High", "Low", "Close", "Volume"],
    )
    raw = raw.rename(columns={"Date": "trade_date"}).rename(columns=str.lower)
    settled = raw["trade_date"] >= FIRST_SETTLED.get(symbol, raw["trade_date"].min())
    rows = clean_rows(raw[settled])
    rows.insert(0, "symbol", symbol)
    rows = rows.assign(
        contract=None,
        is_roll=None,
        roll_ratio=None,
        available_at=market_calendar.as_of_times(pd.DatetimeIndex(rows["trade_date"])),
        source=f"yahoo {symbol}=F daily",
    )
    return rows.astype({"volume": "Int64", "contract": "string", "is_roll": "boolean", "roll_ratio": "float64"})


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
