"""The only code that imports Dagster: assets, checks, jobs, resources, IO manager, instance.

Thin by rule: an asset reads references, calls one stage of `cbi_pipeline.stages`, and attaches metadata.
"""

import warnings

import dagster as dg

# Single-run backfills and data versions are beta in 1.13, and pinned by constraints.txt: the warning at
# every call would bury the messages that matter.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
