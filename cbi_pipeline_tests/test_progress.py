from __future__ import annotations

import pytest

from cbi_pipeline import progress
from cbi_pipeline.progress import ProgressEvent


def test_events_reach_the_listener_as_reported():
    heard = []
    with progress.listening(heard.append):
        progress.report("training", 3, 8, "fold_1")
        progress.finish("training", "5 cells", reused=True)
        progress.finish("bake-off")
    assert heard == [
        ProgressEvent("training", 3, 8, "fold_1"),
        ProgressEvent("training", 1, 1, "5 cells", finished=True, reused=True),
        ProgressEvent("bake-off", 1, 1, "", finished=True, reused=None),
    ]


def test_nobody_listens_outside_the_block():
    heard = []
    with progress.listening(heard.append):
        pass
    progress.finish("late")
    assert heard == []


def test_the_outer_listener_returns_even_after_an_error():
    outer, inner = [], []

    def fails_while_listening():
        with progress.listening(inner.append):
            progress.report("inner", 0, 1)
            raise RuntimeError("stopped")

    with progress.listening(outer.append):
        with pytest.raises(RuntimeError, match="stopped"):
            fails_while_listening()
        progress.report("outer", 0, 1)
    assert [event.stage for event in outer] == ["outer"]
    assert [event.stage for event in inner] == ["inner"]
