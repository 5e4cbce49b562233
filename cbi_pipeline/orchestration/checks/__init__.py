"""Asset checks: thin wrappers around what the stages and `features.validation` prove, so that the UI shows it.

Blocking: a check that fails with ERROR severity stops everything downstream in the same run.
"""

from cbi_pipeline.orchestration.checks.features import feature_validation, features_are_locked
from cbi_pipeline.orchestration.checks.gates import gates
from cbi_pipeline.orchestration.checks.raw import data_reach_the_session
from cbi_pipeline.orchestration.checks.results import (
    every_entry_is_scored_at_every_horizon,
    no_session_is_left_out,
    stored_rows_equal_the_forecast,
)

ALL_CHECKS = [
    data_reach_the_session,
    features_are_locked,
    feature_validation,
    every_entry_is_scored_at_every_horizon,
    gates,
    no_session_is_left_out,
    stored_rows_equal_the_forecast,
]
