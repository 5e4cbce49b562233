"""The champion alias: moved whole, only to a model that verifies, and only when it has to move."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from cbi_pipeline.errors import ModelError
from cbi_pipeline.registry.artifacts import MANIFEST_FILE, ModelContent, load_model, model_version, save_model
from cbi_pipeline.registry.champion import CHAMPION_FILE, load_champion, read_champion, set_champion

SESSION = date(2024, 12, 31)
NOON = datetime(2025, 1, 2, 12, tzinfo=UTC)


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
    second = save_model(models, model_version("tcn", SESSION, other), other)
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
    save_model(models, saved.name, content)
    second = set_champion(models, saved.name, promoted_at=NOON + timedelta(days=1))
    assert second.manifest_sha256 != first.manifest_sha256
    assert read_champion(models) == second
    assert load_champion(models).model_version == saved.name


def test_an_unreadable_alias_is_replaced(models: Path, saved: Path) -> None:
    (models / CHAMPION_FILE).write_text("{")
    set_champion(models, saved.name)
    assert load_champion(models).model_version == saved.name
