"""`futures_daily`: Databento rows from their first session on, Yahoo rows before it, FCPO beside them.

Rule of the splice, per symbol: Yahoo's nearest contract ends where Databento's most active contract begins
(2010-06-07); they are never averaged. The first Databento row is a roll whose ratio is Databento's close over Yahoo's
close of that same date, so that the return across the splice is Yahoo's own. Heating oil has Databento only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline.contracts.tables import FUTURES_DAILY
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import bursa, databento, yahoo

_TYPES: Final = {
    "symbol": "object",
    "volume": "Int64",
    "contract": "string",
    "is_roll": "boolean",
    "roll_ratio": "float64",
    "source": "object",
}


def read_futures_daily(data_dir: Path) -> pd.DataFrame:
    """All rows of `futures_daily` in the contract's columns, sorted by symbol and trade date.

    Raises:
        SourceError: a provider's file is missing or breaks its format, or a symbol cannot be spliced.
    """
    recent = databento.read_daily(data_dir)
    parts = [bursa.read_fcpo(data_dir)]
    for symbol in databento.SYMBOLS:
        rows = recent[recent["symbol"] == symbol]
        parts.append(splice(yahoo.read_daily(data_dir, symbol), rows) if symbol in yahoo.SYMBOLS else rows)
    parts = [part.astype(_TYPES) for part in parts]
    table = pd.concat(parts, ignore_index=True).sort_values(["symbol", "trade_date"], ignore_index=True)
    return table.assign(back_adjusted_close=back_adjusted_close(table))[
        [column.name for column in FUTURES_DAILY.columns]
    ]


def splice(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Rows of `before` that precede the first trade date of `after`, then all of `after`, its first row as a roll.

    Args:
        before, after: rows of one symbol with trade_date and close; `before` must hold the first date of `after`.

    Raises:
        SourceError: the two providers have no close on that common date.
    """
    first = after["trade_date"].min()
    common = before.loc[before["trade_date"] == first, "close"]
    symbol = after["symbol"].iloc[0]
    if common.empty:
        raise SourceError(
            f"{before['source'].iloc[0]}, {first.date()}",
            f"the splice of {symbol} needs a close of both providers on the first Databento session.",
            "add the missing row, or Databento files that begin on a session which both providers have.",
        )
    is_first = after["trade_date"] == first
    ratio = float(after.loc[is_first, "close"].iloc[0] / common.iloc[0])
    after = after.assign(
        is_roll=after["is_roll"].astype("boolean").mask(is_first, True),
        roll_ratio=after["roll_ratio"].astype("float64").mask(is_first, ratio),
    )
    earlier = before[before["trade_date"] < first]
    return pd.concat([part.astype(_TYPES) for part in (earlier, after)], ignore_index=True)


def back_adjusted_close(table: pd.DataFrame) -> pd.Series:
    """Close times the product of all later roll ratios of its symbol [n]; equal to close from the last roll on.

    A later roll changes the whole history, so this is for charts and P&L, never an input of a model.

    Args:
        table: columns symbol, close, roll_ratio (null where no roll), sorted by symbol and trade date.
    """
    newest_first = table.iloc[::-1]
    ratio = newest_first["roll_ratio"].where(newest_first["roll_ratio"].notna(), 1.0)
    symbols = newest_first["symbol"]
    later = ratio.groupby(symbols).cumprod() / ratio
    return (table["close"] * later.iloc[::-1]).rename("back_adjusted_close")
