from __future__ import annotations

import numpy as np
import pytest
import torch

from cbi_pipeline.errors import FeatureError, ModelError
from cbi_pipeline.modeling.config import TrainingConfig
from cbi_pipeline.modeling.windows import Windows, cut_windows, make_inputs, usable_rows

CPU = torch.device("cpu")
CONFIG = TrainingConfig(mean_path_inputs=("b", "a"), window_sessions=4)


def ramp(sessions: int = 10) -> np.ndarray:
    """Feature a counts sessions, feature b is its negative, feature c is not asked for."""
    t = np.arange(sessions, dtype=np.float32)
    return np.stack([t, -t, 100 + t], axis=1)


def test_windows_are_views_of_one_tensor() -> None:
    windows = cut_windows(ramp(300), ("a", "b", "c"), TrainingConfig(mean_path_inputs=("a", "b")), CPU)
    assert windows.views.shape == (300 - 251, 4, 252)
    assert windows.views.untyped_storage().data_ptr() == windows.inputs.untyped_storage().data_ptr()
    assert windows.inputs.untyped_storage().nbytes() == 300 * 4 * 4  # one float32 for each session and channel


def test_window_of_a_row_ends_at_that_row_and_holds_nothing_later() -> None:
    windows = cut_windows(ramp(), ("a", "b", "c"), CONFIG, CPU)
    batch = windows.batch(torch.tensor([3, 7]))
    assert batch[:, 1].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]  # channel 1 is feature a, in the configured order
    assert batch[:, 0].tolist() == [[0, -1, -2, -3], [-4, -5, -6, -7]]

    later = ramp()
    later[8:] *= 1000
    changed = cut_windows(later, ("a", "b", "c"), CONFIG, CPU)
    assert torch.equal(changed.batch(torch.tensor([7])), batch[1:])


@pytest.mark.parametrize("row", [2, 10, -1])
def test_row_without_full_history_is_refused(row: int) -> None:
    with pytest.raises(ModelError, match=r"rows 3\.\.9"):
        Windows(torch.zeros(10, 2), 4).batch(torch.tensor([row]))


def test_gap_stays_a_gap() -> None:
    inputs = make_inputs(torch.tensor([[1.0, float("nan")], [0.0, -2.0]]))
    assert inputs.tolist() == [[1.0, 0.0, 1.0, 0.0], [0.0, -2.0, 1.0, 1.0]]  # an observed zero differs from a gap


def test_infinity_is_an_error_not_a_gap() -> None:
    with pytest.raises(FeatureError, match="row 1, column 0"):
        make_inputs(torch.tensor([[1.0], [float("inf")]]))


def test_wrong_features_are_refused() -> None:
    with pytest.raises(FeatureError, match=r"^b: "):
        cut_windows(ramp(), ("a", "x", "c"), CONFIG, CPU)
    with pytest.raises(FeatureError, match="float64"):
        cut_windows(ramp().astype(np.float64), ("a", "b", "c"), CONFIG, CPU)
    with pytest.raises(FeatureError, match=r"\[sessions, 2\]"):
        cut_windows(ramp(), ("a", "b"), CONFIG, CPU)


def test_usable_rows_have_history_and_stride_back_from_the_newest() -> None:
    wanted = np.zeros(20, dtype=bool)
    wanted[1:18] = True
    assert usable_rows(wanted, 4).tolist() == list(range(3, 18))
    assert usable_rows(wanted, 4, stride=5).tolist() == [7, 12, 17][-3:]
    assert usable_rows(np.zeros(20, dtype=bool), 4).tolist() == []
