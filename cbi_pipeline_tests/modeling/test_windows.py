from __future__ import annotations

import numpy as np
import pytest
import torch

from cbi_pipeline.errors import FeatureError, ModelError
from cbi_pipeline.modeling.config import NetworkConfig
from cbi_pipeline.modeling.windows import Windows, cut_windows, make_inputs, usable_rows

CPU = torch.device("cpu")
NAMES = ("a", "b", "c")
CONFIG = NetworkConfig(zl_inputs=("b",), context_inputs=("a",), spread_inputs=("c", "a"), window_sessions=4)


def ramp(sessions: int = 10) -> np.ndarray:
    """Feature a counts sessions, feature b is its negative, feature c is a hundred more."""
    t = np.arange(sessions, dtype=np.float32)
    return np.stack([t, -t, 100 + t], axis=1)


def phases(sessions: int = 10) -> np.ndarray:
    return np.arange(sessions * 5, dtype=np.float32).reshape(sessions, 5) / 10


def cut(features: np.ndarray, config: NetworkConfig = CONFIG, names: tuple[str, ...] = NAMES) -> Windows:
    return cut_windows(features, names, phases(len(features)), config, CPU)


def test_windows_are_views_of_one_tensor() -> None:
    windows = cut(ramp(300), CONFIG.model_copy(update={"window_sessions": 252}))
    assert windows.views.shape == (300 - 251, 4, 252)
    assert windows.views.untyped_storage().data_ptr() == windows.history.untyped_storage().data_ptr()
    assert windows.history.untyped_storage().nbytes() == 300 * 4 * 4  # one float32 for each session and channel


def test_window_of_a_row_ends_at_that_row_and_holds_nothing_later() -> None:
    batch = cut(ramp()).batch(torch.tensor([3, 7]))
    assert batch.history[:, 0].tolist() == [[0, -1, -2, -3], [-4, -5, -6, -7]]  # channel 0 is b, the ZL input
    assert batch.history[:, 1].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert batch.history[:, 2:].eq(1).all()  # masks follow the values
    assert batch.current.tolist() == [[103, 3, 1, 1], [107, 7, 1, 1]]  # spread inputs in their own order
    assert torch.equal(batch.calendar, torch.from_numpy(phases()[[3, 7]]))

    later = ramp()
    later[8:] *= 1000
    for changed, before in zip(cut(later).batch(torch.tensor([7])), batch, strict=True):
        assert torch.equal(changed, before[1:])


@pytest.mark.parametrize("row", [2, 10, -1])
def test_row_without_full_history_is_refused(row: int) -> None:
    with pytest.raises(ModelError, match=r"rows 3\.\.9"):
        cut(ramp()).batch(torch.tensor([row]))


def test_gap_stays_a_gap() -> None:
    inputs = make_inputs(torch.tensor([[1.0, float("nan")], [0.0, -2.0]]))
    assert inputs.tolist() == [[1.0, 0.0, 1.0, 0.0], [0.0, -2.0, 1.0, 1.0]]  # an observed zero differs from a gap


def test_infinity_is_an_error_not_a_gap() -> None:
    with pytest.raises(FeatureError, match="row 1, column 0"):
        make_inputs(torch.tensor([[1.0], [float("inf")]]))


def test_wrong_features_are_refused() -> None:
    with pytest.raises(FeatureError, match=r"^b: "):
        cut(ramp(), names=("a", "x", "c"))
    with pytest.raises(FeatureError, match=r"^c: "):
        cut(ramp(), names=("a", "b", "x"))
    with pytest.raises(FeatureError, match="float64"):
        cut(ramp().astype(np.float64))
    with pytest.raises(FeatureError, match=r"\[sessions, 2\]"):
        cut(ramp(), names=("a", "b"))
    with pytest.raises(ModelError, match="spread_inputs"):
        cut(ramp(), CONFIG.model_copy(update={"spread_inputs": ()}))


def test_wrong_calendar_is_refused() -> None:
    gap = phases()
    gap[4, 1] = np.nan
    for calendar in (phases(9), phases().astype(np.float64), gap):
        with pytest.raises(FeatureError, match=r"^calendar"):
            cut_windows(ramp(), NAMES, calendar, CONFIG, CPU)


def test_usable_rows_have_history_and_stride_back_from_the_newest() -> None:
    wanted = np.zeros(20, dtype=bool)
    wanted[1:18] = True
    assert usable_rows(wanted, 4).tolist() == list(range(3, 18))
    assert usable_rows(wanted, 4, stride=5).tolist() == [7, 12, 17]
    assert usable_rows(np.zeros(20, dtype=bool), 4).tolist() == []
