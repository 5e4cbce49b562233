"""How much of a network's result hangs on its seed: the error of every member alone, and of their mean.

Belongs here: comparison of members of one network. Entries are compared with each other in `metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.evaluation.benchmarks import Market
from cbi_pipeline.evaluation.metrics import rmse_ratio


def member_ratios(market: Market, members: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """RMSE ratio to last price of each member, on the rows whose outcome is known.

    Args:
        market: prices and outcomes.
        members: forecast log returns of each, index as-of dates, one column per horizon in months.

    Returns:
        One row per horizon with a known outcome: `horizon_months`, `n`, `member_1` ... `member_k`, their `mean` and
        `standard_deviation` (n - 1; missing for one member), and `of_mean_forecast`, the ratio of the mean forecast.
    """
    dates = members[0].index
    realised = market.outcome.loc[dates].sub(np.log(market.front.loc[dates]), axis=0)
    rows = []
    for horizon in HORIZONS_MONTHS:
        y, f = realised[horizon].to_numpy(), np.stack([own[horizon].to_numpy(float) for own in members])  # [n], [k, n]
        known = np.isfinite(y) & np.isfinite(f).all(axis=0)
        if not known.any():
            continue
        ratios = np.array([rmse_ratio(own, y[known]) for own in f[:, known]])
        rows.append(
            {
                "horizon_months": horizon,
                "n": int(known.sum()),
                **{f"member_{number}": ratio for number, ratio in enumerate(ratios, start=1)},
                "mean": ratios.mean(),
                "standard_deviation": ratios.std(ddof=1) if len(ratios) > 1 else np.nan,
                "of_mean_forecast": rmse_ratio(f[:, known].mean(axis=0), y[known]),
            }
        )
    return pd.DataFrame(rows)
