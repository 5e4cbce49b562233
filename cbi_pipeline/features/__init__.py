"""The drivers of a forecast: their catalogue, how they are computed, and how a network sees them.

Importing this package costs nothing: `CATALOGUE`, `FEATURE_NAMES` and `feature_hash` need the
standard library only; `build_features` and `availability_report` bring pandas in when first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from cbi_pipeline.features.catalogue import CATALOGUE, FEATURE_NAMES, feature_hash
from cbi_pipeline.features.declarations import Feature

if TYPE_CHECKING:
    from cbi_pipeline.features.build import build_features
    from cbi_pipeline.features.report import availability_report

__all__ = ["CATALOGUE", "FEATURE_NAMES", "Feature", "availability_report", "build_features", "feature_hash"]

_LAZY: Final = {
    "build_features": "cbi_pipeline.features.build",
    "availability_report": "cbi_pipeline.features.report",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
