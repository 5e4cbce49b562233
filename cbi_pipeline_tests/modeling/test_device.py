from __future__ import annotations

import pytest
import torch
from torch import nn

from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling.device import _log_fallback, autocast, choose_device, compiled, gradient_scaler


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


def test_scaler_and_autocast_follow_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device, enabled: (device, enabled))
    assert gradient_scaler(cuda, mixed_precision=True) == ("cuda", True)
    assert gradient_scaler(cuda, mixed_precision=False) == ("cuda", False)
    assert gradient_scaler(cpu, mixed_precision=True) == ("cpu", False)  # bfloat16 has the range of float32
    with autocast(cpu, enabled=True):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    with autocast(cpu, enabled=False):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_compile_falls_back_to_the_plain_network_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(network: nn.Module) -> nn.Module:
        class Failing(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                raise torch._dynamo.exc.BackendCompilerFailed(broken, RuntimeError("no C++ compiler"), None)

        return Failing()

    monkeypatch.setattr(torch, "compile", broken)
    network = nn.Linear(2, 1)
    _log_fallback.cache_clear()
    for _ in range(3):
        assert compiled(network, lambda candidate: candidate(torch.ones(1, 2))) is network
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "torch.compile does not work for Linear here (BackendCompilerFailed" in caplog.text


def test_compiled_network_is_used_where_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    network, other = nn.Linear(2, 1), nn.Linear(2, 1)
    monkeypatch.setattr(torch, "compile", lambda _: other)
    assert compiled(network, lambda candidate: candidate(torch.ones(1, 2))) is other


def test_an_error_that_is_not_the_compilers_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda network: network)

    def probe(_: nn.Module) -> None:
        raise ModelError("batch", "It is wrong.", "fix it.")

    with pytest.raises(ModelError):
        compiled(nn.Linear(2, 1), probe)
