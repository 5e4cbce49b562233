"""CBI's three networks beside neuralforecast's NBEATSx, TCN and LSTM, on the same folds of the starter bundle.

Run by hand: `python benchmarks/against_neuralforecast.py`. Prints seconds per epoch and per fold, peak memory and the
out-of-fold RMSE ratio to last price. neuralforecast lives in an environment of its own (`--environment`), made on the
first run from `neuralforecast-requirements.txt`; how the problem is posed to it is said in `neuralforecast_side.py`.
Its models get the width at which their number of parameters is nearest to that of CBI's network. "times CBI" compares
with CBI's raw network of the same kind, which learns the log return itself and sees as many windows as they do.

Every training runs in a process of its own, one after the other, with the same number of threads; this one only starts
them and stays small, because the peak memory of a child counts that of the process it was forked from.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import pandas as pd

    from cbi_pipeline.contracts.folds import FoldSpec
    from cbi_pipeline.evaluation.benchmarks import Market
    from cbi_pipeline.modeling.config import Architecture

REPOSITORY: Final = Path(__file__).resolve().parent.parent
STARTER: Final = REPOSITORY / "data" / "starter"
REQUIREMENTS: Final = REPOSITORY / "benchmarks" / "neuralforecast-requirements.txt"
SIDE: Final = REPOSITORY / "benchmarks" / "neuralforecast_side.py"
COUNTERPARTS: Final[dict[Architecture, str]] = {"nbeatsx": "NBEATSx", "tcn": "TCN", "lstm_mha": "LSTM"}
TARGETS: Final = ("raw", "anchored")
SERIES: Final = {"NBEATSx": ("price",), "TCN": ("price", "returns"), "LSTM": ("price", "returns")}
"""How y is posed; NBEATSx starts from the last value of y, which is the last price, and has no use for returns."""
SEED: Final = 20241231


def export(folder: Path, options: argparse.Namespace) -> None:
    """Write into `folder` all that both sides learn from and are asked for: `task.json` and a folder per fold."""
    import pandas as pd

    from cbi_pipeline.bundle.read import load_tables
    from cbi_pipeline.contracts import HORIZONS_MONTHS
    from cbi_pipeline.evaluation.benchmarks import prepare_market
    from cbi_pipeline.evaluation.walk_forward import make_folds
    from cbi_pipeline.features.build import build_features
    from cbi_pipeline.modeling.networks import build_network
    from cbi_pipeline.modeling.training import name_spread_inputs
    from cbi_pipeline.profiles import get_profile

    tables, profile = load_tables(STARTER), get_profile("quick")
    frame, market = build_features(tables), prepare_market(tables)
    folds = make_folds(pd.DatetimeIndex(frame.index), **profile.folds.model_dump(exclude={"kind"}))
    folds = [fold for fold in folds if fold.name in options.folds]
    models = {}
    for architecture, counterpart in COUNTERPARTS.items():
        config = name_spread_inputs(profile.training(architecture, "raw", SEED), list(frame.columns))
        models[counterpart] = {
            "parameters": sum(p.numel() for p in build_network(config.network).parameters()),
            **config.fit.model_dump(include={"epochs", "batch_size", "patience", "learning_rate"}),
        }
    network = config.network
    records = [_export_fold(folder / fold.name, fold, frame, market, config, options.every) for fold in folds]
    gaps = {name: max(r["gaps"][name] for r in records) for name in network.mean_path_inputs}
    task = {
        "models": models,
        "folds": records,
        "exogenous": [name for name, missing in gaps.items() if missing == 0],
        "left_out": {name: missing for name, missing in gaps.items() if missing},
        "horizons": list(HORIZONS_MONTHS),
        "h": max(r["farthest"] for r in records),
        "window": network.window_sessions,
        "stride": config.fit.train_stride,
        "threads": options.threads,
        "seed": SEED,
    }
    for fold in folds:
        _write_calendar(folder / fold.name, pd.DatetimeIndex(frame.index), task["h"])
    (folder / "task.json").write_text(json.dumps(task, indent=1))


def _export_fold(
    folder: Path, fold: FoldSpec, frame: pd.DataFrame, market: Market, config: Any, every: int
) -> dict[str, Any]:
    """One fold: CBI's cells as npz, the daily series and the forecasts wanted as parquet. `ds` is the session's row."""
    import dataclasses

    import numpy as np
    import pandas as pd

    from cbi_pipeline.contracts import HORIZONS_MONTHS
    from cbi_pipeline.evaluation.benchmarks import fold_anchor
    from cbi_pipeline.features.driver_set import fit_driver_set
    from cbi_pipeline.modeling.anchor import anchor_log_return
    from cbi_pipeline.modeling.windows import usable_rows
    from cbi_pipeline.stages.cell_inputs import cell_inputs

    folder.mkdir()
    sessions, months = pd.DatetimeIndex(frame.index), list(HORIZONS_MONTHS)
    drivers = fit_driver_set(frame, fold.train_start, fold.train_end)
    cells = {target: cell_inputs(frame, fold, market, drivers, target) for target in TARGETS}
    wanted = cells["raw"].prediction_rows[::every]
    for target, cell in cells.items():
        arrays = {field.name: getattr(cell, field.name) for field in dataclasses.fields(cell)}
        arrays["feature_names"] = np.array(cell.feature_names)
        np.savez(folder / f"{target}.npz", **{**arrays, "prediction_rows": wanted})

    window = config.network.window_sessions
    labelled = np.asarray(cells["raw"].known(cells["raw"].train_mask).any(axis=1))
    trained = usable_rows(labelled, window, config.fit.train_stride)
    if set(np.diff(trained)) != {config.fit.train_stride}:
        raise SystemExit(f"{fold.name}: training windows are not equally spaced, neuralforecast cannot be given them")
    first, last = trained[0] - window + 1, cells["raw"].prediction_rows[-1]
    log_price = np.log(market.front.loc[sessions])
    series = pd.DataFrame(drivers.transform(frame), columns=frame.columns)[list(config.network.mean_path_inputs)]
    series = series.assign(ds=np.arange(len(frame)), log_price=log_price.to_numpy(), **_phases(sessions))
    series["log_return"] = series["log_price"].diff()
    series = series.iloc[first : last + 1]
    series.to_parquet(folder / "series.parquet")

    dates = sessions[wanted]
    steps = np.stack([sessions.searchsorted(market.targets.loc[dates, h]) for h in months], axis=1) - wanted[:, None]
    realised = market.outcome.loc[dates, months].to_numpy() - log_price.loc[dates].to_numpy()[:, None]
    anchor = anchor_log_return(fold_anchor(market, fold), market.inputs.loc[dates], market.state)[months].to_numpy()
    columns = {"steps": steps, "realised": realised, "anchor": anchor, "sigma": cells["raw"].sigma[wanted]}
    test = {f"{name}_{h}": values[:, i] for name, values in columns.items() for i, h in enumerate(months)}
    pd.DataFrame({"ds": wanted, "log_price": log_price.loc[dates].to_numpy(), **test}).to_parquet(
        folder / "test.parquet"
    )
    validation_start, test_start = sessions.searchsorted(pd.DatetimeIndex([fold.validation_start, fold.test_start]))
    return {
        "name": fold.name,
        "validation_start": int(validation_start),
        "test_start": int(test_start),
        "n_train": len(trained),
        "shortest_label": int(validation_start - 1 - trained[-1]),
        "farthest": int(steps.max()),
        "gaps": series[list(config.network.mean_path_inputs)].isna().sum().to_dict(),
    }


def _phases(sessions: pd.DatetimeIndex) -> dict[str, Any]:
    """Sine and cosine of the phase of the year."""
    import numpy as np

    phase = 2 * np.pi * (sessions.dayofyear.to_numpy() - 1) / 365.25
    return {"year_sin": np.sin(phase), "year_cos": np.cos(phase)}


def _write_calendar(folder: Path, sessions: pd.DatetimeIndex, h: int) -> None:
    """The phase of the year from the first session of the fold's series to the farthest session asked for."""
    import numpy as np
    import pandas as pd

    from cbi_pipeline import market_calendar

    ds = pd.read_parquet(folder / "series.parquet", columns=["ds"])["ds"]
    later = market_calendar.sessions(sessions[-1], sessions[-1] + pd.DateOffset(years=2))[1:]
    known = pd.DatetimeIndex(sessions.append(later)[ds.iloc[0] : ds.iloc[-1] + h + 1])
    numbers = np.arange(ds.iloc[0], ds.iloc[-1] + h + 1)
    pd.DataFrame({"ds": numbers, **_phases(known)}).to_parquet(folder / "calendar.parquet")


def train_network(folder: Path, architecture: Any, target: Any) -> None:
    """Train one of CBI's networks for one target on every exported fold and store what neuralforecast's side stores."""
    import numpy as np
    import pandas as pd
    import torch

    from cbi_pipeline.modeling.cells import CellInputs
    from cbi_pipeline.modeling.training import train_cell
    from cbi_pipeline.profiles import get_profile

    imported, task = peak_gib(), json.loads((folder / "task.json").read_text())
    torch.set_num_threads(task["threads"])
    config = get_profile("quick").training(architecture, target, SEED)
    entry, folds, forecasts = f"CBI {architecture}, {target}", {}, []
    for fold in task["folds"]:
        with np.load(folder / fold["name"] / f"{target}.npz") as arrays:
            names = tuple(str(name) for name in arrays["feature_names"])
            cell = CellInputs(feature_names=names, **{k: arrays[k] for k in arrays.files if k != "feature_names"})
        started, cpu = time.perf_counter(), time.process_time()
        trained = train_cell(cell, config, torch.device("cpu"))
        whole, cpu = time.perf_counter() - started, time.process_time() - cpu
        fit = sum(member.seconds for member in trained.members)
        test = pd.read_parquet(folder / fold["name"] / "test.parquet")
        anchor, sigma = (test[[f"{name}_{h}" for h in task["horizons"]]].to_numpy() for name in ("anchor", "sigma"))
        forecast = sigma * trained.medians.mean(axis=1) + (anchor if target == "anchored" else 0.0)
        frame = pd.DataFrame(forecast, columns=[str(h) for h in task["horizons"]])
        forecasts.append(frame.assign(entry=entry, fold=fold["name"], ds=cell.prediction_rows))
        folds[fold["name"]] = {
            "fit_seconds": fit,
            "predict_seconds": whole - fit,
            "cpu_seconds": cpu,
            "epochs": len(trained.members[0].history) - 1,
            "best_epoch": trained.members[0].best_epoch,
        }
    pd.concat(forecasts, ignore_index=True).to_parquet(folder / f"cbi_{architecture}_{target}.parquet")
    record = {"entry": entry, "parameters": trained.n_parameters, "import_gib": imported, "peak_gib": peak_gib()}
    (folder / f"cbi_{architecture}_{target}.json").write_text(json.dumps({**record, "folds": folds}, indent=1))


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def prepare_environment(folder: Path) -> Path:
    """The interpreter of the extra environment, which is made if it is absent or holds other versions."""
    python = folder / "bin" / "python"
    pins = [line.split("==") for line in REQUIREMENTS.read_text().splitlines() if "==" in line]
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], check=True, capture_output=True).stdout
    installed = {package["name"]: package["version"].split("+")[0] for package in json.loads(listed)}
    if any(installed.get(name) != version for name, version in pins):
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", str(REQUIREMENTS)], check=True)
    return python


def report(folder: Path, architectures: list[Architecture], console: Console) -> None:
    """Print what both sides stored."""
    import pandas as pd

    task = json.loads((folder / "task.json").read_text())
    names = [fold["name"] for fold in task["folds"]]
    test = pd.concat([pd.read_parquet(folder / name / "test.parquet").assign(fold=name) for name in names])
    table = Table(
        *("entry", "parameters", "epochs", "s an epoch", "times CBI", "s a fold", "times CBI", "CPU s a fold"),
        *("peak GiB", "after imports", *(f"{h} m" for h in task["horizons"])),
        title=f"{', '.join(names)}, {len(test)} as-of dates, {task['threads']} threads; RMSE ratio to last price",
    )
    for architecture in architectures:
        unit: pd.Series | None = None
        for stem in stems(architecture):
            record = json.loads((folder / f"{stem}.json").read_text())
            rows = pd.read_parquet(folder / f"{stem}.parquet").merge(test, on=["fold", "ds"], validate="one_to_one")
            folds = pd.DataFrame(record["folds"]).T
            mean = folds.mean()
            mean["epoch"] = folds["fit_seconds"].sum() / folds["epochs"].sum()
            mean["fold"] = mean["fit_seconds"] + mean["predict_seconds"]
            unit = mean if unit is None else unit
            table.add_row(
                record["entry"],
                f"{record['parameters']:,}",
                f"{mean['epochs']:.1f}",
                f"{mean['epoch']:.3f}",
                f"{mean['epoch'] / unit['epoch']:.1f}",
                f"{mean['fold']:.2f}",
                f"{mean['fold'] / unit['fold']:.1f}",
                f"{mean['cpu_seconds']:.2f}",
                f"{record['peak_gib']:.2f}",
                f"{record['import_gib']:.2f}",
                *ratios(rows, [str(h) for h in task["horizons"]]),
            )
        table.add_section()
    blank = [""] * (len(table.columns) - len(task["horizons"]) - 1)
    table.add_row("anchor alone", *blank, *ratios(test, [f"anchor_{h}" for h in task["horizons"]]))
    console.print(table)
    console.print(
        f"neuralforecast takes no missing value: it sees {len(task['exogenous'])} of CBI's inputs, without "
        + ", ".join(f"{name} ({missing} of the sessions missing)" for name, missing in task["left_out"].items())
        + f". It forecasts {task['h']} sessions from {task['window']}."
    )


def ratios(rows: pd.DataFrame, forecasts: list[str]) -> list[str]:
    """RMSE ratio to last price of one column of forecasts a horizon, on the rows whose outcome is known."""
    from cbi_pipeline.evaluation.metrics import rmse_ratio

    pairs = [rows[[name, f"realised_{name.rsplit('_')[-1]}"]].dropna().to_numpy() for name in forecasts]
    return [f"{rmse_ratio(*pair.T):.3f}" for pair in pairs]


def stems(architecture: Architecture) -> list[str]:
    """Names of an architecture's result files, CBI's raw network first."""
    model = COUNTERPARTS[architecture]
    return [
        *(f"cbi_{architecture}_{target}" for target in TARGETS),
        *(f"nf_{model}_{series}" for series in SERIES[model]),
    ]


def run_all(folder: Path, options: argparse.Namespace, console: Console) -> None:
    """Export, train everything, print the table."""
    python = prepare_environment(options.environment)
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "PYTHONPATH": str(REPOSITORY)}
    own = [sys.executable, __file__]
    choices = ["--threads", str(options.threads), "--every", str(options.every), "--folds", *options.folds]
    commands = {"export": [*own, *choices, "--step", "export", str(folder)]}
    for architecture in options.architectures:
        for stem in stems(architecture):
            side, name, target = stem.split("_", 1)[0], *stem.split("_", 1)[1].rsplit("_", 1)
            command = [*own, "--step", "train"] if side == "cbi" else [str(python), str(SIDE)]
            commands[stem] = [*command, str(folder), name, target]
    for title, command in commands.items():
        started = time.perf_counter()
        subprocess.run(command, env=environment, cwd=folder, check=True)
        console.print(f"{title}: {time.perf_counter() - started:.1f} s", highlight=False)
    report(folder, options.architectures, console)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", type=Path, default=REPOSITORY / ".venv-neuralforecast", help="extra venv")
    parser.add_argument("--folds", nargs="+", default=["fold_1", "fold_5"], help="of the profile `quick`")
    parser.add_argument("--architectures", nargs="+", choices=COUNTERPARTS, default=list(COUNTERPARTS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="forecast every n-th session of the test spans")
    parser.add_argument("--keep", type=Path, help="a new folder for what is exchanged; default: a temporary one")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        step, folder, *arguments = options.step
        export(Path(folder), options) if step == "export" else train_network(Path(folder), *arguments)
        return
    options.environment = options.environment.absolute()
    console = Console(width=max(Console().width, 190))
    if options.keep:
        options.keep.mkdir(parents=True)
        run_all(options.keep.absolute(), options, console)
    else:
        with tempfile.TemporaryDirectory() as folder:
            run_all(Path(folder), options, console)


if __name__ == "__main__":
    main()
