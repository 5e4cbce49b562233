"""What a network sees instead of a level: pure, causal functions of the feature frame.

Price levels are not stationary over 25 years, so the catalogue names a form for each feature. Each
output row depends on its own and earlier rows only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import pandas as pd

from cbi_pipeline.features.catalogue import CATALOGUE
from cbi_pipeline.features.declarations import Transformation

TRAILING_SESSIONS: Final = 252
MINIMUM_OBSERVED: Final = 126
"""Of the trailing sessions; the mean is of those observed, and missing with fewer."""


def _log(values: pd.Series) -> pd.Series:
    return np.log(values.where(values > 0))


def _trailing_mean(values: pd.Series) -> pd.Series:
    return values.rolling(TRAILING_SESSIONS, min_periods=MINIMUM_OBSERVED).mean()


_BY_NAME: Final[dict[Transformation, Callable[[pd.Series, pd.Series], pd.Series]]] = {
    "level": lambda values, close: values,
    "one_hot": lambda values, close: values,
    "log": lambda values, close: _log(values),
    "relative_to_close": lambda values, close: values / close,
    "log_relative_to_close": lambda values, close: _log(values / close),
    "log_relative_to_trailing_mean": lambda values, close: _log(values / _trailing_mean(values)),
    "difference_from_trailing_mean": lambda values, close: values - _trailing_mean(values),
}


def network_view(frame: pd.DataFrame) -> pd.DataFrame:
    """Apply each feature's catalogued transformation: [T, F] float64, same names and order.

    The first sessions of the frame are missing where a trailing mean is involved, so pass the full
    history, in training and serving alike. The logarithm of a value that is not positive is missing.
    """
    values = frame.astype("float64")
    seen = {
        feature.name: _BY_NAME[feature.transformation](values[feature.name], values["close"]) for feature in CATALOGUE
    }
    return pd.DataFrame(seen, index=frame.index)
