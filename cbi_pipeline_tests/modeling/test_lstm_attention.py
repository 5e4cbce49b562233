from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from cbi_pipeline.modeling.config import LstmMhaConfig
from cbi_pipeline.modeling.lstm_attention import AttentionEncoder, LastStateAttention


def test_attention_equals_its_textbook_form() -> None:
    torch.manual_seed(1)
    attention, states = LastStateAttention(16, 4), torch.randn(3, 9, 16)
    expected = F.multi_head_attention_forward(
        states[:, -1:].transpose(0, 1),
        states.transpose(0, 1),
        states.transpose(0, 1),
        16,
        4,
        None,
        torch.cat([attention.query.bias, torch.zeros(32)]),
        None,
        None,
        False,
        0.0,
        attention.output.weight,
        attention.output.bias,
        need_weights=False,
        use_separate_proj_weight=True,
        q_proj_weight=attention.query.weight,
        k_proj_weight=attention.key.flatten(0, 1),
        v_proj_weight=attention.value.flatten(0, 1),
    )[0][0]
    torch.testing.assert_close(attention(states), expected, rtol=1e-5, atol=1e-6)


def test_every_head_attends_to_every_step() -> None:
    torch.manual_seed(1)
    attention, states = LastStateAttention(16, 4), torch.randn(3, 9, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(attention(states).square().sum(), states)
    assert (gradient.abs().sum(dim=(0, 2)) > 0).all()
    attention(states.detach()).square().sum().backward()
    assert (attention.key.grad.abs().sum(dim=(1, 2)) > 0).all()
    assert (attention.value.grad.abs().sum(dim=(1, 2)) > 0).all()


def test_layers_are_single_and_dropped_between() -> None:
    encoder = AttentionEncoder(6, 16, LstmMhaConfig(hidden=16, context_width=8, attention_heads=4, layers=3))
    assert [(layer.num_layers, layer.input_size, layer.dropout) for layer in encoder.layers] == [
        (1, 6, 0.0),
        (1, 16, 0.0),
        (1, 16, 0.0),
    ]
    x = torch.randn(2, 6, 9)
    assert not torch.equal(encoder.train().states(x), encoder.states(x))
    assert torch.equal(encoder.eval().states(x), encoder.states(x))


def test_heads_must_divide_both_widths() -> None:
    for widths in ({"hidden": 100}, {"context_width": 12}):
        with pytest.raises(ValidationError, match="attention_heads"):
            LstmMhaConfig(**widths)
