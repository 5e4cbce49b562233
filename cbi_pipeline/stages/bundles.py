"""Which bundles the models in service came from: they are kept, so that what is served can be looked into."""

from __future__ import annotations

from pathlib import Path


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
