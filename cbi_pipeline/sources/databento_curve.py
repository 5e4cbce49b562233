"""The two nearest listed soybean-oil contracts from Databento (`databento/curve/`): the curve, daily.

The product is `ohlcv-1h` with continuous symbols `ZL.c.0` and `ZL.c.1`, ranked by expiry. A bar names its contract by a
number; beside each file lies the provider's answer that tells the number's contract (`*.symbology.json`). A session's
price is the close of its last hour, under the rules of databento.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline import market_calendar
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import databento, provider_files
from cbi_pipeline.sources.yahoo_contracts import MONTH_CODES

FOLDER: Final = "databento/curve"
NAMES: Final = {name: name for name in ("ZL.c.0", "ZL.c.1")}
_FETCH_AGAIN: Final = "remove that file and run `cbi sources fetch databento`: it asks again, at no cost."
_CONTRACT: Final = re.compile(r"ZL([FHKNQUVZ])(\d)")


def has_files(data_dir: Path) -> bool:
    """Whether there is any file of the curve."""
    return any((data_dir / FOLDER).glob("*.dbn.zst"))


def symbology_path(path: Path) -> Path:
    """Where the contracts of a file's numbers are told."""
    return path.with_name(path.name.removesuffix(".dbn.zst") + ".symbology.json")


def read_futures_curve(data_dir: Path) -> pd.DataFrame:
    """`futures_curve` rows of every complete session that the files cover.

    Raises:
        SourceError: as `databento.read_hourly_bars` and `read_contracts`, a number without a contract, or both series
            with one contract.
    """
    folder = data_dir / FOLDER
    rows = databento.daily_bars(databento.read_hourly_bars(data_dir, FOLDER, NAMES))
    told = pd.concat([read_contracts(symbology_path(path)) for path in sorted(folder.glob("*.dbn.zst"))])
    unknown = sorted(set(rows["contract"]) - set(told["contract"]))
    if unknown:
        raise SourceError(str(folder), f"Nothing tells the contract of {', '.join(unknown)}.", _FETCH_AGAIN)
    rows = rows.merge(told.drop_duplicates(), on="contract")
    in_span = (rows["trade_date"] >= rows["first"]) & (rows["trade_date"] < rows["after"])
    rows = rows[in_span]
    months = [_month(name, day) for name, day in zip(rows["name"], rows["trade_date"], strict=True)]
    rows = rows.assign(contract_month=months)
    provider_files.refuse_duplicates(rows, ("trade_date", "contract_month"), folder)
    return pd.DataFrame(
        {
            "symbol": "ZL",
            "trade_date": rows["trade_date"],
            "contract_month": rows["contract_month"],
            "price": rows["close"],
            "available_at": market_calendar.as_of_times(pd.DatetimeIndex(rows["trade_date"])),
            "source": f"databento {databento.DATASET} {databento.SCHEMA} " + rows["symbol"],
        }
    ).sort_values(["trade_date", "contract_month"], ignore_index=True)


def read_contracts(path: Path) -> pd.DataFrame:
    """The provider's answer: contract (its number as text), name, first and after (trade dates of the interval).

    Raises:
        SourceError: missing file, another shape, or a name that is no soybean-oil contract.
    """
    answer = provider_files.read_json(path)
    try:
        rows = pd.DataFrame(
            [
                {
                    "contract": str(number),
                    "name": str(span["s"]),
                    "first": pd.Timestamp(span["d0"]),
                    "after": pd.Timestamp(span["d1"]),
                }
                for number, spans in answer["result"].items()
                for span in spans
            ],
            columns=["contract", "name", "first", "after"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        rule = f"It must be an answer of symbology.resolve ({type(error).__name__}: {error})."
        raise provider_files.other_shape(path, rule) from error
    other = sorted(name for name in rows["name"] if not _CONTRACT.fullmatch(name))
    if rows.empty or other:
        raise provider_files.other_shape(path, f"Every name must be a contract such as ZLF5, but some are {other}.")
    return rows


def check_contracts(path: Path, numbers: set[str]) -> pd.DataFrame:
    """As `read_contracts`.

    Raises:
        SourceError: as `read_contracts`, or one of the numbers has no contract.
    """
    rows = read_contracts(path)
    unknown = sorted(numbers - set(rows["contract"]))
    if unknown:
        raise SourceError(str(path), f"It must tell the contract of {', '.join(unknown)}.", _FETCH_AGAIN)
    return rows


def _month(name: str, day: pd.Timestamp) -> str:
    """Delivery month of a contract named with the last digit of its year: the next such month from `day` on."""
    letter, digit = name[2], int(name[3])
    month = next(number for number, code in MONTH_CODES.items() if code == letter)
    years = (year for year in range(day.year, day.year + 11) if year % 10 == digit)
    return next(f"{year}-{month:02d}" for year in years if (year, month) >= (day.year, day.month))
