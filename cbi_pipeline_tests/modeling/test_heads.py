from __future__ import annotations

import math

import torch

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.modeling.heads import ResidualHeads


def test_residual_starts_at_exactly_zero() -> None:
    assert torch.equal(ResidualHeads(8, 0.35)(torch.full((3, 8), 50.0)), torch.zeros(3, 4))


def test_residual_is_bounded_tanh_in_order_of_horizons() -> None:
    heads = ResidualHeads(1, 0.35)
    assert list(heads.horizons) == ["horizon_3", "horizon_6", "horizon_9", "horizon_12"]
    with torch.no_grad():
        for i, h in enumerate(HORIZONS_MONTHS):
            heads.horizons[f"horizon_{h}"].bias.fill_(float(i))
    expected = [0.35 * math.tanh(i) for i in range(4)]
    torch.testing.assert_close(heads(torch.ones(1, 1))[0], torch.tensor(expected))

    with torch.no_grad():
        heads.horizons["horizon_9"].weight.fill_(1e6)
    out = heads(torch.tensor([[1e6], [-1e6]]))
    assert out.abs().max() <= 0.35
    assert out[1, 2] < 0 < out[0, 2]
