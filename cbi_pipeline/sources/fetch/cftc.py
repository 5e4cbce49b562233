"""CFTC's yearly zip files of the disaggregated futures-only report, kept as verbatim rows of the four markets.

A finished year is fetched once; the current one again whenever a report is due. The back history of 2006 to 2009
and the table of late publications are not served here: they are put into the folder by hand.
"""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import cftc, release_times
from cbi_pipeline.sources.fetch.install import Coverage, Fetched, install
from cbi_pipeline.sources.fetch.web import Web

BASE_URL: Final = "https://www.cftc.gov"
FIRST_YEAR: Final = 2010
LARGEST_TEXT_BYTES: Final = 128 * 2**20
_WEEK: Final = pd.Timedelta(days=7)


def fetch(
    data_dir: Path, now: datetime, *, base_url: str = BASE_URL, new_web: Callable[[], Web] = Web
) -> Iterator[Fetched]:
    """Bring `<data_dir>/cftc/fut_disagg_txt_YYYY.txt` up to date, from 2010 to the year of the last report due.

    Raises:
        SourceError: the CFTC cannot be reached or serves another format; files that are there stay.
    """
    with new_web() as web:
        for year in range(FIRST_YEAR, now.year + 1):
            path = data_dir / "cftc" / f"fut_disagg_txt_{year}.txt"
            last = last_date(path) if path.is_file() else _last_report_before(year)
            following = last + _WEEK
            if following.year > year or now < next_release(last):
                if path.is_file():
                    yield Fetched(path, "not due", last.date())
                continue
            archive = web.get(f"{base_url}/files/dea/history/fut_disagg_txt_{year}.zip")
            yield install(path, rows_of_markets(archive, path.name), _coverage)


def last_date(path: Path) -> pd.Timestamp:
    """As-of date of the last report of a file. Raises SourceError as the parse half."""
    return cftc.read_report_file(path)["report_date"].max()


def newest_report(data_dir: Path) -> date:
    """As-of date of the last report of all yearly files.

    Raises:
        SourceError: there is no yearly file, or the newest cannot be read.
    """
    folder = data_dir / "cftc"
    return last_date(max(folder.glob("fut_disagg_txt_????.txt"), default=folder / "fut_disagg_txt_YYYY.txt")).date()


def next_release(last: pd.Timestamp) -> pd.Timestamp:
    """When the report after the one as of `last` is expected, UTC."""
    return release_times.cot_release(pd.Series([last + _WEEK]), {})[0]


def rows_of_markets(archive: bytes, name: str) -> bytes:
    """The header and, byte for byte, the rows of `cftc.MARKET_CODES` of the one text in a yearly zip.

    Raises:
        SourceError: it is no zip of one text of at most `LARGEST_TEXT_BYTES`, or its header has no market code.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            (member,) = opened.infolist()
            with opened.open(member) as stream:
                text = stream.read(LARGEST_TEXT_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError) as error:
        raise _not_served(name, f"The CFTC must serve a zip of one text, but: {error}.") from error
    if len(text) > LARGEST_TEXT_BYTES:
        raise _not_served(name, f"The text must be no larger than {LARGEST_TEXT_BYTES:,} bytes.")
    header, *rows = text.decode("latin-1").splitlines(keepends=True) or [""]
    columns = next(csv.reader([header]))
    if cftc.CODE_COLUMN not in columns:
        raise _not_served(name, f"The header must name {cftc.CODE_COLUMN}.")
    position = columns.index(cftc.CODE_COLUMN)
    kept = [line for line, cells in zip(rows, csv.reader(rows), strict=True) if _market(cells, position)]
    return (header + "".join(kept)).encode("latin-1")


def _market(cells: list[str], position: int) -> bool:
    return len(cells) > position and cells[position].strip().zfill(6) in cftc.MARKET_CODES


def _not_served(name: str, rule: str) -> SourceError:
    return SourceError(f"download of {name}", rule, "fetch again later; the file that is there has not been touched.")


def _last_report_before(year: int) -> pd.Timestamp:
    """The last Tuesday before a year."""
    return pd.Timestamp(year, 1, 1) - pd.offsets.Week(weekday=1)


def _coverage(path: Path) -> Coverage:
    rows = cftc.read_report_file(path)
    if rows.empty:
        raise SourceError(str(path), "The file must hold a report of a market in use.", "fetch it again.")
    return Coverage(len(rows), rows["report_date"].max().date())
