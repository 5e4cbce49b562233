"""Which torch device trains, in which precision, compiled or not.

Inference that is published always runs on the CPU in float32 (the reference), with the plain network.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final, Literal, cast

import torch
from torch import nn

from cbi_pipeline.errors import ModelError

REFERENCE_DEVICE: Final = torch.device("cpu")
"""Device of every forecast that leaves the pipeline: one answer, whatever machine trained the weights."""

_PREFERENCE: Final[tuple[Literal["mps", "cuda", "cpu"], ...]] = ("mps", "cuda", "cpu")
_LOG = logging.getLogger(__name__)


def available_devices() -> tuple[str, ...]:
    """Device types that this machine and this build of torch offer, best first; `cpu` is always last."""
    usable = {"mps": torch.backends.mps.is_available(), "cuda": torch.cuda.is_available(), "cpu": True}
    return tuple(name for name in _PREFERENCE if usable[name])


def choose_device(setting: str = "auto") -> torch.device:
    """Turn the setting into a device: `auto` takes mps, else cuda, else cpu.

    Raises:
        ModelError: the setting is unknown, or asks for a device that is not there. An explicit choice is never
            silently replaced by another device.
    """
    available = available_devices()
    if setting == "auto":
        return torch.device(available[0])
    if setting not in _PREFERENCE:
        raise ModelError(f"device {setting!r}", "No such device setting.", "set CBI_DEVICE to auto, mps, cuda or cpu.")
    if setting not in available:
        raise ModelError(
            f"device {setting!r}",
            f"Torch {torch.__version__} finds no such device here; it finds {', '.join(available)}.",
            "set CBI_DEVICE=auto (or one of the devices found), or install a build of torch for that device.",
        )
    return torch.device(setting)


def autocast(device: torch.device, enabled: bool) -> torch.autocast:
    """Mixed precision of the forward pass: bfloat16 on the CPU, float16 elsewhere."""
    dtype = torch.bfloat16 if device.type == "cpu" else torch.float16
    return torch.autocast(device.type, dtype=dtype, enabled=enabled)


def gradient_scaler(device: torch.device, mixed_precision: bool) -> torch.amp.GradScaler:
    """The scaler that float16 gradients need; it passes everything through for float32 and bfloat16."""
    return torch.amp.GradScaler(device.type, enabled=mixed_precision and device.type != "cpu")


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Training on a CUDA device by kernels that give the same bits again, which torch's default ones do not.

    An operation that has no such kernel raises RuntimeError. The CPU needs nothing of it.
    """
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by cuBLAS when its first handle is made
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def full_float32() -> Iterator[None]:
    """Convolutions and recurrent layers of cuDNN in float32, not in its shorter TF32, which is torch's default.

    A forecast made on a GPU then differs from the CPU's by rounding alone. Other devices know no TF32.
    """
    cudnn = torch.backends.cudnn
    with cudnn.flags(cudnn.enabled, cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False):
        yield


def compiled(network: nn.Module, probe: Callable[[nn.Module], object]) -> nn.Module:
    """`torch.compile` of a network, or the network itself where that does not work, which is logged once.

    Args:
        network: its weights are shared with the compiled one.
        probe: runs a forward and a backward pass: torch compiles at the first call, and fails there.
    """
    try:
        candidate = cast(nn.Module, torch.compile(network))
        probe(candidate)
    except RuntimeError as error:  # base of all errors of torch's compiler
        _log_fallback(type(network).__name__, f"{type(error).__name__}: {error}".splitlines()[0])
        return network
    return candidate


@cache
def _log_fallback(network: str, reason: str) -> None:
    """One line per network and reason in the life of a process."""
    _LOG.warning("torch.compile does not work for %s here (%s); the plain network trains.", network, reason)
