"""Bursa Malaysia palm oil futures (FCPO, third month), and the ringgit rate that prices them in dollars."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import fred
from cbi_pipeline.sources.price_csv import read_price_csv

FCPO_FILE: Final = "palm/fcpo_3rd_month_daily.csv"
USDMYR_FILE: Final = "palm/usdmyr_2001_on.csv"
CLOSE_UTC: Final = pd.Timedelta(hours=10)
"""FCPO's day session closes 18:00 in Kuala Lumpur: the same date's CBOT day session has not begun."""
LARGEST_DAILY_MOVE: Final = 0.04
"""A ringgit rate further than this from both the day before and the last accepted rate is a bad print."""

_log = logging.getLogger(__name__)


def read_fcpo(data_dir: Path) -> pd.DataFrame:
    """Daily FCPO third-month rows, MYR/tonne, on Bursa's own trade dates.

    Returns:
        The columns of `futures_daily` but back_adjusted_close; contract, is_roll and roll_ratio are null, since the
        file does not name the month.

    Raises:
        SourceError: the file is missing, breaks its format, or a high or low contradicts open and close.
    """
    return read_fcpo_file(data_dir / FCPO_FILE)


def read_fcpo_file(path: Path) -> pd.DataFrame:
    """As `read_fcpo`, of one file."""
    prices = ["open", "high", "low", "close"]
    rows = read_price_csv(
        path,
        date_column="trade_date",
        numbers=[*prices, "volume", "raw_epoch_utc"],
    )
    body = rows[["open", "close"]]
    broken = (
        (rows["high"] < body.max(axis=1))
        | (rows["low"] > body.min(axis=1))
        | rows[[*prices, "volume"]].isna().any(axis=1)
    )
    if broken.any():
        day = rows.loc[broken, "trade_date"].iloc[0].date()
        raise SourceError(
            f"{path}, {day}",
            "low <= open, close <= high must hold, with no gap.",
            "compare the row with Bursa's daily bulletin.",
        )
    rows.insert(0, "symbol", "FCPO")
    rows = rows.drop(columns="raw_epoch_utc").assign(
        contract=None,
        is_roll=None,
        roll_ratio=None,
        available_at=(rows["trade_date"] + CLOSE_UTC).dt.tz_localize("UTC"),
        source="bursa malaysia FCPO third month",
    )
    types = dict.fromkeys(prices, "float64") | {
        "volume": "int64",
        "contract": "string",
        "is_roll": "boolean",
        "roll_ratio": "float64",
    }
    return rows.astype(types)


def read_usdmyr(data_dir: Path) -> pd.DataFrame:
    """`macro_series` rows of USDMYR, MYR per USD: of the collected file, then those of FRED's DEXMAUS that follow it.

    A collected rate is known the next calendar day at 00:00 UTC, one of DEXMAUS when H.10 is published.

    Raises:
        SourceError: there is neither file, one breaks its format, or a rate is missing or not positive.
    """
    collected, official = data_dir / USDMYR_FILE, data_dir / "fred" / f"{fred.RINGGIT}.csv"
    parts = [read_collected_rates(collected)] if collected.is_file() or not official.is_file() else []
    if official.is_file():
        rows = fred.read_series(official, fred.RINGGIT).assign(
            series_id="USDMYR", source=f"{fred.SOURCE} {fred.RINGGIT}"
        )
        parts.append(rows[rows["date"] > parts[0]["date"].max()] if parts else rows)
    return pd.concat(parts, ignore_index=True)


def read_collected_rates(path: Path) -> pd.DataFrame:
    """`macro_series` rows of the collected file; raises as `read_usdmyr`."""
    raw = read_price_csv(path, date_column="date", numbers=["usdmyr"])
    bad = ~(raw["usdmyr"] > 0)
    if bad.any():
        raise SourceError(
            f"{path}, {raw.loc[bad, 'date'].iloc[0].date()}",
            "a rate must be a positive number.",
            "leave a missing day out.",
        )
    kept = accepted_rates(raw["usdmyr"].to_numpy())
    for day, rate in raw.loc[~kept].itertuples(index=False):
        _log.info(
            "USDMYR %s: %s left out: over %.0f %% from its neighbours", day.date(), rate, 100 * LARGEST_DAILY_MOVE
        )
    rows = raw[kept].reset_index(drop=True)
    return pd.DataFrame(
        {
            "series_id": "USDMYR",
            "date": rows["date"],
            "value": rows["usdmyr"].astype("float64"),
            "available_at": rate_release(rows["date"]),
            "source": "usdmyr spot",
        }
    )


def rate_release(dates: pd.Series) -> pd.DatetimeIndex:
    """When the ringgit rate of each date counts as known: the next calendar day at 00:00 UTC [n]."""
    return pd.DatetimeIndex(dates + pd.Timedelta(days=1)).tz_localize("UTC")


def accepted_rates(rates: np.ndarray) -> np.ndarray:
    """Which rates [n] to accept, judged by earlier rates only, so that no later rate changes the past.

    A rate is accepted if it lies within `LARGEST_DAILY_MOVE` of the rate before it or of the last accepted one:
    a lone bad print is left out, a lasting move is accepted on its second day.
    """
    kept = np.ones(len(rates), dtype=bool)
    last_accepted = rates[0] if len(rates) else np.nan
    for position in range(1, len(rates)):
        references = np.array([rates[position - 1], last_accepted])
        kept[position] = (np.abs(rates[position] / references - 1) <= LARGEST_DAILY_MOVE).any()
        last_accepted = rates[position] if kept[position] else last_accepted
    return kept
