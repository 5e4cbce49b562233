"""futures_daily: the splice of Yahoo and Databento, roll ratios, back-adjustment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.contracts.tables import FUTURES_DAILY
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import bursa, databento, futures, yahoo
from cbi_pipeline_tests.sources.fetch.shapes import chicago, yahoo_chart, yahoo_history


@pytest.fixture(scope="module")
def table(provider_dir: Path) -> pd.DataFrame:
    return futures.read_futures_daily(provider_dir)


def _rows(source: str, days: list[str], closes: list[float]) -> pd.DataFrame:
    frame = pd.DataFrame({"symbol": "ZL", "trade_date": pd.to_datetime(days), "close": closes, "volume": 1})
    return frame.assign(contract=None, is_roll=None, roll_ratio=None, source=source)


def test_splice_takes_each_provider_alone_and_keeps_yahoos_return() -> None:
    before = _rows("yahoo", ["2010-06-03", "2010-06-04", "2010-06-07", "2010-06-08"], [36.0, 37.0, 38.0, 99.0])
    after = _rows("databento", ["2010-06-07", "2010-06-08"], [38.5, 39.0]).assign(is_roll=False)
    rows = futures.splice(before, after)
    assert rows["close"].tolist() == [36.0, 37.0, 38.5, 39.0]
    assert rows["source"].tolist() == ["yahoo", "yahoo", "databento", "databento"]
    assert rows["is_roll"].tolist() == [pd.NA, pd.NA, True, False]
    np.testing.assert_allclose(rows["roll_ratio"], [np.nan, np.nan, 38.5 / 38.0, np.nan])
    assert rows["close"].iloc[2] / rows["roll_ratio"].iloc[2] / rows["close"].iloc[1] == pytest.approx(38.0 / 37.0)


def test_splice_without_a_common_day_is_refused() -> None:
    before = _rows("yahoo", ["2010-06-03", "2010-06-04"], [36.0, 37.0])
    with pytest.raises(SourceError, match="splice of ZL"):
        futures.splice(before, _rows("databento", ["2010-06-07"], [38.5]))


def test_yahoo_goes_on_where_databento_ends_and_no_return_mixes_two_contracts() -> None:
    around = _rows(
        "yahoo", ["2010-06-04", "2010-06-07", "2010-06-08", "2010-06-10", "2010-06-11"], [37, 38, 40, 42, 43]
    )
    within = _rows("databento", ["2010-06-07", "2010-06-08", "2010-06-09"], [38.5, 41.0, 42.0]).assign(is_roll=False)
    rows = futures.splice(around, within)
    assert rows["source"].tolist() == ["yahoo", "databento", "databento", "databento", "yahoo", "yahoo"]
    assert rows["is_roll"].tolist() == [pd.NA, True, False, False, True, pd.NA]
    # the newest date that both have is 8 June; from 9 to 10 June the return is 42 / 40 over 42 / 41
    np.testing.assert_allclose(rows["roll_ratio"], [np.nan, 38.5 / 38, np.nan, np.nan, 40 / 41, np.nan])


def test_yahoo_does_not_go_on_after_a_hole_of_more_than_a_week() -> None:
    around = _rows("yahoo", ["2010-06-07", "2010-06-28"], [38, 43])
    within = _rows("databento", ["2010-06-07", "2010-06-25"], [38.5, 42.0]).assign(is_roll=False)
    with pytest.raises(SourceError, match="2010-06-18 to 2010-06-25"):
        futures.splice(around, within)


def _folder_with(tmp_path: Path, provider_dir: Path, *names: str) -> Path:
    folder = tmp_path / "market"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(provider_dir / name)
    return folder


def test_without_databento_every_row_is_yahoos(tmp_path: Path, provider_dir: Path) -> None:
    folder = _folder_with(tmp_path, provider_dir, bursa.FCPO_FILE)
    (folder / "yahoo").mkdir()
    for symbol in databento.SYMBOLS:
        rows = yahoo_history(provider_dir, "CL" if symbol == "HO" else symbol)  # there is no file of HO=F
        yahoo.chart_path(folder, symbol).write_bytes(yahoo_chart(rows, chicago("2020-01-02 12:00"), f"{symbol}=F"))
    table = futures.read_futures_daily(folder)
    FUTURES_DAILY.pandera_schema().validate(FUTURES_DAILY.to_pandas(FUTURES_DAILY.to_arrow(table)))
    on_cme = table[table["symbol"] != "FCPO"]
    assert on_cme["source"].str.fullmatch(r"yahoo \w\w=F daily").all()
    assert on_cme["roll_ratio"].isna().all()
    assert on_cme.groupby("symbol")["trade_date"].max().eq(pd.Timestamp("2019-12-31")).all()


def test_real_rows_of_yahoo_follow_the_last_of_databento(provider_dir: Path, tmp_path: Path) -> None:
    names = [f"databento/{path.name}" for path in sorted((provider_dir / "databento").glob("*.zst"))[-2:]]
    folder = _folder_with(tmp_path, provider_dir, *names)
    last = pd.Timestamp("2024-12-20")
    within = databento.read_daily(folder).query("symbol == 'ZL' and trade_date <= @last")
    chart = yahoo_chart(yahoo_history(provider_dir, name="2015_on"), chicago("2025-01-02 14:30"))
    (folder / "yahoo").mkdir()
    yahoo.chart_path(folder, "ZL").write_bytes(chart)
    rows = futures.splice(yahoo.read_daily(folder, "ZL"), within).set_index("trade_date")
    live = yahoo.read_daily(folder, "ZL").set_index("trade_date")["close"]
    assert rows.loc[:last, "source"].iloc[-1].startswith("databento")
    after = rows.loc[last:].iloc[1:]
    assert after["source"].str.startswith("yahoo").all()
    assert after["is_roll"].tolist() == [True] + [pd.NA] * (len(after) - 1)
    moved = after["close"].iloc[0] / after["roll_ratio"].iloc[0] / rows.loc[last, "close"]
    assert moved == pytest.approx(live[after.index[0]] / live[last])
    assert abs(np.log(after["roll_ratio"].iloc[0])) < 0.02


def test_back_adjustment_scales_earlier_contracts_of_the_same_symbol() -> None:
    rows = pd.DataFrame(
        {
            "symbol": ["CL", "CL", "ZL", "ZL", "ZL", "ZL"],
            "close": [10.0, 11.0, 40.0, 50.0, 51.0, 25.0],
            "roll_ratio": [np.nan, 2.0, np.nan, 1.25, np.nan, 0.5],
        }
    )
    assert futures.back_adjusted_close(rows).tolist() == [20.0, 11.0, 25.0, 25.0, 25.5, 25.0]


def test_real_table_fits_its_contract(table: pd.DataFrame) -> None:
    arrow = FUTURES_DAILY.to_arrow(table)
    FUTURES_DAILY.pandera_schema().validate(FUTURES_DAILY.to_pandas(arrow))
    assert table["available_at"].notna().all()
    assert set(table["symbol"]) == {"ZL", "ZS", "ZM", "CL", "HO", "FCPO"}


@pytest.mark.parametrize("symbol", yahoo.SYMBOLS)
def test_real_splice(table: pd.DataFrame, provider_dir: Path, symbol: str) -> None:
    rows = table[table["symbol"] == symbol].reset_index(drop=True)
    is_yahoo = rows["source"].str.startswith("yahoo")
    start = int((~is_yahoo).idxmax())
    assert rows.loc[start, "trade_date"] == pd.Timestamp("2010-06-07")
    assert is_yahoo[:start].all()
    assert not is_yahoo[start:].any()
    assert rows.loc[start, "is_roll"]
    yahoo_close = yahoo.read_daily(provider_dir, symbol).set_index("trade_date")["close"]
    ours = rows.loc[start, "close"] / rows.loc[start, "roll_ratio"] / rows.loc[start - 1, "close"]
    assert ours == pytest.approx(yahoo_close["2010-06-07"] / yahoo_close["2010-06-04"])
    assert abs(np.log(rows.loc[start, "roll_ratio"])) < 0.002


def test_real_back_adjusted_returns_have_no_roll_jump(table: pd.DataFrame) -> None:
    rows = table[(table["symbol"] == "ZL") & table["source"].str.startswith(f"databento {databento.DATASET}")]
    assert rows["back_adjusted_close"].iloc[-1] == rows["close"].iloc[-1]
    raw = np.log(rows["close"]).diff().abs()
    adjusted = np.log(rows["back_adjusted_close"]).diff().abs()
    rolls = rows["is_roll"].to_numpy(dtype=bool)
    assert adjusted[rolls].mean() < 0.8 * raw[rolls].mean()
    assert np.allclose(adjusted[~rolls][1:], raw[~rolls][1:])
