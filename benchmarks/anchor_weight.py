"""The weight of the anchor, chosen on one period, run on the next. By hand: `python benchmarks/anchor_weight.py`.

Reads the bundle that `cbi run` would use. RMSE of log returns as a ratio to last price, by period and horizon; the
anchor is refitted for each year on the labels known before it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from cbi_pipeline.bundle.locate import find_bundle
from cbi_pipeline.bundle.read import load_tables
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.evaluation.benchmarks import prepare_market
from cbi_pipeline.modeling.anchor import anchor_log_return, fit_anchor
from cbi_pipeline.settings import load_settings

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
PERIODS = ((2006, 2020), (2021, 2024))


def main() -> None:
    market = prepare_market(load_tables(find_bundle(load_settings()).path))
    errors = []
    for year in range(PERIODS[0][0], PERIODS[-1][1] + 1):
        inputs = market.inputs.loc[f"{year}-01-01" : f"{year}-12-31"]
        fit = fit_anchor(market.front, market.inputs, market.state, pd.Timestamp(year, 1, 1))
        realised = market.outcome.loc[inputs.index].sub(np.log(market.front.loc[inputs.index]), axis=0)
        for weight in WEIGHTS:
            error = realised - anchor_log_return(fit, inputs, market.state, weight=weight)
            squared = (error[list(HORIZONS_MONTHS)] ** 2).sum()
            errors += [(year, weight, horizon, squared[horizon]) for horizon in HORIZONS_MONTHS]
    table = pd.DataFrame(errors, columns=["year", "weight", "months", "squared"])
    for first, last in PERIODS:
        sums = table[table["year"].between(first, last)].groupby(["weight", "months"])["squared"].sum().unstack()
        print(f"{first}-{last}\n{np.sqrt(sums / sums.loc[0.0]).round(3).to_string()}\n")


if __name__ == "__main__":
    main()
