"""Training of cells (architecture x fold): inputs put together, result stored the moment it is there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_pipeline import progress
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.folds import FoldSpec
from cbi_pipeline.contracts.references import CellRef, FeaturesRef, FoldsRef
from cbi_pipeline.modeling.config import TrainingConfig
from cbi_pipeline.profiles import Profile
from cbi_pipeline.provenance import source_hash
from cbi_pipeline.registry.artifact_store import ArtifactStore, verify_artifact
from cbi_pipeline.stages.features import load_features
from cbi_pipeline.stages.folds import fold_named, load_market, load_scaler

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from cbi_pipeline.evaluation.benchmarks import Market
    from cbi_pipeline.features.driver_set import DriverSet
    from cbi_pipeline.modeling.training import CellInputs

STAGE = "training"
_WEIGHTS, _RECORD, _RESIDUALS = "weights.safetensors", "cell.json", "residuals.parquet"


def train_cells(
    cells: Sequence[tuple[str, str]],
    features: FeaturesRef,
    anchors: FoldsRef,
    scalers: FoldsRef,
    profile: Profile,
    *,
    seed: int,
    device: torch.device,
    store: ArtifactStore,
) -> tuple[list[CellRef], list[list[dict[str, Any]]]]:
    """Train every (architecture, fold), each stored as soon as it is done.

    Returns:
        Per cell: its reference, and its losses by epoch.
    """
    references, histories = [], []
    for done, (architecture, fold_name) in enumerate(cells):
        reference, history = train_one(
            architecture, fold_named(anchors, fold_name), features, anchors, scalers, profile, seed, device, store,
            at=(done, len(cells)),
        )  # fmt: skip
        references.append(reference)
        histories.append(history)
    reused = sum(reference.reused for reference in references)
    seconds = sum(reference.seconds for reference in references if not reference.reused)
    note = f"{len(cells) - reused} cells trained in {seconds:.0f} s on {device.type}, {reused} re-used"
    progress.finish(STAGE, note, reused=reused == len(cells))
    return references, histories


def train_one(
    architecture: str,
    fold: FoldSpec,
    features: FeaturesRef,
    anchors: FoldsRef,
    scalers: FoldsRef,
    profile: Profile,
    seed: int,
    device: torch.device,
    store: ArtifactStore,
    *,
    at: tuple[int, int] = (0, 1),
    stage: str = STAGE,
) -> tuple[CellRef, list[dict[str, Any]]]:
    """Train one cell, or find it if the same inputs, configuration, code, device type and number of
    threads (the order of sums depends on it) made it before.

    Args:
        at: how many cells are done, of how many, for the progress display.
        stage: name of the stage in the progress display.
    """
    import torch

    config = profile.training.model_copy(update={"architecture": architecture, "seed": seed})
    inputs = {
        "features": features.key,
        "market": anchors.key,
        "scaler": scalers.sha256_by_fold[fold.name],
        "fold": fold.model_dump(mode="json"),
        "config": config.model_dump(mode="json"),
        "device": device.type,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "code": source_hash("modeling", "evaluation/walk_forward", "evaluation/benchmarks", "stages/training"),
    }
    epochs = config.epochs

    def on_epoch(epoch: int, _: int, train_loss: float, validation_loss: float) -> None:
        note = f"{architecture} {fold.name}, epoch {epoch}: loss {train_loss:.3f}, validation {validation_loss:.3f}"
        progress.report(stage, at[0] * epochs + epoch, at[1] * epochs, note)

    def build(folder: Path) -> None:
        _train_into(folder, fold, features, anchors, scalers, config, device, on_epoch)

    progress.report(stage, at[0] * epochs, at[1] * epochs, f"{architecture} {fold.name}")
    artifact = store.get_or_build("cells", inputs, build)
    record = json.loads((artifact.path / _RECORD).read_text())
    reference = CellRef(
        kind=artifact.kind,
        key=artifact.key,
        path=artifact.path,
        reused=artifact.reused,
        architecture=architecture,
        fold=fold.name,
        best_epoch=record["best_epoch"],
        n_parameters=record["n_parameters"],
        seconds=record["seconds"],
    )
    return reference, record["history"]


def load_residuals(cell: CellRef) -> pd.DataFrame:
    """Bounded residuals of the cell's test rows: index as-of date, one column per horizon, units of sigma_h."""
    import pandas as pd

    frame = pd.read_parquet(verify_artifact(cell.path) / _RESIDUALS)
    return frame.rename(columns=int)


def load_weights(cell: CellRef) -> dict[str, torch.Tensor]:
    """Best weights of the cell, float32 on the CPU."""
    import safetensors.torch

    return safetensors.torch.load_file(verify_artifact(cell.path) / _WEIGHTS)


def _train_into(
    folder: Path,
    fold: FoldSpec,
    features: FeaturesRef,
    anchors: FoldsRef,
    scalers: FoldsRef,
    config: TrainingConfig,
    device: torch.device,
    on_epoch: Any,
) -> None:
    import dataclasses

    import pandas as pd
    import safetensors.torch

    from cbi_pipeline.modeling.training import train_cell

    frame = load_features(features)
    cell = cell_inputs(frame, fold, load_market(anchors), load_scaler(scalers, fold))
    trained = train_cell(cell, config, device, on_epoch)
    safetensors.torch.save_file(trained.state_dict, folder / _WEIGHTS)
    pd.DataFrame(
        trained.predictions, index=frame.index[trained.prediction_rows], columns=[str(h) for h in HORIZONS_MONTHS]
    ).to_parquet(folder / _RESIDUALS)
    record = {
        "best_epoch": trained.best_epoch,
        "n_parameters": trained.n_parameters,
        "n_train": trained.n_train,
        "n_validation": trained.n_validation,
        "seconds": trained.seconds,
        "device": trained.device,
        "history": [dataclasses.asdict(epoch) for epoch in trained.history],
    }
    (folder / _RECORD).write_text(json.dumps(record, indent=1))


def cell_inputs(frame: pd.DataFrame, fold: FoldSpec, market: Market, drivers: DriverSet) -> CellInputs:
    """All that the network of a fold learns from: scaled features, residual targets, purged masks, test rows.

    The anchor under its targets is fitted on labels known before the validation part, so that neither part
    of the training sees the other's outcomes; the anchor that forecasts is fitted up to the test start.

    Args:
        frame: [T, F] curated features.
        fold: the fold to learn and to forecast.
        market: prices, anchor inputs, volatilities and outcomes of every session of the frame.
        drivers: the driver set fitted on the fold's training part.
    """
    import numpy as np
    import pandas as pd

    from cbi_pipeline.evaluation.benchmarks import residual_targets
    from cbi_pipeline.evaluation.walk_forward import fold_masks
    from cbi_pipeline.modeling.anchor import anchor_log_return, fit_anchor
    from cbi_pipeline.modeling.training import CellInputs

    sessions = pd.DatetimeIndex(frame.index)
    fit = fit_anchor(market.front, market.inputs, market.state, pd.Timestamp(fold.validation_start))
    anchor = anchor_log_return(fit, market.inputs.loc[sessions], market.state)
    masks = fold_masks(fold, sessions, market.targets.loc[sessions])
    return CellInputs(
        feature_names=tuple(frame.columns),
        features=drivers.transform(frame),
        targets=residual_targets(market, anchor)[list(HORIZONS_MONTHS)].to_numpy(),
        train_mask=masks.train,
        validation_mask=masks.validation,
        prediction_rows=np.flatnonzero(masks.test),
    )
