from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from cbi_pipeline import __version__, provenance


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package's features and calendar, which a test may edit; nothing cached."""
    source = provenance._PACKAGE_DIR
    folder = tmp_path / "cbi_pipeline"
    shutil.copytree(source / "features", folder / "features")
    shutil.copy(source / "market_calendar.py", folder)
    monkeypatch.setattr(provenance, "_PACKAGE_DIR", folder)
    return folder


def source_hash(*parts: str) -> str:
    return provenance.source_hash.__wrapped__(*parts)


def test_an_edit_of_a_named_part_changes_its_hash(package):
    before = source_hash("features"), source_hash("market_calendar")
    with (package / "features" / "prices.py").open("a") as file:
        file.write("# edited\n")
    after = source_hash("features"), source_hash("market_calendar")
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_renaming_a_file_changes_the_hash(package):
    before = source_hash("features")
    (package / "features" / "prices.py").rename(package / "features" / "price_columns.py")
    assert source_hash("features") != before


def test_the_hash_does_not_depend_on_where_the_package_lies(package):
    here = source_hash("features", "market_calendar")
    assert here == provenance.source_hash("features", "market_calendar")
    assert re.fullmatch("[0-9a-f]{64}", here)


def test_a_part_that_does_not_exist_is_an_error(package):
    with pytest.raises(FileNotFoundError, match="no_such_part"):
        source_hash("no_such_part")


@pytest.mark.parametrize("part", ["features", "modeling", "evaluation", "stages/training", "contracts/tables"])
def test_parts_that_stages_name_exist(part):
    assert provenance.source_hash(part)


def test_content_keys_hang_on_names_and_values_not_on_order():
    key = provenance.content_key(kind="cells", seed=1, fold={"a": 1, "b": 2})
    assert key == provenance.content_key(fold={"b": 2, "a": 1}, seed=1, kind="cells")
    others = [
        provenance.content_key(kind="cells", seed=2, fold={"a": 1, "b": 2}),
        provenance.content_key(kind="cells", seeds=1, fold={"a": 1, "b": 2}),
        provenance.content_key(kind="cells", seed="1", fold={"a": 1, "b": 2}),
    ]
    assert len({key, *others}) == 4


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    folder = tmp_path / "checkout"
    (folder / "cbi_pipeline").mkdir(parents=True)
    (folder / "cbi_pipeline" / "a.py").write_text("a = 1\n")
    git = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "a"], check=True)
    monkeypatch.setattr(provenance, "_PACKAGE_DIR", folder / "cbi_pipeline")
    return folder


def test_a_clean_checkout_is_named_by_its_commit(checkout):
    head = subprocess.run(["git", "-C", checkout, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    (checkout / "notes.txt").write_text("outside the package\n")
    assert provenance.code_commit.__wrapped__() == head.stdout.strip()


@pytest.mark.parametrize("name", ["a.py", "new.py"])
def test_edited_and_untracked_code_is_dirty(checkout, name):
    (checkout / "cbi_pipeline" / name).write_text("a = 2\n")
    assert provenance.code_commit.__wrapped__().endswith("-dirty")


def test_outside_a_checkout_the_release_is_named(package):
    assert provenance.code_commit.__wrapped__() == f"release-{__version__}"
