"""Limits on what is kept: what may go, and what never goes."""

from __future__ import annotations

import json
import os
import shutil
import time
from datetime import date
from types import SimpleNamespace

import dagster as dg
import pytest

from cbi_pipeline.bundle.read import read_manifest
from cbi_pipeline.definitions import build_definitions
from cbi_pipeline.errors import CbiError, ModelError
from cbi_pipeline.operation.prune import OldRuns, Prunable, prunable, prune
from cbi_pipeline.orchestration.history import old_runs
from cbi_pipeline.orchestration.instance import prepare_dagster_home
from cbi_pipeline.registry.artifacts import ModelContent, model_version, save_model
from cbi_pipeline.registry.champion import load_champion, read_champion, set_candidate, set_champion
from cbi_pipeline_tests.projects import STARTER, new_project, run_job

NO_RUNS = OldRuns((), lambda run_id: None)
OLD = time.time() - 400 * 24 * 3600


def limited(settings):
    return settings.model_copy(
        update={"keep_models": 1, "keep_bundles": 1, "keep_days_of_artifacts": 30, "keep_days_of_logs": 30}
    )


def aged(path):
    os.utime(path, (OLD, OLD))
    return path


def of_kind(found, kind):
    return {thing.name for thing in found if thing.kind == kind}


def save_another(settings, number):
    """A refit of the champion on a bundle of its own, which verifies."""
    model = load_champion(settings.models_dir)
    content = ModelContent(
        state_dict=model.state_dict,
        config=model.config,
        scaler_path=model.scaler_path,
        feature_names=model.feature_names,
        feature_hash=model.feature_hash,
        feature_lock=model.feature_lock,
        anchor=model.anchor,
        calibration=model.calibration,
        metrics={**model.metrics, "number": number},
    )
    name = model_version("tcn", date(2024, 12, 31), content)
    provenance = {"dataset_version": bundle(number), "code_commit": "none"}
    return aged(save_model(settings.models_dir, name, content, card="a card", provenance=provenance)).name


def bundle(number):
    return f"202001{number:02d}T000000Z-00000000"


@pytest.fixture
def project(copied_settings):
    """The finished project with champion, previous and candidate, a model too many, bundles, old computed files."""
    settings = copied_settings
    first = aged(settings.models_dir / read_champion(settings.models_dir).model_version).name
    champion, candidate, extra, newest = (save_another(settings, number) for number in (1, 2, 3, 4))
    os.utime(settings.models_dir / newest)
    set_champion(
        settings.models_dir, champion, admission="judged", by="a test", reason="a test", replacing=first, by_hand=True
    )
    set_candidate(settings.models_dir, candidate)
    for number in (1, 2, 3, 5, 9):
        (settings.bundles_dir / bundle(number)).mkdir(parents=True)
        (settings.bundles_dir / bundle(number) / "file").write_bytes(b"x" * 100)
    shutil.copytree(STARTER, settings.bundles_dir / read_manifest(STARTER).dataset_version)
    for reference in (settings.dagster_dir / "references").rglob("*.json"):  # a copied project's point to the original
        text = reference.read_text().replace(str(finished_dir(reference)), str(settings.artifacts_dir))
        reference.write_text(text)
    shutil.copytree(next(settings.artifacts_dir.glob("features/*")), settings.artifacts_dir / "features" / ("0" * 16))
    shutil.copytree(next(settings.artifacts_dir.glob("features/*")), settings.artifacts_dir / "features" / ("1" * 16))
    for artifact in settings.artifacts_dir.glob("*/*"):
        aged(artifact)
    os.utime(settings.artifacts_dir / "features" / ("1" * 16))
    return limited(settings), {"champion": champion, "first": first, "candidate": candidate, "extra": extra}


def finished_dir(reference):
    """Artifacts folder that a stored reference names; of one that names none, itself."""
    path = json.loads(reference.read_text()).get("path", "")
    return path.split("/artifacts/")[0] + "/artifacts" if "/artifacts/" in path else reference


def test_what_serves_or_served_or_was_refitted_stays_with_its_bundle(project):
    settings, models = project
    found = prunable(settings, NO_RUNS)
    assert of_kind(found, "model") == {models["extra"]}
    # of 9, 5, 3, 2, 1 and the starter's: the newest stays, and those of champion, candidate and previous
    assert of_kind(found, "bundle") == {bundle(9), bundle(5), bundle(3)}
    assert sum(thing.bytes for thing in found if thing.kind == "bundle") == 300
    (settings.models_dir / "champion.json").write_text("{")
    with pytest.raises(ModelError, match="The alias is not valid"):
        prunable(settings, NO_RUNS)


def test_computed_files_go_when_they_are_old_and_no_asset_refers_to_them(project):
    settings, _ = project
    going = of_kind(prunable(settings, NO_RUNS), "computed files")
    assert f"features/{'0' * 16}" in going
    assert f"features/{'1' * 16}" not in going, "it is not old"
    references = [json.loads(file.read_text()) for file in (settings.dagster_dir / "references").rglob("*.json")]
    named = {"/".join(own["path"].split("/")[-2:]) for own in references if "key" in own}
    assert len(named) >= 8
    assert not named & going


def test_what_is_said_to_go_is_what_goes_and_the_rest_stays(project):
    settings, models = project
    deleted = []
    runs = OldRuns((Prunable("run", "one", 10),), deleted.append)
    found = prunable(settings, runs)
    with pytest.raises(CbiError, match="run 1 is at work"):
        prune(settings, runs, why_busy=lambda: "run 1 is at work")
    assert prunable(settings, runs) == found
    assert prune(settings, runs, why_busy=lambda: None) == found
    assert prunable(settings, NO_RUNS) == []
    assert deleted == ["one"]
    assert not (settings.models_dir / models["extra"]).exists()
    kept = {path.name for path in settings.bundles_dir.iterdir() if not path.name.startswith(".")}
    assert kept == {bundle(1), bundle(2), read_manifest(STARTER).dataset_version}
    assert not (settings.artifacts_dir / "features" / ("0" * 16)).exists()
    serving = load_champion(settings.models_dir)
    assert serving.model_version == models["champion"]
    run_job(settings, "daily")


def test_old_runs_go_with_their_events_but_not_the_last_of_an_asset(finished_run, tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", "")
    settings = limited(new_project(tmp_path / "project"))
    shutil.copytree(finished_run.settings.dagster_dir, settings.dagster_dir, dirs_exist_ok=True)
    prepare_dagster_home(settings)
    with dg.DagsterInstance.get() as instance:
        (kept,) = (run.run_id for run in instance.get_runs())
        old = instance.create_run_for_job(build_definitions(settings).resolve_job_def("daily")).run_id
        instance.report_run_failed(instance.get_run_by_id(old))
        monkeypatch.setattr("cbi_pipeline.orchestration.history.time", SimpleNamespace(time=lambda: time.time() + 1e8))
        runs = old_runs(settings, instance)
        assert [run.name for run in runs.found] == [old]
        assert runs.found[0].bytes > 10_000
        runs.delete(old)
        assert [run.run_id for run in instance.get_runs()] == [kept]
        assert old_runs(settings, instance).found == ()
        assert instance.get_latest_materialization_event(dg.AssetKey("champion")).run_id == kept
    assert not list(settings.dagster_dir.rglob(f"{old}*"))
    assert list(settings.dagster_dir.rglob(f"{kept}*"))
