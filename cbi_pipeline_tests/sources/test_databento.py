"""DBN files to trade-date rows: sessions, rolls, completeness, the CBOT settlements, and damaged files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cbi_pipeline import market_calendar
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import databento, term_structure

CHICAGO = "America/Chicago"


@pytest.fixture(scope="module")
def hourly(provider_dir: Path) -> databento.HourlyBars:
    return databento.read_hourly_bars(provider_dir)


@pytest.fixture(scope="module")
def daily(hourly: databento.HourlyBars) -> pd.DataFrame:
    return databento.daily_bars(hourly)


def _bars(*rows: tuple[str, int, float, float, float, float, int], until: str = "2024-12-01") -> databento.HourlyBars:
    """Bars of ZL from (Chicago start, instrument_id, open, high, low, close, volume)."""
    frame = pd.DataFrame(rows, columns=["start", "instrument_id", "open", "high", "low", "close", "volume"])
    frame["start"] = pd.DatetimeIndex(frame["start"]).tz_localize(CHICAGO).tz_convert("UTC")
    frame.insert(0, "symbol", "ZL")
    return databento.HourlyBars(frame, pd.Timestamp("2024-01-01", tz="UTC"), pd.Timestamp(until, tz="UTC"))


def test_evening_and_day_sessions_make_one_row() -> None:
    rows = databento.daily_bars(
        _bars(
            ("2024-07-07 19:00", 1, 40.0, 40.5, 39.9, 40.2, 10),  # Sunday evening
            ("2024-07-08 08:00", 1, 40.2, 41.0, 40.1, 40.9, 20),
            ("2024-07-08 13:00", 1, 40.9, 40.9, 40.3, 40.4, 30),
            ("2024-07-08 19:00", 1, 40.4, 42.0, 40.4, 41.5, 5),  # the evening belongs to the 9th
            ("2024-07-09 13:00", 1, 41.5, 41.6, 40.0, 40.1, 7),
        )
    )
    assert list(rows["trade_date"]) == [pd.Timestamp("2024-07-08"), pd.Timestamp("2024-07-09")]
    prices = rows[["open", "high", "low", "close", "volume"]]
    assert prices.to_numpy().tolist() == [[40.0, 41.0, 39.9, 40.4, 60], [40.4, 42.0, 40.0, 40.1, 12]]
    assert rows["is_roll"].tolist() == [False, False]
    assert rows["roll_ratio"].isna().all()


def test_a_row_is_written_only_when_its_session_has_ended() -> None:
    day = ("2024-07-08 13:00", 1, 40.9, 40.9, 40.3, 40.4, 30)
    evening_only = ("2024-07-08 19:00", 1, 40.4, 42.0, 40.4, 41.5, 5)
    assert list(databento.daily_bars(_bars(day, evening_only))["trade_date"]) == [pd.Timestamp("2024-07-08")]
    # The request ended at 18:59 UTC, 13:59 in Chicago: the last hour may be incomplete.
    assert databento.daily_bars(_bars(day, until="2024-07-08 18:59")).empty
    assert len(databento.daily_bars(_bars(day, until="2024-07-08 19:00"))) == 1


def test_a_half_day_is_complete_at_noon_and_a_holiday_bar_joins_the_next_session() -> None:
    rows = databento.daily_bars(
        _bars(
            ("2024-11-28 10:00", 1, 41.0, 41.2, 41.0, 41.1, 1),  # Thanksgiving
            ("2024-11-29 12:00", 1, 41.5, 41.6, 41.4, 41.5, 9),
        )
    )
    assert list(rows["trade_date"]) == [pd.Timestamp("2024-11-29")]
    assert rows[["open", "volume"]].to_numpy().tolist() == [[41.0, 10]]


def test_a_roll_day_uses_the_new_contract_only_and_the_ratio_compares_adjacent_bars() -> None:
    rows = databento.daily_bars(
        _bars(
            ("2024-07-08 13:00", 1, 40.0, 40.0, 40.0, 40.0, 10),
            ("2024-07-08 17:00", 1, 40.0, 99.0, 40.0, 42.0, 5),  # old contract, evening before the change
            ("2024-07-08 19:00", 2, 63.0, 64.0, 62.0, 63.5, 20),
            ("2024-07-09 13:00", 2, 63.5, 64.5, 61.0, 62.0, 30),
            ("2024-07-10 13:00", 3, 31.0, 31.0, 31.0, 31.0, 1),
            ("2024-07-10 19:00", 2, 62.0, 62.0, 62.0, 62.0, 1),  # back to the second contract
            ("2024-07-11 13:00", 2, 62.0, 62.0, 62.0, 62.0, 1),
        )
    )
    roll = rows.iloc[1]
    assert roll[["open", "high", "low", "close", "volume", "contract"]].tolist() == [63.0, 64.5, 61.0, 62.0, 50, "2"]
    assert rows["is_roll"].tolist() == [False, True, True, True]
    np.testing.assert_allclose(rows["roll_ratio"], [np.nan, 63 / 42, 31 / 62, 62 / 31])


def test_ratios_multiply_over_a_contract_that_has_no_row() -> None:
    rows = databento.daily_bars(
        _bars(
            ("2024-07-08 13:00", 1, 40.0, 40.0, 40.0, 40.0, 10),
            ("2024-07-08 19:00", 2, 50.0, 50.0, 50.0, 50.0, 5),  # the day session of the 9th is lost
            ("2024-07-09 19:00", 3, 60.0, 60.0, 60.0, 60.0, 5),
            ("2024-07-10 13:00", 3, 60.0, 60.0, 60.0, 60.0, 5),
        )
    )
    assert list(rows["trade_date"]) == [pd.Timestamp("2024-07-08"), pd.Timestamp("2024-07-10")]
    np.testing.assert_allclose(rows["roll_ratio"], [np.nan, 1.5])


def test_real_rows_are_sessions_and_the_lost_ones_are_known(daily: pd.DataFrame) -> None:
    oil = pd.DatetimeIndex(daily.loc[daily["symbol"] == "ZL", "trade_date"])
    calendar = market_calendar.sessions("2010-06-07", "2024-12-31")
    assert oil.difference(calendar).empty
    # Databento has no bars (2014-06-11, 2014-10-03, 2020-02-28), not the whole session (2020-02-27, 2020-06-30),
    # or followed an expiring contract that last traded in the morning (2018-07-06).
    assert {str(day.date()) for day in calendar.difference(oil)} == {
        "2014-06-11",
        "2014-10-03",
        "2018-07-06",
        "2020-02-27",
        "2020-02-28",
        "2020-06-30",
    }
    assert set(daily["symbol"]) == set(databento.SYMBOLS)
    assert daily["roll_ratio"].notna().equals(daily["is_roll"])
    assert (daily["high"] >= daily[["open", "close"]].max(axis=1)).all()
    assert (daily["low"] <= daily[["open", "close"]].min(axis=1)).all()


@pytest.mark.parametrize(
    ("first_bar", "last_bar", "trade_date"),
    [
        ("2019-03-08 01:00", "2019-03-08 19:00", "2019-03-08"),  # Friday, CST
        ("2019-03-11 00:00", "2019-03-11 18:00", "2019-03-11"),  # Monday after the clock went forward
        ("2019-11-01 00:00", "2019-11-01 18:00", "2019-11-01"),  # Friday, CDT
        ("2019-11-04 01:00", "2019-11-04 19:00", "2019-11-04"),  # Monday after the clock went back
        ("2019-11-29 14:00", "2019-11-29 18:00", "2019-11-29"),  # half-day after Thanksgiving
    ],
)
def test_real_sessions_around_clock_changes_and_a_half_day(
    hourly: databento.HourlyBars, daily: pd.DataFrame, first_bar: str, last_bar: str, trade_date: str
) -> None:
    first, last = pd.Timestamp(first_bar, tz="UTC"), pd.Timestamp(last_bar, tz="UTC")
    oil = hourly.bars[hourly.bars["symbol"] == "ZL"].set_index("start")
    session = oil.loc[first:last]
    assert session.index[0] == first
    assert session.index[-1] == last
    row = daily[(daily["symbol"] == "ZL") & (daily["trade_date"] == trade_date)].iloc[0]
    assert row["open"] == session["open"].iloc[0]
    assert row["close"] == session["close"].iloc[-1]
    assert row["volume"] == session["volume"].sum()


@pytest.fixture(scope="module")
def against_settlements(provider_dir: Path, daily: pd.DataFrame) -> pd.DataFrame:
    """|ZL close - leg| in cents/lb for every quoted leg of term_structure, with the Databento contract of the day."""
    oil = daily.loc[daily["symbol"] == "ZL", ["trade_date", "close", "contract"]]
    pairs = term_structure.read_legs(provider_dir).merge(oil, on="trade_date")
    return pairs.assign(distance=(pairs["price"] - pairs["close"]).abs(), year=pairs["trade_date"].dt.year)


# The leg nearest to the close. In 2022 term_structure does not quote the most active contract on a third of the days
# (2022-03-24..04-18, 05-09..06-23, 09-30..11-18), when the curve is 1-4 cents steep: there is nothing to be equal to.
SMALLEST_SHARE_OF_NEAREST_LEG = {2022: 0.61}


@pytest.mark.parametrize("year", range(2011, 2024))
def test_close_equals_the_nearest_leg_of_the_settlements(against_settlements: pd.DataFrame, year: int) -> None:
    pairs = against_settlements[against_settlements["year"] == year]
    nearest = pairs.groupby("trade_date")["distance"].min()
    assert len(nearest) >= 225
    assert nearest.median() <= 0.01
    assert (nearest < 0.1 + 1e-9).mean() >= SMALLEST_SHARE_OF_NEAREST_LEG.get(year, 0.70)


@pytest.mark.parametrize("year", range(2011, 2024))
def test_close_equals_the_settlement_of_the_same_contract(against_settlements: pd.DataFrame, year: int) -> None:
    """A Databento contract is identified once, over its whole life, as the delivery month with the smallest median."""
    identity = against_settlements.groupby(["contract", "contract_month"])["distance"].median()
    months = identity.reset_index().sort_values("distance").drop_duplicates("contract").set_index("contract")
    pairs = against_settlements[against_settlements["year"] == year]
    same = pairs.loc[pairs["contract_month"] == pairs["contract"].map(months["contract_month"]), "distance"]
    assert len(same) >= 145
    assert same.median() <= 0.01
    assert (same < 0.1 + 1e-9).mean() >= 0.92


def _file(provider_dir: Path) -> Path:
    return provider_dir / "databento" / "glbx-mdp3-20100606-20100630.ohlcv-1h.dbn.zst"


def _folder(tmp_path: Path) -> Path:
    (tmp_path / "databento").mkdir()
    return tmp_path / "databento"


def _refusal(data_dir: Path) -> SourceError:
    with pytest.raises(SourceError) as caught:
        databento.read_daily(data_dir)
    assert "get_range" in caught.value.fix
    return caught.value


def test_missing_folder_or_files_are_named(tmp_path: Path) -> None:
    assert _refusal(tmp_path).subject == str(tmp_path / "databento")
    _folder(tmp_path)
    assert "at least one *.dbn.zst" in _refusal(tmp_path).rule


@pytest.mark.parametrize("kept_share", [0.9, 0.01, 0.0])
def test_truncated_file_is_named(tmp_path: Path, provider_dir: Path, kept_share: float) -> None:
    whole = _file(provider_dir).read_bytes()
    damaged = _folder(tmp_path) / "a.dbn.zst"
    damaged.write_bytes(whole[: int(len(whole) * kept_share)])
    assert _refusal(tmp_path).subject == str(damaged)


@pytest.mark.parametrize(("bytes_lost", "rule"), [(30, "whole record"), (56 * 2000, "must reach")])
def test_shortened_records_are_noticed(tmp_path: Path, provider_dir: Path, bytes_lost: int, rule: str) -> None:
    with pa.input_stream(str(_file(provider_dir)), compression="zstd") as stream:
        raw = stream.read()
    damaged = _folder(tmp_path) / "a.dbn.zst"
    damaged.write_bytes(pa.compress(raw[:-bytes_lost], codec="zstd", asbytes=True))
    refusal = _refusal(tmp_path)
    assert refusal.subject == str(damaged)
    assert rule in refusal.rule


def test_another_format_is_named(tmp_path: Path) -> None:
    other = _folder(tmp_path) / "a.dbn.zst"
    other.write_bytes(pa.compress(b"ts_event,open,high,low,close\n", codec="zstd", asbytes=True))
    assert _refusal(tmp_path).subject == str(other)


def test_a_lost_month_is_named(tmp_path: Path, provider_dir: Path) -> None:
    folder = _folder(tmp_path)
    for name in ("20100606-20100630", "20100801-20100831"):
        shutil.copy(provider_dir / "databento" / f"glbx-mdp3-{name}.ohlcv-1h.dbn.zst", folder)
    refusal = _refusal(tmp_path)
    assert "20100801" in refusal.subject
    assert "2010-07-01" in refusal.rule
