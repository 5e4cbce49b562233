"""From a configuration to a network, and from members to an ensemble.

Belongs here: building and loading. The networks themselves are in `lstm_attention`, `tcn` and `nbeatsx`, what they
share in `base`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling.base import ForecastNetwork
from cbi_pipeline.modeling.config import AnyNetworkConfig, LstmMhaConfig, NbeatsxConfig, TcnConfig, TrainingConfig
from cbi_pipeline.modeling.heads import NetworkOutput
from cbi_pipeline.modeling.lstm_attention import LSTM_MHA
from cbi_pipeline.modeling.nbeatsx import NBEATSx
from cbi_pipeline.modeling.tcn import TCN

if TYPE_CHECKING:
    from cbi_pipeline.modeling.windows import NetworkInputs

__all__ = ["Ensemble", "ForecastNetwork", "NetworkOutput", "build_ensemble", "build_network", "load_ensemble"]


def build_network(config: AnyNetworkConfig) -> ForecastNetwork:
    """A network of the configured architecture with initial weights from torch's global generator.

    Raises:
        ModelError: spread_inputs is empty, or the architecture cannot work with the inputs named.
    """
    match config:
        case LstmMhaConfig():
            return LSTM_MHA(config)
        case TcnConfig():
            return TCN(config)
        case NbeatsxConfig():
            return NBEATSx(config)


class Ensemble(nn.Module):
    """Members of one architecture, trained from different seeds; a forecast is the mean of theirs."""

    def __init__(self, members: list[ForecastNetwork]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, history: Tensor, current: Tensor, calendar: Tensor) -> NetworkOutput:
        """[B, 2M, W], [B, 2S], [B, 5] -> mean of the members' median [B, 4] and offsets [B, 4, 7]."""
        outputs = [member(history, current, calendar) for member in self.members]
        medians, offsets = zip(*outputs, strict=True)
        return NetworkOutput(torch.stack(medians).mean(dim=0), torch.stack(offsets).mean(dim=0))

    def each(self, inputs: NetworkInputs) -> list[NetworkOutput]:
        """The forecast of every member."""
        return [member(*inputs) for member in self.members]


def build_ensemble(config: TrainingConfig) -> Ensemble:
    """`config.members` networks with initial weights from torch's global generator; members are seeded in training.

    Raises:
        ModelError: see `build_network`.
    """
    return Ensemble([build_network(config.network) for _ in range(config.members)])


def load_ensemble(config: TrainingConfig, state_dict: Mapping[str, Tensor]) -> Ensemble:
    """Rebuild trained members on the CPU, in evaluation mode (the reference for inference).

    Raises:
        ModelError: the weights do not fit the configuration.
    """
    with torch.random.fork_rng(devices=[]):  # initial weights are overwritten: they must not move the generator
        ensemble = build_ensemble(config)
    expected = {name: tuple(tensor.shape) for name, tensor in ensemble.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state_dict.items()}
    if expected != found:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise ModelError(
            f"weights {wrong[0]}",
            f"The shape is {found.get(wrong[0])}, the configuration needs {expected.get(wrong[0])}.",
            "load weights together with the config.json they were saved with, or train again.",
        )
    ensemble.load_state_dict({name: tensor.to("cpu", torch.float32) for name, tensor in state_dict.items()})
    return ensemble.eval()
