from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from cbi_pipeline.modeling.base import PatchStem
from cbi_pipeline.modeling.config import TcnConfig
from cbi_pipeline.modeling.tcn import CausalStack, TcnEncoder


def stack(channels: int = 8) -> CausalStack:
    """With blocks as in the default configuration."""
    config = TcnConfig()
    torch.manual_seed(1)
    return CausalStack(
        channels,
        config.filters,
        n_blocks=config.n_blocks,
        kernel_size=config.kernel_size,
        norm_groups=config.norm_groups,
        dropout=config.dropout,
    ).eval()


def sequence(steps: int, channels: int = 8) -> Tensor:
    return torch.randn(2, channels, steps, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(("patch_days", "sessions"), [(1, 253), (5, 1265)])
def test_receptive_field_as_stated_and_at_least_a_window(patch_days: int, sessions: int) -> None:
    config = TcnConfig(patch_days=patch_days)
    assert config.receptive_field_sessions == sessions >= config.window_sessions == 252
    stem = PatchStem(8, config.filters, config)
    x = sequence(sessions + 50).requires_grad_()
    (gradient,) = torch.autograd.grad(stack(stem.width).last_state(stem(x)).square().sum(), x)
    seen = gradient.abs().sum(dim=(0, 1)).nonzero()
    assert int(seen.min()) == 50
    assert int(seen.max()) == sessions + 49


@pytest.mark.parametrize("steps", [1, 2, 7, 51, 100, 252, 253])
def test_strided_last_state_equals_the_dilated_network(steps: int) -> None:
    network, x = stack(), sequence(steps)
    torch.testing.assert_close(network.last_state(x), network.states(x)[..., -1], rtol=1e-5, atol=1e-5)


def test_normalisation_is_per_time_step() -> None:
    network, x = stack(), sequence(51)
    seen = []
    for block in network.blocks:
        block.norm.register_forward_hook(lambda _, __, output: seen.append(output))
    network.states(x)
    for h in seen:
        of_group = h.view(-1, 8, 8)  # [steps, groups, channels of a group]
        torch.testing.assert_close(of_group.mean(dim=2), torch.zeros(2 * 51, 8), atol=1e-5, rtol=0)


def test_readout_is_the_last_or_the_mean_state() -> None:
    x = sequence(51)
    for readout in ("last", "mean"):
        encoder = TcnEncoder(8, 64, 64, TcnConfig(readout=readout)).eval()
        encoder.bottleneck = nn.Identity()  # type: ignore[assignment]
        states = encoder.states(x)
        expected = states[..., -1] if readout == "last" else states.mean(dim=-1)
        torch.testing.assert_close(encoder(x), expected, rtol=1e-5, atol=1e-5)


def test_configuration_refuses_what_cannot_work() -> None:
    with pytest.raises(ValidationError, match="receptive field"):
        TcnConfig(n_blocks=5, patch_days=1)
    with pytest.raises(ValidationError, match="norm_groups"):
        TcnConfig(norm_groups=7)
    with pytest.raises(ValidationError, match="twice"):
        TcnConfig(zl_inputs=("a", "a"))
    with pytest.raises(ValidationError, match="at most 12"):
        TcnConfig(zl_inputs=tuple("abcdefghijklm"))
    with pytest.raises(ValidationError, match="Extra inputs"):
        TcnConfig(filter=64)  # type: ignore[call-arg]
