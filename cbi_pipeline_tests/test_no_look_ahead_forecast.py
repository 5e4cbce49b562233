"""The proof that a forecast knows nothing of the future: whatever is published after T may change at will.

Every day is proved for one architecture, in turn: what precedes the network is common to all, and each is proved on
several days. The networks are those of the smoke profile, with two members and dropout.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cbi_pipeline import market_calendar
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.forecast import ForecastRow
from cbi_pipeline.evaluation.benchmarks import Market, fold_anchor, prepare_market
from cbi_pipeline.evaluation.walk_forward import serving_fold
from cbi_pipeline.features.build import build_features
from cbi_pipeline.features.catalogue import FEATURE_NAMES, feature_hash
from cbi_pipeline.features.driver_set import FILE_NAME, fit_driver_set
from cbi_pipeline.features.lock import lock_features
from cbi_pipeline.inference import forecast_rows
from cbi_pipeline.modeling.cells import TrainedCell
from cbi_pipeline.modeling.config import ARCHITECTURES, Architecture
from cbi_pipeline.modeling.training import train_cell
from cbi_pipeline.profiles import get_profile
from cbi_pipeline.registry.artifacts import LoadedModel, ModelContent, load_model, model_version, save_model
from cbi_pipeline.stages.cell_inputs import cell_inputs
from cbi_pipeline_tests.perturbation import perturb_after

DAYS = [
    "2014-02-14",
    "2015-04-15",
    "2016-05-16",
    "2017-07-17",
    "2018-08-15",
    "2019-09-16",
    "2020-10-15",
    "2021-11-15",
    "2023-01-17",
    "2024-06-14",
]
"""Ten days spread over 2014-2024, the last one inside the last year of the data."""

PROFILE = get_profile("smoke").model_copy(update={"members": 2})
WITH_NETWORK = pd.Timestamp("2023-01-17")
FULL_WEIGHT = {str(horizon): 1.0 for horizon in HORIZONS_MONTHS}
NORMAL_DENSITY = {
    str(horizon): {"density": "normal", "corrections": None, "reason": "a test"} for horizon in HORIZONS_MONTHS
}
"""The network counts in full, so that anything it should not have seen shows in the forecast."""


@dataclass(frozen=True)
class Fitted:
    """A model fitted as of T, how its training went, and what it forecasts at T."""

    model: LoadedModel
    cell: TrainedCell
    rows: list[ForecastRow]

    @property
    def histories(self):
        """Losses of every member by epoch."""
        return [member.history for member in self.cell.members]


def forecast(model: LoadedModel, features: pd.DataFrame, market: Market, day: pd.Timestamp) -> list[ForecastRow]:
    return forecast_rows(
        model,
        features,
        market,
        as_of=day,
        status={horizon: ("HOLD", ["a test"]) for horizon in HORIZONS_MONTHS},
        dataset_version="20250101T000000Z-00000000",
        code_commit="none",
        run_id="none",
        created_at=datetime(2025, 1, 1, tzinfo=UTC),
    )


def fit_and_forecast(
    features: pd.DataFrame, market: Market, day: pd.Timestamp, folder: Path, architecture: Architecture
) -> Fitted:
    """What `refit_champion` and `predict` do, as of a day in the middle of the tables."""
    fold = serving_fold(pd.DatetimeIndex(features.loc[:day].index), train_sessions=756, validation_sessions=378)
    assert pd.Timestamp(fold.test_start) == day
    drivers = fit_driver_set(features, fold.train_start, fold.train_end)
    config = PROFILE.training(architecture, "anchored", seed=1)
    cell = train_cell(cell_inputs(features, fold, market, drivers, "anchored"), config, torch.device("cpu"))
    folder.mkdir()
    drivers.save(folder)
    content = ModelContent(
        state_dict=cell.state_dict,
        config=cell.config.model_dump(mode="json"),
        scaler_path=folder / FILE_NAME,
        feature_names=FEATURE_NAMES,
        feature_hash=feature_hash(),
        feature_lock=lock_features(FEATURE_NAMES),
        anchor={"fit": fold_anchor(market, fold).model_dump(mode="json"), "lambda": FULL_WEIGHT},
        calibration=NORMAL_DENSITY,
        metrics={},
    )
    name = model_version(architecture, fold.test_start, content)
    model = load_model(save_model(folder / "models", name, content, card="a card"))
    return Fitted(model, cell, forecast(model, features, market, day))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small networks wait for each other's threads longer than they compute, and the more so on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def market(_starter_tables) -> Market:
    return prepare_market(_starter_tables)


@pytest.fixture(scope="module")
def fitted(starter_features, market, tmp_path_factory) -> dict[Architecture, Fitted]:
    """Models whose networks beat the anchor on validation: a forecast with them hangs on every input of the window."""
    folder = tmp_path_factory.mktemp("fitted")
    return {a: fit_and_forecast(starter_features, market, WITH_NETWORK, folder / a, a) for a in ARCHITECTURES}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("day", "architecture"), [(day, ARCHITECTURES[k % len(ARCHITECTURES)]) for k, day in enumerate(DAYS)]
)
def test_the_forecast_is_bit_identical_whatever_comes_later(
    starter_tables, starter_features, market, fitted, tmp_path, day, architecture
):
    asked = market_calendar.session_on_or_after(pd.Timestamp(day))
    moment = market_calendar.as_of_time(asked)
    changed = perturb_after(starter_tables, moment, np.random.default_rng(asked.toordinal()))
    other_features, other_market = build_features(changed), prepare_market(changed)

    clean = fit_and_forecast(starter_features, market, asked, tmp_path / "clean", architecture)
    other = fit_and_forecast(other_features, other_market, asked, tmp_path / "other", architecture)

    one, two = starter_features.loc[:asked], other_features.loc[:asked]
    assert one.to_numpy().tobytes() == two.to_numpy().tobytes()
    assert other.histories == clean.histories, "training or validation saw something published later"
    assert clean.model.state_dict.keys() == other.model.state_dict.keys()
    for name, weights in clean.model.state_dict.items():
        assert torch.equal(weights, other.model.state_dict[name]), name
    assert other.model.scaler_sha256 == clean.model.scaler_sha256
    assert other.model.anchor == clean.model.anchor
    assert other.model.model_version == clean.model.model_version
    assert starter_features.index[clean.cell.prediction_rows[0]] == asked
    assert np.array_equal(other.cell.offsets[0], clean.cell.offsets[0])
    assert other.rows == clean.rows
    assert [row.horizon_months for row in clean.rows] == list(HORIZONS_MONTHS)
    later = starter_features.index[starter_features.index.get_loc(asked) + 60]
    for one in fitted.values():
        with_network = forecast(one.model, starter_features, market, asked)
        assert forecast(one.model, other_features, other_market, asked) == with_network
        assert all(row.predicted_price != row.anchor_price for row in with_network)
        reached = forecast(one.model, other_features, other_market, later)
        assert reached != forecast(one.model, starter_features, market, later), "the perturbation reached nothing"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_network_takes_part_in_the_forecast(fitted, architecture):
    """Else the proof would say nothing about it: it beat the anchor on validation, and its weight is one."""
    for member in fitted[architecture].cell.members:
        assert member.best_epoch > 0
    for row in fitted[architecture].rows:
        assert row.lambda_h == 1.0
        assert row.predicted_price != row.anchor_price
        assert abs(np.log(row.predicted_price / row.anchor_price)) < 0.35


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_forecast_needs_no_row_after_its_date(starter_features, market, fitted, architecture):
    short = Market(
        front=market.front.loc[:WITH_NETWORK],
        inputs=market.inputs.loc[:WITH_NETWORK],
        state=market.state.loc[:WITH_NETWORK],
        targets=market.targets.loc[:WITH_NETWORK],
        outcome=market.outcome.loc[:WITH_NETWORK],
    )
    one = fitted[architecture]
    assert forecast(one.model, starter_features.loc[:WITH_NETWORK], short, WITH_NETWORK) == one.rows
