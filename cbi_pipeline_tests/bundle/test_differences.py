"""Two bundles of real rows that differ in known places: each difference is told, with its old and new value."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.bundle.build import build_bundle
from cbi_pipeline.bundle.differences import bundle_differences
from cbi_pipeline.errors import BundleError


def built(tables: dict[str, pd.DataFrame], folder: Path, year: int) -> Path:
    return build_bundle(tables, folder, created_at=datetime(year, 1, 2, tzinfo=UTC), compression_level=1).path


def test_the_same_rows_differ_in_nothing(starter_dir: Path, starter_tables, tmp_path: Path) -> None:
    again = built(starter_tables, tmp_path, 2025)
    assert bundle_differences(starter_dir, again) == ()
    assert bundle_differences(starter_dir, starter_dir) == ()


def test_added_removed_and_revised_rows_are_told(starter_dir: Path, starter_tables, tmp_path: Path) -> None:
    prices, stocks = starter_tables["futures_daily"], starter_tables["macro_series"]
    day = prices["symbol"].eq("ZL") & prices["trade_date"].eq(pd.Timestamp("2020-03-02"))
    later = prices["symbol"].eq("ZL") & prices["trade_date"].gt(pd.Timestamp("2024-12-20"))
    older = dict(starter_tables)
    older["futures_daily"] = prices[~later].reset_index(drop=True)
    older["futures_daily"].loc[day[~later].to_numpy(), "volume"] += 5
    at = stocks.index[stocks["series_id"].eq("MPOB_PALM_STOCKS")][10]
    older["macro_series"] = stocks.drop(index=at).reset_index(drop=True)
    newer = dict(starter_tables)
    newer["policy"] = starter_tables["policy"].iloc[:-1]
    found = {one.table: one for one in bundle_differences(built(older, tmp_path, 2024), built(newer, tmp_path, 2025))}
    assert set(found) == {"futures_daily", "macro_series", "policy"}

    zl = found["futures_daily"]
    assert len(zl.added) == int(later.sum()) > 3
    assert (len(zl.removed), zl.into_history, zl.adjusted) == (0, 0, 0)
    volume = int(prices.loc[day, "volume"].iloc[0])
    assert zl.revisions.to_dict("records") == [
        {"symbol": "ZL", "trade_date": pd.Timestamp("2020-03-02"), "column": "volume", "old": volume + 5, "new": volume}
    ]

    filled = found["macro_series"]
    assert (len(filled.added), filled.into_history, len(filled.revised)) == (1, 1, 0)
    assert filled.added["date"].iloc[0] == stocks.loc[at, "date"]

    assert [len(part) for part in (found["policy"].added, found["policy"].removed)] == [0, 1]
    assert found["policy"].removed["effective_year"].iloc[0] == 2025


def test_a_gap_that_is_filled_is_a_revision(starter_dir: Path, starter_tables, tmp_path: Path) -> None:
    rows = starter_tables["weather_daily"]
    at = rows.index[rows["precip_mm"].isna()][3]
    rows.loc[at, "precip_mm"] = 0.5
    (found,) = bundle_differences(starter_dir, built(starter_tables, tmp_path, 2025))
    assert found.revisions["column"].tolist() == ["precip_mm"]
    assert pd.isna(found.revisions["old"].iloc[0])
    assert found.revisions["new"].iloc[0] == 0.5


def test_a_later_roll_is_counted_apart(starter_dir: Path, starter_tables, tmp_path: Path) -> None:
    prices = starter_tables["futures_daily"]
    zl = prices["symbol"].eq("ZL")
    prices.loc[zl, "back_adjusted_close"] *= 1.01
    (found,) = bundle_differences(starter_dir, built(starter_tables, tmp_path, 2025))
    assert (found.adjusted, len(found.revisions)) == (int(zl.sum()), 0)


def test_a_bundle_that_was_altered_is_not_compared(starter_dir: Path, bundle: Path) -> None:
    (bundle / "policy.parquet").write_bytes(b"PAR1")
    (bundle / "_SUCCESS").write_text("0" * 64)
    with pytest.raises(BundleError, match="sha256"):
        bundle_differences(starter_dir, bundle)
