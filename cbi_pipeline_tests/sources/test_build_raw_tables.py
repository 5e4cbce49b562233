"""All readers together: seven tables that keep their contracts, each row with a known owner and a sound time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.contracts.tables import RAW_TABLES
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import SOURCES, build_raw_tables, provenance_of


@pytest.fixture(scope="module")
def built(provider_dir: Path) -> tuple[dict[str, pd.DataFrame], list[str]]:
    said: list[str] = []
    return build_raw_tables(provider_dir, said.append), said


@pytest.fixture(scope="module")
def raw_tables(built: tuple[dict[str, pd.DataFrame], list[str]]) -> dict[str, pd.DataFrame]:
    return built[0]


def test_all_tables_in_build_order_with_progress(built: tuple[dict[str, pd.DataFrame], list[str]]) -> None:
    tables, said = built
    assert list(tables) == list(RAW_TABLES)
    assert said == [f"reading {name}" for name in RAW_TABLES]


@pytest.mark.parametrize("name", list(RAW_TABLES))
def test_table_keeps_its_contract(raw_tables: dict[str, pd.DataFrame], name: str) -> None:
    contract, frame = RAW_TABLES[name], raw_tables[name]
    assert len(frame) > 0
    contract.pandera_schema().validate(frame)
    contract.to_arrow(frame).validate(full=True)


@pytest.mark.parametrize("name", list(RAW_TABLES))
def test_nothing_is_known_before_its_day(raw_tables: dict[str, pd.DataFrame], name: str) -> None:
    frame = raw_tables[name]
    event = frame[RAW_TABLES[name].event_date].dt.tz_localize("UTC")
    # A market's or publisher's own day: its value comes with the close or the release. An observation of
    # weather, a rate or a survey is published on a later day.
    later_day = name in {"cot_weekly", "weather_daily"}
    assert (frame["available_at"] >= event + pd.Timedelta(days=1 if later_day else 0)).all()


def test_every_macro_series_is_known_after_its_day(raw_tables: dict[str, pd.DataFrame]) -> None:
    macro = raw_tables["macro_series"]
    lag = (macro["available_at"] - macro["date"].dt.tz_localize("UTC")).groupby(macro["series_id"])
    assert (lag.min() >= pd.Timedelta(days=1)).all()
    assert (lag.max()[["WB_PALM_OIL", "WB_SOYBEAN_OIL"]] <= pd.Timedelta(days=40)).all()
    assert (lag.min()[["WB_PALM_OIL", "WB_SOYBEAN_OIL"]] >= pd.Timedelta(days=28)).all()
    assert (lag.max()[["DGS10", "DGS2", "VIXCLS", "DEXBZUS", "DTWEXBGS"]] <= pd.Timedelta(days=10)).all()
    # From the first of the month described: 28 to 31 days, then the day of the next month.
    monthly = {"EPA_D4_RINS": (47, 55), "MPOB_PALM_STOCKS": (42, 46)}
    for series, (least, most) in monthly.items():
        assert pd.Timedelta(days=least) <= lag.min()[series] <= lag.max()[series] <= pd.Timedelta(days=most)


def test_publications_come_in_the_order_of_what_they_describe(raw_tables: dict[str, pd.DataFrame]) -> None:
    """So that the newest publication of a series is always its newest observation."""
    keys = {
        "macro_series": "series_id",
        "cot_weekly": "market_code",
        "weather_daily": "station",
        "fundamentals": "series_id",
    }
    for name, key in keys.items():
        ordered = raw_tables[name].sort_values([key, RAW_TABLES[name].event_date], kind="stable")
        assert ordered.groupby(key)["available_at"].is_monotonic_increasing.all(), name


def test_every_row_has_a_known_owner_in_its_table(raw_tables: dict[str, pd.DataFrame]) -> None:
    used = {
        (name, provenance_of(source).source)
        for name, frame in raw_tables.items()
        for source in frame["source"].unique()
    }
    live_only = {("futures_curve", "yahoo"), ("futures_curve", "databento GLBX.MDP3")}
    assert used == {(table, entry.source) for entry in SOURCES for table in entry.tables} - live_only


def test_sources_are_complete() -> None:
    for entry in SOURCES:
        assert all((entry.source, entry.provider, entry.product, entry.owner, entry.licence, entry.folder)), entry
        assert entry.url.startswith("https://")
        assert set(entry.tables) <= set(RAW_TABLES)
        assert provenance_of(entry.source) == entry
    with pytest.raises(SourceError, match="SOURCES"):
        provenance_of("somewhere else")


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        build_raw_tables(tmp_path)


def test_only_a_few_series_can_be_left_out(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot do without it") as caught:
        build_raw_tables(tmp_path, without=("fcpo", "wasde"))
    assert caught.value.subject == "wasde"
    assert "fcpo, emts, mpob" in caught.value.fix


def test_importing_sources_is_cheap() -> None:
    heavy = "pandas pyarrow databento"
    loaded = f"[m for m in '{heavy}'.split() if m in sys.modules]"
    code = f"import sys, cbi_pipeline.sources; sys.exit(' '.join({loaded}) or 0)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
