"""When the UI calls an asset overdue: the policy of what every run of `daily` makes anew.

It looks at the time of materialisation alone. How old the data are is asked by `data_are_recent`, a check of each raw
table, and by `inputs_are_fresh`, a check of the forecast.
"""

from datetime import timedelta
from typing import Final

import dagster as dg

_A_RUN: Final = timedelta(hours=6)
"""A run may take as long (run_monitoring.max_runtime_seconds), and a change of the clock adds an hour."""
_WEEKEND: Final = timedelta(days=3)
_LONG_WEEKEND: Final = timedelta(days=4)
"""From one session's evening to the next where a Monday or a Friday is a holiday; longer only twice since 1990."""

EVERY_SESSION: Final = dg.FreshnessPolicy.time_window(fail_window=_LONG_WEEKEND + _A_RUN, warn_window=_WEEKEND + _A_RUN)
"""No cron line: a policy that expects a run on every weekday would turn red on every holiday."""
