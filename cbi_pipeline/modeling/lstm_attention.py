"""LSTM layers, then attention of the last state over all states.

LSTM: Hochreiter and Schmidhuber (1997). Attention: Vaswani et al. (2017), "Attention Is All You Need", with one query.
Single-layer LSTMs are stacked with explicit dropout: of whole channels, one mask for all steps of a window (Gal and
Ghahramani 2016, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks"), which is also the
cheaper one: a mask per step took an eighth of a training step.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cbi_pipeline.modeling.base import FusedNetwork
from cbi_pipeline.modeling.config import LstmMhaConfig


class LastStateAttention(nn.Module):
    """Multi-head scaled dot-product attention whose only query is the last state.

    With one query, its score against the key W_k s equals the score of W_k' q against s itself, and the mean of values
    W_v s is W_v times the mean of s: both projections move from the L states to the one query. The heads thereby
    become the queries of one attention over plain states: the same function as textbook attention, and a test holds
    them equal. Biases of keys and values have no effect of their own (softmax ignores the one, the output's bias holds
    the other), so there are none.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Parameter(torch.empty(heads, width // heads, width))
        self.value = nn.Parameter(torch.empty(heads, width // heads, width))
        self.output = nn.Linear(width, width)
        for projection in (self.key, self.value):
            nn.init.uniform_(projection, -1 / sqrt(width), 1 / sqrt(width))  # as nn.Linear(width, width)

    def forward(self, states: Tensor) -> Tensor:
        """[B, L, width] -> [B, width]."""
        heads, head_width, _ = self.key.shape
        query = self.query(states[:, -1]).unflatten(1, (heads, head_width))  # [B, heads, head_width]
        over_states = torch.einsum("bhd,hdw->bhw", query, self.key)  # [B, heads, width]
        seen = F.scaled_dot_product_attention(over_states, states, states, scale=head_width**-0.5)  # [B, heads, width]
        values = torch.einsum("bhw,hdw->bhd", seen, self.value)  # [B, heads, head_width]
        return self.output(values.flatten(1))  # [B, width]


class AttentionEncoder(nn.Module):
    """Stacked LSTMs; the summary is the last state plus what it attends to."""

    def __init__(self, channels: int, width: int, config: LstmMhaConfig) -> None:
        super().__init__()
        widths = [channels, *[width] * (config.layers - 1)]
        self.layers = nn.ModuleList(nn.LSTM(before, width, batch_first=True) for before in widths)
        self.dropout = nn.Dropout1d(config.dropout)
        self.attention = LastStateAttention(width, config.attention_heads)

    def states(self, x: Tensor) -> Tensor:
        """[B, channels, L] -> [B, width, L]; state t sees nothing later."""
        for layer in self.layers:
            h, _ = layer(x.transpose(1, 2))  # [B, L, width]
            x = self.dropout(h.transpose(1, 2))  # [B, width, L]
        return x

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, L] -> [B, width]."""
        states = self.states(x).transpose(1, 2)  # [B, L, width]
        return states[:, -1] + self.attention(states)  # [B, width]


class LSTM_MHA(FusedNetwork):
    """The bake-off's LSTM with attention: `hidden` wide over ZL, narrower over the context.

    Patches of both are context_width wide: a patch of the ZL inputs holds 40 numbers, and the gates are linear in it.
    """

    def __init__(self, config: LstmMhaConfig) -> None:
        super().__init__(
            config,
            lambda channels, width, _: AttentionEncoder(channels, width, config),
            patch_width=config.context_width,
            width=config.hidden,
            summary_width=config.hidden,
        )
