"""Yahoo's daily rows: defects become gaps, closes stay, other dates are left out."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline import market_calendar
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import yahoo
from cbi_pipeline_tests.sources.fetch.shapes import chicago, yahoo_chart, yahoo_history

YAHOO_COLUMNS = ("Open", "High", "Low", "Close", "Volume")
HEADER = "Date,Open,High,Low,Close,Volume\n"


def _write(folder: Path, text: str) -> Path:
    (folder / "yahoo").mkdir()
    path = folder / "yahoo" / "ZL=F_2000_2019.csv"
    path.write_text(text)
    return path


def test_contradicting_ranges_become_gaps_and_closes_stay(tmp_path: Path) -> None:
    _write(
        tmp_path,
        HEADER
        + "2005-11-22,21.94,22.03,21.94,21.979999542236328,132\n"
        + "2005-11-23,21.95,22.03,21.90,21.63,132\n"  # settled below the low of the electronic session
        + "2005-11-24,21.63,21.63,21.63,21.63,18\n"  # Thanksgiving
        + "2005-11-25,21.63,21.63,21.63,,77\n",  # no close
    )
    rows = yahoo.read_daily(tmp_path, "ZL")
    assert [str(day.date()) for day in rows["trade_date"]] == ["2005-11-22", "2005-11-23"]
    assert rows["close"].tolist() == [21.98, 21.63]
    assert rows["high"].isna().tolist() == [False, True]
    assert rows[["open", "low"]].isna().all(axis=1).tolist() == [False, True]
    assert rows["is_roll"].isna().all()
    assert rows["contract"].isna().all()
    assert rows["available_at"].iloc[0] == pd.Timestamp("2005-11-22 20:00", tz="UTC")


def test_ranges_rounded_to_whole_numbers_become_gaps(tmp_path: Path) -> None:
    _write(tmp_path, HEADER + "2005-11-22,22,23,21,22.43,1\n2005-11-23,22,23,21,22.00,1\n")
    rows = yahoo.read_daily(tmp_path, "ZL")
    assert rows[["open", "high", "low"]].isna().all(axis=None)
    assert rows["close"].tolist() == [22.43, 22.0]


@pytest.mark.parametrize("symbol", yahoo.SYMBOLS)
def test_real_files(provider_dir: Path, symbol: str) -> None:
    rows = yahoo.read_daily(provider_dir, symbol)
    days = pd.DatetimeIndex(rows["trade_date"])
    assert days.difference(market_calendar.sessions("2000-11-13", "2019-12-31")).empty
    complete = rows.dropna(subset=["high"])
    assert (complete["high"] >= complete[["open", "close"]].max(axis=1)).all()
    assert (complete["low"] <= complete[["open", "close"]].min(axis=1)).all()
    # The 2001 hole stays a hole in the thin ZL file; crude oil's ranges are rounded to dollars throughout.
    if symbol == "ZL":
        assert market_calendar.sessions("2001-01-03", "2001-01-12").intersection(days).empty
    assert complete.empty is (symbol == "CL")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Date,Open,High,Low,Adj Close,Volume\n", "header"),
        (HEADER, "at least one row"),
        (HEADER + "2005-11-22,1,1,1,abc,1\n", "number"),
        (HEADER + "22/11/2005,1,1,1,1,1\n", "format"),
        (HEADER + "2005-11-22,1,1,1,1,1\n2005-11-22,1,1,1,1,1\n", "repeat"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, text: str, rule: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(SourceError, match=rule) as caught:
        yahoo.read_daily(tmp_path, "ZL")
    assert str(path) in caught.value.subject


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="missing") as caught:
        yahoo.read_daily(tmp_path, "ZL")
    assert "ZL=F_2000_2019.csv" in caught.value.subject


def _write_chart(folder: Path, content: bytes, symbol: str = "ZL") -> Path:
    path = yahoo.chart_path(folder, symbol)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("zone", ["America/New_York", "America/Chicago"])
def test_the_chart_service_says_what_the_history_page_says(provider_dir: Path, tmp_path: Path, zone: str) -> None:
    rows = yahoo_history(provider_dir)
    _write_chart(tmp_path, yahoo_chart(rows, chicago("2020-01-10 12:00"), zone=zone))
    pd.testing.assert_frame_equal(yahoo.read_daily(tmp_path, "ZL"), yahoo.read_daily(provider_dir, "ZL"))


def test_the_chart_answer_goes_on_where_the_history_ends(provider_dir: Path, tmp_path: Path) -> None:
    _write(tmp_path, yahoo.history_path(provider_dir, "ZL").read_text())
    _write_chart(tmp_path, yahoo_chart(yahoo_history(provider_dir, name="2015_on"), chicago("2025-01-02 14:30")))
    rows = yahoo.read_daily(tmp_path, "ZL")
    earlier = yahoo.read_daily(provider_dir, "ZL")
    pd.testing.assert_frame_equal(rows.iloc[: len(earlier)], earlier)
    assert rows["trade_date"].is_monotonic_increasing
    assert rows["trade_date"].is_unique
    assert rows["trade_date"].iloc[len(earlier)] == pd.Timestamp("2020-01-02")
    assert rows["trade_date"].iloc[-1] == pd.Timestamp("2024-12-31")


@pytest.mark.parametrize(
    ("made_at", "quote", "last", "close"),
    [
        ("2024-12-31 10:00", None, "2024-12-30", 40.0),  # the bar of a session that goes on
        ("2024-12-31 13:16", None, "2024-12-31", 41.0),
        ("2024-12-31 13:20", 41.5, "2024-12-31", 41.0),  # bar and quote: the bar
        ("2024-12-30 19:30", 40.5, "2024-12-30", 40.0),  # a quote of the evening session
    ],
)
def test_a_bar_counts_once_its_session_is_over(
    tmp_path: Path, made_at: str, quote: float | None, last: str, close: float
) -> None:
    days = ["2024-12-27", "2024-12-30", "2024-12-31"][: 2 if made_at < "2024-12-31" else 3]
    closes = [39.0, 40.0, 41.0][: len(days)]
    rows = pd.DataFrame({"Date": pd.to_datetime(days)} | dict.fromkeys(("Open", "High", "Low", "Close"), closes))
    path = _write_chart(tmp_path, yahoo_chart(rows.assign(Volume=1), chicago(made_at), quote=quote))
    newest = yahoo.read_chart(path, "ZL=F").iloc[-1]
    assert (newest["trade_date"], newest["close"]) == (pd.Timestamp(last), close)


@pytest.mark.parametrize(
    ("made_at", "counts"), [("13:14", False), ("13:15", True), ("14:00", True), ("14:01", False), ("19:05", False)]
)
def test_a_quote_counts_as_the_close_between_the_end_of_the_session_and_the_moment_of_looking(
    tmp_path: Path, made_at: str, counts: bool
) -> None:
    rows = pd.DataFrame({"Date": pd.to_datetime(["2024-12-30"])} | {name: [40.0] for name in YAHOO_COLUMNS})
    path = _write_chart(tmp_path, yahoo_chart(rows, chicago(f"2024-12-31 {made_at}"), quote=41.5))
    assert yahoo.read_chart(path, "ZL=F")["close"].tolist() == ([40.0, 41.5] if counts else [40.0])


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (b'"ZL=F"', b'"ZS=F"', "must hold ZL=F by day"),
        (b'"dataGranularity": "1d"', b'"dataGranularity": "1mo"', "by day"),
        (b'"close"', b'"last"', "chart service"),
        (b'"timestamp": [', b'"timestamp": [1, ', "chart service"),
        (b"America/New_York", b"America/Gotham", "chart service"),
        (b"39.5", b'"dear"', "chart service"),
        (b"39.5", b"NaN", "not readable JSON"),
        (b"39.5", b"null", "at least one finished"),
        (b'"result": [{', b'"result": null, "x": [{', "chart service"),
    ],
)
def test_another_answer_is_refused(tmp_path: Path, old: bytes, new: bytes, rule: str) -> None:
    rows = pd.DataFrame({"Date": pd.to_datetime(["2024-12-30"])} | {name: [39.5] for name in YAHOO_COLUMNS})
    content = yahoo_chart(rows, chicago("2024-12-31 12:00"))
    assert old in content
    path = _write_chart(tmp_path, content.replace(old, new))
    with pytest.raises(SourceError, match=rule) as caught:
        yahoo.read_chart(path, "ZL=F")
    assert str(path) in caught.value.subject
