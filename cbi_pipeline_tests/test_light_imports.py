"""What a prediction need not load: seconds of it are imports. Times are measured in benchmarks/operation_cost.py."""

from __future__ import annotations

import json
import subprocess
import sys

NEEDLESS = (
    "arch",
    "matplotlib",
    "scipy.cluster",
    "scipy.stats",
    "scoringrules",
    "shap",
    "sklearn",
)


def test_forecasts_and_the_leaderboard_load_nothing_that_only_training_and_evaluation_use():
    code = (
        "import json, sys, cbi_pipeline.inference, cbi_pipeline.stages, cbi_pipeline.evaluation.scorecard,"
        "cbi_pipeline.registry.champion;"
        "print(json.dumps(sorted(sys.modules)))"
    )
    modules = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert [name for name in NEEDLESS if name in modules] == []
    assert {"torch", "pandas"} <= set(modules)
