"""CBOT soybean-oil contract prices by delivery month, collected by R. Carver (pysystemtrade).

Two formats: one row a date (`term_structure/SOYOIL.csv.gz`), and the file as it lies in his repository
(`term_structure/SOYOIL.csv`), with several snapshots of a date by the clock of London: the last one before 23:00
counts, or the row of 23:00, under which older dates carry their settlement. Of the second, dates after the end of the
first are read.

Each row has up to three legs, CARRY, PRICE and FORWARD, each with its contract as YYYYMM00. The two nearest quoted
legs make `futures_curve`. The nearest quoted leg is not always the nearest listed contract: from 2021-03 the
file follows contracts two to four months out. The collected file ends 2023-11-30: later dates have no row.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline import market_calendar
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import provider_files
from cbi_pipeline.sources.price_csv import read_price_csv

FILE: Final = "term_structure/SOYOIL.csv.gz"
SNAPSHOTS: Final = "term_structure/SOYOIL.csv"
LEGS: Final[tuple[str, ...]] = ("CARRY", "PRICE", "FORWARD")
CONTRACTS_KEPT: Final = 2
SOURCE: Final = "term structure SOYOIL (R. Carver)"
_CONTRACTS: Final = tuple(f"{leg}_CONTRACT" for leg in LEGS)
_LATE: Final = pd.Timedelta(hours=23)

_log = logging.getLogger(__name__)


def read_legs(data_dir: Path) -> pd.DataFrame:
    """Every quoted leg of a CBOT session from 1985 on.

    Returns:
        Columns trade_date, contract_month (YYYY-MM), price (cents/lb), sorted by both; one row per contract and date.

    Raises:
        SourceError: the file is missing or breaks its format, a leg has a price but no valid contract, a contract
            had ended before the date, or two legs of a date give one contract two prices.
    """
    path, snapshots = data_dir / FILE, data_dir / SNAPSHOTS
    parts = [_read_dates(path)] if path.is_file() or not snapshots.is_file() else []
    if snapshots.is_file():
        later = read_snapshots(snapshots)
        parts.append(later[later["date"] > parts[0]["date"].max()] if parts else later)
        path = snapshots
    raw = pd.concat(parts, ignore_index=True)
    raw = raw[raw["date"] >= market_calendar.FIRST_DAY]
    legs = pd.concat(
        [raw[["date", leg, f"{leg}_CONTRACT"]].set_axis(["trade_date", "price", "code"], axis=1) for leg in LEGS]
    )
    legs = legs[legs["price"].notna()].drop_duplicates().sort_values(["trade_date", "code"], ignore_index=True)
    months = pd.to_datetime(legs["code"] // 100, format="%Y%m", errors="coerce")
    ended = months < legs["trade_date"].dt.to_period("M").dt.to_timestamp()
    for broken, rule in (
        (months.isna(), "A price must carry its contract as YYYYMM00."),
        (ended, "A contract must not be quoted after its delivery month."),
        (legs.duplicated(["trade_date", "code"]), "A contract must have one price a date."),
    ):
        if broken.any():
            day = legs.loc[broken, "trade_date"].iloc[0].date()
            raise SourceError(
                f"{path}, {day}", rule, "compare the row with the exchange's settlements and correct it at its origin."
            )
    legs["contract_month"] = months.dt.strftime("%Y-%m")
    last = max(legs["trade_date"].max(), market_calendar.FIRST_DAY)
    in_session = legs["trade_date"].isin(market_calendar.sessions(market_calendar.FIRST_DAY, last))
    _log.info("term structure: %d legs left out: no CBOT session", int((~in_session).sum()))
    return legs.loc[in_session, ["trade_date", "contract_month", "price"]].reset_index(drop=True)


def _read_dates(path: Path) -> pd.DataFrame:
    return read_price_csv(path, date_column="date", numbers=[*LEGS, *_CONTRACTS], text=["row_source"])


def read_snapshots(path: Path) -> pd.DataFrame:
    """One row a date of a file of snapshots: date, the price of each leg and its contract.

    Raises:
        SourceError: missing file, another header, a value that is no number or moment, a moment twice, or no row.
    """
    columns = [name for leg in LEGS for name in (leg, f"{leg}_CONTRACT")]
    text = provider_files.read_text_csv(path, exact=("DATETIME", *columns))
    moments = provider_files.dates(text["DATETIME"], path, date_format="%Y-%m-%d %H:%M:%S")
    rows = pd.DataFrame({name: provider_files.numbers(text[name], path) for name in columns}).assign(moment=moments)
    provider_files.refuse_duplicates(rows, ("moment",), path)
    if rows.empty:
        raise provider_files.other_shape(path, "It must hold at least one row.")
    rows["date"] = rows["moment"].dt.normalize()
    is_late = rows["moment"] >= rows["date"] + _LATE
    has_early = (~is_late).groupby(rows["date"]).transform("any")
    counted = rows[~is_late | ~has_early].sort_values("moment")
    return counted.drop_duplicates("date", keep="last").drop(columns="moment").reset_index(drop=True)


def read_futures_curve(data_dir: Path) -> pd.DataFrame:
    """`futures_curve` rows: the two nearest quoted contracts of every session (one where only one is quoted).

    Raises:
        SourceError: as `read_legs`.
    """
    nearest = read_legs(data_dir).groupby("trade_date", sort=True).head(CONTRACTS_KEPT).reset_index(drop=True)
    nearest.insert(0, "symbol", "ZL")
    return nearest.assign(
        available_at=market_calendar.as_of_times(pd.DatetimeIndex(nearest["trade_date"])), source=SOURCE
    )
