"""The starter bundle: small, whole, with owners and terms, and rebuilt only when its rows change."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline import atomic
from cbi_pipeline.bundle import starter
from cbi_pipeline.bundle.read import load_tables
from cbi_pipeline.bundle.starter import MAX_BYTES, build_starter, starter_readme, write_starter
from cbi_pipeline.bundle.verify import verify_bundle
from cbi_pipeline.errors import BundleError
from cbi_pipeline_tests.projects import forget_findings

Tables = dict[str, pd.DataFrame]
Listing = Callable[[Path], dict[str, tuple[int, int]]]


def test_committed_starter_is_whole_small_and_documented(starter_dir: Path) -> None:
    manifest = verify_bundle(starter_dir)
    assert manifest.findings, "without findings every forecast judges the rows anew"
    assert sum(path.stat().st_size for path in starter_dir.iterdir()) <= MAX_BYTES
    assert str(manifest.window.last_trade_date) == "2024-12-31"
    assert str(manifest.tables["futures_curve"].min_event_date) == "1985-01-02"
    readme = (starter_dir / "README.md").read_text()
    assert readme == starter_readme(manifest)
    for entry in manifest.tables.values():
        for source in entry.sources:
            assert source.owner in readme
            assert source.licence in readme
    for phrase in ("evaluation only", "HOLD", "cbi bundle build", "CBI_DATA_DIR"):
        assert phrase in readme


def test_same_rows_leave_the_starter_untouched(small_tables: Tables, tmp_path: Path, listing: Listing) -> None:
    folder = tmp_path / "starter"
    assert not write_starter(small_tables, folder).reused
    before = listing(tmp_path)
    assert write_starter(small_tables, folder).reused
    assert listing(tmp_path) == before


def test_other_rows_replace_the_starter(small_tables: Tables, tmp_path: Path) -> None:
    folder = tmp_path / "starter"
    first = write_starter(small_tables, folder)
    small_tables["policy"] = small_tables["policy"].iloc[:-1]
    second = write_starter(small_tables, folder)
    assert not second.reused
    assert verify_bundle(folder) == second.manifest != first.manifest
    assert list(tmp_path.iterdir()) == [folder]


def test_same_rows_under_other_rules_keep_their_version(small_tables: Tables, tmp_path: Path) -> None:
    """As a starter from before there were findings: its tables stay, byte for byte, and the manifest tells more."""
    folder = tmp_path / "starter"
    new = write_starter(small_tables, folder).manifest
    forget_findings(folder)
    tables = {path.name: path.read_bytes() for path in folder.glob("*.parquet")}
    assert verify_bundle(folder).findings is None
    assert not write_starter(small_tables, folder).reused
    assert verify_bundle(folder) == new
    assert {path.name: path.read_bytes() for path in folder.glob("*.parquet")} == tables


def test_folder_with_other_files_is_not_replaced(small_tables: Tables, tmp_path: Path, listing: Listing) -> None:
    (tmp_path / "starter").mkdir()
    (tmp_path / "starter" / "thesis.odt").write_text("years of work")
    before = listing(tmp_path)
    with pytest.raises(BundleError, match=r"thesis\.odt"):
        write_starter(small_tables, tmp_path / "starter")
    assert listing(tmp_path) == before


def test_too_large_a_starter_is_refused(
    starter_tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starter, "MAX_BYTES", 1_000_000)
    with pytest.raises(BundleError, match=r"weather_daily\.parquet: the starter bundle may have 1,000,000 bytes"):
        write_starter(starter_tables, tmp_path / "starter")
    assert list(tmp_path.iterdir()) == []


def fail_to_publish(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let the new starter's last step fail, when the old one is set aside already."""

    def fails(unfinished: Path, final: Path) -> None:
        assert not final.exists()
        raise error

    monkeypatch.setattr(starter, "publish_directory", fails)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()], ids=["disk", "ctrl-c"])
def test_failed_replacement_puts_the_old_starter_back(
    small_tables: Tables, tmp_path: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    folder = tmp_path / "starter"
    write_starter(small_tables, folder)
    before = listing(folder)
    small_tables["policy"] = small_tables["policy"].iloc[:-1]
    fail_to_publish(monkeypatch, error)
    with pytest.raises(type(error)):
        write_starter(small_tables, folder)
    assert listing(folder) == before
    assert list(tmp_path.iterdir()) == [folder]


def test_a_kill_during_replacement_loses_no_starter(
    small_tables: Tables, tmp_path: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill nothing is put back at once; the next build does it, even one that is refused."""
    folder = tmp_path / "starter"
    write_starter(small_tables, folder)
    before = listing(folder)
    settle = starter._settle
    monkeypatch.setattr(starter, "_settle", lambda set_aside, starter_dir: None)
    fail_to_publish(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        write_starter({**small_tables, "policy": small_tables["policy"].iloc[:-1]}, folder)
    assert not folder.exists()
    day_ago = time.time() - 25 * 3600
    for path in tmp_path.iterdir():
        os.utime(path, (day_ago, day_ago))
    atomic.remove_abandoned(tmp_path)
    monkeypatch.undo()
    assert starter._settle is settle
    with pytest.raises(BundleError, match="at least one row"):
        write_starter({**small_tables, "policy": small_tables["policy"].iloc[:0]}, folder)
    assert listing(folder) == before
    assert list(tmp_path.iterdir()) == [folder]


def test_a_kill_after_replacement_keeps_the_new_starter(
    small_tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "starter"
    write_starter(small_tables, folder)
    shorter = {**small_tables, "policy": small_tables["policy"].iloc[:-1]}
    with monkeypatch.context() as killed:
        killed.setattr(starter, "_settle", lambda set_aside, starter_dir: None)
        new = write_starter(shorter, folder)
    assert len(list(tmp_path.iterdir())) == 2
    assert write_starter(shorter, folder).reused
    assert verify_bundle(folder) == new.manifest
    assert list(tmp_path.iterdir()) == [folder]


def test_leavings_inside_the_starter_are_no_obstacle(small_tables: Tables, tmp_path: Path) -> None:
    folder = tmp_path / "starter"
    write_starter(small_tables, folder)
    ended = subprocess.Popen(["true"])
    ended.wait()
    (folder / f".unfinished-{ended.pid}-00000000").write_text("half of a README")
    (folder / ".DS_Store").write_bytes(b"Finder")
    assert write_starter(small_tables, folder).reused
    assert not write_starter({**small_tables, "policy": small_tables["policy"].iloc[:-1]}, folder).reused


def test_rows_before_the_span_are_left_out(starter_tables: Tables) -> None:
    prices = starter_tables["futures_daily"]
    earlier = prices.iloc[[0]].assign(trade_date=pd.Timestamp("1999-12-30"))
    starter_tables["futures_daily"] = pd.concat([prices, earlier], ignore_index=True)
    pd.testing.assert_frame_equal(starter.trim(starter_tables)["futures_daily"], prices)


def test_provider_files_give_the_committed_starter(starter_tables: Tables, provider_dir: Path, tmp_path: Path) -> None:
    """Readers, or data, that changed since the starter was committed show here. Prices may differ in the
    last bits: another processor may round a back-adjusted price differently."""
    build_starter(provider_dir, tmp_path / "starter")
    for name, rebuilt in load_tables(tmp_path / "starter").items():
        pd.testing.assert_frame_equal(rebuilt, starter_tables[name], rtol=1e-12, obj=name)
