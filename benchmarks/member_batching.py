"""Does training the members of a cell in one batched pass pay? One step of three members, one by one against together.

Together: parameters stacked, `torch.func.functional_call` + `grad_and_value` + `vmap`, a dropout mask per member, one
AdamW over the stacks, gradients clipped member by member. One by one: what `train_cell` does. Alternating short runs,
best of several, in CPU time. Before it is timed, the batched step is held against the members' own without dropout.

    python benchmarks/member_batching.py [--threads N]

Measured on one thread of a shared two-core AMD EPYC, torch 2.13, settings of the profile `full`:

| network | batch | one by one, ms | together, ms | faster by | largest difference of a weight |
|---|---|---|---|---|---|
| lstm_mha | 32 | 187 | 540 | 0.35 | 2.5e-07 |
| lstm_mha | 128 | 646 | 1774 | 0.36 | 2.5e-07 |
| tcn | 32 | 108 | 97 | 1.11 | 3.3e-06 |
| tcn | 128 | 222 | 223 | 1.00 | 3.3e-06 |
| nbeatsx | 32 | 89 | 86 | 1.03 | 2.5e-06 |
| nbeatsx | 128 | 202 | 218 | 0.93 | 2.5e-06 |

No gain worth a second path through the loop, so that members train one by one: at these sizes a step is arithmetic, not
overhead, and grouped convolutions are no faster than separate ones. Torch has no batching rule for the LSTM's fused
kernel and falls back to a loop over members. Equal to the bit it cannot be: sums are taken in another order.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cbi_pipeline.bundle.read import load_tables
from cbi_pipeline.evaluation.benchmarks import prepare_market
from cbi_pipeline.evaluation.walk_forward import make_expanding_folds
from cbi_pipeline.features.build import build_features
from cbi_pipeline.features.driver_set import fit_driver_set
from cbi_pipeline.modeling.cells import CellInputs
from cbi_pipeline.modeling.config import ARCHITECTURES, Architecture, TrainingConfig
from cbi_pipeline.modeling.loss import Labels, training_loss
from cbi_pipeline.modeling.networks import build_network
from cbi_pipeline.modeling.training import Part, Stepper, name_spread_inputs, training_part
from cbi_pipeline.modeling.windows import NetworkInputs, Windows, cut_windows
from cbi_pipeline.profiles import get_profile
from cbi_pipeline.stages.cell_inputs import cell_inputs

STARTER = Path(__file__).resolve().parent.parent / "data" / "starter"
MEMBERS, STEPS, ROUNDS = 3, 3, 5
CPU = torch.device("cpu")


class BatchedStepper:
    """One training step of all members at once.

    Args:
        networks: the members, in training mode.
        config: of loss and fit.
    """

    def __init__(self, networks: list[nn.Module], config: TrainingConfig) -> None:
        self.config = config
        stacked, self.buffers = torch.func.stack_module_state(networks)
        self.parameters = {name: tensor.detach().requires_grad_() for name, tensor in stacked.items()}
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), lr=config.fit.learning_rate, weight_decay=config.fit.weight_decay
        )
        skeleton = networks[0]

        def loss(
            parameters: dict[str, Tensor], buffers: dict[str, Tensor], inputs: NetworkInputs, labels: Labels
        ) -> Tensor:
            output = torch.func.functional_call(skeleton, (parameters, buffers), tuple(inputs))
            return training_loss(output, Labels(*labels), config.loss)

        self.gradients = torch.func.vmap(torch.func.grad_and_value(loss), randomness="different")

    def __call__(self, inputs: NetworkInputs, labels: Labels) -> Tensor:
        """Inputs and labels [members, B, ...] -> losses [members]."""
        gradients, losses = self.gradients(self.parameters, self.buffers, inputs, labels)
        squares = torch.stack([gradient.flatten(1).square().sum(dim=1) for gradient in gradients.values()])
        factor = (self.config.fit.clip_norm / (squares.sum(dim=0).sqrt() + 1e-6)).clamp(max=1.0)  # [members]
        for name, parameter in self.parameters.items():
            parameter.grad = gradients[name] * factor.view(-1, *[1] * (parameter.ndim - 1))
        self.optimizer.step()
        return losses


@dataclass(frozen=True)
class Prepared:
    """The training windows of the fold that tests 2023, for one network."""

    config: TrainingConfig
    windows: Windows
    part: Part

    def batch(self, size: int, seed: int) -> tuple[NetworkInputs, Labels]:
        """Random training rows."""
        chosen = torch.randperm(len(self.part.rows), generator=torch.Generator().manual_seed(seed))[:size]
        return self.windows.batch(self.part.rows[chosen]), self.part.labels.rows(chosen)


def prepare(cell: CellInputs, architecture: Architecture, **network: float) -> Prepared:
    config = get_profile("full").training(architecture, "anchored", seed=1)
    config = config.model_copy(update={"network": config.network.model_copy(update=network)})
    config = name_spread_inputs(config, cell.feature_names)
    windows = cut_windows(cell.features, cell.feature_names, cell.calendar, config.network, CPU)
    return Prepared(config, windows, training_part(cell, config, CPU))


def real_cell() -> CellInputs:
    tables = load_tables(STARTER)
    frame, market = build_features(tables), prepare_market(tables)
    fold = make_expanding_folds(frame.index, first_test_year=2023, last_test_year=2023, validation_sessions=378)[0]
    return cell_inputs(frame, fold, market, fit_driver_set(frame, fold.train_start, fold.train_end), "anchored")


def together(batches: list[tuple[NetworkInputs, Labels]]) -> tuple[NetworkInputs, Labels]:
    """One batch a member -> [members, B, ...]."""
    inputs, labels = zip(*batches, strict=True)
    return (
        NetworkInputs(*(torch.stack(tensors) for tensors in zip(*inputs, strict=True))),
        Labels(*(torch.stack(tensors) for tensors in zip(*labels, strict=True))),
    )


def members(config: TrainingConfig) -> list[nn.Module]:
    networks: list[nn.Module] = []
    for seed in range(MEMBERS):
        torch.manual_seed(seed)
        networks.append(build_network(config.network).train())
    return networks


def largest_difference(prepared: Prepared) -> float:
    """Of any weight after three steps, batched against one by one; without dropout."""
    alone, batched = members(prepared.config), BatchedStepper(members(prepared.config), prepared.config)
    steppers = [Stepper(member, prepared.config) for member in alone]
    for step in range(3):
        batches = [prepared.batch(32, 10 * step + member) for member in range(MEMBERS)]
        for stepper, batch in zip(steppers, batches, strict=True):
            stepper(*batch)
        batched(*together(batches))
    return max(
        float((batched.parameters[name][place] - parameter).detach().abs().max())
        for place, member in enumerate(alone)
        for name, parameter in member.named_parameters()
    )


def best_of(first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    """CPU milliseconds of each, best of alternating rounds after one warm-up."""
    best = [float("inf"), float("inf")]
    for round_ in range(ROUNDS + 1):
        for place, work in enumerate((first, second)):
            started = time.process_time()
            for _ in range(STEPS):
                work()
            if round_:
                best[place] = min(best[place], 1000 * (time.process_time() - started) / STEPS)
    return best[0], best[1]


def measure(cell: CellInputs, architecture: Architecture, size: int) -> str:
    """One row of the table."""
    try:
        difference = largest_difference(prepare(cell, architecture, dropout=0.0))
    except RuntimeError as error:
        return f"| {architecture} | {size} | | | | {str(error).splitlines()[0]} |"
    prepared = prepare(cell, architecture)
    batches = [prepared.batch(size, member) for member in range(MEMBERS)]
    steppers = [Stepper(member, prepared.config) for member in members(prepared.config)]
    batched, stacked = BatchedStepper(members(prepared.config), prepared.config), together(batches)
    alone, at_once = best_of(
        lambda: [stepper(*batch) for stepper, batch in zip(steppers, batches, strict=True)], lambda: batched(*stacked)
    )
    return f"| {architecture} | {size} | {alone:.1f} | {at_once:.1f} | {alone / at_once:.2f} | {difference:.1e} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args().threads)
    cell = real_cell()
    print("| network | batch | one by one, ms | together, ms | faster by | largest difference of a weight |")
    print("|---|---|---|---|---|---|")
    for architecture in ARCHITECTURES:
        for size in (32, 128):
            print(measure(cell, architecture, size), flush=True)


if __name__ == "__main__":
    main()
