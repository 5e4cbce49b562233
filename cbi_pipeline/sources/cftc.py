"""CFTC Commitments of Traders, disaggregated, futures only: official yearly files and back history.

The yearly files (`fut_disagg_txt_YYYY.txt`) hold every market; the four that CBI needs are kept. The
date column is called `Report_Date_as_MM_DD_YYYY` in 2010-12 and `Report_Date_as_YYYY-MM-DD` since, and
holds `YYYY-MM-DD` in both. `.` means that a figure is not shown. Reports that no yearly file has yet come from the
CFTC's Socrata service (`72hh-3qpy_YYYY.csv`, data set 72hh-3qpy), which names the columns in its own way. The back
history, 2006-06 to 2009-12, is in the CFTC's file for 2006-16, or, soybean oil only, in a redistributor's file with the
official column names; where two files have a report, the yearly one wins, then Socrata, then the CFTC's back history.
Without back history the table begins in 2010.

Publication: `release_times.cot_release`, with the recorded exceptions of `release_date_exceptions.csv`.
The back history was first public on 2009-10-20, so no report counts as known before that day.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import provider_files, release_times

SOURCE: Final = "CFTC disaggregated COT"
SOURCE_BACK_HISTORY: Final = "CFTC disaggregated COT (redistributed back history)"
MARKET_CODES: Final = ("007601", "005602", "026603", "037021")
"""Soybean oil, soybeans, soybean meal, USD Malaysian crude palm oil."""
BACK_HISTORY_FILE: Final = "soybean_oil_2006_2009_from_redistributor.csv"
OFFICIAL_BACK_HISTORY_FILE: Final = "fut_disagg_txt_hist_2006_2016.txt"
SOCRATA_FILES: Final = "72hh-3qpy_????.csv"
EXCEPTIONS_FILE: Final = "release_date_exceptions.csv"

COLUMNS: Final = {
    "Open_Interest_All": "open_interest",
    "Prod_Merc_Positions_Long_All": "commercial_long",
    "Prod_Merc_Positions_Short_All": "commercial_short",
    "Swap_Positions_Long_All": "swap_long",
    "Swap__Positions_Short_All": "swap_short",
    "M_Money_Positions_Long_All": "managed_money_long",
    "M_Money_Positions_Short_All": "managed_money_short",
    "Other_Rept_Positions_Long_All": "other_reportable_long",
    "Other_Rept_Positions_Short_All": "other_reportable_short",
    "NonRept_Positions_Long_All": "non_reportable_long",
    "NonRept_Positions_Short_All": "non_reportable_short",
}
"""The CFTC's column name to ours; `commercial` is producer, merchant, processor and user."""
SOCRATA_COLUMNS: Final = {
    "cftc_contract_market_code": "CFTC_Contract_Market_Code",
    "report_date_as_yyyy_mm_dd": "Report_Date_as_YYYY-MM-DD",
    "futonly_or_combined": "FutOnly_or_Combined",
    "open_interest_all": "Open_Interest_All",
    "prod_merc_positions_long": "Prod_Merc_Positions_Long_All",
    "prod_merc_positions_short": "Prod_Merc_Positions_Short_All",
    "swap_positions_long_all": "Swap_Positions_Long_All",
    "swap__positions_short_all": "Swap__Positions_Short_All",
    "m_money_positions_long_all": "M_Money_Positions_Long_All",
    "m_money_positions_short_all": "M_Money_Positions_Short_All",
    "other_rept_positions_long": "Other_Rept_Positions_Long_All",
    "other_rept_positions_short": "Other_Rept_Positions_Short_All",
    "nonrept_positions_long_all": "NonRept_Positions_Long_All",
    "nonrept_positions_short_all": "NonRept_Positions_Short_All",
}
"""Socrata's field to the column of the yearly files."""
_SOCRATA_MIDNIGHT: Final = "T00:00:00.000"
_DATE_COLUMNS: Final = ("Report_Date_as_YYYY-MM-DD", "Report_Date_as_MM_DD_YYYY")
CODE_COLUMN: Final = "CFTC_Contract_Market_Code"
_YEARLY_NAME: Final = re.compile(r"fut_disagg_txt_\d{4}\.txt")


def read_report_file(path: Path, source: str = SOURCE) -> pd.DataFrame:
    """Read one file of reports into `market_code`, `report_date`, positions in contracts, and `source`.

    Raises:
        SourceError: missing file, a needed column is gone, futures and options combined, a figure that is
            neither a whole number nor `.`, or a report twice.
    """
    return _rows(provider_files.read_text_csv(path, required=(CODE_COLUMN, *COLUMNS)), path, source)


def read_socrata_file(path: Path) -> pd.DataFrame:
    """Read one answer of the Socrata service; columns and errors as `read_report_file`."""
    frame = provider_files.read_text_csv(path, exact=tuple(SOCRATA_COLUMNS)).rename(columns=SOCRATA_COLUMNS)
    date = frame[_DATE_COLUMNS[0]].str.removesuffix(_SOCRATA_MIDNIGHT)
    return _rows(frame.assign(**{_DATE_COLUMNS[0]: date}), path, SOURCE)


def _rows(frame: pd.DataFrame, path: Path, source: str) -> pd.DataFrame:
    """The markets in use of a frame of text with the columns of the yearly files."""
    date_column = next((name for name in _DATE_COLUMNS if name in frame.columns), None)
    if date_column is None:
        raise SourceError(
            str(path),
            f"The header must have one of {list(_DATE_COLUMNS)}.",
            "download the yearly file again from cftc.gov.",
        )
    if "FutOnly_or_Combined" in frame.columns and set(frame["FutOnly_or_Combined"]) - {"FutOnly"}:
        raise SourceError(
            str(path),
            "The file must hold the futures-only report, not the combined one.",
            "download fut_disagg_txt, not com_disagg_txt.",
        )
    frame[CODE_COLUMN] = frame[CODE_COLUMN].str.zfill(6)
    frame = frame[frame[CODE_COLUMN].isin(MARKET_CODES)]
    rows = pd.DataFrame(
        {"market_code": frame[CODE_COLUMN], "report_date": provider_files.dates(frame[date_column], path)}
    )
    for theirs, ours in COLUMNS.items():
        figures = provider_files.numbers(frame[theirs], path, absent=(".", ""))
        if not (figures.dropna() % 1 == 0).all():
            raise SourceError(
                str(path), f"{theirs} must hold whole numbers of contracts.", "download the file again from cftc.gov."
            )
        rows[ours] = figures.astype("Int64")
    provider_files.refuse_duplicates(rows, ("market_code", "report_date"), path)
    return rows.assign(source=source)


def read_release_exceptions(path: Path) -> dict[date, date]:
    """Read recorded publication dates: as-of date to the day the report was really published.

    Raises:
        SourceError: missing file, other header, a date of another format, an as-of date twice, or a
            publication before its as-of date.
    """
    frame = provider_files.read_text_csv(path, exact=("report_date", "original_publish_date", "publish_date", "source"))
    as_of, published = (provider_files.dates(frame[name], path) for name in ("report_date", "publish_date"))
    provider_files.refuse_duplicates(frame, ("report_date",), path)
    if (published <= as_of).any():
        raise SourceError(
            str(path),
            "A report cannot be published before its as-of date.",
            "correct publish_date from the CFTC's announcement.",
        )
    return dict(zip(as_of.dt.date, published.dt.date, strict=True))


def read_cot_weekly(data_dir: Path) -> pd.DataFrame:
    """Read all report files under `<data_dir>/cftc/` into rows of `cot_weekly`.

    Raises:
        SourceError: no yearly file, or as `read_report_file` and `read_release_exceptions`.
    """
    folder = data_dir / "cftc"
    yearly = sorted(path for path in folder.glob("fut_disagg_txt_*.txt") if _YEARLY_NAME.fullmatch(path.name))
    if not yearly:
        raise SourceError(
            str(folder),
            "There is no yearly file fut_disagg_txt_YYYY.txt.",
            "download them from cftc.gov, Historical Compressed.",
        )
    official = pd.concat([read_report_file(path) for path in yearly], ignore_index=True)
    provider_files.refuse_duplicates(official, ("market_code", "report_date"), folder)
    parts = [official, *(read_socrata_file(path) for path in sorted(folder.glob(SOCRATA_FILES)))]
    if (folder / OFFICIAL_BACK_HISTORY_FILE).is_file():
        parts.append(read_report_file(folder / OFFICIAL_BACK_HISTORY_FILE))
    elif (folder / BACK_HISTORY_FILE).is_file():
        parts.append(read_report_file(folder / BACK_HISTORY_FILE, SOURCE_BACK_HISTORY))
    rows = pd.concat(parts, ignore_index=True).drop_duplicates(["market_code", "report_date"], keep="first")
    rows = rows.sort_values(["market_code", "report_date"], ignore_index=True)
    exceptions = read_release_exceptions(folder / EXCEPTIONS_FILE)
    parts = [
        group.assign(available_at=release_times.cot_release(group["report_date"], exceptions))
        for _, group in rows.groupby("market_code")
    ]
    return pd.concat(parts, ignore_index=True)[
        ["market_code", "report_date", *COLUMNS.values(), "available_at", "source"]
    ]
