from __future__ import annotations

import numpy as np
import pytest

from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling.sample_weights import average_uniqueness, uniqueness_weights


def test_uniqueness_by_hand() -> None:
    """Labels of rows 0, 2 and 10 span sessions 1..4, 3..6 and 11..12: sessions 3 and 4 are covered twice."""
    unique = average_uniqueness(np.array([0, 2, 10]), np.array([4, 6, 12]))
    assert unique == pytest.approx([(1 + 1 + 0.5 + 0.5) / 4, (0.5 + 0.5 + 1 + 1) / 4, 1.0])


def test_equal_spans_share_their_weight_equally() -> None:
    assert average_uniqueness(np.array([5, 5, 5, 5]), np.array([9, 9, 9, 9])) == pytest.approx([0.25] * 4)


def test_uniqueness_agrees_with_counting_session_by_session() -> None:
    rng = np.random.default_rng(1)
    starts = rng.integers(0, 80, size=40)
    ends = starts + rng.integers(1, 30, size=40)
    sessions = np.arange(120)[:, None]
    spans = (sessions > starts) & (sessions <= ends)  # [120, 40]
    counted = [(1 / spans.sum(axis=1)[spans[:, i]]).mean() for i in range(40)]
    assert average_uniqueness(starts, ends) == pytest.approx(counted)


def test_weights_have_mean_one_per_horizon_among_labels_that_are_used() -> None:
    rows = np.array([0, 2, 10])
    ends = np.array([[4, 8], [6, -1], [12, 18]])
    known = np.array([[True, True], [True, False], [True, True]])
    weights = uniqueness_weights(rows, ends, known)
    assert weights[:, 0] == pytest.approx(np.array([0.75, 0.75, 1.0]) * 3 / 2.5)
    assert weights[:, 1].tolist() == [1.0, 0.0, 1.0]  # without the unused label nothing overlaps
    assert uniqueness_weights(rows, ends, np.zeros_like(known)).tolist() == [[0.0, 0.0]] * 3


def test_label_that_spans_nothing_is_refused() -> None:
    with pytest.raises(ModelError, match="label of row 7"):
        average_uniqueness(np.array([2, 7]), np.array([5, -1]))
