"""Does bfloat16 pay on the CPU? One training step of each network in float32 and under autocast, by CPU time.

python benchmarks/mixed_precision.py [--threads N]
"""

from __future__ import annotations

import argparse

import torch
from member_batching import Prepared, best_of, members, prepare, real_cell

from cbi_pipeline.modeling.config import ARCHITECTURES
from cbi_pipeline.modeling.training import Stepper


def stepper(prepared: Prepared, mixed_precision: bool) -> Stepper:
    fit = prepared.config.fit.model_copy(update={"mixed_precision": mixed_precision})
    return Stepper(members(prepared.config)[0], prepared.config.model_copy(update={"fit": fit}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args().threads)
    cell = real_cell()
    print("| network | batch | float32, ms | bfloat16, ms | faster by |")
    print("|---|---|---|---|---|")
    for architecture in ARCHITECTURES:
        prepared = prepare(cell, architecture)
        for size in (32, 128):
            batch = prepared.batch(size, seed=0)
            plain, mixed = stepper(prepared, False), stepper(prepared, True)
            first, second = best_of(lambda: plain(*batch), lambda: mixed(*batch))  # noqa: B023 - called at once
            print(f"| {architecture} | {size} | {first:.1f} | {second:.1f} | {first / second:.2f} |", flush=True)


if __name__ == "__main__":
    main()
