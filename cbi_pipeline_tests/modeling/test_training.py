from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling.config import MEAN_PATH_INPUTS, TrainingConfig
from cbi_pipeline.modeling.device import REFERENCE_DEVICE
from cbi_pipeline.modeling.loss import masked_huber
from cbi_pipeline.modeling.training import CellInputs, predict_residual, reference_residual, train_cell
from cbi_pipeline.modeling.windows import cut_windows

CPU = torch.device("cpu")
SMALL = TrainingConfig(
    mean_path_inputs=("a", "b"),
    window_sessions=16,
    filters=8,
    norm_groups=2,
    n_blocks=3,
    train_stride=1,
    batch_size=32,
    epochs=6,
    patience=6,
    dropout=0.0,
    weight_decay=0.0,
    learning_rate=5e-3,
)


def small_cell(sessions: int = 260) -> CellInputs:
    """Feature a tells the target's sign; feature b is noise with gaps."""
    rng = np.random.default_rng(5)
    features = rng.normal(size=(sessions, 2)).astype(np.float32)
    features[rng.random(sessions) < 0.2, 1] = np.nan
    targets = np.repeat(0.3 * np.sign(features[:, :1]), 4, axis=1).astype(np.float64)
    targets[-20:, 3] = np.nan
    train, validation = np.zeros((sessions, 4), dtype=bool), np.zeros((sessions, 4), dtype=bool)
    train[:150], validation[170:240] = True, True
    return CellInputs(("a", "b"), features, targets, train, validation, np.arange(240, sessions))


def test_network_learns_what_can_be_learned() -> None:
    trained = train_cell(small_cell(), replace_config(SMALL, epochs=20, patience=20), CPU)
    assert trained.best_epoch > 0
    assert trained.history[trained.best_epoch].validation_loss < 0.25 * trained.history[0].validation_loss
    cell = small_cell()
    known = ~np.isnan(cell.targets[trained.prediction_rows])
    right = np.sign(trained.predictions) == np.sign(cell.targets[trained.prediction_rows])
    assert right[known].mean() > 0.9


def replace_config(config: TrainingConfig, **changes: object) -> TrainingConfig:
    return TrainingConfig.model_validate(config.model_dump() | changes)


def test_one_seed_gives_identical_weights_and_another_seed_others() -> None:
    config = replace_config(SMALL, dropout=0.5)
    torch.manual_seed(1)
    first = train_cell(small_cell(), config, CPU)
    torch.manual_seed(2)  # the state of the global generator does not matter
    second = train_cell(small_cell(), config, CPU)
    assert all(torch.equal(first.state_dict[name], second.state_dict[name]) for name in first.state_dict)
    assert first.history == second.history
    assert np.array_equal(first.predictions, second.predictions)
    for change in ({"seed": 7}, {"dropout": 0.0}):
        other = train_cell(small_cell(), replace_config(config, **change), CPU)
        assert not np.array_equal(first.predictions, other.predictions)


def test_training_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    train_cell(small_cell(), replace_config(SMALL, epochs=1), CPU)
    assert torch.equal(torch.rand(1), expected)


def test_best_weights_are_restored_not_the_last() -> None:
    cell = small_cell()
    opposed = replace(cell, targets=np.where(cell.validation_mask, -cell.targets, cell.targets))
    trained = train_cell(opposed, replace_config(SMALL, patience=2), CPU)
    assert trained.best_epoch == 0  # validation contradicts training: the anchor is never beaten
    assert len(trained.history) == 3  # epoch 0, and two epochs without improvement
    assert np.array_equal(trained.predictions, np.zeros_like(trained.predictions))


def test_best_weights_are_those_of_the_best_epoch() -> None:
    """Training pulls the residual through what validation wants and beyond it: the best epoch is in the middle."""
    cell = small_cell()
    targets = np.where(cell.train_mask, 0.3, 0.1)
    config = replace_config(SMALL, epochs=20, patience=20, dropout=0.3)
    trained = train_cell(replace(cell, targets=targets), config, CPU)
    assert 0 < trained.best_epoch < 20
    rows = np.flatnonzero(cell.validation_mask[:, 0])
    residual = reference_residual(config, trained.state_dict, cell.features, cell.feature_names, rows)
    squares = (residual.astype(np.float64) - 0.1) ** 2 / 2 * np.array(config.horizon_weights)
    assert squares.mean() == pytest.approx(trained.history[trained.best_epoch].validation_loss, rel=1e-4)
    assert min(record.validation_loss for record in trained.history) == pytest.approx(squares.mean(), rel=1e-4)


def test_rows_outside_the_masks_do_not_matter() -> None:
    cell = small_cell()
    used = cell.train_mask | cell.validation_mask
    other = replace(cell, targets=np.where(used, cell.targets, 1e6))
    first, second = train_cell(cell, SMALL, CPU), train_cell(other, SMALL, CPU)
    assert all(torch.equal(first.state_dict[name], second.state_dict[name]) for name in first.state_dict)


def test_rate_follows_one_cosine_over_the_epochs() -> None:
    rates = [record.learning_rate for record in train_cell(small_cell(), SMALL, CPU).history[1:]]
    expected = [SMALL.learning_rate * (1 + np.cos(np.pi * k / SMALL.epochs)) / 2 for k in range(SMALL.epochs)]
    assert rates == pytest.approx(expected)


def test_progress_is_told_after_each_epoch() -> None:
    calls: list[tuple[int, int, float, float]] = []
    trained = train_cell(small_cell(), SMALL, CPU, lambda *told: calls.append(told))
    assert [call[:2] for call in calls] == [(epoch, 6) for epoch in range(1, 7)]
    assert [call[2:] for call in calls] == [(r.train_loss, r.validation_loss) for r in trained.history[1:]]


def test_one_row_equals_the_row_of_a_batch() -> None:
    cell = small_cell()
    trained = train_cell(cell, SMALL, CPU)
    batch = reference_residual(SMALL, trained.state_dict, cell.features, cell.feature_names, cell.prediction_rows)
    assert np.array_equal(batch, trained.predictions)
    for i, row in enumerate(cell.prediction_rows):
        alone = reference_residual(SMALL, trained.state_dict, cell.features, cell.feature_names, np.array([row]))
        assert np.array_equal(alone[0], batch[i])  # to the bit: rows go through the network one by one


def test_prediction_of_a_row_ignores_later_rows() -> None:
    cell = small_cell()
    trained = train_cell(cell, SMALL, CPU)
    later = cell.features.copy()
    later[241:] *= 9
    row = np.array([240])
    assert np.array_equal(
        reference_residual(SMALL, trained.state_dict, later, cell.feature_names, row), trained.predictions[:1]
    )


def test_no_rows_give_no_predictions() -> None:
    cell = small_cell()
    network_free = cut_windows(cell.features, cell.feature_names, SMALL, REFERENCE_DEVICE)
    assert predict_residual(torch.nn.Identity(), network_free, np.empty(0, dtype=np.int64)).shape == (0, 4)


def test_loss_that_is_not_a_number_stops_with_the_batch_named(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 0

    def overflowing(residual: torch.Tensor, *rest: object) -> torch.Tensor:
        nonlocal steps
        steps += residual.requires_grad
        loss = masked_huber(residual, *rest)  # type: ignore[arg-type]
        return loss * float("nan") if steps == 7 else loss

    monkeypatch.setattr("cbi_pipeline.modeling.training.masked_huber", overflowing)
    with pytest.raises(ModelError, match=r"^epoch 2 batch 2 \(rows \d+\.\.\d+\): The training loss is nan"):
        train_cell(small_cell(), SMALL, CPU)  # 135 windows are five batches of 32


def test_unusable_cells_are_refused() -> None:
    cell = small_cell()
    with pytest.raises(ModelError, match="training part"):
        train_cell(replace(cell, train_mask=np.zeros_like(cell.train_mask)), SMALL, CPU)
    with pytest.raises(ModelError, match="validation part"):
        train_cell(replace(cell, targets=np.where(cell.validation_mask, np.nan, cell.targets)), SMALL, CPU)
    with pytest.raises(ModelError, match="for training and for validation"):
        replace(cell, validation_mask=cell.train_mask)
    with pytest.raises(ModelError, match="shape"):
        replace(cell, targets=cell.targets[:, :3])
    with pytest.raises(ModelError, match="boolean"):
        replace(cell, train_mask=cell.train_mask.astype(int))
    with pytest.raises(ModelError, match="infinite"):
        replace(cell, targets=np.where(cell.train_mask, np.inf, cell.targets))


def test_mean_path_inputs_are_features_of_the_catalogue() -> None:
    from cbi_pipeline.features import FEATURE_NAMES

    assert set(MEAN_PATH_INPUTS) <= set(FEATURE_NAMES)


@pytest.mark.slow
def test_full_network_overfits_64_real_windows(starter_features: pd.DataFrame) -> None:
    """Real features, real labels (the sign of the next 63 sessions' move): without regularisation, memory must win."""
    from cbi_pipeline.features.driver_set import fit_driver_set

    sessions = starter_features.index
    features = fit_driver_set(starter_features, sessions[-1500].date(), sessions[-400].date()).transform(
        starter_features
    )
    log_close = np.log(starter_features["close"].to_numpy(dtype=np.float64))
    targets = np.full((len(features), 4), np.nan)
    targets[:-63, 0] = 0.3 * np.sign(log_close[63:] - log_close[:-63])
    train, validation = np.zeros_like(targets, dtype=bool), np.zeros_like(targets, dtype=bool)
    train[-1400:-440:15, 0] = True
    validation[-300, 0] = True
    config = TrainingConfig(
        dropout=0.0, weight_decay=0.0, epochs=60, patience=60, train_stride=1, batch_size=64, learning_rate=3e-3
    )
    cell = CellInputs(tuple(starter_features.columns), features, targets, train, validation)
    trained = train_cell(cell, config, CPU)
    assert trained.n_train == 64
    assert trained.history[-1].train_loss < 0.05 * trained.history[0].train_loss
