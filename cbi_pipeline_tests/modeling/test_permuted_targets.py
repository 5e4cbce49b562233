"""With outcomes that have nothing to do with the inputs, no network may look as if it could forecast.

The real scaled returns of the history are dealt out anew in blocks, all horizons together, and the whole training of
the profile `quick` runs on them. A leak from a label into an input would show as a ratio to last price well below 1.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.evaluation.benchmarks import prepare_market
from cbi_pipeline.evaluation.metrics import SESSIONS_PER_MONTH, directional_accuracy, rmse_ratio
from cbi_pipeline.features.driver_set import fit_driver_set
from cbi_pipeline.modeling.cells import CellInputs
from cbi_pipeline.modeling.config import ARCHITECTURES, Architecture
from cbi_pipeline.modeling.training import train_cell
from cbi_pipeline.profiles import get_profile
from cbi_pipeline.stages.cell_inputs import cell_inputs
from cbi_pipeline.stages.folds import cut_folds

BLOCK_SESSIONS = 63


@pytest.fixture(scope="module")
def cells(_starter_tables: dict[str, pd.DataFrame], starter_features: pd.DataFrame) -> list[CellInputs]:
    market = prepare_market(_starter_tables)
    folds, _ = cut_folds(starter_features.index, get_profile("quick"))
    return [
        cell_inputs(
            starter_features, fold, market, fit_driver_set(starter_features, fold.train_start, fold.train_end), "raw"
        )
        for fold in folds
    ]


def permuted(targets: np.ndarray, seed: int) -> np.ndarray:
    """[T, 4] with the rows that know every horizon dealt out in blocks; the others stay."""
    known = np.flatnonzero(~np.isnan(targets).any(axis=1))
    blocks = np.array_split(known, len(known) // BLOCK_SESSIONS)
    order = np.random.default_rng(seed).permutation(len(blocks))
    dealt = targets.copy()
    dealt[known] = targets[np.concatenate([blocks[i] for i in order])]
    return dealt


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_skill_on_permuted_targets(architecture: Architecture, cells: list[CellInputs]) -> None:
    config = get_profile("quick").training(architecture, "raw", seed=1)
    targets = permuted(cells[0].targets, seed=1)
    forecasts, realised, moved = [], [], 0
    for cell in cells:
        trained = train_cell(replace(cell, targets=targets), config, torch.device("cpu"))
        forecasts.append(trained.medians[:, 0])
        realised.append(targets[cell.prediction_rows])
        moved += trained.members[0].best_epoch > 0
    forecast, outcome = np.concatenate(forecasts).astype(float), np.concatenate(realised)
    assert moved >= 2  # networks that never left zero would prove nothing
    for place, horizon in enumerate(HORIZONS_MONTHS):
        known = ~np.isnan(outcome[:, place])
        said, came = forecast[known, place], outcome[known, place]
        two_standard_errors = 1 / np.sqrt(len(came) / (horizon * SESSIONS_PER_MONTH))
        assert rmse_ratio(said, came) >= 0.98, horizon
        assert abs(directional_accuracy(said, came) - 0.5) <= two_standard_errors, horizon


@pytest.mark.slow
def test_a_leak_gives_itself_away(cells: list[CellInputs]) -> None:
    """The outcome of three months written into an input of the mean, and time to learn it."""
    cell, targets = cells[1], permuted(cells[1].targets, seed=1)
    config = get_profile("quick").training("tcn", "raw", seed=1)
    longer = config.fit.model_copy(update={"epochs": 40, "patience": 40, "learning_rate": 5e-3})
    features = cell.features.copy()
    features[:, cell.feature_names.index("RSI_14")] = targets[:, 0]
    leaking = replace(cell, targets=targets, features=features)
    trained = train_cell(leaking, config.model_copy(update={"fit": longer}), torch.device("cpu"))
    came = targets[cell.prediction_rows][:, 0]
    known = ~np.isnan(came)
    assert rmse_ratio(trained.medians[known, 0, 0].astype(float), came[known]) < 0.75
