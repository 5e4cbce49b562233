from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling.config import NbeatsxConfig
from cbi_pipeline.modeling.nbeatsx import NBEATSx

SMALL = NbeatsxConfig(window_sessions=63, context_width=8, block_width=16, spread_inputs=("a", "b"))


def build(config: NbeatsxConfig = SMALL, head_std: float = 0.3) -> NBEATSx:
    torch.manual_seed(1)
    network = NBEATSx(config).eval()
    for parameter in network.heads.parameters():
        nn.init.normal_(parameter, std=head_std)
    return network


def inputs(config: NbeatsxConfig = SMALL, n: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    channels = 2 * len(config.mean_path_inputs)
    return torch.randn(n, channels, config.window_sessions, generator=generator), torch.rand(n, 5, generator=generator)


@pytest.mark.parametrize("bound", [0.35, None])
@pytest.mark.parametrize("head_std", [0.0, 0.3, 30.0])
def test_components_add_up_to_the_median(bound: float | None, head_std: float) -> None:
    config = SMALL.model_copy(update={"residual_bound": bound})
    network = build(config, head_std)
    parts, median = network.components(*inputs()), network.median(*inputs())
    names = [f"{kind}_{stack}" for stack in (1, 2) for kind in ("trend", "seasonality", "exogenous")]
    assert list(parts) == [*names, "level"]
    assert all(part.shape == (6, 4) for part in parts.values())
    total = torch.stack(list(parts.values())).sum(dim=0)
    tolerance = 1e-6 * max(1.0, float(median.detach().abs().max()))
    torch.testing.assert_close(total, median, rtol=0, atol=tolerance)
    assert all(bool(part.any()) for part in parts.values()) == (head_std > 0)


def test_backcasts_and_the_last_residual_are_the_series() -> None:
    found = build().decompose(*inputs())
    assert found.backcasts.shape == (6, 6, SMALL.n_steps)
    torch.testing.assert_close(found.backcasts.sum(dim=0) + found.residual, found.series, rtol=0, atol=1e-5)
    assert all(bool(backcast.any()) for backcast in found.backcasts[:-1])
    assert not found.backcasts[-1].any()  # nothing would read it


def test_each_block_sees_what_those_before_it_left_over() -> None:
    network, seen = build(), []
    for block in network.blocks.values():
        block.register_forward_hook(lambda _, arguments, __: seen.append(arguments[0]))
    found = network.decompose(*inputs())
    left = found.series
    for residual, backcast in zip(seen, found.backcasts, strict=True):
        torch.testing.assert_close(residual, left)
        left = left - backcast


@pytest.mark.parametrize("patch_days", [1, 5])
def test_series_is_the_price_path_relative_to_the_as_of_date(patch_days: int) -> None:
    config = SMALL.model_copy(update={"patch_days": patch_days})
    history, calendar = inputs()
    history = history.clamp(-3, 3)
    price = history[:, 0].cumsum(dim=1)  # [B, 63]
    path = (price - price[:, -1:]) / math.sqrt(252)
    at_ends = path.flip(1)[:, ::patch_days].flip(1)
    found = build(config).decompose(history, calendar).series
    assert found.shape == (6, config.n_steps)
    assert torch.equal(found[:, -1], torch.zeros(6))
    torch.testing.assert_close(found, at_ends, rtol=1e-5, atol=1e-5)


def test_bases_span_trend_and_seasons_past_and_ahead() -> None:
    network = build()
    calendar = torch.tensor([[1.0, 2.5, 4.1, 5.7, 1.0]])
    bases = network._bases(inputs(n=1)[0][:, 4:12].repeat(1, 2, 1), calendar)
    trend = bases["trend"]
    torch.testing.assert_close(trend.past[0, -1], torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(trend.past[0, -2], torch.tensor([1.0, -5 / 252, (5 / 252) ** 2]))
    torch.testing.assert_close(trend.ahead[0, 1], torch.tensor([1.0, 0.5, 0.25]))
    season = bases["seasonality"]
    ahead = [math.cos(2.5), math.cos(5.0), math.sin(2.5), math.sin(5.0)]
    torch.testing.assert_close(season.ahead[0, 0], torch.tensor(ahead))
    torch.testing.assert_close(season.past[0, -1], season.ahead[0, 3])  # twelve months ahead: the same day of the year
    back = 1.0 - 2 * math.pi * 10 / 252
    torch.testing.assert_close(season.past[0, -3, 0], torch.tensor(math.cos(back)))


def test_without_context_there_is_no_exogenous_block() -> None:
    config = SMALL.model_copy(update={"context_inputs": ()})
    assert list(build(config).components(*inputs(config))) == [
        "trend_1",
        "seasonality_1",
        "trend_2",
        "seasonality_2",
        "level",
    ]


def test_the_first_input_must_be_the_returns() -> None:
    with pytest.raises(ModelError, match="log_returns"):
        NBEATSx(SMALL.model_copy(update={"zl_inputs": ("RSI_14", "log_returns")}))
