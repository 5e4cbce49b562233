"""CBOT soybean-oil contract prices by delivery month (`term_structure/SOYOIL.csv.gz`, collected by R. Carver).

Each row has up to three legs, CARRY, PRICE and FORWARD, each with its contract as YYYYMM00. The two nearest quoted
legs make `futures_curve`. The nearest quoted leg is not always the nearest listed contract: from 2021-03 the
file follows contracts two to four months out. The file ends 2023-11-30: later dates have no row.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline import market_calendar
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources.price_csv import read_price_csv

FILE: Final = "term_structure/SOYOIL.csv.gz"
LEGS: Final[tuple[str, ...]] = ("CARRY", "PRICE", "FORWARD")
CONTRACTS_KEPT: Final = 2
SOURCE: Final = "term structure SOYOIL (R. Carver)"

_log = logging.getLogger(__name__)


def read_legs(data_dir: Path) -> pd.DataFrame:
    """Every quoted leg of a CBOT session from 1985 on.

    Returns:
        Columns trade_date, contract_month (YYYY-MM), price (cents/lb), sorted by both; one row per contract and date.

    Raises:
        SourceError: the file is missing or breaks its format, a leg has a price but no valid contract, a contract
            had ended before the date, or two legs of a date give one contract two prices.
    """
    path = data_dir / FILE
    contracts = [f"{leg}_CONTRACT" for leg in LEGS]
    raw = read_price_csv(path, date_column="date", numbers=[*LEGS, *contracts], text=["row_source"])
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
