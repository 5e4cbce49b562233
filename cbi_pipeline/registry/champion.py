"""The champion alias, `models/champion.json`: which stored model serves."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from cbi_pipeline.atomic import replace_file
from cbi_pipeline.errors import ModelError
from cbi_pipeline.registry.artifacts import LoadedModel, checked_name, load_model

CHAMPION_FILE: Final = "champion.json"


class Champion(BaseModel):
    """`champion.json`: which model serves, and the manifest that was signed off."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_version: str
    manifest_sha256: str
    promoted_at: datetime


def set_champion(models_dir: Path, name: str, *, promoted_at: datetime | None = None) -> Champion:
    """Make a saved model the champion, after verifying it; the alias is replaced in one step.

    An alias that names this very model already is left as it is, with the time of its promotion.

    Raises:
        ModelError: the model is absent or does not verify; the earlier champion stays.
    """
    model = load_model(models_dir / checked_name(name))
    current = _replaceable_champion(models_dir)
    if current is not None and (current.model_version, current.manifest_sha256) == (name, model.manifest_sha256):
        return current
    champion = Champion(
        model_version=name, manifest_sha256=model.manifest_sha256, promoted_at=promoted_at or datetime.now(UTC)
    )
    replace_file(models_dir / CHAMPION_FILE, champion.model_dump_json(indent=2).encode())
    return champion


def read_champion(models_dir: Path) -> Champion | None:
    """The champion alias; None if no model was promoted yet.

    Raises:
        ModelError: the alias cannot be read, or names no possible model.
    """
    path = models_dir / CHAMPION_FILE
    if not path.exists():
        return None
    try:
        champion = Champion.model_validate_json(path.read_bytes())
    except ValidationError as error:
        rule = f"The alias is not valid ({error.errors()[0]['msg']})."
        raise ModelError(str(path), rule, "run `cbi run`: it promotes a model again.") from error
    checked_name(champion.model_version)
    return champion


def load_champion(models_dir: Path) -> LoadedModel:
    """The verified champion, with the manifest that was signed off.

    Raises:
        ModelError: there is no champion, or it does not verify.
    """
    champion = read_champion(models_dir)
    if champion is None:
        raise ModelError(str(models_dir / CHAMPION_FILE), "No model was promoted yet.", "run `cbi run`.")
    return load_model(models_dir / champion.model_version, manifest_sha256=champion.manifest_sha256)


def _replaceable_champion(models_dir: Path) -> Champion | None:
    """The alias as it stands; one that cannot be read is as good as none, since a new one replaces it."""
    try:
        return read_champion(models_dir)
    except ModelError:
        return None
