"""Forecasts whose real errors are made larger: what live skill has to see."""

from __future__ import annotations

import pandas as pd


def with_errors(rows: pd.DataFrame, factor: float) -> pd.DataFrame:
    """The forecasts, their real errors in log price that many times as large."""
    ratio = rows["predicted_price"] / rows["realised_price"]
    return rows.assign(predicted_price=rows["realised_price"] * ratio**factor)
