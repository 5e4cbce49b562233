"""Feature selection over the walk-forward folds, as a content-addressed record with the lock of the chosen list."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cbi_pipeline import progress
from cbi_pipeline.contracts.feature_lock import FeatureLock
from cbi_pipeline.contracts.folds import FoldSpec
from cbi_pipeline.contracts.references import CellRef, FeaturesRef, FoldsRef, SelectionRef
from cbi_pipeline.errors import ModelError
from cbi_pipeline.features.catalogue import CATALOGUE
from cbi_pipeline.profiles import Profile
from cbi_pipeline.provenance import source_hash
from cbi_pipeline.registry.artifact_store import ArtifactStore
from cbi_pipeline.stages.features import load_features
from cbi_pipeline.stages.files import read_json
from cbi_pipeline.stages.folds import load_market, load_scaler
from cbi_pipeline.stages.training import cell_inputs, load_weights

if TYPE_CHECKING:
    import pandas as pd

    from cbi_pipeline.evaluation.feature_selection import Selection
    from cbi_pipeline.modeling.training import CellInputs

STAGE = "feature selection"
_RECORD: Final = "selection.json"
_RANKED_WITH: Final = ("shap", "numba")


def select_chosen_features(
    features: FeaturesRef,
    anchors: FoldsRef,
    scalers: FoldsRef,
    cells: Mapping[str, CellRef],
    profile: Profile,
    seed: int,
    store: ArtifactStore,
) -> SelectionRef:
    """Rank the features in the training part of every fold, keep the stable ones and lock them.

    The networks' own attributions are recorded beside the ranks; they do not decide.

    Raises:
        ModelError: a cell was trained on other features, folds or scalers.
        FeatureError: too few features are usable, or a fold's training part is too short.
    """
    progress.report(STAGE, 0, 1)
    for cell in cells.values():
        if (cell.features_key, cell.anchors_key, cell.scalers_key) != (features.key, anchors.key, scalers.key):
            raise ModelError(
                f"feature selection, cell {cell.architecture}, {cell.fold}",
                "it was trained on other features, folds or scalers than the selection is made of.",
                "materialise trained_models and feature_selection together, or run `cbi run`.",
            )

    def build(folder: Path) -> None:
        record = _select(features, anchors, scalers, cells, profile, seed)
        (folder / _RECORD).write_text(json.dumps(record, indent=1, allow_nan=False))

    artifact = store.get_or_build("selection", _inputs(features, anchors, scalers, cells, profile, seed), build)
    lock = FeatureLock.model_validate(read_json(artifact, _RECORD)["lock"])
    progress.finish(STAGE, f"{len(lock.names)} of {len(CATALOGUE)} features locked", reused=artifact.reused)
    return SelectionRef(
        kind=artifact.kind,
        key=artifact.key,
        path=artifact.path,
        reused=artifact.reused,
        features_key=features.key,
        anchors_key=anchors.key,
        scalers_key=scalers.key,
        chosen=lock.names,
        selected_hash=lock.hash,
    )


def load_lock(selection: SelectionRef) -> FeatureLock:
    """The lock of the chosen features, verified."""
    return FeatureLock.model_validate(read_json(selection, _RECORD)["lock"])


def selection_record(selection: SelectionRef) -> dict[str, Any]:
    """The whole record: `lock`, `summary`, `decisions` (one per feature), `ranks` by fold, `networks` by cell."""
    return read_json(selection, _RECORD)


def _inputs(
    features: FeaturesRef,
    anchors: FoldsRef,
    scalers: FoldsRef,
    cells: Mapping[str, CellRef],
    profile: Profile,
    seed: int,
) -> dict[str, Any]:
    from importlib.metadata import version

    return {
        "features": features.key,
        "market": anchors.key,
        "scalers": scalers.key,
        "cells": sorted(cell.key for cell in cells.values()),
        "required": list(profile.training.mean_path_inputs),
        "seed": seed,
        "ranked_with": {name: version(name) for name in _RANKED_WITH},
        "code": source_hash(
            "evaluation/feature_selection", "evaluation/network_attribution", "features/lock", "stages/selection"
        ),
    }


def _select(
    features: FeaturesRef,
    anchors: FoldsRef,
    scalers: FoldsRef,
    cells: Mapping[str, CellRef],
    profile: Profile,
    seed: int,
) -> dict[str, Any]:
    from cbi_pipeline.evaluation.feature_selection import rank_features, select_features
    from cbi_pipeline.features.lock import lock_features

    frame, market = load_features(features), load_market(anchors)
    ranks, networks = {}, {}
    for done, fold in enumerate(anchors.folds):
        progress.report(STAGE, done, len(anchors.folds), fold.name)
        cell = cell_inputs(frame, fold, market, load_scaler(scalers, fold))
        ranks[fold.name] = rank_features(fold_training_part(frame, cell, market.targets), seed)
        for reference in (c for c in cells.values() if c.fold == fold.name):
            networks[f"{reference.architecture}|{fold.name}"] = _attribution(reference, fold, cell, profile, seed)
    selection = select_features(ranks, profile.training.mean_path_inputs)
    pillars = {feature.name: feature.pillar for feature in CATALOGUE}
    return {
        "lock": lock_features(selection.chosen, selection.required_by_network).model_dump(mode="json"),
        "summary": _summary(selection),
        "decisions": _records(selection.decisions.assign(pillar=selection.decisions.index.map(pillars))),
        "ranks": {fold: _records(ranked) for fold, ranked in ranks.items()},
        "networks": networks,
    }


def fold_training_part(frame: pd.DataFrame, cell: CellInputs, targets: pd.DataFrame) -> Any:
    """The `feature_selection.TrainingPart` of a fold, cut from the inputs of its cells.

    Args:
        frame: [T, F] curated features, for their trade dates.
        cell: `cell_inputs` of the fold.
        targets: target dates of every session.
    """
    from cbi_pipeline.contracts import HORIZONS_MONTHS
    from cbi_pipeline.evaluation.feature_selection import training_part

    return training_part(
        cell.feature_names,
        cell.features,
        cell.targets,
        cell.train_mask,
        frame.index.to_numpy("datetime64[ns]"),
        targets.loc[frame.index, list(HORIZONS_MONTHS)].to_numpy("datetime64[ns]"),
    )


def _attribution(reference: CellRef, fold: FoldSpec, cell: CellInputs, profile: Profile, seed: int) -> dict[str, float]:
    import numpy as np

    from cbi_pipeline.evaluation.network_attribution import network_attribution

    progress.report(STAGE, 0, 1, f"{fold.name}, attribution of {reference.architecture}")
    config = profile.training.model_copy(update={"architecture": reference.architecture})
    rows = np.flatnonzero(cell.train_mask.any(axis=1))
    values = network_attribution(config, load_weights(reference), cell.features, cell.feature_names, rows, seed)
    return {str(name): float(value) for name, value in values.items()}


def _summary(selection: Selection) -> dict[str, Any]:
    agreement = selection.agreement
    return {
        "chosen": len(selection.chosen),
        "stable": selection.stable,
        "stable_by_chance": round(selection.stable_by_chance, 1),
        "required_by_network_only": len(selection.required_by_network),
        "folds": selection.folds,
        "folds_needed": selection.needed,
        "rank_agreement_between_folds": None if agreement is None else round(agreement, 4),
    }


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values; a missing figure is null."""
    return json.loads(frame.rename_axis("feature").reset_index().to_json(orient="records"))
