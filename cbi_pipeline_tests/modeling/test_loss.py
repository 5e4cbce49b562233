from __future__ import annotations

import pytest
import torch

from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling.loss import masked_huber

WEIGHTS = torch.tensor([1.0, 0.9, 0.8, 0.7])
NAN = float("nan")


def test_loss_by_hand() -> None:
    residual = torch.tensor([[0.1, 0.0, 0.0, 0.2], [0.0, 0.0, 0.0, 0.0]])
    target = torch.tensor([[0.3, 2.0, NAN, -2.8], [0.5, NAN, NAN, NAN]])
    known = ~torch.isnan(target)
    # squares/2 inside delta 1, |e| - 1/2 outside: .02, 1.5, 2.5, .125 with weights 1, .9, .7, 1, over four known labels
    expected = (1.0 * 0.02 + 0.9 * 1.5 + 0.7 * 2.5 + 1.0 * 0.125) / 4
    assert masked_huber(residual, target, known, WEIGHTS, 1.0).item() == pytest.approx(expected, rel=1e-6)


def test_unknown_label_gives_neither_loss_nor_gradient() -> None:
    residual = torch.tensor([[0.1, 0.2, 0.3, 0.1]], requires_grad=True)
    target = torch.tensor([[0.0, NAN, NAN, 1e30]])
    known = torch.tensor([[True, False, False, False]])  # the last is a number that may not be used
    loss = masked_huber(residual, target, known, WEIGHTS, 1.0)
    loss.backward()
    assert loss.item() == pytest.approx(0.005)
    assert residual.grad is not None
    torch.testing.assert_close(residual.grad, torch.tensor([[0.1, 0.0, 0.0, 0.0]]))


def test_batch_without_labels_is_refused() -> None:
    with pytest.raises(ModelError, match="No label"):
        masked_huber(torch.zeros(1, 4), torch.full((1, 4), NAN), torch.zeros(1, 4, dtype=torch.bool), WEIGHTS, 1.0)
