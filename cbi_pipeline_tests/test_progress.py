from __future__ import annotations

import pytest

from cbi_pipeline import progress
from cbi_pipeline.progress import ProgressEvent, ThrottledLog, TimeLeft, in_words


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


def test_a_log_listens_alongside_the_display():
    shown, logged = [], []
    with progress.listening(shown.append):
        with progress.listening_alongside(logged.append):
            progress.report("training", 1, 8)
        progress.report("training", 2, 8)
    assert [event.done for event in shown] == [1, 2]
    assert [event.done for event in logged] == [1]


def test_a_log_may_listen_alone():
    logged = []
    with progress.listening_alongside(logged.append):
        progress.report("training", 1, 8)
    progress.report("training", 2, 8)
    assert [event.done for event in logged] == [1]


def left_after(*reports: tuple[float, int], total: int = 100) -> TimeLeft:
    left = TimeLeft()
    for now, done in reports:
        left.observe(ProgressEvent("training", done, total), now)
    return left


def test_the_time_left_follows_the_pace():
    left = left_after((0.0, 0), (2.0, 1), (4.0, 2))
    assert left.seconds(4.0) == pytest.approx(2.0 * 98)
    assert left.seconds(5.0) == pytest.approx(2.0 * 98 - 1.0)
    assert left.seconds(1e6) == 0.0


@pytest.mark.parametrize(("reports", "total"), [([], 100), ([(0.0, 0)], 100), ([(0.0, 0), (9.0, 0)], 100)])
def test_no_time_is_promised_before_a_unit_is_done(reports, total):
    assert left_after(*reports, total=total).seconds(10.0) is None


def test_a_stage_of_one_unit_has_no_time_left():
    assert left_after((0.0, 0), (1.0, 1), total=1).seconds(1.0) is None


def test_work_that_was_found_does_not_make_the_rest_look_quick():
    """Half of the work is re-used at once, the other half takes a second a unit."""
    left = left_after((0.0, 0), (0.01, 500), *((float(second), 500 + second) for second in range(1, 61)), total=1000)
    assert left.seconds(60.0) == pytest.approx(440.0, rel=0.02)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_a_time_is_said_as_people_say_it(seconds, words):
    assert in_words(seconds) == words


def test_the_log_gets_a_line_every_ten_seconds_at_most():
    lines, now = [], [0.0]
    log = ThrottledLog(lines.append, interval=10.0, clock=lambda: now[0])
    for step in range(1, 1001):  # 100 seconds of work, a report every tenth of a second
        now[0] = step / 10
        log(ProgressEvent("training", step, 2000, f"cell 1/2, epoch {step}"))
    assert len(lines) == 10
    assert lines[0] == 'stage="training" done=100 total=2000 seconds_left=190 note="cell 1/2, epoch 100"'
    log(ProgressEvent("training", 1, 1, "done", finished=True))
    assert len(lines) == 10


def test_counted_items_tell_which_comes_next():
    seen = []
    with progress.listening(lambda event: seen.append((event.stage, event.done, event.total, event.note))):
        assert list(progress.counted("fetch power", [1, 2], lambda item: f"point {item}")) == [1, 2]
    assert seen == [("fetch power", 0, 2, "point 1"), ("fetch power", 1, 2, "point 2")]
