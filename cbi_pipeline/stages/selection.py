"""Feature selection over the walk-forward folds, as a content-addressed record with the lock of the chosen list."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cbi_pipeline import progress
from cbi_pipeline.contracts.feature_lock import FeatureLock
from cbi_pipeline.contracts.references import Cell, CellRef, SelectionRef
from cbi_pipeline.errors import ModelError
from cbi_pipeline.features.catalogue import CATALOGUE
from cbi_pipeline.provenance import source_hash
from cbi_pipeline.stages.cell_inputs import cell_inputs
from cbi_pipeline.stages.features import load_features
from cbi_pipeline.stages.files import read_json
from cbi_pipeline.stages.folds import load_market, load_scaler
from cbi_pipeline.stages.training import TrainingRun, load_config, load_weights, trained_cells

if TYPE_CHECKING:
    import pandas as pd

    from cbi_pipeline.evaluation.feature_selection import Selection
    from cbi_pipeline.modeling.cells import CellInputs

STAGE = "feature selection"
_RECORD: Final = "selection.json"
_RANKED_WITH: Final = ("shap", "numba")


def select_chosen_features(cells: Mapping[str, Cell], run: TrainingRun) -> SelectionRef:
    """Rank the features in the training part of every fold, keep the stable ones and lock them.

    The networks' own attributions are recorded beside the ranks; they do not decide.

    Raises:
        ModelError: a cell failed, or was trained on other features, folds or scalers.
        FeatureError: too few features are usable, or a fold's training part is too short.
    """
    progress.report(STAGE, 0, 1)
    trained = trained_cells(cells)
    for cell in trained:
        if cell.model_dump(include=set(run.keys)) != run.keys:
            raise ModelError(
                f"feature selection, cell {cell.architecture}, {cell.fold}",
                "it was trained on other features, folds or scalers than the selection is made of.",
                "materialise trained_models and feature_selection together, or run `cbi run`.",
            )

    def build(folder: Path) -> None:
        (folder / _RECORD).write_text(json.dumps(_select(trained, run), indent=1, allow_nan=False))

    artifact = run.store.get_or_build("selection", _inputs(trained, run), build)
    lock = FeatureLock.model_validate(read_json(artifact, _RECORD)["lock"])
    progress.finish(STAGE, f"{len(lock.names)} of {len(CATALOGUE)} features locked", reused=artifact.reused)
    return SelectionRef(
        kind=artifact.kind,
        key=artifact.key,
        path=artifact.path,
        reused=artifact.reused,
        chosen=lock.names,
        selected_hash=lock.hash,
        **run.keys,
    )


def load_lock(selection: SelectionRef) -> FeatureLock:
    """The lock of the chosen features, verified."""
    return FeatureLock.model_validate(read_json(selection, _RECORD)["lock"])


def selection_record(selection: SelectionRef) -> dict[str, Any]:
    """The whole record: `lock`, `summary`, `decisions` (one per feature), `ranks` by fold, `networks` by cell."""
    return read_json(selection, _RECORD)


def required_features(run: TrainingRun) -> tuple[str, ...]:
    """What the mean path of any network of the profile reads, each once, in their order."""
    networks = [run.config(architecture, "anchored").network for architecture in run.profile.architectures]
    return tuple(dict.fromkeys(name for network in networks for name in network.mean_path_inputs))


def _inputs(cells: Sequence[CellRef], run: TrainingRun) -> dict[str, Any]:
    from importlib.metadata import version

    return {
        "features": run.features.key,
        "market": run.anchors.key,
        "scalers": run.scalers.key,
        "cells": sorted(cell.key for cell in cells),
        "required": list(required_features(run)),
        "seed": run.seed,
        "shifts": list(run.profile.selection_shifts),
        "ranked_with": {name: version(name) for name in _RANKED_WITH},
        "code": source_hash(
            "evaluation/feature_selection", "evaluation/network_attribution", "features/lock", "stages/selection"
        ),
    }


def _select(cells: Sequence[CellRef], run: TrainingRun) -> dict[str, Any]:
    from cbi_pipeline.evaluation.feature_selection import rank_features, select_features
    from cbi_pipeline.features.lock import lock_features

    frame, market = load_features(run.features), load_market(run.anchors)
    ranks, networks = {}, {}
    for done, fold in enumerate(run.anchors.folds):
        progress.report(STAGE, done, len(run.anchors.folds), fold.name)
        cell = cell_inputs(frame, fold, market, load_scaler(run.scalers, fold), "anchored")
        ranks[fold.name] = rank_features(
            fold_training_part(frame, cell, market.targets), run.seed, run.profile.selection_shifts
        )
        for reference in (c for c in cells if c.fold == fold.name):
            note = f"{fold.name}, attribution of {reference.architecture}"
            progress.report(STAGE, done, len(run.anchors.folds), note)
            networks[f"{reference.architecture}|{fold.name}"] = _attribution(reference, cell, run.seed)
    selection = select_features(ranks, required_features(run))
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


def _attribution(reference: CellRef, cell: CellInputs, seed: int) -> dict[str, float]:
    import numpy as np

    from cbi_pipeline.evaluation.network_attribution import network_attribution

    rows = np.flatnonzero(cell.train_mask.any(axis=1))
    values = network_attribution(
        load_config(reference), load_weights(reference), cell.features, cell.feature_names, cell.calendar, rows, seed
    )
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
