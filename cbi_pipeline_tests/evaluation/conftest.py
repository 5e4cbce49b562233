"""The market of the starter bundle, prepared once."""

from __future__ import annotations

import pandas as pd
import pytest

from cbi_pipeline.evaluation.benchmarks import Market, prepare_market


@pytest.fixture(scope="session")
def market(_starter_tables: dict[str, pd.DataFrame]) -> Market:
    """Prices, inputs, volatilities, targets and outcomes of the starter bundle. Shared: never change it."""
    return prepare_market(_starter_tables)
