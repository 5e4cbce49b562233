"""The champion alias: moved whole, only to a model that verifies, and only when it has to move."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from cbi_pipeline.errors import ModelError
from cbi_pipeline.registry import champion as registry
from cbi_pipeline.registry.artifacts import MANIFEST_FILE, ModelContent, load_model, model_version, save_model
from cbi_pipeline.registry.champion import (
    CANDIDATE_FILE,
    CHAMPION_FILE,
    aliases,
    load_champion,
    prune,
    read_champion,
    roll_back,
    set_candidate,
)
from cbi_pipeline_tests.projects import REPOSITORY

SESSION = date(2024, 12, 31)
NOON = datetime(2025, 1, 2, 12, tzinfo=UTC)


def set_champion(models: Path, name: str, **values):
    """A promotion against whatever serves."""
    current = registry.replaceable_champion(models)
    defaults = {"admission": "judged", "by": "a test", "reason": "why not"}
    replacing = current.model_version if current else None
    return registry.set_champion(models, name, **{**defaults, "replacing": replacing, **values})


def another(content: ModelContent, models: Path, weight: float = 1.0) -> str:
    """Another stored model."""
    other = replace(content, anchor={"weight": weight})
    return save_model(models, model_version("tcn", SESSION, other), other, card="a card").name


def test_champion_is_an_alias_that_holds_its_manifest(content: ModelContent, models: Path, saved: Path) -> None:
    assert read_champion(models) is None
    with pytest.raises(ModelError, match="No model was promoted"):
        load_champion(models)
    champion = set_champion(models, saved.name, promoted_at=NOON)
    assert read_champion(models) == champion
    assert load_champion(models).model_version == saved.name

    manifest = saved / MANIFEST_FILE
    manifest.write_text(manifest.read_text().replace('"run_id": "1"', '"run_id": "2"'))
    load_model(saved)  # consistent in itself, but not what was signed off
    with pytest.raises(ModelError, match="not the one that was signed off"):
        load_champion(models)


def test_a_model_that_does_not_verify_is_not_promoted(content: ModelContent, models: Path, saved: Path) -> None:
    set_champion(models, saved.name, promoted_at=NOON)
    other = replace(content, anchor={"weight": 1.0})
    second = save_model(models, model_version("tcn", SESSION, other), other, card="a card")
    (second / "metrics.json").write_text("{}")
    for name in (second.name, "tcn-20200101-00000000", "../models"):
        with pytest.raises(ModelError):
            set_champion(models, name)
    assert load_champion(models).model_version == saved.name


@pytest.mark.parametrize("text", ["", "{}", '{"model_version": "x", "manifest_sha256": "y"}'])
def test_an_unreadable_alias_is_an_error_not_an_absence(models: Path, text: str) -> None:
    models.mkdir()
    (models / CHAMPION_FILE).write_text(text)
    with pytest.raises(ModelError, match="alias is not valid"):
        read_champion(models)


def test_promoting_the_champion_again_changes_nothing(models: Path, saved: Path) -> None:
    first = set_champion(models, saved.name, promoted_at=NOON)
    alias = models / CHAMPION_FILE
    before = (alias.read_bytes(), alias.stat().st_mtime_ns, alias.stat().st_ino)
    assert set_champion(models, saved.name, promoted_at=NOON + timedelta(days=1)) == first
    assert (alias.read_bytes(), alias.stat().st_mtime_ns, alias.stat().st_ino) == before


def test_the_same_version_saved_anew_is_promoted_anew(content: ModelContent, models: Path, saved: Path) -> None:
    """Its manifest differs (another time, another run), so the one that was signed off would refuse it."""
    first = set_champion(models, saved.name, promoted_at=NOON)
    saved.rename(models.parent / "moved away")
    save_model(models, saved.name, content, card="a card")
    second = set_champion(models, saved.name, promoted_at=NOON + timedelta(days=1))
    assert second.manifest_sha256 != first.manifest_sha256
    assert read_champion(models) == second
    assert load_champion(models).model_version == saved.name


def test_an_unreadable_alias_is_replaced(models: Path, saved: Path) -> None:
    (models / CHAMPION_FILE).write_text("{")
    set_champion(models, saved.name)
    assert load_champion(models).model_version == saved.name


# --- previous, candidate, rollback --------------------------------------------------------------------------------


def test_a_promotion_keeps_the_previous_champion_and_a_rollback_swaps_them(content, models, saved):
    first, second = saved.name, another(content, models)
    set_champion(models, first, promoted_at=NOON, admission="unjudged")
    set_champion(models, second, promoted_at=NOON + timedelta(days=1))
    assert aliases(models) == {"champion": second, "previous": first}

    champion = roll_back(models, by="someone", reason="it was wrong", promoted_at=NOON + timedelta(days=2))
    assert read_champion(models) == champion
    assert aliases(models) == {"champion": first, "previous": second}
    assert (champion.admission, champion.promoted_by, champion.reason) == ("unjudged", "someone", "it was wrong")
    assert champion.promoted_at == NOON + timedelta(days=2)
    assert load_champion(models).model_version == first

    roll_back(models, by="someone", reason="it was right after all")
    assert aliases(models) == {"champion": second, "previous": first}
    assert read_champion(models).admission == "judged"


def test_no_rollback_without_a_previous_champion_or_to_one_that_was_altered(content, models, saved):
    with pytest.raises(ModelError, match="No earlier champion"):
        roll_back(models, by="someone", reason="why")
    set_champion(models, saved.name)
    with pytest.raises(ModelError, match="No earlier champion"):
        roll_back(models, by="someone", reason="why")
    second = another(content, models)
    set_champion(models, second)
    (saved / "anchor.json").write_text("{}")
    before = (models / CHAMPION_FILE).read_bytes()
    with pytest.raises(ModelError, match="altered"):
        roll_back(models, by="someone", reason="why")
    assert (models / CHAMPION_FILE).read_bytes() == before


def test_a_model_judged_against_another_champion_is_not_promoted(content, models, saved):
    second, third = another(content, models), another(content, models, 2.0)
    set_champion(models, saved.name)
    set_champion(models, second)
    before = (models / CHAMPION_FILE).read_bytes()
    for judged_against in (None, saved.name):
        with pytest.raises(ModelError, match="has become champion since"):
            set_champion(models, third, replacing=judged_against)
    assert (models / CHAMPION_FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("before", "after", "recorded"),
    [
        ("unjudged", "judged", "judged"),
        ("override", "judged", "judged"),
        ("judged", "override", "override"),
        ("judged", "unjudged", "judged"),
        ("override", "unjudged", "override"),
    ],
)
def test_the_same_model_admitted_otherwise(models, saved, before, after, recorded):
    set_champion(models, saved.name, admission=before)
    assert set_champion(models, saved.name, admission=after).admission == recorded
    assert read_champion(models).previous is None


def test_the_candidate_is_an_alias_of_its_own(content, models, saved):
    set_champion(models, saved.name)
    second = another(content, models)
    set_candidate(models, second)
    assert aliases(models) == {"champion": saved.name, "candidate": second}
    (models / second / "metrics.json").write_text("{}")
    before = (models / CANDIDATE_FILE).read_bytes()
    with pytest.raises(ModelError):
        set_candidate(models, second)
    assert (models / CANDIDATE_FILE).read_bytes() == before


# --- prune ---------------------------------------------------------------------------------------------------------


def test_prune_keeps_what_an_alias_names_and_the_newest(content, models, saved):
    names = [saved.name, *(another(content, models, float(weight)) for weight in range(1, 6))]
    for age, name in enumerate(reversed(names)):
        os.utime(models / name, (1e9 - age, 1e9 - age))
    set_champion(models, names[0])
    set_champion(models, names[1])
    set_candidate(models, names[2])
    assert sorted(prune(models, keep=2)) == [names[3]]
    assert prune(models, keep=0) == [names[5], names[4]]
    assert sorted(path.name for path in models.iterdir() if path.is_dir()) == sorted(names[:3])
    assert roll_back(models, by="someone", reason="why").model_version == names[0]


def test_prune_removes_nothing_when_an_alias_cannot_be_read(content, models, saved):
    another(content, models)
    (models / CANDIDATE_FILE).write_text("{")
    with pytest.raises(ModelError, match="alias is not valid"):
        prune(models, keep=0)
    assert len([path for path in models.iterdir() if path.is_dir()]) == 2


# --- two at once, and killed ---------------------------------------------------------------------------------------

PROMOTE_FOR_EVER = """
import sys
from pathlib import Path
from cbi_pipeline.errors import ModelError
from cbi_pipeline.registry.champion import replaceable_champion, roll_back, set_champion
models, names = Path(sys.argv[1]), sys.argv[2:]
print("ready", flush=True)
while True:
    for name in names:
        current = replaceable_champion(models)
        try:
            set_champion(models, name, admission="judged", by="p", reason="r", replacing=current.model_version)
            roll_back(models, by="p", reason="r")
        except ModelError as error:
            if "has become champion since" not in str(error):
                print(repr(error), flush=True)
"""


def test_two_promoters_and_kill_9_leave_one_complete_champion_at_every_moment(content, models, saved):
    """Both move champion and previous as fast as they can; one is killed, the other goes on; readers look all along."""
    names = [saved.name, another(content, models), another(content, models, 2.0)]
    set_champion(models, names[0])
    set_champion(models, names[1])
    command = [sys.executable, "-c", PROMOTE_FOR_EVER, str(models), *names]
    promoters = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) for _ in range(2)]
    try:
        assert [promoter.stdout.readline() for promoter in promoters] == ["ready\n"] * 2
        seen = look(models, seconds=1.5)
        promoters[0].kill()
        promoters[0].wait()
        seen |= look(models, seconds=1.5)
    finally:
        for promoter in promoters:
            promoter.kill()
            promoter.wait()
    assert len(seen) > 1, "nothing moved"
    assert [promoter.stdout.read() for promoter in promoters] == ["", ""]
    assert load_champion(models).model_version in names


def look(models: Path, seconds: float) -> set[str]:
    """Every champion seen; each alias is whole, and its model verifies."""
    seen, until = set(), time.monotonic() + seconds
    while time.monotonic() < until:
        seen.add(load_champion(models).model_version)
    return seen
