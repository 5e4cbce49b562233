"""What the `cbi bundle` commands print and leave behind."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime

import pytest

from cbi_pipeline.bundle.build import build_bundle
from cbi_pipeline.bundle.read import read_manifest
from cbi_pipeline_tests.projects import STARTER, flip_byte


def test_the_starter_bundle_verifies(cbi):
    answer = cbi("bundle", "verify")
    assert answer.code == 0
    assert re.search(r"ok: \d{8}T\d{6}Z-[0-9a-f]{8}, 7 tables, [\d,]+ rows, trade dates .* to 2024-12-31", answer.out)


def test_a_corrupted_bundle_is_refused_by_name(cbi, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(STARTER, damaged)
    flip_byte(damaged / "cot_weekly.parquet")
    answer = cbi("bundle", "verify", str(damaged))
    assert answer.code == 1
    assert "BundleError" in answer.err
    assert "cot_weekly.parquet" in answer.err
    assert "To fix:" in answer.err
    assert "Traceback" not in answer.err


def test_bundles_are_listed_with_what_is_wrong_with_them(cbi, new_settings):
    sound = new_settings.bundles_dir / "20250101T000000Z-00000000"
    shutil.copytree(STARTER, sound)
    (sound / "_SUCCESS").unlink()
    answer = cbi("bundle", "list")
    assert answer.code == 0
    assert re.search(r"20250101T000000Z-00000000 here absent: .*_SUCCESS", answer.out)
    assert re.search(r"\S+ starter 2026-11-24 08:36 2002-07-01 to 2024-12-31 367,201 \d\.\d 50 ok", answer.out)


def test_building_without_provider_files_is_refused(cbi, new_settings):
    answer = cbi("bundle", "build")
    assert answer.code == 1
    assert "SourceError" in answer.err
    assert not new_settings.bundles_dir.exists()


def test_a_bundle_is_published_and_synced(cbi, bundle_uri, new_settings):
    cbi.set("CBI_BUNDLE_URI", bundle_uri)
    version = read_manifest(STARTER).dataset_version
    assert f"Bundle {version} published in {bundle_uri}" in cbi("bundle", "publish", str(STARTER)).out
    assert "was published already" in cbi("bundle", "publish", str(STARTER)).out
    answer = cbi("bundle", "sync")
    assert (answer.code, f"newest bundle of {bundle_uri}, {version}" in answer.out) == (0, True)
    assert (new_settings.bundles_dir / version / "_SUCCESS").is_file()
    assert "no dataset_version" in cbi("bundle", "sync", "latest").err


@pytest.mark.parametrize("command", [["bundle", "publish"], ["bundle", "sync"]])
def test_without_a_bucket_the_variable_is_named(cbi, command):
    answer = cbi(*command)
    assert (answer.code, "CBI_BUNDLE_URI" in answer.err) == (1, True)


def test_bundles_are_listed_where_they_are(cbi, bundle_uri, new_settings):
    cbi.set("CBI_BUNDLE_URI", bundle_uri)
    cbi("bundle", "publish", str(STARTER))
    cbi("bundle", "sync")
    answer = cbi("bundle", "list")
    version = read_manifest(STARTER).dataset_version
    for where in ("here", "starter", bundle_uri):
        assert re.search(rf"{version} {re.escape(where)} .* 2002-07-01 to 2024-12-31 367,201", answer.out), where


def test_the_difference_of_two_bundles_is_printed(cbi, new_settings, starter_tables):
    prices = starter_tables["futures_daily"]
    day = prices["symbol"].eq("ZL") & prices["trade_date"].eq("2020-03-02")
    before = int(prices.loc[day, "volume"].iloc[0])
    prices.loc[day, "volume"] = before + 5
    built = build_bundle(starter_tables, new_settings.bundles_dir, compression_level=1)
    answer = cbi("bundle", "diff", "starter", built.manifest.dataset_version)
    assert answer.code == 0
    assert "futures_daily: 0 rows added, 0 removed, 1 values of history revised" in answer.out
    assert re.search(rf"ZL 2020-03-02 volume {before} {before + 5}", answer.out)
    assert "The same rows." in cbi("bundle", "diff", "starter", str(STARTER)).out
    absent = cbi("bundle", "diff", "starter", "20200101T000000Z-00000000")
    assert (absent.code, "a bundle is a folder" in absent.err) == (1, True)


def test_pruning_says_what_goes_and_what_stays(cbi, new_settings, starter_tables):
    for year in (2020, 2021):
        starter_tables["policy"] = starter_tables["policy"].iloc[:-1]
        moment = datetime(year, 1, 2, tzinfo=UTC)
        build_bundle(starter_tables, new_settings.bundles_dir, created_at=moment, compression_level=1)
    newer, older = sorted((path.name for path in new_settings.bundles_dir.iterdir()), reverse=True)
    dry = cbi("bundle", "prune", "--keep", "1", "--dry-run")
    assert f"kept {newer}: one of the newest 1, the newest sound one" in dry.out
    assert f"would remove {older}" in dry.out
    assert (new_settings.bundles_dir / older).is_dir()
    assert f"removed {older}" in cbi("bundle", "prune", "--keep", "1").out
    assert not (new_settings.bundles_dir / older).exists()
    assert "Nothing to remove." in cbi("bundle", "prune", "--keep", "1").out
    assert cbi("bundle", "prune", "--keep", "0").code == 1


def test_a_bucket_is_pruned_after_a_question_where_models_are(
    cbi, bundle_uri, new_settings, starter_tables, monkeypatch
):
    cbi.set("CBI_BUNDLE_URI", bundle_uri)
    cbi("bundle", "publish", str(STARTER))
    starter_tables["policy"] = starter_tables["policy"].iloc[:-1]
    moment = datetime(2020, 1, 2, tzinfo=UTC)
    built = build_bundle(starter_tables, new_settings.bundles_dir, created_at=moment, compression_level=1)
    cbi("bundle", "publish", str(built.path))
    command = ("bundle", "prune", "--published", "--keep", "1")
    refused = cbi(*command, "--yes")
    assert (refused.code, "No model is stored here" in refused.err) == (1, True)
    monkeypatch.setattr("cbi_pipeline.stages.bundles.datasets_of_models", lambda models_dir: {})
    monkeypatch.setattr("typer.confirm", lambda question: "for everyone" not in question)
    for asked in (cbi(*command, "--dry-run"), cbi(*command)):
        assert f"would remove {bundle_uri}/{built.path.name}" in asked.out
        assert built.path.name in cbi("bundle", "list").out
    assert "removed 1" in cbi(*command, "--yes").out
    assert not re.search(rf"{built.path.name} {re.escape(bundle_uri)}", cbi("bundle", "list").out)
    assert built.path.is_dir(), "this machine's copy is another matter"
    assert "Nothing to remove." in cbi(*command, "--yes").out
