from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import norm
from torch import nn

from cbi_pipeline.contracts import HORIZONS_MONTHS, QUANTILES
from cbi_pipeline.modeling.config import NetworkConfig
from cbi_pipeline.modeling.heads import NORMAL_QUANTILES, HorizonHeads


def heads(width: int = 8, spread_width: int = 1, bound: float | None = 0.35, spread_bound: float = 1.0) -> HorizonHeads:
    config = NetworkConfig(spread_width=spread_width, residual_bound=bound, spread_bound=spread_bound)
    return HorizonHeads(width, config)


def test_untrained_heads_give_zero_and_the_normal_exactly() -> None:
    assert pytest.approx(norm.ppf(QUANTILES), abs=1e-12) == NORMAL_QUANTILES
    untrained = heads()
    assert torch.equal(untrained.median(torch.full((3, 8), 50.0)), torch.zeros(3, 4))
    offsets = untrained.offsets(torch.full((3, 1), 50.0))
    assert torch.equal(offsets, torch.tensor(norm.ppf(QUANTILES), dtype=torch.float32).expand(3, 4, 7))


def test_median_is_a_bounded_tanh_in_the_order_of_horizons() -> None:
    bounded, free = heads(1), heads(1, bound=None)
    assert list(bounded.horizons) == ["horizon_3", "horizon_6", "horizon_9", "horizon_12"]
    with torch.no_grad():
        for i, h in enumerate(HORIZONS_MONTHS):
            for each in (bounded, free):
                each.horizons[f"horizon_{h}"].median.bias.fill_(float(i))
    state = torch.ones(1, 1)
    torch.testing.assert_close(bounded.median(state)[0], torch.tensor([0.35 * math.tanh(i) for i in range(4)]))
    torch.testing.assert_close(free.median(state)[0], torch.arange(4.0))

    with torch.no_grad():
        bounded.horizons["horizon_9"].median.weight.fill_(1e6)
    out = bounded.median(torch.tensor([[1e6], [-1e6]]))
    assert out.abs().max() <= 0.35
    assert out[1, 2] < 0 < out[0, 2]


def test_contributions_of_a_state_per_horizon_add_up_to_the_median() -> None:
    each = heads(3)
    for parameter in each.parameters():
        nn.init.normal_(parameter)
    state = torch.randn(5, 3)
    parts = each.contributions(state[:, None].expand(-1, 4, -1))
    assert parts.shape == (5, 4, 4)
    torch.testing.assert_close(each.bounded(parts.sum(dim=-1)), each.median(state), rtol=0, atol=1e-6)
    torch.testing.assert_close(parts[0, :, 3], torch.stack([h.median.bias[0] for h in each.horizons.values()]))


@pytest.mark.parametrize("gap", range(6))
def test_each_gap_has_its_own_output_and_its_bounds(gap: int) -> None:
    each = heads()
    with torch.no_grad():
        each.horizons["horizon_6"].gaps.bias[gap] = 0.5
    offsets = each.offsets(torch.zeros(1, 1))[0]  # [4, 7]
    normal = torch.tensor(NORMAL_QUANTILES).diff()
    expected = normal.clone()
    expected[gap] *= math.exp(math.tanh(0.5))
    torch.testing.assert_close(offsets[1].diff(), expected)
    assert torch.equal(offsets[0], torch.tensor(NORMAL_QUANTILES))
    assert offsets[1, 3] == 0

    for raw, factor in ((1e9, math.e), (-1e9, 1 / math.e)):
        with torch.no_grad():
            each.horizons["horizon_6"].gaps.bias[gap] = raw
        torch.testing.assert_close(each.offsets(torch.zeros(1, 1))[0, 1].diff()[gap], normal[gap] * factor)


def test_spread_bound_bounds_the_gaps() -> None:
    narrow = heads(spread_bound=0.1)
    for parameter in narrow.parameters():
        nn.init.constant_(parameter, 1e6)
    normal = torch.tensor(NORMAL_QUANTILES).diff()
    gaps = narrow.offsets(torch.ones(1, 1)).diff(dim=-1)[0, 0]
    torch.testing.assert_close(gaps, normal * math.exp(0.1))
