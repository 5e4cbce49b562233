"""Yahoo's chart service, an answer a ticker: the whole daily history, since it is one request and past bars change.

Keyless and without cookies; where Yahoo refuses that, the fetch says so. The service has no published terms of use for
programs and no promise of stability: it stands in where Databento's files end or are absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline import market_calendar
from cbi_pipeline.progress import counted
from cbi_pipeline.sources import databento, yahoo, yahoo_contracts
from cbi_pipeline.sources.fetch.install import Coverage, Fetched, install
from cbi_pipeline.sources.fetch.web import Web

BASE_URL: Final = "https://query1.finance.yahoo.com"
FIRST_DAY: Final = pd.Timestamp("2000-01-01", tz="UTC")
PAUSE_SECONDS: Final = 2.0


def polite_web() -> Web:
    """A client that asks seldom: Yahoo answers 429 to a burst."""
    return Web(pause_seconds=PAUSE_SECONDS)


def fetch(
    data_dir: Path, now: datetime, *, base_url: str = BASE_URL, new_web: Callable[[], Web] = polite_web
) -> Iterator[Fetched]:
    """Bring the nearest contract of every symbol on CME, and the listed contracts of soybean oil, up to date.

    Raises:
        SourceError: Yahoo cannot be reached, refuses, or serves another format; files that are there stay.
    """
    fronts = {f"{symbol}=F": yahoo.chart_path(data_dir, symbol) for symbol in databento.SYMBOLS}
    months = yahoo_contracts.listed_months(pd.Timestamp(now).tz_convert(market_calendar.EXCHANGE_ZONE))
    contracts = {name: yahoo_contracts.chart_path(data_dir, name) for name in map(yahoo_contracts.ticker, months)}
    span = {"period1": str(int(FIRST_DAY.timestamp())), "period2": str(int(now.timestamp())), "interval": "1d"}
    with new_web() as web:
        for ticker, path in counted("fetch yahoo", {**fronts, **contracts}.items(), lambda item: item[0]):
            last = last_date(path, ticker) if path.is_file() else None
            if last is not None and now < next_close(last):
                yield Fetched(path, "not due", last.date())
                continue
            address = f"{base_url}/v8/finance/chart/{ticker}"
            # a delivery month that is not listed yet is no fault
            content = web.get_if_there(address, span) if ticker in contracts else web.get(address, span)
            if content is not None:
                yield install(path, content, partial(_coverage, ticker))


def last_date(path: Path, ticker: str) -> pd.Timestamp:
    """Newest finished trade date of an answer. Raises SourceError as the parse half."""
    return yahoo.read_chart(path, ticker)["trade_date"].max()


def next_close(last: pd.Timestamp) -> pd.Timestamp:
    """When the session after `last` is complete, UTC."""
    return market_calendar.as_of_time(market_calendar.session_on_or_after(last + pd.Timedelta(days=1)))


def _coverage(ticker: str, path: Path) -> Coverage:
    bars = yahoo.read_chart(path, ticker)
    return Coverage(len(bars), bars["trade_date"].max().date())
