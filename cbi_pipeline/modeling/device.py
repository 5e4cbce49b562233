"""Which torch device trains. Inference that is published always runs on the CPU in float32 (the reference)."""

from __future__ import annotations

from typing import Final, Literal

import torch

from cbi_pipeline.errors import ModelError

REFERENCE_DEVICE: Final = torch.device("cpu")
"""Device of every forecast that leaves the pipeline: one answer, whatever machine trained the weights."""

_PREFERENCE: Final[tuple[Literal["mps", "cuda", "cpu"], ...]] = ("mps", "cuda", "cpu")


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
