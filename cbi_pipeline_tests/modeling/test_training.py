from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cbi_pipeline.contracts import QUANTILES
from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling import training
from cbi_pipeline.modeling.cells import CellInputs, TrainedCell
from cbi_pipeline.modeling.config import ARCHITECTURES, Architecture, LossConfig, TrainingConfig
from cbi_pipeline.modeling.loss import training_loss
from cbi_pipeline.modeling.training import reference_forecast, train_cell, training_part
from cbi_pipeline_tests.modeling.small_cells import real_cell, small_cell, small_config

CPU = torch.device("cpu")


def train(config: TrainingConfig, cell: CellInputs | None = None) -> TrainedCell:
    return train_cell(cell or small_cell(), config, CPU)


def same_weights(first: TrainedCell, second: TrainedCell) -> bool:
    return all(torch.equal(first.state_dict[name], second.state_dict[name]) for name in first.state_dict)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_network_learns_what_can_be_learned(architecture: Architecture) -> None:
    cell = small_cell()
    trained = train(small_config(architecture, network={"patch_days": 1}, fit={"epochs": 30, "patience": 30}), cell)
    (member,) = trained.members
    assert member.best_epoch > 0
    best = member.history[member.best_epoch]
    assert best.validation_loss < 0.85 * member.history[0].validation_loss
    assert best.validation_mape < 0.85 * member.history[0].validation_mape
    wanted = cell.targets[trained.prediction_rows]
    known = ~np.isnan(wanted)
    assert (np.sign(trained.medians[:, 0]) == np.sign(wanted))[known].mean() > 0.8


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_one_seed_gives_identical_weights_and_another_seed_others(architecture: Architecture) -> None:
    config = small_config(architecture, network={"dropout": 0.5}, fit={"epochs": 2}, members=2)
    torch.manual_seed(1)
    first = train(config)
    torch.manual_seed(2)  # the state of the global generator does not matter
    second = train(config)
    assert same_weights(first, second)
    assert [member.history for member in first.members] == [member.history for member in second.members]
    assert np.array_equal(first.medians, second.medians)
    assert np.array_equal(first.offsets, second.offsets)
    for change in ({"seed": 7}, {"network": {"dropout": 0.1}}):
        other = small_config(
            architecture, **({"network": {"dropout": 0.5}, "fit": {"epochs": 2}, "members": 2} | change)
        )
        assert not same_weights(first, train(other))


def test_member_does_not_depend_on_the_others() -> None:
    config = small_config(network={"dropout": 0.5}, fit={"epochs": 2}, seed=11, members=3)
    trained = train(config)
    assert [member.seed for member in trained.members] == [11, 12, 13]
    assert trained.medians.shape == (20, 3, 4)
    assert trained.offsets.shape == (20, 3, 4, 7)
    for place, member in enumerate(trained.members):
        alone = train(config.model_copy(update={"seed": member.seed, "members": 1}))
        assert all(torch.equal(alone.members[0].state_dict[name], tensor) for name, tensor in member.state_dict.items())
        assert np.array_equal(alone.medians[:, 0], trained.medians[:, place])
        for name, tensor in member.state_dict.items():
            assert torch.equal(trained.state_dict[f"members.{place}.{name}"], tensor)
    assert not np.array_equal(trained.medians[:, 0], trained.medians[:, 1])


def test_training_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    train(small_config(network={"dropout": 0.5}, fit={"epochs": 1}))
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("stop_on", ["loss", "mape"])
def test_best_weights_are_restored_not_the_last(stop_on: str) -> None:
    cell = small_cell()
    opposed = replace(cell, targets=np.where(cell.validation_mask, -cell.targets, cell.targets))
    config = small_config(fit={"patience": 2, "stop_on": stop_on}, loss={"pinball_weight": 0.0})
    trained = train(config, opposed)
    assert trained.members[0].best_epoch == 0  # validation contradicts training: the anchor is never beaten
    assert len(trained.members[0].history) == 3  # epoch 0, and two epochs without improvement
    assert np.array_equal(trained.medians, np.zeros_like(trained.medians))
    normal = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(QUANTILES))
    torch.testing.assert_close(torch.from_numpy(trained.offsets), normal.expand(trained.offsets.shape))


@pytest.mark.parametrize("stop_on", ["loss", "mape"])
def test_best_weights_are_those_of_the_best_epoch_by_the_figure_that_is_set(stop_on: str) -> None:
    """Training pulls the median through what validation wants and beyond it: the best epoch is in the middle."""
    cell = small_cell()
    cell = replace(cell, targets=np.where(cell.train_mask, 0.3, 0.1))
    fit = {"epochs": 20, "patience": 20, "stop_on": stop_on}
    config = small_config(loss={"pinball_weight": 0.0, "direction_weight": 0.0}, network={"dropout": 0.3}, fit=fit)
    trained = train(config, cell)
    (member,) = trained.members
    assert 0 < member.best_epoch < 20
    rows = np.flatnonzero(cell.validation_mask[:, 0])
    median = reference_forecast(
        config, trained.state_dict, cell.features, cell.feature_names, cell.calendar, rows
    ).median.astype(np.float64)
    loss = ((median - 0.1) ** 2 / 2 * np.array(config.loss.horizon_weights)).mean()
    mape = 100 * np.abs(np.exp(cell.sigma[rows] * (median - 0.1)) - 1).mean()
    best = member.history[member.best_epoch]
    assert (loss, mape) == pytest.approx((best.validation_loss, best.validation_mape), rel=1e-4)
    figures = [r.validation_loss if stop_on == "loss" else r.validation_mape for r in member.history]
    assert int(np.argmin(figures)) == member.best_epoch


def test_the_two_figures_can_choose_different_epochs() -> None:
    """The loss weighs the near horizon most, MAPE the far one, whose sigma is largest: they want opposite medians."""
    cell = small_cell()
    wanted = np.array([0.3, 0.3, -0.1, -0.1])
    cell = replace(
        cell, targets=np.where(cell.train_mask, 0.3, wanted), sigma=np.tile([0.01, 0.01, 0.2, 0.2], (260, 1))
    )
    best = {}
    for stop_on in ("loss", "mape"):
        fit = {"epochs": 20, "patience": 20, "stop_on": stop_on}
        loss = {"pinball_weight": 0.0, "direction_weight": 0.0, "horizon_weights": (1.0, 1.0, 0.1, 0.1)}
        best[stop_on] = train(small_config(loss=loss, fit=fit), cell).members[0].best_epoch
    assert best["mape"] < best["loss"]


def test_rows_outside_the_masks_do_not_matter() -> None:
    cell = small_cell()
    used = cell.train_mask | cell.validation_mask
    other = replace(cell, **{name: np.where(used, getattr(cell, name), 1e6) for name in ("targets", "base", "sigma")})
    first, second = train(small_config(), cell), train(small_config(), other)
    assert same_weights(first, second)
    assert first.members[0].history == second.members[0].history


def test_unknown_labels_never_reach_the_weights() -> None:
    """NaN in target, base, sigma and ratio of unknown labels, in every batch of training and in validation."""
    cell = small_cell()
    unknown = np.random.default_rng(3).random(cell.targets.shape) < 0.3
    names = ("targets", "base", "sigma", "density_ratio")
    cell = replace(cell, **{name: np.where(unknown, np.nan, getattr(cell, name)) for name in names})
    trained = train(small_config(), cell)
    assert all(tensor.isfinite().all() for tensor in trained.state_dict.values())
    assert all(
        np.isfinite([r.train_loss, r.validation_loss, r.validation_mape]).all() for r in trained.members[0].history
    )


def test_rate_follows_one_cosine_over_the_epochs() -> None:
    config = small_config()
    rates = [record.learning_rate for record in train(config).members[0].history[1:]]
    assert rates == pytest.approx([config.fit.learning_rate * (1 + np.cos(np.pi * k / 6)) / 2 for k in range(6)])


def test_progress_is_told_after_each_epoch() -> None:
    calls: list[tuple[float, ...]] = []
    trained = train_cell(
        small_cell(), small_config(fit={"epochs": 2}, members=2), CPU, lambda *told: calls.append(told)
    )
    assert [call[:3] for call in calls] == [(member, epoch, 2) for member in (0, 1) for epoch in (1, 2)]
    records = [record for member in trained.members for record in member.history[1:]]
    assert [call[3:] for call in calls] == [(r.train_loss, r.validation_loss) for r in records]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_out_of_fold_predictions_agree_with_the_reference(architecture: Architecture) -> None:
    """Batches against rows alone: within 1e-5; the reference itself to the bit, whatever rows are asked for."""
    cell, config = small_cell(), small_config(architecture, network={"dropout": 0.3}, members=2)
    trained = train(config, cell)
    assert np.abs(trained.medians).max() > 1e-3 or trained.members[0].best_epoch == 0

    def reference(rows: np.ndarray, features: np.ndarray = cell.features) -> Any:
        return reference_forecast(config, trained.state_dict, features, cell.feature_names, cell.calendar, rows)

    whole = reference(cell.prediction_rows)
    assert np.abs(whole.median - trained.medians.mean(axis=1)).max() <= 1e-5
    assert np.abs(whole.offsets - trained.offsets.mean(axis=1)).max() <= 1e-5
    later = cell.features.copy()
    later[cell.prediction_rows[3] + 1 :] *= 9
    for alone in (reference(cell.prediction_rows[3:4]), reference(cell.prediction_rows[3:4], later)):
        assert np.array_equal(alone.median[0], whole.median[3])
        assert np.array_equal(alone.offsets[0], whole.offsets[3])


def test_no_rows_give_no_predictions() -> None:
    cell = replace(small_cell(), prediction_rows=np.empty(0, dtype=np.int64))
    trained = train(small_config(fit={"epochs": 1}), cell)
    assert trained.medians.shape == (0, 1, 4)
    assert trained.offsets.shape == (0, 1, 4, 7)
    asked = (cell.features, cell.feature_names, cell.calendar, cell.prediction_rows)
    assert reference_forecast(trained.config, trained.state_dict, *asked).median.shape == (0, 4)


def test_spread_inputs_are_named_in_the_result() -> None:
    cell = small_cell()
    assert train(small_config(fit={"epochs": 1}), cell).config.network.spread_inputs == cell.feature_names
    named = small_config(network={"spread_inputs": ("c",)}, fit={"epochs": 1})
    assert train(named, cell).config == named


def test_uniqueness_weighs_training_labels_only() -> None:
    cell = small_cell()
    ends = cell.label_end.copy()
    ends[100:] = 200  # from row 100 on, labels end together
    cell = replace(cell, label_end=ends)
    config = small_config()
    weight = training_part(cell, config, CPU).labels.weight
    assert weight.mean(dim=0).tolist() == pytest.approx(config.loss.horizon_weights)
    assert weight[0, 0] > 2 * weight[120, 0]
    equal = training_part(cell, small_config(loss={"uniqueness": False}), CPU).labels.weight
    assert torch.equal(equal, torch.tensor(config.loss.horizon_weights).expand_as(equal))


def test_loss_that_is_not_a_number_stops_with_the_batch_named(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 0

    def overflowing(output: Any, labels: Any, config: LossConfig) -> torch.Tensor:
        nonlocal steps
        steps += output.median.requires_grad
        loss = training_loss(output, labels, config)
        return loss * float("nan") if steps == 7 else loss

    monkeypatch.setattr(training, "training_loss", overflowing)
    with pytest.raises(ModelError, match=r"^epoch 2 batch 2 \(rows \d+\.\.\d+\): The training loss is nan"):
        train(small_config())  # 131 windows are five batches of 32


def test_gradient_that_is_not_a_number_stops_with_the_batch_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(float("inf")))
    with pytest.raises(ModelError, match=r"^epoch 1 batch 1 .* with gradient norm inf"):
        train(small_config())


def test_unusable_cells_are_refused() -> None:
    cell = small_cell()
    with pytest.raises(ModelError, match="training part"):
        train(small_config(), replace(cell, train_mask=np.zeros_like(cell.train_mask)))
    with pytest.raises(ModelError, match="validation part"):
        train(small_config(), replace(cell, targets=np.where(cell.validation_mask, np.nan, cell.targets)))
    with pytest.raises(ModelError, match="for training and for validation"):
        replace(cell, validation_mask=cell.train_mask)
    with pytest.raises(ModelError, match=r"cell targets: The shape"):
        replace(cell, targets=cell.targets[:, :3])
    with pytest.raises(ModelError, match="boolean"):
        replace(cell, train_mask=cell.train_mask.astype(int))
    for name in ("targets", "base", "sigma", "density_ratio"):
        with pytest.raises(ModelError, match=f"cell {name}: .* infinite or missing"):
            replace(cell, **{name: np.where(cell.train_mask, np.inf, getattr(cell, name))})
    for name in ("sigma", "density_ratio"):
        with pytest.raises(ModelError, match=f"cell {name}: .* not positive"):
            replace(cell, **{name: np.zeros_like(cell.sigma)})


def test_mixed_precision_trains_close_to_float32() -> None:
    plain, mixed = (train(small_config(fit={"epochs": 2, "mixed_precision": on})) for on in (False, True))
    assert not same_weights(plain, mixed)
    assert np.abs(plain.medians - mixed.medians).max() < 0.02
    assert all(tensor.dtype == torch.float32 for tensor in mixed.state_dict.values())


def test_compiled_network_trains_to_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced by torch's compiler, run without its C++ backend: equal to the bit, and trying it draws no number."""
    traced = []

    def compile_eagerly(network: torch.nn.Module) -> Any:
        traced.append(network)
        return torch_compile(network, backend="eager")

    torch_compile = torch.compile
    monkeypatch.setattr(torch, "compile", compile_eagerly)
    plain, compiled = (
        train(small_config(network={"dropout": 0.5}, fit={"epochs": 2, "compile": on})) for on in (False, True)
    )
    assert len(traced) == 1
    assert same_weights(plain, compiled)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_full_network_overfits_64_real_windows(
    architecture: Architecture, starter_tables: dict[str, pd.DataFrame], starter_features: pd.DataFrame
) -> None:
    """Real features, real scaled log returns: without regularisation or bound, memory must win."""
    from cbi_pipeline.profiles import get_profile

    full = get_profile("full").training(architecture, "raw", seed=1)
    config = full.model_copy(
        update={
            "members": 1,
            "network": full.network.model_copy(update={"dropout": 0.0}),
            "loss": LossConfig(pinball_weight=0.0, direction_weight=0.0),
            "fit": full.fit.model_copy(
                update={
                    "weight_decay": 0.0,
                    "epochs": 100,
                    "patience": 100,
                    "train_stride": 1,
                    "batch_size": 32,
                    "learning_rate": 5e-3,
                }
            ),
        }
    )
    trained = train(config, real_cell(starter_tables, starter_features))
    assert trained.n_train == 64
    history = trained.members[0].history
    assert history[-1].train_loss < 0.02 * history[0].train_loss
