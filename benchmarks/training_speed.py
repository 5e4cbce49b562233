"""Milliseconds a training step of each network, where they go, and what the changes bought that matter most.

Real windows of the starter bundle, batch 128, settings of the profile `full`. Each comparison alternates between the
two sides in one process and takes the best of several rounds; the figures of the README come from this script.

    python benchmarks/training_speed.py [--profile]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np
import torch

from cbi_pipeline.bundle.read import load_tables
from cbi_pipeline.evaluation.benchmarks import prepare_market
from cbi_pipeline.evaluation.walk_forward import make_expanding_folds
from cbi_pipeline.features.build import build_features
from cbi_pipeline.features.driver_set import fit_driver_set
from cbi_pipeline.modeling.config import ARCHITECTURES, NetworkConfig
from cbi_pipeline.modeling.networks import build_network
from cbi_pipeline.modeling.windows import NetworkInputs, cut_windows
from cbi_pipeline.profiles import get_profile
from cbi_pipeline.stages.cell_inputs import cell_inputs

STARTER = Path(__file__).resolve().parent.parent / "data" / "starter"
BATCH = 128
ROUNDS, STEPS = 5, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--profile", action="store_true", help="print the ten operations that take most time")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    tables = load_tables(STARTER)
    frame, market = build_features(tables), prepare_market(tables)
    fold = make_expanding_folds(frame.index, first_test_year=2023, last_test_year=2023, validation_sessions=378)[0]
    cell = cell_inputs(frame, fold, market, fit_driver_set(frame, fold.train_start, fold.train_end), "anchored")
    rows = torch.from_numpy(np.flatnonzero(cell.train_mask.all(axis=1))[252::5][:BATCH])

    def batch(config: NetworkConfig) -> Callable[[], NetworkInputs]:
        windows = cut_windows(cell.features, cell.feature_names, cell.calendar, config, torch.device("cpu"))
        return lambda: windows.batch(rows)

    print("| network | parameters | ms a step | without patch stem | ratio |")
    print("|---|---|---|---|---|")
    for architecture in ARCHITECTURES:
        network = get_profile("full").training(architecture, "anchored", 1).network
        config = network.model_copy(update={"spread_inputs": cell.feature_names})
        daily = config.model_copy(update={"patch_days": 1})
        step, plain = _step(config, batch(config)), _step(daily, batch(daily))
        fast, slow = _best_of(step, plain)
        parameters = sum(p.numel() for p in build_network(config).parameters())
        print(f"| {architecture} | {parameters:,} | {fast:.1f} | {slow:.1f} | {slow / fast:.1f} |")
        if arguments.profile:
            _print_profile(step)


def _step(config: NetworkConfig, batch: Callable[[], NetworkInputs]) -> Callable[[], None]:
    """One training step: windows cut, forward, backward, clipped, AdamW."""
    torch.manual_seed(1)
    network = build_network(config).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1.0)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        output = network(*batch())
        loss = (output.median - 1).square().mean() + output.offsets.square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    return step


def _best_of(first: Callable[[], None], second: Callable[[], None]) -> tuple[float, float]:
    """Milliseconds a step of both, alternating; the best round of each."""
    best = [float("inf"), float("inf")]
    first(), second()
    for _ in range(ROUNDS):
        for place, step in enumerate((first, second)):
            started = time.perf_counter()
            for _ in range(STEPS):
                step()
            best[place] = min(best[place], 1000 * (time.perf_counter() - started) / STEPS)
    return best[0], best[1]


def _print_profile(step: Callable[[], None]) -> None:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(STEPS):
            step()
    print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=10, max_name_column_width=40))


if __name__ == "__main__":
    main()
