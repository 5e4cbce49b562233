"""A build publishes all or nothing, never twice and never over anything."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline import atomic
from cbi_pipeline.bundle import build
from cbi_pipeline.bundle.build import build_bundle, current_producer
from cbi_pipeline.bundle.read import load_tables
from cbi_pipeline.bundle.store import LocalBundleStore
from cbi_pipeline.bundle.verify import verify_bundle
from cbi_pipeline.contracts.manifest import MANIFEST_FILE, SUCCESS_FILE
from cbi_pipeline.errors import BundleError, CbiError

Tables = dict[str, pd.DataFrame]
Listing = Callable[[Path], dict[str, tuple[int, int]]]

NOON = datetime(2024, 12, 31, 12, tzinfo=UTC)


@pytest.fixture
def refused(store_dir: Path, listing: Listing) -> Callable[..., None]:
    """Build, expect a refusal with file, row, rule and fix, and an untouched store that held a bundle before."""

    def refuse(tables: Tables, subject: str, rule: str) -> None:
        store_dir.mkdir(exist_ok=True)
        before = listing(store_dir)
        with pytest.raises(BundleError) as caught:
            build_bundle(tables, store_dir)
        assert subject in caught.value.subject
        assert rule in caught.value.rule
        assert "nothing was written" in caught.value.fix
        assert listing(store_dir) == before

    return refuse


def row_of(frame: pd.DataFrame, symbol: str, day: str) -> int:
    return frame.index[(frame["symbol"] == symbol) & (frame["trade_date"] == day)][0]


def test_a_build_verifies_and_gives_the_rows_back(starter_tables: Tables, store_dir: Path) -> None:
    shuffled = {name: frame.sample(frac=1, random_state=0) for name, frame in starter_tables.items()}
    built = build_bundle(shuffled, store_dir, created_at=NOON)
    manifest = verify_bundle(built.path)
    assert manifest == built.manifest
    assert not built.reused
    assert manifest.dataset_version == built.path.name
    assert manifest.dataset_version.startswith("20241231T120000Z-")
    assert (
        manifest.window.last_trade_date
        == starter_tables["futures_daily"].query("symbol == 'ZL'").trade_date.max().date()
    )
    assert manifest.producer == current_producer()
    for name, frame in load_tables(built.path).items():
        pd.testing.assert_frame_equal(frame, starter_tables[name])


def test_same_rows_same_bytes_and_no_second_copy(
    starter_tables: Tables, store_dir: Path, tmp_path: Path, listing: Listing
) -> None:
    first = build_bundle(starter_tables, store_dir, created_at=NOON)
    before = listing(store_dir)
    again = build_bundle(starter_tables, store_dir, created_at=NOON + timedelta(days=1))
    assert again.reused
    assert again.path == first.path
    assert listing(store_dir) == before
    elsewhere = build_bundle(starter_tables, tmp_path / "other", created_at=NOON)
    for file in first.path.iterdir():
        assert (elsewhere.path / file.name).read_bytes() == file.read_bytes()


def test_other_rows_make_a_newer_bundle_beside_the_old(
    starter_tables: Tables, store_dir: Path, listing: Listing
) -> None:
    first = build_bundle(starter_tables, store_dir, created_at=NOON)
    before = listing(first.path)
    starter_tables["policy"] = starter_tables["policy"].iloc[:-1]
    second = build_bundle(starter_tables, store_dir, created_at=NOON + timedelta(seconds=1))
    assert not second.reused
    assert second.manifest.content_sha256 != first.manifest.content_sha256
    assert listing(first.path) == before
    latest = LocalBundleStore(store_dir).latest().bundle
    assert latest is not None
    assert latest.path == second.path


@pytest.mark.parametrize("gap", [np.nan, None])
def test_missing_close_is_refused(starter_tables: Tables, refused: Callable[..., None], gap: object) -> None:
    prices = starter_tables["futures_daily"]
    prices.loc[row_of(prices, "ZL", "2020-03-02"), "close"] = gap
    refused(starter_tables, "(symbol=ZL, trade_date=2020-03-02)", "close must have a value")


def test_infinite_price_is_refused(starter_tables: Tables, refused: Callable[..., None]) -> None:
    prices = starter_tables["futures_daily"]
    prices.loc[row_of(prices, "ZL", "2020-03-02"), "open"] = np.inf
    refused(starter_tables, "(symbol=ZL, trade_date=2020-03-02)", "open must be finite")


def test_duplicate_row_is_refused_wherever_it_stands(starter_tables: Tables, refused: Callable[..., None]) -> None:
    prices = starter_tables["futures_daily"]
    row = prices.loc[[row_of(prices, "ZL", "2020-03-02")]]
    starter_tables["futures_daily"] = pd.concat([prices, row], ignore_index=True)
    refused(starter_tables, "futures_daily.parquet, row ", "(symbol, trade_date) must be unique")


def test_a_refused_build_leaves_an_existing_store_alone(
    starter_tables: Tables, store_dir: Path, refused: Callable[..., None]
) -> None:
    build_bundle(starter_tables, store_dir, created_at=NOON)
    weather = starter_tables["weather_daily"]
    weather.loc[weather.index[9], "precip_mm"] = -9999.0
    refused(starter_tables, "weather_daily.parquet, row 9 (region=", "precip_mm must satisfy")


def test_missing_table_and_wrong_columns_are_refused(starter_tables: Tables, refused: Callable[..., None]) -> None:
    refused({k: v for k, v in starter_tables.items() if k != "policy"}, "bundle", "missing ['policy']")
    starter_tables["policy"] = starter_tables["policy"].rename(columns={"value": "volume"})
    refused(starter_tables, "policy.parquet", "missing ['value'], unknown ['volume']")


def test_text_in_a_number_column_is_refused(starter_tables: Tables, refused: Callable[..., None]) -> None:
    starter_tables["policy"] = starter_tables["policy"].assign(value="1.0 billion")
    refused(starter_tables, "policy.parquet", "every column must hold the type")


def test_empty_table_is_refused(starter_tables: Tables, refused: Callable[..., None]) -> None:
    starter_tables["policy"] = starter_tables["policy"].iloc[:0]
    refused(starter_tables, "policy.parquet", "at least one row")


def test_unknown_source_is_refused(starter_tables: Tables, store_dir: Path) -> None:
    starter_tables["policy"] = starter_tables["policy"].assign(source="an unknown list")
    with pytest.raises(CbiError, match="an unknown list"):
        build_bundle(starter_tables, store_dir)
    assert not store_dir.exists()


def test_crash_in_the_middle_leaves_no_bundle(
    starter_tables: Tables, store_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def fails_at_the_manifest(path: Path, content: bytes) -> None:
        if path.name == MANIFEST_FILE:
            raise OSError(28, "No space left on device")
        written.append(path.name)
        atomic.write_synced(path, content)

    monkeypatch.setattr(build, "write_synced", fails_at_the_manifest)
    with pytest.raises(OSError, match="No space left"):
        build_bundle(starter_tables, store_dir)
    assert len(written) == len(starter_tables)
    assert list(store_dir.iterdir()) == []


def test_manifest_is_next_to_last_and_success_last(
    starter_tables: Tables, store_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def recording(path: Path, content: bytes) -> None:
        order.append(path.name)
        assert path.parent.name.startswith(".unfinished-")
        atomic.write_synced(path, content)

    monkeypatch.setattr(build, "write_synced", recording)
    build_bundle(starter_tables, store_dir)
    assert order[-2:] == [MANIFEST_FILE, SUCCESS_FILE]


def test_broken_copy_of_the_same_content_is_not_reused(starter_tables: Tables, store_dir: Path) -> None:
    first = build_bundle(starter_tables, store_dir, created_at=NOON)
    (first.path / SUCCESS_FILE).unlink()
    with pytest.raises(BundleError, match="never overwritten"):
        build_bundle(starter_tables, store_dir, created_at=NOON)
    again = build_bundle(starter_tables, store_dir, created_at=NOON + timedelta(seconds=1))
    assert not again.reused
    assert again.manifest.window.last_trade_date > date(2024, 1, 1)
    assert sorted(path.name for path in store_dir.iterdir()) == [first.path.name, again.path.name]


def test_a_bundle_that_another_build_published_meanwhile_is_reused(
    starter_tables: Tables, store_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other build is a second younger, so it has another name."""
    write = build.write_bundle_files

    def write_after_another(prepared: build.PreparedBundle, folder: Path) -> None:
        monkeypatch.setattr(build, "write_bundle_files", write)
        build_bundle(starter_tables, store_dir, created_at=NOON + timedelta(seconds=1))
        write(prepared, folder)

    monkeypatch.setattr(build, "write_bundle_files", write_after_another)
    built = build_bundle(starter_tables, store_dir, created_at=NOON)
    assert built.reused
    assert built.path.name.startswith("20241231T120001Z-")
    assert list(store_dir.iterdir()) == [built.path]
    assert verify_bundle(built.path) == built.manifest


def test_a_bundle_that_took_the_name_at_the_last_moment_is_reused(
    starter_tables: Tables, store_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = build.publish_directory

    def publish_after_another(unfinished: Path, final: Path) -> None:
        shutil.copytree(unfinished, final)
        publish(unfinished, final)

    monkeypatch.setattr(build, "publish_directory", publish_after_another)
    built = build_bundle(starter_tables, store_dir, created_at=NOON)
    assert built.reused
    assert list(store_dir.iterdir()) == [built.path]


def test_something_else_that_took_the_name_at_the_last_moment_is_left_alone(
    starter_tables: Tables, store_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = build.publish_directory

    def publish_after_another(unfinished: Path, final: Path) -> None:
        final.mkdir()
        (final / "thesis.odt").write_text("years of work")
        publish(unfinished, final)

    monkeypatch.setattr(build, "publish_directory", publish_after_another)
    with pytest.raises(FileExistsError):
        build_bundle(starter_tables, store_dir, created_at=NOON)
    assert [path.name for path in store_dir.glob("*/*")] == ["thesis.odt"]
