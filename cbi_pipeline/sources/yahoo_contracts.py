"""Listed soybean-oil contracts at Yahoo (`ZLF27.CBT`): the curve after the collected one ends, and Yahoo's rolls.

Yahoo serves a contract while it is listed and for some time after; a file stays when the contract has ended, so that
the history of a machine grows. A contract counts on the sessions on which it traded.

`ZL=F` names no contract. Where its close equals that of exactly one contract near delivery, that contract is the one it
followed; where it equals none or two, the contract stays unknown (null), and so does whether the row is a roll.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline import market_calendar
from cbi_pipeline.sources import provider_files, yahoo

MONTH_CODES: Final = {1: "F", 3: "H", 5: "K", 7: "N", 8: "Q", 9: "U", 10: "V", 12: "Z"}
"""Delivery months of CBOT soybean oil, by the exchange's letter."""
LISTED: Final = 8
"""Delivery months that are asked for, a year's worth."""
CONTRACTS_KEPT: Final = 2
FRONT_MONTHS: Final = 2
"""The nearest contract delivers at most this many months after the month of the session."""
_FILE: Final = re.compile(r"(ZL([FHKNQUVZ])(\d{2})\.CBT)\.chart\.json")


def ticker(month: pd.Period) -> str:
    """Yahoo's name of a delivery month."""
    return f"ZL{MONTH_CODES[month.month]}{month.year % 100:02d}.CBT"


def chart_path(data_dir: Path, name: str) -> Path:
    """Where the answer for a ticker lies."""
    return data_dir / yahoo.FOLDER / f"{name}.chart.json"


def listed_months(day: pd.Timestamp) -> list[pd.Period]:
    """The nearest `LISTED` delivery months, from that of `day` on."""
    months = pd.period_range(day.strftime("%Y-%m"), periods=2 * LISTED, freq="M")
    return [month for month in months if month.month in MONTH_CODES][:LISTED]


def read_contracts(data_dir: Path) -> pd.DataFrame:
    """Closes of every contract that has a file: trade_date, contract_month (YYYY-MM), price, ticker; sorted.

    Raises:
        SourceError: a file breaks its format, or has a trade date after the delivery month.
    """
    parts = []
    for path in sorted((data_dir / yahoo.FOLDER).glob("ZL*.CBT.chart.json")):
        name = _FILE.fullmatch(path.name)
        if name is None:
            continue
        month = f"20{name[3]}-{next(number for number, code in MONTH_CODES.items() if code == name[2]):02d}"
        bars = yahoo.read_chart(path, name[1])
        if (bars["trade_date"].dt.strftime("%Y-%m") > month).any():
            raise provider_files.other_shape(path, f"It must end with its delivery month, {month}.")
        traded = bars[bars["close"].notna() & (bars["volume"] > 0)]
        parts.append(
            pd.DataFrame(
                {
                    "trade_date": traded["trade_date"],
                    "contract_month": month,
                    "price": traded["close"].round(yahoo.DECIMALS),
                    "ticker": name[1],
                }
            )
        )
    if not parts:
        return pd.DataFrame(columns=["trade_date", "contract_month", "price", "ticker"])
    rows = pd.concat(parts, ignore_index=True)
    sessions = market_calendar.sessions(market_calendar.FIRST_DAY, market_calendar.LAST_DAY)
    return rows[rows["trade_date"].isin(sessions)].sort_values(["trade_date", "contract_month"], ignore_index=True)


def curve_after(data_dir: Path, last: pd.Timestamp) -> pd.DataFrame:
    """`futures_curve` rows of the two nearest contracts of every later session. Raises as `read_contracts`."""
    rows = read_contracts(data_dir)
    rows = rows[rows["trade_date"] > last] if len(rows) else rows
    nearest = rows.groupby("trade_date", sort=True).head(CONTRACTS_KEPT).reset_index(drop=True)
    return pd.DataFrame(
        {
            "symbol": "ZL",
            "trade_date": nearest["trade_date"].astype("datetime64[ns]"),
            "contract_month": nearest["contract_month"],
            "price": nearest["price"].astype("float64"),
            "available_at": market_calendar.as_of_times(pd.DatetimeIndex(nearest["trade_date"])),
            "source": "yahoo " + nearest["ticker"].astype(str) + " daily",
        }
    )


def with_contracts(front: pd.DataFrame, contracts: pd.DataFrame) -> pd.DataFrame:
    """Rows of `ZL=F` with contract, is_roll and roll_ratio where the closes of contracts tell them.

    Args:
        front: trade_date (ascending), close, contract, is_roll, roll_ratio.
        contracts: as of `read_contracts`.
    """
    if contracts.empty:
        return front
    near = contracts[_months(contracts["contract_month"]) - _months(contracts["trade_date"]) <= FRONT_MONTHS]
    equal = front[["trade_date", "close"]].merge(
        near, left_on=["trade_date", "close"], right_on=["trade_date", "price"]
    )
    names = equal.drop_duplicates("trade_date", keep=False).set_index("trade_date")["ticker"]
    contract = front["trade_date"].map(names).astype("string").set_axis(front.index)
    before, close_before = contract.shift(), front["close"].shift()
    prices = contracts.set_index(["trade_date", "ticker"])["price"]
    same_contract_before = pd.Series(
        prices.reindex(pd.MultiIndex.from_arrays([front["trade_date"].shift(), contract])).to_numpy("float64"),
        index=front.index,
    )
    rolled = contract.notna() & before.notna() & (contract != before)
    known = contract.notna() & before.notna() & (~rolled | same_contract_before.notna())
    return front.assign(
        contract=contract,
        is_roll=rolled.astype("boolean").where(known),
        roll_ratio=(same_contract_before / close_before).where(rolled & known).astype("float64"),
    )


def _months(values: pd.Series) -> pd.Series:
    moments = pd.to_datetime(values)
    return moments.dt.year * 12 + moments.dt.month
