from __future__ import annotations

import pytest
import torch

from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling.device import choose_device


@pytest.mark.parametrize(
    ("mps", "cuda", "expected"),
    [(True, True, "mps"), (False, True, "cuda"), (False, False, "cpu"), (True, False, "mps")],
)
def test_auto_takes_mps_then_cuda_then_cpu(
    monkeypatch: pytest.MonkeyPatch, mps: bool, cuda: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert choose_device("auto").type == expected
    assert choose_device("cpu").type == "cpu"


def test_explicit_choice_is_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for setting in ("mps", "cuda"):
        with pytest.raises(ModelError, match="CBI_DEVICE=auto"):
            choose_device(setting)
    with pytest.raises(ModelError, match="No such device"):
        choose_device("tpu")
