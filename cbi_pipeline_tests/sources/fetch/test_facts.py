"""The tables of facts that come with the package, and the releases that the starter bundle holds."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import cftc, epa, wasde
from cbi_pipeline.sources.fetch import facts


def test_the_facts_are_those_of_the_official_files(tmp_path: Path, provider_dir: Path) -> None:
    assert [file.outcome for file in facts.put_rfs(tmp_path)] == ["new"]
    assert [file.outcome for file in facts.put_cot_exceptions(tmp_path)] == ["new"]
    pd.testing.assert_frame_equal(epa.read_policy(tmp_path), epa.read_policy(provider_dir))
    ours, theirs = (
        cftc.read_release_exceptions(folder / "cftc" / cftc.EXCEPTIONS_FILE) for folder in (tmp_path, provider_dir)
    )
    assert ours == theirs
    assert [file.outcome for file in facts.put_rfs(tmp_path)] == ["not due"]


def test_a_rule_that_was_added_by_hand_stays_and_a_shorter_table_grows(tmp_path: Path) -> None:
    list(facts.put_rfs(tmp_path))
    path = tmp_path / "epa" / epa.FILE_NAME
    packaged = path.read_text()
    longer = packaged + packaged.splitlines()[-1].replace("2025,", "2026,", 1) + "\n"
    path.write_text(longer)
    assert [file.outcome for file in facts.put_rfs(tmp_path)] == ["not due"]
    assert path.read_text() == longer
    path.write_text("\n".join(packaged.splitlines()[:-2]) + "\n")
    assert [file.outcome for file in facts.put_rfs(tmp_path)] == ["updated"]
    assert path.read_text() == packaged


def test_a_table_that_does_not_read_is_named(tmp_path: Path) -> None:
    list(facts.put_rfs(tmp_path))
    path = tmp_path / "epa" / epa.FILE_NAME
    path.write_text(path.read_text().replace("final", "proposed"))
    with pytest.raises(SourceError, match="status must be 'final'"):
        list(facts.put_rfs(tmp_path))


def test_releases_before_oce_are_those_of_the_official_file(tmp_path: Path, provider_dir: Path) -> None:
    assert [file.outcome for file in facts.put_wasde_before_2010(tmp_path)] == ["new"]
    assert [file.outcome for file in facts.put_wasde_before_2010(tmp_path)] == ["not due"]
    ours, theirs = wasde.read_fundamentals(tmp_path), wasde.read_fundamentals(provider_dir)
    key = ["series_id", "release_date", "marketing_year"]
    before = theirs[theirs["release_date"] < "2010-04-01"]
    assert len(before) > 1_000
    pd.testing.assert_frame_equal(ours.sort_values(key, ignore_index=True), before.sort_values(key, ignore_index=True))


def test_without_the_starter_bundle_the_releases_are_missed_by_name(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(facts, "STARTER", tmp_path / "nowhere")
    with pytest.raises(SourceError, match="WASDE before 2010 is taken from here"):
        list(facts.put_wasde_before_2010(tmp_path))
    assert not (tmp_path / "usda").exists()
