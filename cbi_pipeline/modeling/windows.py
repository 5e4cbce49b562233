"""What a network sees of one history: windows cut as views from one tensor, the as-of session, the calendar.

A window of row t is the `window_sessions` rows that end at t. All windows share the storage of one tensor [T, 2M]: a
batch is an index into them, so that memory grows with the history and not with history x window. There is no
DataLoader, and nothing is copied from the host in a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.errors import FeatureError, ModelError
from cbi_pipeline.modeling.config import NetworkConfig

CALENDAR_COLUMNS: Final = 1 + len(HORIZONS_MONTHS)
"""Phase of the year, in radians, of the as-of date and of each target date."""


class NetworkInputs(NamedTuple):
    """Inputs of a network for B rows, in the order of its `forward`.

    Attributes:
        history: [B, 2M, W] values of the M mean-path inputs over the window, then their presence masks.
        current: [B, 2S] values and presence masks of the S spread inputs in the as-of session.
        calendar: [B, 5] phase of the year in radians, of the as-of date and of the four target dates.
    """

    history: Tensor
    current: Tensor
    calendar: Tensor


def make_inputs(features: Tensor) -> Tensor:
    """Values and presence, so that a gap stays a gap: [T, F] with NaN -> [T, 2F] without NaN.

    Channel f holds the value where it is present, channel F + f holds 1 where it is present and 0 in a gap. The value
    channel of a gap carries no information of its own: its mask says that nothing was observed. Each feature has its
    own mask (not one per group), because gaps of one group do not coincide: one market is closed while another trades.

    Raises:
        FeatureError: a value is infinite (a gap is NaN; infinity is an error upstream).
    """
    if bool(torch.isinf(features).any()):
        row, column = torch.isinf(features).nonzero()[0].tolist()
        raise FeatureError(
            f"feature matrix row {row}, column {column}",
            "The value is infinite.",
            "find the division by zero in that feature.",
        )
    present = ~torch.isnan(features)
    return torch.cat([torch.where(present, features, 0.0), present.to(features.dtype)], dim=1)


@dataclass(frozen=True, slots=True)
class Windows:
    """All windows over one history, on one device.

    Args:
        history: [T, 2M] float32, one row a session, oldest first.
        current: [T, 2S] float32.
        calendar: [T, 5] float32.
        length: sessions in a window.
    """

    history: Tensor
    current: Tensor
    calendar: Tensor
    length: int

    @property
    def views(self) -> Tensor:
        """[T - length + 1, 2M, length], sharing storage with `history`; entry i is the window of row i + length - 1."""
        return self.history.unfold(0, self.length, 1)

    @property
    def first_row(self) -> int:
        """First row with a full history; earlier rows have no window."""
        return self.length - 1

    def batch(self, rows: Tensor) -> NetworkInputs:
        """Inputs of some rows: [n] int64 -> n of each. Only the batch is copied.

        Rows on the CPU are checked. Rows on an accelerator are not, since a look at them would stall every step: take
        them from `usable_rows`.

        Raises:
            ModelError: a row lies outside the history or has less than `length` sessions up to and including itself.
        """
        within = rows.device.type != "cpu" or rows.numel() == 0
        if not within and not (self.first_row <= int(rows.min()) and int(rows.max()) < len(self.history)):
            raise ModelError(
                f"rows {int(rows.min())}..{int(rows.max())}",
                f"A window needs {self.length} sessions; rows {self.first_row}..{len(self.history) - 1} have them.",
                "ask only for rows that `usable_rows` returns.",
            )
        rows = rows.to(self.history.device)
        return NetworkInputs(self.views[rows - self.first_row], self.current[rows], self.calendar[rows])


def cut_windows(
    features: np.ndarray,
    feature_names: Sequence[str],
    calendar: np.ndarray,
    config: NetworkConfig,
    device: torch.device,
) -> Windows:
    """Windows over the inputs of a network, from a scaled feature matrix.

    Args:
        features: [T, F] float32, scaled, NaN where missing, oldest session first.
        feature_names: the F names, in column order.
        calendar: [T, 5] float32, phases of the year in radians.
        config: names the inputs of both paths and the window.
        device: where the tensors live.

    Raises:
        FeatureError: shape or dtype is wrong, an input is not among the features, a value is infinite, or a phase is
            not a number.
        ModelError: the spread inputs are not named.
    """
    if features.ndim != 2 or features.shape[1] != len(feature_names) or features.dtype != np.float32:
        raise FeatureError(
            f"feature matrix {features.shape} {features.dtype}",
            f"The network needs float32 of shape [sessions, {len(feature_names)}].",
            "pass the output of DriverSet.transform with its own feature names.",
        )
    if calendar.shape != (len(features), CALENDAR_COLUMNS) or calendar.dtype != np.float32:
        raise FeatureError(
            f"calendar {calendar.shape} {calendar.dtype}",
            f"The network needs float32 of shape [{len(features)}, {CALENDAR_COLUMNS}].",
            "pass the phases of the as-of date and of the four target dates of every session.",
        )
    if not np.isfinite(calendar).all():
        raise FeatureError("calendar", "A phase is not a number.", "make the phases from dates alone.")
    if not config.spread_inputs:
        raise ModelError("spread_inputs", "The inputs of the spread path are not named.", "name them in the config.")
    history, current = (
        make_inputs(_columns(features, feature_names, names, device))
        for names in (config.mean_path_inputs, config.spread_inputs)
    )
    return Windows(history, current, torch.from_numpy(calendar).to(device), config.window_sessions)


def _columns(features: np.ndarray, feature_names: Sequence[str], wanted: Sequence[str], device: torch.device) -> Tensor:
    """[T, len(wanted)] on the device, in the order of `wanted`."""
    place = {name: column for column, name in enumerate(feature_names)}
    if absent := [name for name in wanted if name not in place]:
        raise FeatureError(
            ", ".join(absent),
            "An input of the network is not among the features.",
            "name features of the catalogue as inputs, and pass their columns.",
        )
    return torch.from_numpy(np.ascontiguousarray(features[:, [place[name] for name in wanted]])).to(device)


def usable_rows(wanted: np.ndarray, window_sessions: int, stride: int = 1) -> np.ndarray:
    """Rows that are wanted and have a full history, every `stride`-th counted back from the newest.

    Args:
        wanted: [T] bool.

    Returns:
        [n] int64, ascending.
    """
    rows = np.flatnonzero(wanted)
    rows = rows[rows >= window_sessions - 1]
    return np.ascontiguousarray(rows[::-1][::stride][::-1]).astype(np.int64)
