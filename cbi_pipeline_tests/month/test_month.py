"""The last week of the simulated month in a real daemon: holiday, sleep, reboot, damaged bundle, stopped source."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cbi_pipeline_tests.month.clock import Clock
from cbi_pipeline_tests.month.month import moment, month
from cbi_pipeline_tests.month.outcome import check
from cbi_pipeline_tests.month.story import LAST_WEEK


@pytest.fixture
def clock(tmp_path) -> Clock:
    """A clock that processes of this machine can live by; skips where there is none."""
    made = Clock(tmp_path / "clock", moment(*LAST_WEEK.begin))
    if why := made.why_not():
        pytest.skip(why)
    return made


def test_a_clock_that_is_set_goes_on_from_there(clock, tmp_path):
    clock.set(datetime(2030, 1, 1, tzinfo=UTC))
    assert timedelta(0) <= clock.now() - datetime(2030, 1, 1, tzinfo=UTC) < timedelta(minutes=1)
    assert clock.why_not() is None


def test_a_machine_without_the_library_says_so(clock, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "no libfaketime" in clock.why_not()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_last_week_of_the_year(clock, short_path):
    with month(short_path, moment(*LAST_WEEK.begin), **LAST_WEEK.settings) as lived:
        LAST_WEEK.happens(lived)
        lived.machine.shut_down()
        check(lived, LAST_WEEK)
