"""An accelerator beside the CPU: seconds to train a cell, and whether both tell the same forecast.

One fold of the profile on the starter bundle, every network and target, members as the profile has them. Each
cell is trained on the CPU and on the accelerator from the same seeds. Then the accelerator's weights forecast the test
rows there and on the CPU in float32, which is what is published: the gate of device parity allows medians 1e-4 of a
scaled return and no sign turned. Last, one member is trained twice on the accelerator: are its weights the same bits?

    python benchmarks/accelerator.py [--device cuda] [--threads N]
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import numpy as np
import torch

from cbi_pipeline.bundle.read import load_tables
from cbi_pipeline.evaluation.benchmarks import prepare_market
from cbi_pipeline.evaluation.walk_forward import make_expanding_folds
from cbi_pipeline.features.build import build_features
from cbi_pipeline.features.driver_set import fit_driver_set
from cbi_pipeline.modeling.cells import CellInputs, TrainedCell
from cbi_pipeline.modeling.config import ARCHITECTURES, TrainingConfig
from cbi_pipeline.modeling.device import choose_device
from cbi_pipeline.modeling.training import reference_forecast, train_cell
from cbi_pipeline.profiles import get_profile
from cbi_pipeline.stages.cell_inputs import cell_inputs

STARTER = Path(__file__).resolve().parent.parent / "data" / "starter"
TARGETS = ("anchored", "raw")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="auto", help="auto, mps or cuda")
    parser.add_argument("--profile", default="full", help="full or quick")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of the CPU")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    torch.set_num_threads(arguments.threads)
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    print(f"torch {torch.__version__}, {name} beside {arguments.threads} threads of {platform.machine()}\n")
    tables = load_tables(STARTER)
    frame, market = build_features(tables), prepare_market(tables)
    fold = make_expanding_folds(frame.index, first_test_year=2023, last_test_year=2023, validation_sessions=378)[0]
    drivers = fit_driver_set(frame, fold.train_start, fold.train_end)
    print("| network | target | CPU s | device s | ratio | median apart | offsets apart | signs turned | same again |")
    print("|---|---|---|---|---|---|---|---|---|")
    for architecture in ARCHITECTURES:
        for target in TARGETS:
            cell = cell_inputs(frame, fold, market, drivers, target)
            config = get_profile(arguments.profile).training(architecture, target, 1)
            one = config.model_copy(update={"members": 1})
            train_cell(cell, one, device)  # kernels are chosen and loaded
            here, there = train_cell(cell, config, torch.device("cpu")), train_cell(cell, config, device)
            same = _weights_equal(train_cell(cell, one, device), train_cell(cell, one, device))
            median, offsets, turned = _device_parity(cell, config, there)
            print(
                f"| {architecture} | {target} | {here.seconds:.1f} | {there.seconds:.1f} | "
                f"{here.seconds / there.seconds:.1f} | {median:.1e} | {offsets:.1e} | {turned} | {same} |"
            )


def _weights_equal(first: TrainedCell, second: TrainedCell) -> bool:
    return all(torch.equal(tensor, second.state_dict[name]) for name, tensor in first.state_dict.items())


def _device_parity(cell: CellInputs, config: TrainingConfig, trained: TrainedCell) -> tuple[float, float, int]:
    """Largest difference of medians and of offsets from the CPU's, in scaled returns; medians of another sign."""
    reference = reference_forecast(
        config, trained.state_dict, cell.features, cell.feature_names, cell.calendar, trained.prediction_rows
    )
    medians, offsets = trained.medians.mean(axis=1), trained.offsets.mean(axis=1)
    turned = int((np.sign(medians) != np.sign(reference.median)).sum())
    return float(np.abs(medians - reference.median).max()), float(np.abs(offsets - reference.offsets).max()), turned


if __name__ == "__main__":
    main()
