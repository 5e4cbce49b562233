"""Stored models for a person: listed, compared, promoted by hand, rolled back; every change is recorded."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cbi_pipeline.contracts.verdict import Verdict
from cbi_pipeline.errors import ModelError, SettingsError
from cbi_pipeline.settings import Settings
from cbi_pipeline.stages.gates import admission, find_incumbent, judgement_id, stored_verdicts
from cbi_pipeline.stages.publishing import publish_registry

if TYPE_CHECKING:
    from cbi_pipeline.registry.artifacts import LoadedModel
    from cbi_pipeline.registry.champion import Champion
    from cbi_pipeline.warehouse.base import Warehouse

BY_HAND: Final = "cbi models"
"""`run_id` of rows that no run wrote."""


def stored_models(models_dir: Path, version: str | None = None) -> list[dict[str, Any]]:
    """One record a model that is stored or that an alias names: version, aliases, dataset, and why it does not verify.

    A model with an alias is verified against the manifest that was signed off with it. `problem` is None for a model
    that verifies.

    Raises:
        ModelError: an alias cannot be read.
    """
    from cbi_pipeline.registry.artifacts import checked_name, load_model, model_names
    from cbi_pipeline.registry.champion import aliased_models

    named = aliased_models(models_dir)
    known = sorted({*model_names(models_dir), *(alias.model_version for alias in named.values())})
    records = []
    for name in [checked_name(version)] if version else known:
        held = {alias: own.manifest_sha256 for alias, own in named.items() if own.model_version == name}
        problem, dataset = None, ""
        try:
            for signed_off in held.values() or (None,):
                model = load_model(models_dir / name, manifest_sha256=signed_off)
                dataset = model.manifest.provenance["dataset_version"]
        except ModelError as error:
            problem = str(error)
        records.append(
            {"model_version": name, "aliases": ", ".join(held), "dataset_version": dataset, "problem": problem}
        )
    return records


def model_report(version: str, settings: Settings) -> tuple[str, list[Verdict]]:
    """The model card, and the stored verdicts on the model against what serves now; empty if there are none.

    Raises:
        ModelError: the model is absent or does not verify.
    """
    from cbi_pipeline.registry.artifacts import CARD_FILE

    model = _load(settings.models_dir, version)
    scorecard_id, dataset_version, entry = _judged_as(model)
    incumbent = find_incumbent(settings.models_dir, scorecard_id)
    identity = judgement_id(scorecard_id, dataset_version, entry, incumbent.label, settings)
    card = (model.path / CARD_FILE).read_text(encoding="utf-8")
    return card, stored_verdicts(_warehouse(settings), identity)


def model_differences(models_dir: Path, first: str, second: str) -> list[tuple[str, str, str]]:
    """Name, and value in either model, of all that differs in configuration, inputs, anchor and figures.

    Raises:
        ModelError: a model is absent or does not verify.
    """
    one, other = (dict(_flat("", _content(_load(models_dir, version)))) for version in (first, second))
    return [
        (name, one.get(name, ""), other.get(name, ""))
        for name in sorted({*one, *other})
        if one.get(name) != other.get(name)
    ]


def promote(version: str, settings: Settings, *, override_reason: str | None = None) -> Champion:
    """Make a stored model the champion, if the stored verdicts let it or a person overrides the evidence gates.

    Raises:
        ModelError: the model does not verify, or gates stand against it that nobody overrode or can override.
        SettingsError: the reason is empty.
    """
    from cbi_pipeline.registry.champion import set_champion

    if override_reason is not None and not override_reason.strip():
        raise SettingsError("--override-reason", "an override is recorded with its reason.", "say why.")
    model, warehouse = _load(settings.models_dir, version), _warehouse(settings)
    scorecard_id, dataset_version, entry = _judged_as(model)
    admitted, replacing = admission(
        scorecard_id,
        dataset_version,
        entry,
        settings=settings,
        warehouse=warehouse,
        version=version,
        override_reason=override_reason,
    )
    champion = set_champion(
        settings.models_dir,
        version,
        admission=admitted,
        by=getpass.getuser(),
        reason=override_reason or "promoted by hand",
        replacing=replacing,
        by_hand=True,
    )
    publish_registry(settings.models_dir, warehouse, run_id=BY_HAND)
    return champion


def roll_back(settings: Settings, *, reason: str) -> Champion:
    """Make the previous champion the champion again.

    Raises:
        ModelError: there is none, or it does not verify.
    """
    from cbi_pipeline.registry.champion import roll_back as move_back

    champion = move_back(settings.models_dir, by=getpass.getuser(), reason=reason)
    publish_registry(settings.models_dir, _warehouse(settings), run_id=BY_HAND)
    return champion


def _load(models_dir: Path, version: str) -> LoadedModel:
    from cbi_pipeline.registry.artifacts import checked_name, load_model

    return load_model(models_dir / checked_name(version))


def _judged_as(model: LoadedModel) -> tuple[str, str, str]:
    """Scorecard, dataset and entry whose verdicts are those on a model."""
    return model.metrics["scorecard_id"], model.manifest.provenance["dataset_version"], model.metrics["entry"]


def _content(model: LoadedModel) -> dict[str, Any]:
    return {
        "provenance": model.manifest.provenance,
        "config": model.config,
        "features": list(model.feature_lock.names),
        "anchor": model.anchor,
        "metrics": model.metrics,
    }


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    """Dotted name and JSON text of every leaf."""
    if not isinstance(value, dict):
        yield prefix, json.dumps(value)
        return
    for name, own in value.items():
        yield from _flat(f"{prefix}.{name}" if prefix else str(name), own)


def _warehouse(settings: Settings) -> Warehouse:
    from cbi_pipeline.warehouse import open_warehouse

    return open_warehouse(settings)
