"""Input windows: what the network sees, cut as views from one tensor.

A window of row t is the `window_sessions` rows that end at t. All windows share the storage of one tensor [T, C]: a
batch is an index into them, so that memory grows with the history and not with history x window. There is no
DataLoader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cbi_pipeline.errors import FeatureError, ModelError
from cbi_pipeline.modeling.config import TrainingConfig


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
    """All windows over one history.

    Args:
        inputs: [T, C] float32, one row a session, oldest first.
        length: sessions in a window.
    """

    inputs: Tensor
    length: int

    @property
    def views(self) -> Tensor:
        """[T - length + 1, C, length], sharing storage with `inputs`; entry i is the window of row i + length - 1."""
        return self.inputs.unfold(0, self.length, 1)

    @property
    def first_row(self) -> int:
        """First row with a full history; earlier rows have no window."""
        return self.length - 1

    def batch(self, rows: Tensor) -> Tensor:
        """Windows of some rows: [n] integer -> [n, C, length], on the device of `inputs`. Only the batch is copied.

        Raises:
            ModelError: a row lies outside the history or has less than `length` sessions up to and including itself.
        """
        if rows.numel() and not (self.first_row <= int(rows.min()) and int(rows.max()) < len(self.inputs)):
            raise ModelError(
                f"rows {int(rows.min())}..{int(rows.max())}",
                f"A window needs {self.length} sessions; rows {self.first_row}..{len(self.inputs) - 1} have them.",
                "ask only for rows that `usable_rows` returns.",
            )
        return self.views[rows.to(self.inputs.device) - self.first_row]


def cut_windows(
    features: np.ndarray, feature_names: Sequence[str], config: TrainingConfig, device: torch.device
) -> Windows:
    """Windows over the mean-path inputs of a scaled feature matrix.

    Args:
        features: [T, F] float32, scaled, NaN where missing, oldest session first.
        feature_names: the F names, in column order.
        config: names the mean-path inputs and the window.
        device: where the one tensor lives.

    Raises:
        FeatureError: shape or dtype is wrong, a mean-path input is not among the features, or a value is infinite.
    """
    if features.ndim != 2 or features.shape[1] != len(feature_names) or features.dtype != np.float32:
        raise FeatureError(
            f"feature matrix {features.shape} {features.dtype}",
            f"The network needs float32 of shape [sessions, {len(feature_names)}].",
            "pass the output of DriverSet.transform with its own feature names.",
        )
    absent = [name for name in config.mean_path_inputs if name not in feature_names]
    if absent:
        raise FeatureError(
            ", ".join(absent),
            "A mean-path input is not among the features.",
            "name features of the catalogue in mean_path_inputs.",
        )
    columns = [list(feature_names).index(name) for name in config.mean_path_inputs]
    selected = torch.from_numpy(np.ascontiguousarray(features[:, columns])).to(device)
    return Windows(make_inputs(selected), config.window_sessions)


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
