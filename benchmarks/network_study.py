"""What each choice about the networks does out of fold: one change at a time against the profile `full`.

Every variant trains networks, anchored and raw, on the expanding folds of 2013 to 2020; the years 2021 to 2024 take no
part in any choice. Prints a markdown table: RMSE of log returns as a ratio to last price per horizon (residual in full,
no lambda), the change of the squared error against the settings as they are, relative to that of last price, with its
block standard error, the pinball loss of the quantile heads as a ratio to the normal density's, and seconds.

    python benchmarks/network_study.py [--only NAME ...] [--networks NAME ...] [--members N] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np
import pandas as pd
import torch

from cbi_pipeline.bundle.read import load_tables
from cbi_pipeline.contracts import HORIZONS_MONTHS, QUANTILES
from cbi_pipeline.evaluation.benchmarks import Market, fold_anchor, prepare_market
from cbi_pipeline.evaluation.metrics import SESSIONS_PER_MONTH
from cbi_pipeline.evaluation.shrinkage import block_standard_error
from cbi_pipeline.evaluation.walk_forward import make_expanding_folds
from cbi_pipeline.features.build import build_features
from cbi_pipeline.features.driver_set import fit_driver_set
from cbi_pipeline.modeling.anchor import anchor_log_return
from cbi_pipeline.modeling.config import ARCHITECTURES, TARGETS, TrainingConfig
from cbi_pipeline.modeling.training import train_cell
from cbi_pipeline.modeling.volatility import density_sigma, sigma_h, state_at
from cbi_pipeline.profiles import get_profile
from cbi_pipeline.stages.cell_inputs import cell_inputs

STARTER = Path(__file__).resolve().parent.parent / "data" / "starter"
SEED = 20241231
Change = Callable[[TrainingConfig], TrainingConfig]


def _network(**values: Any) -> Change:
    """Set fields of the network where it has them."""

    def change(config: TrainingConfig) -> TrainingConfig:
        own = {name: value for name, value in values.items() if name in type(config.network).model_fields}
        return config.model_copy(update={"network": config.network.model_copy(update=own)})

    return change


def _loss(**values: Any) -> Change:
    return lambda config: config.model_copy(update={"loss": config.loss.model_copy(update=values)})


def _fit(**values: Any) -> Change:
    return lambda config: config.model_copy(update={"fit": config.fit.model_copy(update=values)})


FUNDAMENTAL_DOZEN = {
    "zl_inputs": ("log_returns", "momentum_3m", "momentum_12m", "distance_5y_mean"),
    "context_inputs": (
        "curve_carry_deseasonalised",
        "wasde_stocks_to_use_deviation",
        "palm_soybean_oil_ratio_deviation",
        "soybean_crush_spread",
        "USD_BRL_returns",
        "WTI_spread",
        "cot_managed_money_net_zscore",
        "yield_curve_slope",
    ),
}

VARIANTS: dict[str, Change] = {
    "as set": lambda config: config,
    "no patch stem": _network(patch_days=1),
    "TCN reads the mean state": _network(readout="mean"),
    "daily training windows": _fit(train_stride=1),
    "daily validation windows": _fit(validation_stride=1),
    "stop on MAPE": _fit(stop_on="mape"),
    "direction weight 0": _loss(direction_weight=0.0),
    "direction weight 0.3": _loss(direction_weight=0.3),
    "no pinball": _loss(pinball_weight=0.0),
    "labels weigh alike": _loss(uniqueness=False),
    "ZL inputs only": _network(context_inputs=()),
    "fundamental dozen": _network(**FUNDAMENTAL_DOZEN),
    "weight decay 0.1": _fit(weight_decay=0.1),
    "dropout 0.2": _network(dropout=0.2),
    "12 epochs": _fit(epochs=12),
}


@dataclass(frozen=True)
class Prepared:
    """Everything that no variant changes."""

    frame: pd.DataFrame
    market: Market
    folds: list[Any]
    drivers: dict[str, Any]


def prepare(first_year: int, last_year: int) -> Prepared:
    """Features, market, folds and scalers of the starter bundle."""
    tables = load_tables(STARTER)
    frame, market = build_features(tables), prepare_market(tables)
    folds = make_expanding_folds(
        pd.DatetimeIndex(frame.index),
        first_test_year=first_year,
        last_test_year=last_year,
        validation_sessions=get_profile("full").folds.validation_sessions,
    )
    drivers = {fold.name: fit_driver_set(frame, fold.train_start, fold.train_end) for fold in folds}
    return Prepared(frame, market, folds, drivers)


def forecasts(
    prepared: Prepared, change: Change, architecture: str, target: str, members: int
) -> tuple[pd.DataFrame, float]:
    """Out-of-fold rows of one network: errors in log return, scaled pinball losses; and seconds of training."""
    market, rows, seconds = prepared.market, [], 0.0
    for fold in prepared.folds:
        config = change(
            get_profile("full").training(architecture, target, SEED).model_copy(update={"members": members})
        )
        cell = cell_inputs(prepared.frame, fold, market, prepared.drivers[fold.name], target)
        started = time.perf_counter()
        trained = train_cell(cell, config, torch.device("cpu"))
        seconds += time.perf_counter() - started
        dates = pd.DatetimeIndex(prepared.frame.index[trained.prediction_rows])
        state = state_at(market.state, dates)
        sigma, spread = sigma_h(state).to_numpy(), density_sigma(state).to_numpy()
        realised = market.outcome.loc[dates, list(HORIZONS_MONTHS)].sub(np.log(market.front.loc[dates]), axis=0)
        anchor = anchor_log_return(fold_anchor(market, fold), market.inputs.loc[dates], market.state)
        base = anchor.to_numpy() if target == "anchored" else np.zeros_like(sigma)
        point = base + sigma * trained.medians.mean(axis=1)
        offsets = trained.offsets.mean(axis=1)  # [n, 4, 7]
        for place, horizon in enumerate(HORIZONS_MONTHS):
            error = realised[horizon].to_numpy() - point[:, place]
            scaled = error / spread[:, place]
            rows.append(
                pd.DataFrame(
                    {
                        "date": dates,
                        "horizon": horizon,
                        "realised": realised[horizon].to_numpy(),
                        "error": error,
                        "anchor_error": realised[horizon].to_numpy() - anchor.to_numpy()[:, place],
                        "pinball": _pinball(scaled, offsets[:, place]),
                        "normal_pinball": _pinball(scaled, np.tile(_NORMAL, (len(scaled), 1))),
                        "members": list(trained.medians[:, :, place]),
                    }
                )
            )
    return pd.concat(rows, ignore_index=True).dropna(subset="error"), seconds


_NORMAL = np.array([float(torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(q))) for q in QUANTILES])


def _pinball(scaled: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Mean pinball loss over the quantile levels, per row."""
    gap = scaled[:, None] - offsets
    return np.maximum(np.array(QUANTILES) * gap, (np.array(QUANTILES) - 1) * gap).mean(axis=1)


def summarise(rows: pd.DataFrame, base: pd.DataFrame) -> dict[str, Any]:
    """Ratios per horizon, and the change of the squared error against `base` with its block standard error."""
    result: dict[str, Any] = {}
    for horizon in HORIZONS_MONTHS:
        own, other = rows[rows["horizon"] == horizon], base[base["horizon"] == horizon]
        last = np.sqrt((own["realised"] ** 2).mean())
        scale = (own["realised"] ** 2).mean()
        gain = (own["error"].to_numpy() ** 2 - other["error"].to_numpy() ** 2) / scale
        error = block_standard_error(gain, horizon * SESSIONS_PER_MONTH)[0]
        result[str(horizon)] = {
            "ratio": float(np.sqrt((own["error"] ** 2).mean()) / last),
            "anchor_ratio": float(np.sqrt((own["anchor_error"] ** 2).mean()) / last),
            "change": float(gain.mean()),
            "standard_error": error,
            "pinball_ratio": float(own["pinball"].mean() / own["normal_pinball"].mean()),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", default=list(VARIANTS))
    parser.add_argument("--networks", nargs="*", default=list(ARCHITECTURES))
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--first-year", type=int, default=2013)
    parser.add_argument("--last-year", type=int, default=2020)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    prepared = prepare(arguments.first_year, arguments.last_year)
    bases: dict[tuple[str, str], pd.DataFrame] = {}
    records = []
    names = ["as set", *[name for name in arguments.only if name != "as set"]]
    print("| variant | network | target | 3 m | 6 m | 9 m | 12 m | change of squared error (s.e.) | pinball | s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in names:
        for architecture in arguments.networks:
            for target in TARGETS:
                started = get_profile("full").training(architecture, target, SEED)
                if name != "as set" and VARIANTS[name](started) == started:
                    continue
                rows, seconds = forecasts(prepared, VARIANTS[name], architecture, target, arguments.members)
                bases.setdefault((architecture, target), rows)
                found = summarise(rows, bases[architecture, target])
                records.append({"variant": name, "network": architecture, "target": target, "s": seconds, **found})
                print(_line(name, architecture, target, found, seconds), flush=True)
                if arguments.out:
                    arguments.out.write_text(json.dumps(records, indent=1))


def _line(name: str, architecture: str, target: str, found: dict[str, Any], seconds: float) -> str:
    ratios = " | ".join(f"{found[str(h)]['ratio']:.3f}" for h in HORIZONS_MONTHS)
    changes = " ".join(
        f"{found[str(h)]['change']:+.3f} ({found[str(h)]['standard_error'] or float('nan'):.3f})"
        for h in HORIZONS_MONTHS
    )
    pinball = " ".join(f"{found[str(h)]['pinball_ratio']:.3f}" for h in HORIZONS_MONTHS)
    return f"| {name} | {architecture} | {target} | {ratios} | {changes} | {pinball} | {seconds:.0f} |"


if __name__ == "__main__":
    main()
