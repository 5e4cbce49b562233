"""`futures_daily`: Databento rows for the sessions they cover, Yahoo rows before and after, FCPO beside them.

Rule of a splice, per symbol: Yahoo's nearest contract ends where Databento's most active contract begins (2010-06-07),
and goes on where Databento's files end; they are never averaged, and `source` says whose a row is. The first row after
a splice is a roll whose ratio is the newer provider's close over the older one's on a date that both have, so that no
return mixes two contracts. Yahoo names no contract: for soybean oil those of recent sessions are told from its listed
contracts (yahoo_contracts.py), all others are unknown (null). So a session that comes from Yahoo says less than one of
Databento, whose files replace it when they reach that far. Without a Databento file every row is Yahoo's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline.contracts.tables import FUTURES_DAILY
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import bursa, databento, yahoo, yahoo_contracts

_TYPES: Final = {
    "symbol": "object",
    "volume": "Int64",
    "contract": "string",
    "is_roll": "boolean",
    "roll_ratio": "float64",
    "source": "object",
}
_LONGEST_GAP: Final = pd.Timedelta(days=7)


def read_futures_daily(data_dir: Path, *, with_fcpo: bool = True) -> pd.DataFrame:
    """All rows of `futures_daily` in the contract's columns, sorted by symbol and trade date.

    Args:
        with_fcpo: whether there are rows of palm oil.

    Raises:
        SourceError: a provider's file is missing or breaks its format, or a symbol cannot be spliced.
    """
    on_databento, on_chart = databento.has_files(data_dir), yahoo.chart_path(data_dir, "ZL").is_file()
    if not on_databento and not on_chart:
        raise SourceError(
            str(data_dir),
            "There must be prices: databento/*.dbn.zst, or yahoo/ZL=F.chart.json and those of the other symbols.",
            "fetch them: `cbi sources fetch yahoo` without a key, `cbi sources fetch databento` with one.",
        )
    on_yahoo = [s for s in databento.SYMBOLS if s in yahoo.SYMBOLS or yahoo.chart_path(data_dir, s).is_file()]
    parts = [bursa.read_fcpo(data_dir)] if with_fcpo else []
    if on_databento:
        recent = databento.read_daily(data_dir)
        for symbol in databento.SYMBOLS:
            rows = recent[recent["symbol"] == symbol]
            parts.append(splice(_read_yahoo(data_dir, symbol), rows) if symbol in on_yahoo else rows)
    else:
        parts += [_read_yahoo(data_dir, symbol) for symbol in databento.SYMBOLS]
    parts = [part.astype(_TYPES) for part in parts]
    table = pd.concat(parts, ignore_index=True).sort_values(["symbol", "trade_date"], ignore_index=True)
    return table.assign(back_adjusted_close=back_adjusted_close(table))[
        [column.name for column in FUTURES_DAILY.columns]
    ]


def _read_yahoo(data_dir: Path, symbol: str) -> pd.DataFrame:
    rows = yahoo.read_daily(data_dir, symbol)
    if symbol != "ZL":
        return rows
    return yahoo_contracts.with_contracts(rows, yahoo_contracts.read_contracts(data_dir))


def splice(around: pd.DataFrame, within: pd.DataFrame) -> pd.DataFrame:
    """All of `within`, and the rows of `around` before its first and after its last trade date.

    Args:
        around, within: rows of one symbol with trade_date and close; `around` must hold the first date of `within`
            and, if it goes on after the last, a date that both have in the week to it.

    Raises:
        SourceError: the two providers have no close on a common date where one follows the other.
    """
    first, last = within["trade_date"].min(), within["trade_date"].max()
    before, after = around[around["trade_date"] < first], around[around["trade_date"] > last]
    ratio = _ratio(within, around, first, first)
    parts = [before, _starting_with_a_roll(within, ratio)]
    if not after.empty:
        parts.append(_starting_with_a_roll(after, 1.0 / _ratio(within, around, last - _LONGEST_GAP, last)))
    return pd.concat([part.astype(_TYPES) for part in parts], ignore_index=True)


def _ratio(within: pd.DataFrame, around: pd.DataFrame, earliest: pd.Timestamp, latest: pd.Timestamp) -> float:
    """Close of `within` over that of `around` on the newest date from `earliest` to `latest` that both have."""
    common = within.merge(around, on="trade_date", suffixes=("_within", "_around"))
    common = common[common["trade_date"].between(earliest, latest)]
    if common.empty:
        raise SourceError(
            f"{around['source'].iloc[0]}, {latest.date()}",
            f"the splice of {within['symbol'].iloc[0]} needs a close of both providers on a date from "
            f"{earliest.date()} to {latest.date()}.",
            "add the missing row, or Databento files that begin and end on sessions which both providers have.",
        )
    newest = common.sort_values("trade_date").iloc[-1]
    return float(newest["close_within"] / newest["close_around"])


def _starting_with_a_roll(rows: pd.DataFrame, ratio: float) -> pd.DataFrame:
    is_first = rows["trade_date"] == rows["trade_date"].min()
    return rows.assign(
        is_roll=rows["is_roll"].astype("boolean").mask(is_first, True),
        roll_ratio=rows["roll_ratio"].astype("float64").mask(is_first, ratio),
    )


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
