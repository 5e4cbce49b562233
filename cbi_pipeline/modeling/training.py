"""Train one cell (architecture x fold) and forecast with it. Knows nothing of files, folds' dates or Dagster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling.cells import CellInputs, EpochRecord, Forecast, OnEpoch, TrainedCell, TrainedMember
from cbi_pipeline.modeling.config import TrainingConfig
from cbi_pipeline.modeling.device import (
    REFERENCE_DEVICE,
    autocast,
    compiled,
    full_float32,
    gradient_scaler,
    reproducible,
)
from cbi_pipeline.modeling.heads import NetworkOutput
from cbi_pipeline.modeling.loss import Labels, mape, training_loss
from cbi_pipeline.modeling.networks import build_network, load_ensemble
from cbi_pipeline.modeling.sample_weights import uniqueness_weights
from cbi_pipeline.modeling.windows import NetworkInputs, Windows, cut_windows, usable_rows

_EVALUATION_BATCH = 512


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one part with their labels, on the training device."""

    rows: Tensor  # [n]
    labels: Labels  # of [n, 4]


def train_cell(
    cell: CellInputs, config: TrainingConfig, device: torch.device, on_epoch: OnEpoch | None = None
) -> TrainedCell:
    """Train the members of one cell, one after the other, each from its own seed; forecast with each.

    AdamW, one cosine cycle over the epochs (stepped once an epoch), gradient norm clipped, early stopping, best
    weights restored. The untrained network, which adds nothing to the anchor (or to the last price), competes as
    epoch 0. With one seed, one device and one thread count, two runs on the CPU or by CUDA give identical
    weights.

    Raises:
        ModelError: a part has no usable row, or the loss of a batch is not a number (the batch is named).
        FeatureError: the features do not fit the configuration.
    """
    started = time.perf_counter()
    config = name_spread_inputs(config, cell.feature_names)
    windows = cut_windows(cell.features, cell.feature_names, cell.calendar, config.network, device)
    train = training_part(cell, config, device)
    validation = validation_part(cell, config, device)
    rows = np.asarray(cell.prediction_rows, dtype=np.int64)
    wanted = torch.from_numpy(rows)

    members, outputs = [], []
    for number, seed in enumerate(config.seeds):
        with seeded(seed, device), reproducible(device):
            network = build_network(config.network).to(device)
            told = partial(on_epoch, number) if on_epoch else _silent
            members.append(_fit(network, windows, train, validation, config, seed, told))
        network.load_state_dict(members[-1].state_dict)
        outputs.append(forward(network, windows, wanted, _EVALUATION_BATCH))
    return TrainedCell(
        config=config,
        feature_names=cell.feature_names,
        members=tuple(members),
        state_dict={
            f"members.{i}.{name}": tensor
            for i, member in enumerate(members)
            for name, tensor in member.state_dict.items()
        },
        n_parameters=sum(p.numel() for p in network.parameters()),
        n_train=len(train.rows),
        n_validation=len(validation.rows),
        device=device.type,
        seconds=time.perf_counter() - started,
        prediction_rows=rows,
        medians=torch.stack([output.median for output in outputs], dim=1).cpu().numpy(),
        offsets=torch.stack([output.offsets for output in outputs], dim=1).cpu().numpy(),
    )


def reference_forecast(
    config: TrainingConfig,
    state_dict: Mapping[str, Tensor],
    features: np.ndarray,
    feature_names: Sequence[str],
    calendar: np.ndarray,
    rows: np.ndarray,
) -> Forecast:
    """Forecast of stored weights, mean of the members, CPU float32: rows [n] of features [T, F].

    Each row goes through the networks alone, because matrix kernels round differently for other batch sizes: a forecast
    is then bit-identical whether one day or ten years are asked for. A few milliseconds a row and member.

    Raises:
        ModelError, FeatureError: weights, features or rows do not fit the configuration.
    """
    config = name_spread_inputs(config, feature_names)
    windows = cut_windows(features, feature_names, calendar, config.network, REFERENCE_DEVICE)
    wanted = torch.from_numpy(np.asarray(rows, dtype=np.int64))
    output = forward(load_ensemble(config, state_dict), windows, wanted, batch_size=1)
    return Forecast(output.median.numpy(), output.offsets.numpy())


def name_spread_inputs(config: TrainingConfig, feature_names: Sequence[str]) -> TrainingConfig:
    """The configuration with its spread inputs named: all the features given, where it names none."""
    if config.network.spread_inputs:
        return config
    network = config.network.model_copy(update={"spread_inputs": tuple(feature_names)})
    return config.model_copy(update={"network": network})


def training_part(cell: CellInputs, config: TrainingConfig, device: torch.device) -> Part:
    """Windows that are trained on, with horizon weight times uniqueness weight."""
    return _part(cell, cell.train_mask, config, "training", config.fit.train_stride, config.loss.uniqueness, device)


def validation_part(cell: CellInputs, config: TrainingConfig, device: torch.device) -> Part:
    """Windows that decide when to stop, with horizon weights only."""
    return _part(cell, cell.validation_mask, config, "validation", config.fit.validation_stride, False, device)


def _part(
    cell: CellInputs,
    mask: np.ndarray,
    config: TrainingConfig,
    name: str,
    stride: int,
    uniqueness: bool,
    device: torch.device,
) -> Part:
    known = cell.known(mask)  # [T, 4]
    rows = usable_rows(known.max(axis=1), config.network.window_sessions, stride)
    if len(rows) == 0:
        raise ModelError(
            f"{name} part",
            f"No session has both a known label and {config.network.window_sessions} sessions of history.",
            "move the fold later or use a shorter window.",
        )
    weight = known[rows] * np.array(config.loss.horizon_weights)
    if uniqueness:
        weight = weight * uniqueness_weights(rows, cell.label_end[rows], known[rows])
    columns = (*(values[rows] for values in (cell.targets, cell.base, cell.sigma, cell.density_ratio)), weight)
    labels = Labels(*(torch.from_numpy(values.astype(np.float32)).to(device) for values in columns))
    return Part(torch.from_numpy(rows).to(device), labels)


def forward(network: nn.Module, windows: Windows, rows: Tensor, batch_size: int) -> NetworkOutput:
    """Outputs of n rows in evaluation mode, in batches, on the device of the windows; deterministic: no dropout."""
    network.eval()
    with torch.inference_mode(), full_float32():
        chunks = [network(*windows.batch(chunk)) for chunk in rows.split(batch_size)]
    return NetworkOutput(torch.cat([chunk.median for chunk in chunks]), torch.cat([chunk.offsets for chunk in chunks]))


def _silent(*_: float) -> None:
    """Nobody wants to know."""


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Global generators, which initial weights and dropout draw from, set to a seed and put back afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


class Stepper:
    """A network with its optimiser: each call is one training step.

    Args:
        network: in training mode, on its device.
        config: of loss and fit.
        trainee: what computes the step: the network, or its compiled form.
    """

    def __init__(self, network: nn.Module, config: TrainingConfig, trainee: nn.Module | None = None) -> None:
        self.config, self.trainee = config, network if trainee is None else trainee
        self.parameters = list(network.parameters())
        self.device = self.parameters[0].device
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=config.fit.learning_rate, weight_decay=config.fit.weight_decay
        )
        self.scaler = gradient_scaler(self.device, config.fit.mixed_precision)

    def __call__(self, inputs: NetworkInputs, labels: Labels) -> Tensor:
        """[2]: loss, and gradient norm before clipping. They stay on the device: looking would stall every step."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = _loss(self.trainee, inputs, labels, self.config)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.fit.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return torch.stack([loss.detach(), norm])


def _loss(network: nn.Module, inputs: NetworkInputs, labels: Labels, config: TrainingConfig) -> Tensor:
    with autocast(labels.weight.device, config.fit.mixed_precision):
        output = network(*inputs)
    return training_loss(output, labels, config.loss)


def _compiled(network: nn.Module, windows: Windows, part: Part, config: TrainingConfig) -> nn.Module:
    """The compiled network, tried on a batch that draws no number from the member's generators."""
    chosen = torch.arange(min(config.fit.batch_size, len(part.rows)), device=part.rows.device)

    def probe(candidate: nn.Module) -> None:
        with seeded(config.seed, part.rows.device):
            _loss(candidate, windows.batch(part.rows[chosen]), part.labels.rows(chosen), config).backward()

    return compiled(network.train(), probe)


def _fit(
    network: nn.Module,
    windows: Windows,
    train: Part,
    validation: Part,
    config: TrainingConfig,
    seed: int,
    on_epoch: Callable[[int, int, float, float], None],
) -> TrainedMember:
    """The training loop of one member."""
    started, fit = time.perf_counter(), config.fit
    step = Stepper(network, config, _compiled(network, windows, train, config) if fit.compile else None)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(step.optimizer, T_max=fit.epochs)
    order = torch.Generator().manual_seed(seed)

    def figure(record: EpochRecord) -> float:
        return record.validation_loss if fit.stop_on == "loss" else record.validation_mape

    untrained, _ = _evaluate(network, windows, train, config)
    history = [EpochRecord(0, 0.0, untrained, *_evaluate(network, windows, validation, config))]
    best_epoch, best_weights = 0, _copy_weights(network)
    for epoch in range(1, fit.epochs + 1):
        learning_rate = float(schedule.get_last_lr()[0])
        network.train()
        train_loss = _train_epoch(step, windows, train, order, epoch)
        schedule.step()
        record = EpochRecord(epoch, learning_rate, train_loss, *_evaluate(network, windows, validation, config))
        history.append(record)
        on_epoch(epoch, fit.epochs, record.train_loss, record.validation_loss)
        if figure(record) < figure(history[best_epoch]):
            best_epoch, best_weights = epoch, _copy_weights(network)
        elif epoch - best_epoch >= fit.patience:
            break
    return TrainedMember(seed, best_weights, tuple(history), best_epoch, time.perf_counter() - started)


def _train_epoch(step: Stepper, windows: Windows, part: Part, order: torch.Generator, epoch: int) -> float:
    """One pass over the training rows in random order; returns the loss, a mean over known labels.

    Raises:
        ModelError: the loss of a batch is not a number, or its gradient norm where no scaler handles that.
    """
    shuffled = torch.randperm(len(part.rows), generator=order).to(part.rows.device)
    batches = shuffled.split(step.config.fit.batch_size)
    figures = [step(windows.batch(part.rows[chosen]), part.labels.rows(chosen)) for chosen in batches]
    losses, norms = torch.stack(figures).cpu().unbind(dim=1)  # [batches] each
    broken = ~losses.isfinite() if step.scaler.is_enabled() else ~(losses.isfinite() & norms.isfinite())
    if bool(broken.any()):
        number = int(broken.nonzero()[0])
        rows = part.rows[batches[number]]
        raise ModelError(
            f"epoch {epoch} batch {number + 1} (rows {int(rows.min())}..{int(rows.max())})",
            f"The training loss is {float(losses[number])} with gradient norm {float(norms[number])}.",
            "check features and targets of those rows, or lower the learning rate.",
        )
    known = torch.stack([(part.labels.weight[chosen] > 0).sum() for chosen in batches]).cpu()
    return float((losses * known).sum() / known.sum())


def _evaluate(network: nn.Module, windows: Windows, part: Part, config: TrainingConfig) -> tuple[float, float]:
    """Loss, and MAPE of the forecast price in percent, over a whole part in evaluation mode.

    Raises:
        ModelError: the loss is not a number.
    """
    output = forward(network, windows, part.rows, _EVALUATION_BATCH)
    value = float(training_loss(output, part.labels, config.loss))
    if not np.isfinite(value):
        raise ModelError(
            f"rows {int(part.rows.min())}..{int(part.rows.max())}",
            f"The evaluation loss is {value}.",
            "check features and targets of those rows, or lower the learning rate.",
        )
    return value, float(mape(output.median, part.labels))


def _copy_weights(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights on the CPU, which later steps do not change."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in network.state_dict().items()}
