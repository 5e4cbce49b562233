"""Validation of the feature frame: pure checks that return findings, errors to stop at and warnings to show.

One module a check. A check returns `Finding`s and raises only for a frame that is not the catalogue's; what an
error stops is decided by whoever calls (`orchestration/checks`). Names, order and dtype are `build.check_frame`,
which every check calls first.
"""

from __future__ import annotations

from cbi_pipeline.features.validation.constant import check_constant
from cbi_pipeline.features.validation.drift import check_drift
from cbi_pipeline.features.validation.findings import Finding
from cbi_pipeline.features.validation.ranges import check_ranges
from cbi_pipeline.features.validation.signs import check_signs
from cbi_pipeline.features.validation.staleness import check_staleness

__all__ = ["Finding", "check_constant", "check_drift", "check_ranges", "check_signs", "check_staleness"]
