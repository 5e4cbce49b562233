"""The CFTC's disaggregated futures-only report: yearly zips of finished years, its Socrata service for the current one.

A finished year is fetched once, as verbatim rows of the four markets. Of the current year only the reports that are not
there yet are asked for, page by page; if the Socrata service fails, its yearly zip is fetched instead. The back history
of 2006 to 2009 is part of the zip for 2006-16; the table of late publications comes with the package (facts.py).
"""

from __future__ import annotations

import csv
import itertools
import logging
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline.errors import SourceError
from cbi_pipeline.progress import counted
from cbi_pipeline.sources import cftc, release_times
from cbi_pipeline.sources.fetch import facts
from cbi_pipeline.sources.fetch.archives import not_served, only_text, rows_where
from cbi_pipeline.sources.fetch.install import Coverage, Fetched, install
from cbi_pipeline.sources.fetch.web import Web

BASE_URL: Final = "https://www.cftc.gov"
ZIPS: Final = "/files/dea/history"
SOCRATA_URL: Final = "https://publicreporting.cftc.gov"
SOCRATA: Final = "/resource/72hh-3qpy.csv"
PAGE_ROWS: Final = 1000
FIRST_YEAR: Final = 2010
_WEEK: Final = pd.Timedelta(days=7)

_log = logging.getLogger(__name__)


def fetch(
    data_dir: Path,
    now: datetime,
    *,
    base_url: str = BASE_URL,
    socrata_url: str = SOCRATA_URL,
    new_web: Callable[[], Web] = Web,
) -> Iterator[Fetched]:
    """Bring `<data_dir>/cftc/` up to date, from the back history to the last report due.

    Raises:
        SourceError: the CFTC cannot be reached or serves another format; files that are there stay.
    """
    folder = data_dir / "cftc"
    yield from facts.put_cot_exceptions(data_dir)
    with new_web() as web:
        for year in counted("fetch cftc", range(FIRST_YEAR, now.year + 1)):
            path, recent = folder / f"fut_disagg_txt_{year}.txt", folder / f"72hh-3qpy_{year}.csv"
            is_current = year == now.year
            newest = max(_last_of_year(path, year), _last_of_year(recent, year) if is_current else pd.Timestamp.min)
            following = newest + _WEEK
            if following.year > year or now < next_release(newest):
                if path.is_file() or recent.is_file():
                    yield Fetched(path if path.is_file() else recent, "not due", newest.date())
            elif is_current:
                yield _fetch_recent(web, (base_url, socrata_url), (path, recent), newest)
            else:
                yield _fetch_zip(web, base_url, path)
        if not any((folder / name).is_file() for name in (cftc.OFFICIAL_BACK_HISTORY_FILE, cftc.BACK_HISTORY_FILE)):
            yield _fetch_zip(web, base_url, folder / cftc.OFFICIAL_BACK_HISTORY_FILE)


def _fetch_zip(web: Web, base_url: str, path: Path) -> Fetched:
    archive = web.get(f"{base_url}{ZIPS}/{path.stem}.zip")
    return install(path, rows_of_markets(archive, path.name), _coverage)


def _fetch_recent(web: Web, urls: tuple[str, str], paths: tuple[Path, Path], newest: pd.Timestamp) -> Fetched:
    """The current year's reports after `newest`, from Socrata, else the whole year's zip.

    Args:
        urls: of the zips and of the Socrata service.
        paths: of the yearly file and of that of the Socrata service.
    """
    (base_url, socrata_url), (path, recent) = urls, paths
    try:
        content = _new_reports(web, socrata_url + SOCRATA, newest)
        if content is None:
            return Fetched(recent, "unchanged", newest.date())
        header, *rows = content.splitlines(keepends=True)
        before = recent.read_bytes() if recent.is_file() else header
        return install(recent, before + b"".join(rows), _socrata_coverage)
    except SourceError as error:
        _log.info("the Socrata service of the CFTC failed, so its yearly zip is fetched: %s", error)
        return _fetch_zip(web, base_url, path)


def _new_reports(web: Web, url: str, after: pd.Timestamp) -> bytes | None:
    """The header and every row of the four markets after a date, page by page; None if there is none yet."""
    codes = ",".join(f"'{code}'" for code in cftc.MARKET_CODES)
    asked = {
        "$select": ",".join(cftc.SOCRATA_COLUMNS),
        "$where": f"report_date_as_yyyy_mm_dd > '{after:%Y-%m-%d}' AND cftc_contract_market_code in({codes})",
        "$order": "report_date_as_yyyy_mm_dd,cftc_contract_market_code",
        "$limit": str(PAGE_ROWS),
    }
    content = b""
    for page in itertools.count():
        lines = web.get(url, {**asked, "$offset": str(page * PAGE_ROWS)}).splitlines(keepends=True)
        if not lines or next(csv.reader([lines[0].decode("latin-1")])) != list(cftc.SOCRATA_COLUMNS):
            raise not_served("a page of reports", f"Its header must be {list(cftc.SOCRATA_COLUMNS)}.")
        content += b"".join(lines[1:] if page else lines)
        if len(lines) - 1 < PAGE_ROWS:
            return content if page or len(lines) > 1 else None
    raise AssertionError("the last page returns")


def _last_of_year(path: Path, year: int) -> pd.Timestamp:
    """As-of date of a file's last report; the last Tuesday before the year where there is no file."""
    if not path.is_file():
        return pd.Timestamp(year, 1, 1) - pd.offsets.Week(weekday=1)
    return pd.Timestamp((_socrata_coverage(path) if path.suffix == ".csv" else _coverage(path)).last)


def newest_report(data_dir: Path) -> date:
    """As-of date of the last report on file.

    Raises:
        SourceError: there is no file, or the newest of a kind cannot be read.
    """
    folder = data_dir / "cftc"
    yearly = max(folder.glob("fut_disagg_txt_????.txt"), default=folder / "fut_disagg_txt_YYYY.txt")
    recent = sorted(folder.glob(cftc.SOCRATA_FILES))[-1:]
    return max(_coverage(yearly).last, *(_socrata_coverage(path).last for path in recent), date.min)


def next_release(last: pd.Timestamp) -> pd.Timestamp:
    """When the report after the one as of `last` is expected, UTC."""
    return release_times.cot_release(pd.Series([last + _WEEK]), {})[0]


def rows_of_markets(archive: bytes, name: str) -> bytes:
    """The header and, byte for byte, the rows of `cftc.MARKET_CODES` of the one text in a zip.

    Raises:
        SourceError: it is no zip of one text, or its header has no market code.
    """
    return rows_where(only_text(archive, name), name, cftc.CODE_COLUMN, lambda code: code.zfill(6) in cftc.MARKET_CODES)


def _coverage(path: Path) -> Coverage:
    return _of_reports(cftc.read_report_file(path), path)


def _socrata_coverage(path: Path) -> Coverage:
    return _of_reports(cftc.read_socrata_file(path), path)


def _of_reports(rows: pd.DataFrame, path: Path) -> Coverage:
    if rows.empty:
        raise SourceError(str(path), "The file must hold a report of a market in use.", "fetch it again.")
    return Coverage(len(rows), rows["report_date"].max().date())
