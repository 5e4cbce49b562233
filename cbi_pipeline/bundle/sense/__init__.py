"""The second layer of validation: whether rows that obey every schema rule also make sense.

`table.py` holds the rules, `series.py`, `prices.py`, `reports.py` and `weather.py` the measurements, `judge` what
follows from them: errors refuse a bundle, warnings are recorded in its manifest. Nothing is repaired.
"""

from cbi_pipeline.bundle.sense.judge import Judgement, judge, refuse

__all__ = ["Judgement", "judge", "refuse"]
