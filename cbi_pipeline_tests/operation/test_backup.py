"""Backup and restore of a finished project: whole, verified, and in the place of another state by force only."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import shutil
import signal
import sqlite3
import tarfile

import pytest

from cbi_pipeline.errors import CbiError
from cbi_pipeline.operation import restore as restoring
from cbi_pipeline.operation.backup import backup, read_archive, read_manifest
from cbi_pipeline.operation.restore import recover, restore
from cbi_pipeline.operation.state import MARKER, parts
from cbi_pipeline.processes import only_run
from cbi_pipeline.registry.champion import load_champion
from cbi_pipeline_tests.projects import STARTER, change_warehouse, flip_byte, new_project, stored


def idle():
    return None


def digests(settings):
    """sha256 of every file of the state, by path within the project."""
    files = [file for part in parts(settings) if part.path.is_dir() for file in part.path.rglob("*") if file.is_file()]
    files += [part.path for part in parts(settings) if part.path.is_file()]
    return {
        str(file.relative_to(settings.project_dir)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.name != ".aliases.lock"
    }


def without_sqlite(found):
    """SQLite writes its own counter of changes into the head of a copy."""
    return {name: digest for name, digest in found.items() if not name.endswith(".db")}


def left_over(settings):
    return [path for path in settings.project_dir.rglob(".*") if path.name.endswith((".restoring", ".replaced"))]


@pytest.fixture
def project(finished_run, tmp_path):
    """A copy of the finished project with Dagster's history, and one bundle."""
    settings = new_project(tmp_path / "project")
    shutil.copytree(finished_run.settings.project_dir, settings.project_dir, dirs_exist_ok=True)
    version = json.loads((STARTER / "manifest.json").read_text())["dataset_version"]
    shutil.copytree(STARTER, settings.bundles_dir / version)
    return settings


@pytest.fixture
def archive(project, tmp_path):
    backup(project, tmp_path / "state.tar.gz", with_bundles=False, why_busy=idle)
    return tmp_path / "state.tar.gz"


def altered(archive, target, change):
    """The archive with members as `change` leaves them: name, tar header and content of each."""
    with tarfile.open(archive) as old, tarfile.open(target, "w:gz") as new:
        members = [(member, old.extractfile(member).read()) for member in old]
        for member, content in change(members):
            new.addfile(member, io.BytesIO(content))
    return target


def test_an_archive_holds_the_whole_state_and_no_lock(project, archive):
    manifest = read_manifest(archive)
    names = set(manifest.files)
    champion = load_champion(project.models_dir).model_version
    assert {"models/champion.json", f"models/{champion}/weights.safetensors", "warehouse.duckdb"} <= names
    assert {"dagster/references/champion.json", "dagster/history/runs.db", "dagster/schedules/schedules.db"} <= names
    assert not [name for name in names if name.endswith((".aliases.lock", "-wal", "-shm", "run.lock"))]
    assert {name for name, _ in read_archive(archive)} == names
    assert [(bundle.included, bundle.manifest_sha256) for bundle in manifest.bundles] == [
        (False, (STARTER / "_SUCCESS").read_text().strip())
    ]
    with pytest.raises(CbiError, match="never replaces a file"):
        backup(project, archive, with_bundles=False, why_busy=idle)


def test_a_new_place_gets_the_same_models_rows_and_history(project, tmp_path):
    backup(project, tmp_path / "all.tar.gz", with_bundles=True, why_busy=idle)
    other = new_project(tmp_path / "other")
    restored = restore(other, tmp_path / "all.tar.gz", force=False, why_busy=idle)
    assert not restored.unchanged
    assert load_champion(other.models_dir).manifest_sha256 == load_champion(project.models_dir).manifest_sha256
    assert stored(other) == stored(project)
    with sqlite3.connect(other.dagster_dir / "history" / "runs.db") as runs:
        assert runs.execute("SELECT status FROM runs").fetchall() == [("SUCCESS",)]
    (bundle,) = other.bundles_dir.iterdir()
    assert restored.added_bundles == (bundle.name,)
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == {
        path.name: path.read_bytes() for path in (project.bundles_dir / bundle.name).iterdir()
    }
    assert not left_over(other)
    assert restore(other, tmp_path / "all.tar.gz", force=False, why_busy=idle).unchanged


def test_another_state_is_replaced_by_force_only(project, archive):
    before = digests(project)
    assert restore(project, archive, force=False, why_busy=idle).unchanged
    assert digests(project) == before
    change_warehouse(project, "UPDATE predictions SET status = 'PRODUCTION'")
    (project.models_dir / "champion.json").unlink()
    changed = digests(project)
    with pytest.raises(CbiError, match=r"models, warehouse\.duckdb of this machine, last changed") as refusal:
        restore(project, archive, force=False, why_busy=idle)
    assert "--force" in refusal.value.fix
    assert digests(project) == changed
    assert not restore(project, archive, force=True, why_busy=idle).unchanged
    assert without_sqlite(digests(project)) == without_sqlite(before)
    assert not left_over(project)


def test_a_refused_restore_adds_no_bundle_either(project, tmp_path):
    backup(project, tmp_path / "all.tar.gz", with_bundles=True, why_busy=idle)
    shutil.rmtree(project.bundles_dir)
    change_warehouse(project, "UPDATE predictions SET status = 'PRODUCTION'")
    with pytest.raises(CbiError, match="differ from the backup"):
        restore(project, tmp_path / "all.tar.gz", force=False, why_busy=idle)
    assert not list(project.bundles_dir.iterdir()), "a newer bundle would change what the next run uses"
    assert len(restore(project, tmp_path / "all.tar.gz", force=True, why_busy=idle).added_bundles) == 1


def test_a_warehouse_that_cannot_be_opened_is_replaced_by_force(project, archive):
    rows = stored(project)
    project.warehouse_path.write_bytes(b"no database" * 1000)
    with pytest.raises(CbiError, match="the present state cannot be read"):
        restore(project, archive, force=False, why_busy=idle)
    log = project.warehouse_path.with_name("warehouse.duckdb.wal")
    log.write_bytes(b"of the old file")
    restore(project, archive, force=True, why_busy=idle)
    assert stored(project) == rows
    assert not log.exists()


def test_nothing_is_copied_or_replaced_while_something_is_at_work(project, archive, tmp_path):
    before, answers = digests(project), iter([None, "run 1 is at work"])
    with pytest.raises(CbiError, match="run 1 is at work"):
        backup(project, tmp_path / "second.tar.gz", with_bundles=False, why_busy=lambda: next(answers))
    with pytest.raises(CbiError, match="run 1 is at work"):
        restore(project, archive, force=True, why_busy=lambda: "run 1 is at work")
    with only_run(project.dagster_dir):
        with pytest.raises(CbiError, match="another run is at work"):
            backup(project, tmp_path / "second.tar.gz", with_bundles=False, why_busy=idle)
        with pytest.raises(CbiError, match="another run is at work"):
            restore(project, archive, force=True, why_busy=idle)
    assert digests(project) == before
    assert {path.name for path in tmp_path.iterdir()} == {"project", "state.tar.gz"}


def renamed(old, new):
    def change(members):
        for member, content in members:
            member.name = new if member.name == old else member.name
            yield member, content

    return change


def with_manifest(edit):
    """Change the manifest itself, so that names and hashes fit again."""

    def change(members):
        (head, content), *rest = members
        manifest = json.loads(content)
        rest = edit(manifest, rest)
        content = json.dumps(manifest).encode()
        head.size = len(content)
        return [(head, content), *rest]

    return change


def listed_elsewhere(name):
    def edit(manifest, members):
        manifest["files"][name] = manifest["files"].pop("models/champion.json")
        for member, _ in members:
            member.name = name if member.name == "models/champion.json" else member.name
        return members

    return with_manifest(edit)


def as_link(members):
    for member, content in members:
        if member.name == "models/champion.json":
            member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/passwd", 0
        yield member, content


def flipped(members):
    for member, content in members:
        yield member, content[:-1] + bytes([content[-1] ^ 1]) if member.name == "warehouse.duckdb" else content


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda members: members[:-1], "is missing"),
        (lambda members: [*members, members[-1]], "is not the plain file"),
        (lambda members: members[1:], "does not begin with manifest.json"),
        (flipped, "the sha256 of warehouse.duckdb"),
        (as_link, "is not the plain file"),
        (renamed("models/champion.json", "models/../../champion.json"), "is not the plain file"),
        (listed_elsewhere("models/../../escaped.json"), "is no file of the state"),
        (listed_elsewhere("/escaped.json"), "is no file of the state"),
        (listed_elsewhere("models//champion.json"), "is no file of the state"),
        (listed_elsewhere("dagster/dagster.yaml"), "is no file of the state"),
        (listed_elsewhere("bundles/one/two"), "is no file of the state"),
    ],
)
def test_an_altered_archive_replaces_nothing(project, archive, tmp_path, change, rule):
    before = digests(project)
    with pytest.raises(CbiError, match=rule):
        restore(project, altered(archive, tmp_path / "altered.tar.gz", change), force=True, why_busy=idle)
    assert digests(project) == before
    assert not left_over(project)


def test_a_cut_archive_and_no_archive_replace_nothing(project, archive, tmp_path):
    before = digests(project)
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(CbiError, match="cut or damaged"):
        restore(project, cut, force=True, why_busy=idle)
    flip_byte(archive)
    with pytest.raises(CbiError, match=r"damaged|sha256|plain file"):
        restore(project, archive, force=True, why_busy=idle)
    with pytest.raises(CbiError, match="there is no such file"):
        restore(project, tmp_path / "none.tar.gz", force=True, why_busy=idle)
    with pytest.raises(CbiError, match="cut or damaged"):
        restore(project, project.models_dir / "champion.json", force=True, why_busy=idle)
    assert digests(project) == before


def killed(at_rename, work):
    """Do work in a child that kills itself before its rename number `at_rename`; whether it came that far."""
    child = os.fork()
    if child == 0:
        rename, calls = os.rename, itertools.count()

        def counted(*paths):
            if next(calls) == at_rename:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(*paths)

        restoring.os.rename = counted
        work()
        os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


def test_a_kill_at_any_rename_leaves_the_old_state_whole(project, archive):
    change_warehouse(project, "UPDATE predictions SET status = 'PRODUCTION'")
    shutil.rmtree(project.dagster_dir / "schedules")
    (project.models_dir / "candidate.json").unlink()
    old, mixed, at = digests(project), 0, 0
    while killed(at, lambda: restore(project, archive, force=True, why_busy=idle)):
        assert (project.project_dir / MARKER).exists()
        mixed += digests(project) != old
        assert recover(project)
        assert digests(project) == old, f"killed before rename {at}"
        assert not recover(project)
        at += 1
    assert at == 11, "6 parts, of which one was not there before"
    assert mixed >= 9, "the kills did fall into the middle"
    assert digests(project) != old, "the last child ended well"
    assert restore(project, archive, force=False, why_busy=idle).unchanged


def test_a_kill_while_the_old_state_is_put_back_does_no_harm(project, archive):
    change_warehouse(project, "UPDATE predictions SET status = 'PRODUCTION'")
    old = digests(project)
    assert killed(7, lambda: restore(project, archive, force=True, why_busy=idle))
    for at in range(4):
        assert killed(at, lambda: recover(project))
    assert recover(project)
    assert digests(project) == old


def test_a_disk_that_refuses_in_the_middle_leaves_the_old_state(project, archive, monkeypatch):
    change_warehouse(project, "UPDATE predictions SET status = 'PRODUCTION'")
    old, rename, calls = digests(project), os.rename, iter(range(1000))

    def failing(*paths):
        if next(calls) == 5:
            raise OSError(28, "No space left on device", str(paths[1]))
        rename(*paths)

    monkeypatch.setattr(restoring.os, "rename", failing)
    with pytest.raises(CbiError, match="the disk refuses"):
        restore(project, archive, force=True, why_busy=idle)
    assert digests(project) == old
    assert not (project.project_dir / MARKER).exists()
    assert not left_over(project)
