"""What the parts of CBI promise each other.

Imports nothing but the standard library, pydantic and pyarrow at module level, so that any part
(and the Dagster code location) can import a contract at no cost.
"""

from __future__ import annotations

from typing import Final

HORIZONS_MONTHS: Final[tuple[int, ...]] = (3, 6, 9, 12)
"""Forecast horizons in calendar months."""

QUANTILES: Final[tuple[float, ...]] = (0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95)
"""Quantile levels that every forecast row carries."""
