"""Weights of overlapping labels.

Two weekly windows with 12-month labels share 51 of 52 weeks of outcome: together they say little more than one.
Reference: Lopez de Prado (2018), Advances in Financial Machine Learning, sections 4.3 and 4.4 (concurrency, average
uniqueness).
"""

from __future__ import annotations

import numpy as np

from cbi_pipeline.errors import ModelError


def average_uniqueness(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Share of its span that a label has to itself: the mean over the span of 1 / (labels that cover the session).

    Args:
        starts: [n] integer, session of the forecast; the label's span is the sessions after it ...
        ends: [n] integer, ... up to and including the session at which the label is known.

    Returns:
        [n] float64 in (0, 1]; 1 for a label that overlaps with no other.

    Raises:
        ModelError: a label ends before it spans a session.
    """
    if not (ends > starts).all():
        place = int(np.flatnonzero(ends <= starts)[0])
        raise ModelError(
            f"label of row {starts[place]}",
            f"It ends at row {ends[place]}, before it spans a session.",
            "pass the row at which the label is known, and known labels only.",
        )
    if len(starts) == 0:
        return np.empty(0)
    change = np.zeros(int(ends.max()) + 2)
    np.add.at(change, starts + 1, 1.0)
    np.add.at(change, ends + 1, -1.0)
    covering = change.cumsum()  # [T]: labels whose span holds the session
    share = np.divide(1.0, covering, out=np.zeros_like(covering), where=covering > 0)
    until = np.concatenate([[0.0], share.cumsum()])  # until[t]: sum over sessions before t
    return (until[ends + 1] - until[starts + 1]) / (ends - starts)


def uniqueness_weights(rows: np.ndarray, label_end: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Sample weights by average uniqueness, among the labels that are used together; mean 1 per horizon.

    Args:
        rows: [n] int64, rows of the windows.
        label_end: [n, H] int64, row at which each label is known; read where `known` only.
        known: [n, H] bool, labels that are used.

    Returns:
        [n, H] float64, 0 where a label is not used.

    Raises:
        ModelError: a used label ends before it spans a session.
    """
    weights = np.zeros(label_end.shape)
    for horizon in range(label_end.shape[1]):
        used = known[:, horizon]
        unique = average_uniqueness(rows[used], label_end[used, horizon])
        weights[used, horizon] = unique / unique.mean() if len(unique) else unique
    return weights
