from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling.config import PROFILES, TrainingConfig
from cbi_pipeline.modeling.tcn import TemporalConvolutionalNetwork, load_network

CONFIG = TrainingConfig()


@pytest.fixture
def network() -> TemporalConvolutionalNetwork:
    torch.manual_seed(1)
    return TemporalConvolutionalNetwork(CONFIG).eval()


def windows(n: int = 2, sessions: int = 252) -> Tensor:
    return torch.randn(n, CONFIG.n_channels, sessions, generator=torch.Generator().manual_seed(2))


def wake_heads(network: TemporalConvolutionalNetwork) -> None:
    """Move the heads from their zero start, so that gradients pass through them."""
    for head in network.heads.horizons.values():
        nn.init.normal_(head.weight, std=0.1)  # type: ignore[arg-type]


@pytest.mark.parametrize("step", [0, 1, 100, 250])
def test_no_state_depends_on_a_later_input(network: TemporalConvolutionalNetwork, step: int) -> None:
    x = windows().requires_grad_()
    (gradient,) = torch.autograd.grad(network.states(x)[..., step].square().sum(), x)
    assert torch.count_nonzero(gradient[..., step + 1 :]) == 0  # exactly zero, not nearly
    assert torch.count_nonzero(gradient[..., step]) > 0


def test_states_are_causal_in_training_mode_too(network: TemporalConvolutionalNetwork) -> None:
    x = windows().requires_grad_()
    (gradient,) = torch.autograd.grad(network.train().states(x)[..., 100].square().sum(), x)
    assert torch.count_nonzero(gradient[..., 101:]) == 0
    assert torch.count_nonzero(gradient[..., :101]) > 0


def test_last_state_sees_the_whole_window_and_no_more_than_its_receptive_field() -> None:
    assert CONFIG.receptive_field == 253
    torch.manual_seed(1)
    network = TemporalConvolutionalNetwork(CONFIG).eval()
    x = windows(sessions=300).requires_grad_()
    (gradient,) = torch.autograd.grad(network.last_state(x).square().sum(), x)
    seen = gradient.abs().sum(dim=(0, 1)).nonzero()
    assert int(seen.min()) == 300 - 253
    assert int(seen.max()) == 299


@pytest.mark.parametrize("sessions", [1, 2, 7, 100, 251, 252, 253])
def test_strided_last_state_equals_the_dilated_network(network: TemporalConvolutionalNetwork, sessions: int) -> None:
    x = windows(sessions=sessions)
    torch.testing.assert_close(network.last_state(x), network.states(x)[..., -1], rtol=1e-5, atol=1e-5)


def test_normalisation_is_per_time_step(network: TemporalConvolutionalNetwork) -> None:
    h = network.blocks[1].norm(torch.randn(5, 64)).view(5, 8, 8)  # [steps, groups, channels of a group]
    torch.testing.assert_close(h.mean(dim=2), torch.zeros(5, 8), atol=1e-5, rtol=0)


def test_every_parameter_learns_once_the_heads_have_left_zero(network: TemporalConvolutionalNetwork) -> None:
    wake_heads(network)
    network(windows(8)).square().sum().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert silent == []


def test_untrained_network_gets_gradients_in_its_heads_only(network: TemporalConvolutionalNetwork) -> None:
    (network(windows(8)) - 1.0).square().sum().backward()
    moved = {name.split(".")[0] for name, p in network.named_parameters() if bool(p.grad.abs().sum() > 0)}
    assert moved == {"heads"}


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e6, 3e38])
def test_output_and_gradient_are_finite_for_extreme_inputs(network: TemporalConvolutionalNetwork, scale: float) -> None:
    wake_heads(network)
    out = network.train()(windows(4).clamp(-1, 1) * scale)
    out.sum().backward()
    assert torch.isfinite(out).all()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


def test_evaluation_is_deterministic_and_training_drops(network: TemporalConvolutionalNetwork) -> None:
    wake_heads(network)
    x = windows()
    assert torch.equal(network(x), network(x))
    network.train()
    assert not torch.equal(network(x), network(x))


def test_weights_survive_loading_exactly(network: TemporalConvolutionalNetwork) -> None:
    wake_heads(network)
    loaded = load_network(CONFIG, network.state_dict())
    assert not loaded.training
    assert torch.equal(loaded(windows()), network(windows()))


def test_weights_of_another_shape_are_refused(network: TemporalConvolutionalNetwork) -> None:
    with pytest.raises(ModelError, match="shape"):
        load_network(PROFILES["smoke"], network.state_dict())


def test_configuration_refuses_what_cannot_work() -> None:
    with pytest.raises(ValidationError, match="receptive field"):
        TrainingConfig(n_blocks=5)
    with pytest.raises(ValidationError, match="norm_groups"):
        TrainingConfig(norm_groups=7)
    with pytest.raises(ValidationError, match="twice"):
        TrainingConfig(mean_path_inputs=("a", "a"))
    with pytest.raises(ValidationError, match="at most 12"):
        TrainingConfig(mean_path_inputs=tuple("abcdefghijklm"))
    with pytest.raises(ValidationError, match="Extra inputs"):
        TrainingConfig(learning_rat=1e-3)  # type: ignore[call-arg]
