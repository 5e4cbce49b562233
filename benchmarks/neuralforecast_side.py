"""neuralforecast's half of `against_neuralforecast.py`: train and forecast one of its models on exported folds.

Runs in the extra environment of `neuralforecast-requirements.txt` and imports nothing of CBI. Not run by hand:
`python neuralforecast_side.py FOLDER MODEL SERIES` reads what `against_neuralforecast.py` exported into FOLDER.

How the problem is posed, as a user of the library would: one daily series, a window of 252 sessions in, every session
up to the farthest target date out (`h`), robust scaling within the window, exogenous inputs as `hist_exog`, the phase
of the year as `futr_exog`. SERIES is `price` (y is the log price; the forecast of a target date is read off) or
`returns` (y is the daily log return; forecasts are summed up to the target date). Training windows are the very as-of
dates of CBI's training windows, each with the labels known before the validation part; the number of windows presented
is CBI's too. What the library leaves at its default stays there, but for two things in its favour: the weights that
were best on validation are restored, and the Huber loss replaces the absolute error, since squared errors are reported.
"""

from __future__ import annotations

import json
import logging
import math
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import HuberLoss
from neuralforecast.models import LSTM, TCN, NBEATSx

CALENDAR = ["year_sin", "year_cos"]


class BestWeights(pl.Callback):
    """Keeps the weights with the lowest validation loss and restores them when training ends."""

    def __init__(self) -> None:
        self.loss, self.step, self.steps, self.weights = math.inf, 0, 0, None

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Keep the weights if they are the best so far."""
        loss = float(trainer.callback_metrics["ptl/val_loss"])
        if not trainer.sanity_checking and loss < self.loss:
            self.loss, self.step = loss, trainer.global_step
            self.weights = {name: value.clone() for name, value in module.state_dict().items()}

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Restore the best weights."""
        self.steps = trainer.global_step
        module.load_state_dict(self.weights)


def build(model: str, width: int, common: dict[str, Any]) -> pl.LightningModule:
    """A model of some width; the rest of its shape follows CBI's network of that name."""
    common = {**common, "callbacks": [BestWeights()]}  # a list of its own: the library appends to it
    if model == "NBEATSx":
        stacks = ["trend", "seasonality", "exogenous"] * 2
        return NBEATSx(
            **common, stack_types=stacks, n_blocks=[1] * len(stacks), mlp_units=[[width, width]] * len(stacks)
        )
    common |= {"encoder_hidden_size": width, "decoder_hidden_size": width}
    if model == "TCN":
        return TCN(**common, kernel_size=5, dilations=[1, 2, 4, 8, 16, 32])
    return LSTM(**common, encoder_n_layers=2)


def count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def nearest_width(size: Callable[[int], int], parameters: int) -> int:
    """The multiple of 4 whose `size` (number of parameters, growing with the width) is nearest to the one wanted."""
    above = next(width for width in range(8, 2048, 4) if size(width) >= parameters)
    return min(above - 4, above, key=lambda width: abs(size(width) - parameters))


def rolling_inputs(series: pd.DataFrame, rows: np.ndarray, window: int) -> pd.DataFrame:
    """The window of each forecast as a series of its own: [len(rows) * window], `unique_id` is the as-of session."""
    first = int(series["ds"].iloc[0])
    picked = (rows[:, None] - first + np.arange(1 - window, 1)).ravel()
    return series.iloc[picked].assign(unique_id=np.repeat(rows, window))


def future_inputs(calendar: pd.DataFrame, rows: np.ndarray, h: int) -> pd.DataFrame:
    """The calendar of the h sessions after each forecast."""
    first = int(calendar["ds"].iloc[0])
    picked = (rows[:, None] - first + np.arange(1, h + 1)).ravel()
    return calendar.iloc[picked].assign(unique_id=np.repeat(rows, h))


def run_fold(folder: Path, fold: dict[str, Any], task: dict[str, Any], model: str, target: str) -> dict[str, Any]:
    """Train on one fold and forecast its test rows; forecasts are log returns [n, horizons]."""
    spec = task["models"][model]
    frame = pd.read_parquet(folder / fold["name"] / "series.parquet")
    series = frame.assign(y=frame["log_price"] if target == "price" else frame["log_return"], unique_id="ZL")
    series = series[["unique_id", "ds", "y", *task["exogenous"], *CALENDAR]]
    calendar = pd.read_parquet(folder / fold["name"] / "calendar.parquet")
    test = pd.read_parquet(folder / fold["name"] / "test.parquet")

    presented = spec["epochs"] * fold["n_train"]
    common: dict[str, Any] = {
        "h": task["h"],
        "input_size": task["window"],
        "hist_exog_list": task["exogenous"],
        "futr_exog_list": CALENDAR,
        "scaler_type": "robust",
        "loss": HuberLoss(delta=1.0),
        "step_size": task["stride"],
        "windows_batch_size": spec["batch_size"],
        "training_data_availability_threshold": [1.0, (fold["shortest_label"] + 0.5) / task["h"]],
        "max_steps": math.ceil(presented / spec["batch_size"]),
        "val_check_steps": math.ceil(fold["n_train"] / spec["batch_size"]),
        "early_stop_patience_steps": spec["patience"],
        "learning_rate": spec["learning_rate"],
        "random_seed": task["seed"],
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    width = nearest_width(lambda width: count(build(model, width, common)), spec["parameters"])
    network = build(model, width, common)

    started, cpu = time.perf_counter(), time.process_time()
    forecaster = NeuralForecast(models=[network], freq=1)
    known = series[series["ds"] < fold["test_start"]]
    forecaster.fit(known, val_size=fold["test_start"] - fold["validation_start"])
    fitted = time.perf_counter()
    rows = test["ds"].to_numpy()
    inputs = rolling_inputs(series, rows, task["window"])
    path = forecaster.predict(inputs, futr_df=future_inputs(calendar, rows, task["h"]))
    done, cpu = time.perf_counter(), time.process_time() - cpu
    best = next(c for c in forecaster.models[0].trainer_kwargs["callbacks"] if isinstance(c, BestWeights))

    steps = test[[f"steps_{h}" for h in task["horizons"]]].to_numpy()
    values = path.sort_values(["unique_id", "ds"])[model].to_numpy().reshape(len(rows), task["h"])
    if target == "returns":
        forecast = np.take_along_axis(values.cumsum(axis=1), steps - 1, axis=1)
    else:
        forecast = np.take_along_axis(values, steps - 1, axis=1) - test[["log_price"]].to_numpy()
    return {
        "forecast": forecast,
        "rows": rows,
        "parameters": count(network),
        "fit_seconds": fitted - started,
        "predict_seconds": done - fitted,
        "cpu_seconds": cpu,
        "epochs": best.steps * spec["batch_size"] / fold["n_train"],
        "width": width,
        "steps": best.steps,
        "best_step": best.step,
    }


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def main(folder: Path, model: str, target: str) -> None:
    imported = peak_gib()
    warnings.filterwarnings("ignore")
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    task = json.loads((folder / "task.json").read_text())
    torch.set_num_threads(task["threads"])
    entry, folds, forecasts = f"neuralforecast {model}, {target}", {}, []
    for fold in task["folds"]:
        result = run_fold(folder, fold, task, model, target)
        frame = pd.DataFrame(result.pop("forecast"), columns=[str(h) for h in task["horizons"]])
        forecasts.append(frame.assign(entry=entry, fold=fold["name"], ds=result.pop("rows")))
        parameters = result.pop("parameters")
        folds[fold["name"]] = result
    pd.concat(forecasts, ignore_index=True).to_parquet(folder / f"nf_{model}_{target}.parquet")
    record = {"entry": entry, "parameters": parameters, "import_gib": imported, "peak_gib": peak_gib(), "folds": folds}
    (folder / f"nf_{model}_{target}.json").write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
