"""Change or remove everything that is published after a moment: what is computed up to it must not move."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from cbi_pipeline.contracts.tables import RAW_TABLES


def perturb_after(
    tables: Mapping[str, pd.DataFrame], moment: pd.Timestamp, rng: np.random.Generator
) -> dict[str, pd.DataFrame]:
    """Multiply every numeric value (keys apart) of rows with available_at > moment by its own factor in 0.5..2."""
    return {
        name: _perturbed(frame, frame["available_at"] > moment, RAW_TABLES[name].key, rng)
        for name, frame in tables.items()
    }


def _perturbed(frame: pd.DataFrame, later: pd.Series, key: tuple[str, ...], rng: np.random.Generator) -> pd.DataFrame:
    changed = frame.copy()
    for column in frame.select_dtypes("number").columns.difference(list(key)):
        factors = rng.uniform(0.5, 2.0, len(frame))
        values = frame[column] * factors
        if pd.api.types.is_integer_dtype(frame[column].dtype):
            values = (values.round() + 1).astype(frame[column].dtype)
        changed[column] = frame[column].where(~later, values)
    return changed


def drop_after(tables: Mapping[str, pd.DataFrame], moment: pd.Timestamp) -> dict[str, pd.DataFrame]:
    """The tables as they stood at the moment: rows with available_at > moment are gone."""
    return {name: frame[frame["available_at"] <= moment].reset_index(drop=True) for name, frame in tables.items()}
