"""Which bundles models came from: they are kept, so that what is served can be looked into."""

from __future__ import annotations

from pathlib import Path

from cbi_pipeline.errors import ModelError


def datasets_in_service(models_dir: Path) -> dict[str, str]:
    """dataset_version of every model that an alias names, and why its bundle stays.

    Raises:
        ModelError: an alias cannot be read or its model does not verify, so that nobody knows what it came from.
    """
    from cbi_pipeline.registry.artifacts import load_model
    from cbi_pipeline.registry.champion import aliased_models

    found: dict[str, list[str]] = {}
    for alias, model in aliased_models(models_dir).items():
        loaded = load_model(models_dir / model.model_version, manifest_sha256=model.manifest_sha256)
        found.setdefault(loaded.manifest.provenance["dataset_version"], []).append(alias)
    return {version: f"the {' and the '.join(aliases)} came from it" for version, aliases in found.items()}


def datasets_of_models(models_dir: Path) -> dict[str, str]:
    """dataset_version of every stored model, in service or not, and why its bundle stays.

    Raises:
        ModelError: no model is stored here, or one does not verify, so that nobody knows what models came from.
    """
    from cbi_pipeline.registry.artifacts import load_model, model_names

    found: dict[str, list[str]] = {}
    for name in model_names(models_dir):
        found.setdefault(load_model(models_dir / name).manifest.provenance["dataset_version"], []).append(name)
    if not found:
        rule = "No model is stored here, so that nobody knows which bundles models were made from."
        raise ModelError(str(models_dir), rule, "run it where models are trained, or bring them here: `cbi restore`.")
    return {version: f"{', '.join(names)} was made from it" for version, names in found.items()}
