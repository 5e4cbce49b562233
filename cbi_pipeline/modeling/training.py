"""Train one cell (architecture x fold) and predict with it. Knows nothing of files, folds' dates or Dagster."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling.config import TrainingConfig
from cbi_pipeline.modeling.device import REFERENCE_DEVICE
from cbi_pipeline.modeling.loss import masked_huber
from cbi_pipeline.modeling.tcn import TemporalConvolutionalNetwork, load_network
from cbi_pipeline.modeling.windows import Windows, cut_windows, usable_rows

OnEpoch = Callable[[int, int, float, float], None]
"""Called after each epoch with (epoch from 1, epochs, train loss, validation loss)."""

_EVALUATION_BATCH = 512


@dataclass(frozen=True, slots=True)
class CellInputs:
    """All that one cell learns from and is asked for.

    Args:
        feature_names: F names in column order.
        features: [T, F] float32, scaled on the training part, NaN where missing.
        targets: [T, 4] float, (y - anchor) / sigma_h in the order of HORIZONS_MONTHS, NaN where unknown.
        train_mask, validation_mask: [T, 4] bool, purged per horizon.
        prediction_rows: [n] rows whose residual is wanted (the test span, or the last session).

    Raises:
        ModelError: shapes disagree, a used target is infinite, or train and validation overlap.
    """

    feature_names: tuple[str, ...]
    features: np.ndarray
    targets: np.ndarray
    train_mask: np.ndarray
    validation_mask: np.ndarray
    prediction_rows: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def __post_init__(self) -> None:
        expected = (len(self.features), len(HORIZONS_MONTHS))
        for name in ("targets", "train_mask", "validation_mask"):
            shape = getattr(self, name).shape
            if shape != expected:
                raise ModelError(
                    f"cell {name}",
                    f"The shape is {shape}, not {expected}.",
                    "pass one row a session, one column a horizon.",
                )
        for name in ("train_mask", "validation_mask"):
            if getattr(self, name).dtype != np.bool_:
                raise ModelError(f"cell {name}", "The mask is not boolean.", "pass a bool array.")
        if np.isinf(self.targets[self.train_mask | self.validation_mask]).any():
            raise ModelError("cell targets", "A target is infinite.", "check sigma_h and the prices it was made from.")
        if (self.train_mask & self.validation_mask).any():
            raise ModelError(
                "cell masks", "A label is used for training and for validation.", "make the masks with fold_masks."
            )


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """Losses after an epoch; epoch 0 is the untrained network, whose residual is exactly zero (the anchor itself)."""

    epoch: int
    learning_rate: float
    train_loss: float
    validation_loss: float


@dataclass(frozen=True, slots=True)
class TrainedCell:
    """The best weights of a cell and how they came about.

    Args:
        config: what it was trained with.
        feature_names: features of the matrix it reads, in column order.
        state_dict: best weights, float32 on the CPU.
        history: epoch 0 (untrained) and every epoch trained.
        best_epoch: epoch of the weights; 0 means that no epoch beat the anchor on validation.
        seconds: wall-clock time of training.
        n_parameters: trainable parameters.
        n_train, n_validation: windows used.
        device: device type that trained it.
        prediction_rows: [n] rows as asked.
        predictions: [n, 4] float32 residual in units of sigma_h, by reference inference (CPU float32).
    """

    config: TrainingConfig
    feature_names: tuple[str, ...]
    state_dict: dict[str, Tensor]
    history: tuple[EpochRecord, ...]
    best_epoch: int
    seconds: float
    n_parameters: int
    n_train: int
    n_validation: int
    device: str
    prediction_rows: np.ndarray
    predictions: np.ndarray


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of one part with their labels, on the training device."""

    rows: Tensor  # [n]
    targets: Tensor  # [n, 4]
    known: Tensor  # [n, 4] bool


def _part(
    cell: CellInputs, mask: np.ndarray, window_sessions: int, stride: int, name: str, device: torch.device
) -> _Part:
    known = mask & ~np.isnan(cell.targets)  # [T, 4]
    rows = usable_rows(known.any(axis=1), window_sessions, stride)
    if len(rows) == 0:
        raise ModelError(
            f"{name} part",
            f"No session has both a known label and {window_sessions} sessions of history.",
            "move the fold later or use a shorter window.",
        )
    return _Part(
        torch.from_numpy(rows).to(device),
        torch.from_numpy(cell.targets[rows].astype(np.float32)).to(device),
        torch.from_numpy(known[rows]).to(device),
    )


def _residual(network: nn.Module, windows: Windows, rows: Tensor, batch_size: int) -> Tensor:
    """[n, 4] in evaluation mode, in chunks, on the device of the windows."""
    network.eval()
    with torch.inference_mode():
        chunks = [network(windows.batch(chunk)) for chunk in rows.split(batch_size)]
    return torch.cat(chunks)


def predict_residual(network: nn.Module, windows: Windows, rows: np.ndarray) -> np.ndarray:
    """Residuals of some rows, in units of sigma_h: [n] -> [n, 4] float32. Deterministic: evaluation mode, no dropout.

    Each row goes through the network alone, because matrix kernels round differently for other batch sizes: a forecast
    is then bit-identical whether one day or ten years are asked for. About a millisecond a row on the CPU.

    Raises:
        ModelError: a row has no full window.
    """
    if len(rows) == 0:
        return np.empty((0, len(HORIZONS_MONTHS)), dtype=np.float32)
    wanted = torch.from_numpy(np.asarray(rows, dtype=np.int64))
    return _residual(network, windows, wanted, batch_size=1).cpu().numpy()


def reference_residual(
    config: TrainingConfig,
    state_dict: dict[str, Tensor],
    features: np.ndarray,
    feature_names: tuple[str, ...],
    rows: np.ndarray,
) -> np.ndarray:
    """Reference inference from stored weights, CPU float32: rows [n] of features [T, F] -> residual [n, 4].

    Raises:
        ModelError, FeatureError: weights, features or rows do not fit the configuration.
    """
    windows = cut_windows(features, feature_names, config, REFERENCE_DEVICE)
    return predict_residual(load_network(config, state_dict), windows, rows)


def train_cell(
    cell: CellInputs, config: TrainingConfig, device: torch.device, on_epoch: OnEpoch | None = None
) -> TrainedCell:
    """Train the network of one cell; restore the weights with the best purged validation loss.

    AdamW, one cosine cycle over the epochs (stepped once an epoch), gradient norm clipped, early stopping. The
    untrained network, which adds nothing to the anchor, competes as epoch 0: weights that never beat it on validation
    are not used. With one seed, one device and one thread count, two runs on the CPU give identical weights.

    Raises:
        ModelError: a part has no usable row, or the loss of a batch is not a number (the batch is named).
        FeatureError: the features do not fit the configuration.
    """
    started = time.perf_counter()
    windows = cut_windows(cell.features, cell.feature_names, config, device)
    train = _part(cell, cell.train_mask, config.window_sessions, config.train_stride, "training", device)
    validation = _part(cell, cell.validation_mask, config.window_sessions, 1, "validation", device)

    with torch.random.fork_rng(devices=[]):  # dropout and initial weights draw from the global generators
        torch.manual_seed(config.seed)
        network = TemporalConvolutionalNetwork(config).to(device)
        state_dict, history, best_epoch = _fit(network, windows, train, validation, config, on_epoch)

    seconds = time.perf_counter() - started
    rows = np.asarray(cell.prediction_rows, dtype=np.int64)
    return TrainedCell(
        config=config,
        feature_names=cell.feature_names,
        state_dict=state_dict,
        history=tuple(history),
        best_epoch=best_epoch,
        seconds=seconds,
        n_parameters=sum(p.numel() for p in network.parameters()),
        n_train=len(train.rows),
        n_validation=len(validation.rows),
        device=device.type,
        prediction_rows=rows,
        predictions=reference_residual(config, state_dict, cell.features, cell.feature_names, rows),
    )


def _fit(
    network: nn.Module,
    windows: Windows,
    train: _Part,
    validation: _Part,
    config: TrainingConfig,
    on_epoch: OnEpoch | None,
) -> tuple[dict[str, Tensor], list[EpochRecord], int]:
    """The training loop: best weights on the CPU, history, best epoch."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=config.epochs)
    order = torch.Generator().manual_seed(config.seed)
    weights = torch.tensor(config.horizon_weights, device=windows.inputs.device)

    history = [
        EpochRecord(
            0,
            0.0,
            _evaluate(network, windows, train, weights, config),
            _evaluate(network, windows, validation, weights, config),
        )
    ]
    best_epoch, best_weights = 0, _copy_weights(network)
    for epoch in range(1, config.epochs + 1):
        learning_rate = float(schedule.get_last_lr()[0])
        train_loss = _train_epoch(network, windows, train, weights, config, optimizer, order, epoch)
        schedule.step()
        validation_loss = _evaluate(network, windows, validation, weights, config)
        history.append(EpochRecord(epoch, learning_rate, train_loss, validation_loss))
        if on_epoch is not None:
            on_epoch(epoch, config.epochs, train_loss, validation_loss)
        if validation_loss < history[best_epoch].validation_loss:
            best_epoch, best_weights = epoch, _copy_weights(network)
        elif epoch - best_epoch >= config.patience:
            break
    return best_weights, history, best_epoch


def _train_epoch(
    network: nn.Module,
    windows: Windows,
    part: _Part,
    weights: Tensor,
    config: TrainingConfig,
    optimizer: torch.optim.Optimizer,
    order: torch.Generator,
    epoch: int,
) -> float:
    """One pass over the training rows in random order; returns the loss, a mean over known labels."""
    network.train()
    total, n_known = 0.0, 0
    shuffled = torch.randperm(len(part.rows), generator=order).to(part.rows.device)
    for number, chosen in enumerate(shuffled.split(config.batch_size), start=1):
        known = part.known[chosen]
        optimizer.zero_grad(set_to_none=True)
        residual = network(windows.batch(part.rows[chosen]))  # [B, 4]
        loss = masked_huber(residual, part.targets[chosen], known, weights, config.huber_delta)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
        value = float(loss.detach())
        if not (np.isfinite(value) and bool(torch.isfinite(norm))):
            rows = part.rows[chosen]
            raise ModelError(
                f"epoch {epoch} batch {number} (rows {int(rows.min())}..{int(rows.max())})",
                f"The training loss is {value} with gradient norm {float(norm)}.",
                "check features and targets of those rows, or lower the learning rate.",
            )
        optimizer.step()
        batch_known = int(known.sum())
        total, n_known = total + value * batch_known, n_known + batch_known
    return total / n_known


def _evaluate(network: nn.Module, windows: Windows, part: _Part, weights: Tensor, config: TrainingConfig) -> float:
    """Loss over a whole part in evaluation mode.

    Raises:
        ModelError: the loss is not a number.
    """
    residual = _residual(network, windows, part.rows, _EVALUATION_BATCH)
    value = float(masked_huber(residual, part.targets, part.known, weights, config.huber_delta))
    if not np.isfinite(value):
        raise ModelError(
            f"rows {int(part.rows.min())}..{int(part.rows.max())}",
            f"The evaluation loss is {value}.",
            "check features and targets of those rows, or lower the learning rate.",
        )
    return value


def _copy_weights(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights on the CPU, which later steps do not change."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in network.state_dict().items()}
