"""CPU against an accelerator: forward pass and one training step of each network. Skipped where there is none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from cbi_pipeline.modeling.config import ARCHITECTURES, Architecture, TrainingConfig
from cbi_pipeline.modeling.device import available_devices
from cbi_pipeline.modeling.networks import build_network
from cbi_pipeline.modeling.training import (
    Stepper,
    forward,
    name_spread_inputs,
    reference_forecast,
    seeded,
    train_cell,
    training_part,
)
from cbi_pipeline.modeling.windows import cut_windows
from cbi_pipeline_tests.modeling.small_cells import small_cell, small_config

CPU = torch.device("cpu")
FLOAT32, MIXED = {"rtol": 1e-3, "atol": 1e-4}, {"rtol": 5e-2, "atol": 2e-2}


@dataclass(frozen=True)
class Step:
    """What one network says before and after one training step, on the CPU."""

    before: Tensor  # [32, 4 + 28]: median and offsets
    after: Tensor
    figures: Tensor  # [2]: loss and gradient norm
    weights: dict[str, Tensor]


@pytest.fixture(params=["cuda", "mps"])
def accelerator(request: pytest.FixtureRequest) -> torch.device:
    if request.param not in available_devices():
        pytest.skip(f"torch {torch.__version__} finds no {request.param} device on this machine")
    return torch.device(request.param)


def parity_config(architecture: Architecture, mixed_precision: bool) -> TrainingConfig:
    return small_config(architecture, fit={"mixed_precision": mixed_precision, "weight_decay": 1e-2})


def one_step(config: TrainingConfig, device: torch.device) -> Step:
    """One step from weights drawn on the CPU, heads included (at zero they would hide the rest of the network)."""
    cell = small_cell()
    config = name_spread_inputs(config, cell.feature_names)
    windows = cut_windows(cell.features, cell.feature_names, cell.calendar, config.network, device)
    part = training_part(cell, config, device)
    with seeded(5, CPU):
        network = build_network(config.network)
        for parameter in network.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
    network.to(device)
    chosen = torch.arange(32, device=device)
    rows = part.rows[chosen]

    def said() -> Tensor:
        output = forward(network, windows, rows, 32)
        return torch.cat([output.median, output.offsets.flatten(1)], dim=1).cpu()

    before = said()
    figures = Stepper(network.train(), config)(windows.batch(rows), part.labels.rows(chosen)).cpu()
    weights = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    return Step(before, said(), figures, weights)


@pytest.mark.parametrize("mixed_precision", [False, True], ids=["float32", "autocast"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_accelerator_agrees_with_the_cpu(
    accelerator: torch.device, architecture: Architecture, mixed_precision: bool
) -> None:
    """Against the CPU in float32. AdamW's first step has the learning rate's size whatever the gradient's, so that a
    gradient near zero may turn a weight by twice that; what the network says must agree all the same."""
    reference = one_step(parity_config(architecture, False), CPU)
    config = parity_config(architecture, mixed_precision)
    there = one_step(config, accelerator)
    tolerance = MIXED if mixed_precision else FLOAT32
    torch.testing.assert_close(there.before, reference.before, **FLOAT32)  # evaluation is float32 everywhere
    torch.testing.assert_close(there.figures, reference.figures, **tolerance)
    torch.testing.assert_close(there.after, reference.after, **MIXED)
    for name, tensor in reference.weights.items():
        assert (there.weights[name] - tensor).abs().max() <= 2.1 * config.fit.learning_rate, name


@pytest.mark.parametrize("mixed_precision", [False, True], ids=["float32", "autocast"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_cell_trains_on_the_accelerator(
    accelerator: torch.device, architecture: Architecture, mixed_precision: bool
) -> None:
    """The whole loop; what is stored is float32 on the CPU, and what it says there differs by rounding alone."""
    cell, config = small_cell(), parity_config(architecture, mixed_precision)
    trained = train_cell(cell, config, accelerator)
    assert trained.device == accelerator.type
    assert all(tensor.device == CPU and tensor.dtype == torch.float32 for tensor in trained.state_dict.values())
    published = reference_forecast(
        config, trained.state_dict, cell.features, cell.feature_names, cell.calendar, trained.prediction_rows
    )
    np.testing.assert_allclose(trained.medians.mean(axis=1), published.median, atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_cell_trained_again_on_cuda_has_the_same_bits(architecture: Architecture) -> None:
    if "cuda" not in available_devices():
        pytest.skip(f"torch {torch.__version__} finds no cuda device on this machine")
    first, second = (
        train_cell(small_cell(), parity_config(architecture, False), torch.device("cuda")).state_dict for _ in range(2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_bfloat16_on_the_cpu_agrees_with_float32(architecture: Architecture) -> None:
    reference, mixed = (one_step(parity_config(architecture, on), CPU) for on in (False, True))
    assert torch.equal(mixed.before, reference.before)
    torch.testing.assert_close(mixed.figures, reference.figures, **MIXED)
    assert not torch.equal(mixed.figures, reference.figures)  # autocast is on


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_step_is_deterministic_on_the_cpu(architecture: Architecture) -> None:
    first, second = (one_step(parity_config(architecture, False), CPU) for _ in range(2))
    assert torch.equal(first.after, second.after)
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)
    assert not torch.equal(first.before, first.after)
