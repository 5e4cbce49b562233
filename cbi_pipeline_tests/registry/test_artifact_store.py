from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from cbi_pipeline.errors import ModelError
from cbi_pipeline.registry import artifact_store
from cbi_pipeline.registry.artifact_store import ArtifactStore, verify_artifact
from cbi_pipeline_tests.projects import flip_byte

INPUTS = {"features": "abc", "config": {"seed": 1}}


class Build:
    """Writes two files, and counts how often it is asked to."""

    def __init__(self, text: str = "numbers") -> None:
        self.text, self.calls = text, 0

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        (folder / "part").mkdir()
        (folder / "part" / "a.txt").write_text(self.text)
        (folder / "b.txt").write_text("more")


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "artifacts")


def test_the_same_inputs_are_computed_once(store):
    build = Build()
    first = store.get_or_build("cells", INPUTS, build)
    second = ArtifactStore(store.root).get_or_build("cells", dict(reversed(INPUTS.items())), build)
    assert build.calls == 1
    assert (first.reused, second.reused) == (False, True)
    assert (first.path, first.key) == (second.path, second.key)
    assert (second.path / "part" / "a.txt").read_text() == "numbers"


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("cells", {**INPUTS, "config": {"seed": 2}}),
        ("cells", {**INPUTS, "code": "new"}),
        ("features", INPUTS),
    ],
)
def test_other_inputs_are_another_artifact(store, kind, inputs):
    build = Build()
    first = store.get_or_build("cells", INPUTS, build)
    other = store.get_or_build(kind, inputs, build)
    assert build.calls == 2
    assert other.path != first.path
    assert other.key != first.key


def test_the_index_records_inputs_and_hashes(store):
    artifact = store.get_or_build("cells", INPUTS, Build())
    index = json.loads((artifact.path / "artifact.json").read_text())
    assert index["inputs"] == INPUTS
    assert index["key"] == artifact.key
    assert sorted(index["files"]) == ["b.txt", "part/a.txt"]


def change_a_byte(folder):
    flip_byte(folder / "part" / "a.txt")


def remove_a_file(folder):
    (folder / "b.txt").unlink()


def add_a_file(folder):
    (folder / "c.txt").write_text("not computed here")


def remove_the_index(folder):
    (folder / "artifact.json").unlink()


def cut_the_index(folder):
    (folder / "artifact.json").write_text((folder / "artifact.json").read_text()[:40])


def garble_the_index(folder):
    (folder / "artifact.json").write_bytes(b"\xff\xfe{")


def empty_the_index(folder):
    (folder / "artifact.json").write_text("{}")


def make_the_index_a_list(folder):
    (folder / "artifact.json").write_text("[]")


def give_it_another_key(folder):
    index = json.loads((folder / "artifact.json").read_text())
    (folder / "artifact.json").write_text(json.dumps({**index, "key": "0" * 64}))


@pytest.mark.parametrize(
    "damage",
    [
        change_a_byte,
        remove_a_file,
        add_a_file,
        remove_the_index,
        cut_the_index,
        garble_the_index,
        empty_the_index,
        make_the_index_a_list,
        give_it_another_key,
    ],
)
def test_a_damaged_artifact_is_refused_and_computed_again(store, damage):
    build = Build()
    path = store.get_or_build("cells", INPUTS, build).path
    damage(path)
    with pytest.raises(ModelError, match="missing or was altered") as refusal:
        verify_artifact(path)
    assert refusal.value.subject == str(path)
    again = store.get_or_build("cells", INPUTS, build)
    assert build.calls == 2
    assert not again.reused
    assert verify_artifact(path) == path
    assert (path / "part" / "a.txt").read_text() == "numbers"
    assert not (path / "c.txt").exists()


def test_an_absent_artifact_is_refused(store):
    with pytest.raises(ModelError, match="missing"):
        verify_artifact(store.root / "cells" / "0123456789abcdef")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_build_that_stops_leaves_nothing_that_could_be_trusted(store, error):
    def stops(folder):
        (folder / "a.txt").write_text("half")
        raise error

    with pytest.raises(error):
        store.get_or_build("cells", INPUTS, stops)
    assert not [path for path in store.root.rglob("*") if path.is_file()]
    assert not store.get_or_build("cells", INPUTS, Build()).reused


def test_what_the_finder_leaves_changes_nothing(store):
    def build(folder):
        Build()(folder)
        (folder / ".DS_Store").write_bytes(b"Finder")

    path = store.get_or_build("cells", INPUTS, build).path
    (path / ".DS_Store").unlink()
    assert verify_artifact(path) == path
    (path / "part" / ".DS_Store").write_bytes(b"Finder")
    assert verify_artifact(path) == path
    assert store.get_or_build("cells", INPUTS, build).reused


def test_other_libraries_are_another_artifact(store, monkeypatch):
    first = store.get_or_build("cells", INPUTS, Build())
    installed = artifact_store._installed()
    for library in ("numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "TA-Lib", "torch"):
        monkeypatch.setattr(artifact_store, "_installed", lambda other=library: installed | {other: "another"})
        other = ArtifactStore(store.root).get_or_build("cells", INPUTS, Build())
        assert not other.reused
        assert other.key != first.key
    monkeypatch.setattr(artifact_store, "_installed", lambda: installed)
    assert ArtifactStore(store.root).get_or_build("cells", INPUTS, Build()).reused
    assert json.loads((first.path / "artifact.json").read_text())["libraries"]["numpy"] == version("numpy")


def test_an_artifact_that_another_process_stored_meanwhile_is_reused(store):
    """Two processes compute the same; the second to finish hands on what the first stored."""

    def build_after_another(folder):
        ArtifactStore(store.root).get_or_build("cells", INPUTS, Build("of the first"))
        Build("of the second")(folder)

    artifact = store.get_or_build("cells", INPUTS, build_after_another)
    assert artifact.reused
    assert (artifact.path / "part" / "a.txt").read_text() == "of the first"
    assert list(artifact.path.parent.iterdir()) == [artifact.path]


@pytest.mark.parametrize("damage", [change_a_byte, give_it_another_key])
def test_what_took_the_place_meanwhile_is_reused_only_if_it_is_the_same(store, damage):
    def build_after_another(folder):
        damage(ArtifactStore(store.root).get_or_build("cells", INPUTS, Build()).path)
        Build()(folder)

    with pytest.raises(FileExistsError):
        store.get_or_build("cells", INPUTS, build_after_another)


def test_two_processes_may_find_the_same_damage(store, monkeypatch):
    """The other one took the damaged artifact away since this one looked."""
    change_a_byte(store.get_or_build("cells", INPUTS, Build()).path)
    discard = artifact_store._discard

    def discard_after_another(damaged):
        monkeypatch.setattr(artifact_store, "_discard", discard)
        discard(damaged)
        discard(damaged)

    monkeypatch.setattr(artifact_store, "_discard", discard_after_another)
    assert not store.get_or_build("cells", INPUTS, Build()).reused
