"""What other sources say of series that the raw tables hold: compared with them when a bundle is built, never stored.

A file that is not there is no error: the comparison is not made. A file that is there must have its format.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline.sources import bursa, fred, yahoo
from cbi_pipeline.sources.price_csv import read_price_csv

CBOE_FILE: Final = "cboe/vix-daily.csv"
YAHOO_ZL_FILE: Final = "yahoo/ZL=F_2015_on.csv"
YAHOO_RINGGIT_FILE: Final = "palm/usdmyr_yahoo_2015_on.csv"
SPOT_CRUDE: Final = "DCOILWTICO"
COLUMNS: Final = ("subject", "date", "value", "source")


def read_second_opinions(data_dir: Path) -> pd.DataFrame:
    """Every second opinion under `data_dir`: subject (symbol or series_id), date, value in its unit, source.

    Raises:
        SourceError: a file breaks its format.
    """
    readers = {
        CBOE_FILE: _read_cboe,
        YAHOO_ZL_FILE: _read_yahoo_zl,
        YAHOO_RINGGIT_FILE: _read_yahoo_ringgit,
        f"fred/{SPOT_CRUDE}.csv": _read_spot_crude,
    }
    parts = [pd.DataFrame(columns=list(COLUMNS))]
    parts += [read(data_dir / name)[list(COLUMNS)] for name, read in readers.items() if (data_dir / name).is_file()]
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)


def _read_cboe(path: Path) -> pd.DataFrame:
    rows = read_price_csv(path, date_column="DATE", numbers=["OPEN", "HIGH", "LOW", "CLOSE"])
    return _opinion(rows["DATE"], rows["CLOSE"], "VIXCLS", "Cboe VIX")


def _read_yahoo_zl(path: Path) -> pd.DataFrame:
    rows = read_price_csv(path, date_column="Date", numbers=["Open", "High", "Low", "Close", "Volume"])
    return _opinion(rows["Date"], rows["Close"].round(yahoo.DECIMALS), "ZL", "Yahoo ZL=F")


def _read_yahoo_ringgit(path: Path) -> pd.DataFrame:
    """Rates that `bursa.accepted_rates` would leave out are left out here too."""
    rows = read_price_csv(path, date_column="date", numbers=["open", "high", "low", "close", "volume"])
    rows = rows[rows["close"] > 0]
    rows = rows[bursa.accepted_rates(rows["close"].to_numpy())]
    return _opinion(rows["date"], rows["close"], "USDMYR", "Yahoo MYR=X")


def _read_spot_crude(path: Path) -> pd.DataFrame:
    rows = fred.read_series(path, SPOT_CRUDE)
    return _opinion(rows["date"], rows["value"], "CL", f"FRED {SPOT_CRUDE}")


def _opinion(date: pd.Series, value: pd.Series, subject: str, source: str) -> pd.DataFrame:
    rows = pd.DataFrame({"date": date, "value": value}).dropna()
    return rows.assign(subject=subject, source=source)
