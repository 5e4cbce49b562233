"""The stages of a run: references in, a reference out, content-addressed files in between. No Dagster.

A stage loads what its references name (after checking hashes), calls the pure functions of `features`,
`modeling` and `evaluation`, stores the result under the hash of its inputs, and reports progress.
Orchestration calls nothing else.
"""

from __future__ import annotations

from cbi_pipeline.stages.champion import promote_candidate, refit_candidate
from cbi_pipeline.stages.densities import density_choices, load_density_table
from cbi_pipeline.stages.evaluation import build_scorecard, choose_winner, lambda_table, seed_dispersion
from cbi_pipeline.stages.features import build_curated_features
from cbi_pipeline.stages.folds import fit_anchors, fit_scalers
from cbi_pipeline.stages.gates import judge
from cbi_pipeline.stages.leaderboard import fold_spread, leaderboard, pictures, scorecard_span
from cbi_pipeline.stages.live_skill import evaluate_live_skill
from cbi_pipeline.stages.models import model_differences, model_report, promote, roll_back, stored_models
from cbi_pipeline.stages.publishing import (
    champion_record,
    experiments,
    latest_forecast,
    publish_experiments,
    publish_metrics,
    publish_predictions,
    publish_realized_prices,
    publish_registry,
    publish_scorecard,
    read_view,
    stored_table,
)
from cbi_pipeline.stages.quality import publish_data_quality, publish_feature_importance
from cbi_pipeline.stages.raw import raw_table_references
from cbi_pipeline.stages.reproduce import reproduce
from cbi_pipeline.stages.selection import select_chosen_features, selection_record
from cbi_pipeline.stages.serving import predict, why_stale
from cbi_pipeline.stages.trace import trace
from cbi_pipeline.stages.training import TrainingRun, train_cells

__all__ = [
    "TrainingRun",
    "build_curated_features",
    "build_scorecard",
    "champion_record",
    "choose_winner",
    "density_choices",
    "evaluate_live_skill",
    "experiments",
    "fit_anchors",
    "fit_scalers",
    "fold_spread",
    "judge",
    "lambda_table",
    "latest_forecast",
    "leaderboard",
    "load_density_table",
    "model_differences",
    "model_report",
    "pictures",
    "predict",
    "promote",
    "promote_candidate",
    "publish_data_quality",
    "publish_experiments",
    "publish_feature_importance",
    "publish_metrics",
    "publish_predictions",
    "publish_realized_prices",
    "publish_registry",
    "publish_scorecard",
    "raw_table_references",
    "read_view",
    "refit_candidate",
    "reproduce",
    "roll_back",
    "scorecard_span",
    "seed_dispersion",
    "select_chosen_features",
    "selection_record",
    "stored_models",
    "stored_table",
    "trace",
    "train_cells",
    "why_stale",
]
