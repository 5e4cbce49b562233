"""Listed contracts: the curve that they make, and the contract that the nearest one must have been."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.contracts.tables import FUTURES_CURVE
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import curve, term_structure, yahoo_contracts
from cbi_pipeline_tests.sources.fetch.shapes import chicago, yahoo_chart, yahoo_history


def _contracts(**prices: list[float | None]) -> pd.DataFrame:
    days = pd.date_range("2024-11-11", periods=5)
    months = {"ZLZ24": "2024-12", "ZLF25": "2025-01", "ZLK25": "2025-05"}
    parts = [
        pd.DataFrame(
            {"trade_date": days, "contract_month": months[name], "price": closes, "ticker": f"{name}.CBT"}
        ).dropna()
        for name, closes in prices.items()
    ]
    return pd.concat(parts, ignore_index=True)


def _front(*closes: float) -> pd.DataFrame:
    frame = pd.DataFrame({"trade_date": pd.date_range("2024-11-11", periods=len(closes)), "close": closes})
    return frame.assign(contract=None, is_roll=None, roll_ratio=np.nan)


def test_the_front_is_the_contract_with_its_close_and_a_roll_compares_one_contract() -> None:
    contracts = _contracts(ZLZ24=[40.0, 41.0, 42.0, 43.0, 44.0], ZLF25=[39.0, 40.5, 41.5, 42.5, 43.5])
    rows = yahoo_contracts.with_contracts(_front(40.0, 41.0, 42.0, 42.5, 43.5), contracts)
    assert rows["contract"].tolist() == ["ZLZ24.CBT"] * 3 + ["ZLF25.CBT"] * 2
    assert rows["is_roll"].tolist() == [pd.NA, False, False, True, False]
    np.testing.assert_allclose(rows["roll_ratio"], [np.nan, np.nan, np.nan, 41.5 / 42.0, np.nan])
    # the return across the roll is January's own
    assert rows["close"][3] / rows["roll_ratio"][3] / rows["close"][2] == pytest.approx(42.5 / 41.5)


def test_a_close_of_two_contracts_or_of_none_names_nothing() -> None:
    contracts = _contracts(ZLZ24=[40.0, 41.0, 42.0, 43.0, 44.0], ZLF25=[39.0, 41.0, 41.5, 42.5, 43.5])
    rows = yahoo_contracts.with_contracts(_front(40.0, 41.0, 42.0, 42.9, 44.0), contracts)
    assert rows["contract"].tolist() == ["ZLZ24.CBT", pd.NA, "ZLZ24.CBT", pd.NA, "ZLZ24.CBT"]
    assert rows["is_roll"].isna().all()


def test_a_deferred_contract_is_not_taken_for_the_front() -> None:
    rows = yahoo_contracts.with_contracts(_front(45.0, 46.0), _contracts(ZLK25=[45.0, 46.0, 47.0, 48.0, 49.0]))
    assert rows["contract"].isna().all()


def test_a_roll_to_a_contract_without_a_close_the_day_before_is_unknown() -> None:
    contracts = _contracts(ZLZ24=[40.0, 41.0, 42.0, 43.0, 44.0], ZLF25=[39.0, None, 41.5, 42.5, 43.5])
    rows = yahoo_contracts.with_contracts(_front(40.0, 41.0, 41.5), contracts)
    assert rows["contract"].tolist() == ["ZLZ24.CBT", "ZLZ24.CBT", "ZLF25.CBT"]
    assert rows["is_roll"].tolist() == [pd.NA, False, pd.NA]
    assert rows["roll_ratio"].isna().all()


def test_the_months_that_are_asked_for() -> None:
    months = yahoo_contracts.listed_months(pd.Timestamp("2024-11-14"))
    names = [yahoo_contracts.ticker(month) for month in months]
    assert names == [f"ZL{code}.CBT" for code in ("Z24", "F25", "H25", "K25", "N25", "Q25", "U25", "V25")]


def _write(folder: Path, name: str, rows: pd.DataFrame) -> None:
    path = yahoo_contracts.chart_path(folder, name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(yahoo_chart(rows, chicago("2025-01-02 14:30"), name))


def test_the_curve_goes_on_with_the_two_nearest_contracts_that_traded(tmp_path: Path, provider_dir: Path) -> None:
    (tmp_path / "term_structure").symlink_to(provider_dir / "term_structure")
    real = yahoo_history(provider_dir, name="2015_on")
    recent = real[real["Date"] >= "2023-11-01"]
    _write(tmp_path, "ZLH25.CBT", recent)
    _write(tmp_path, "ZLK25.CBT", recent.assign(Volume=recent["Volume"].where(recent["Date"] < "2024-12-30", 0)))
    _write(tmp_path, "ZLN25.CBT", recent)
    rows = curve.read_futures_curve(tmp_path)
    FUTURES_CURVE.pandera_schema().validate(FUTURES_CURVE.to_pandas(FUTURES_CURVE.to_arrow(rows)))
    collected = term_structure.read_futures_curve(tmp_path)
    pd.testing.assert_frame_equal(rows.iloc[: len(collected)], collected)
    later = rows.iloc[len(collected) :]
    assert later["trade_date"].min() == pd.Timestamp("2023-12-01")
    assert later.groupby("trade_date").size().eq(2).all()
    months = later.groupby("trade_date")["contract_month"].apply(list)
    assert months["2024-12-27"] == ["2025-03", "2025-05"]
    assert months["2024-12-30"] == ["2025-03", "2025-07"]
    assert later["source"].iloc[0] == "yahoo ZLH25.CBT daily"
    assert later["price"].iloc[0] == recent.set_index("Date")["Close"].round(3)["2023-12-01"]


def test_a_contract_that_is_quoted_after_its_month_is_refused(tmp_path: Path, provider_dir: Path) -> None:
    _write(tmp_path, "ZLV24.CBT", yahoo_history(provider_dir, name="2015_on").tail(5))
    with pytest.raises(SourceError, match="must end with its delivery month, 2024-10"):
        yahoo_contracts.read_contracts(tmp_path)
