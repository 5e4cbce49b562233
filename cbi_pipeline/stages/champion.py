"""The refit of the winner on all data, stored whole as candidate, and its promotion if the stored verdicts let it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_pipeline import progress
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.references import ModelRef, ScorecardRef, SelectionRef, WinnerRef
from cbi_pipeline.errors import ModelError
from cbi_pipeline.provenance import code_commit
from cbi_pipeline.settings import Settings
from cbi_pipeline.stages.evaluation import load_out_of_fold, pooled_metrics, serving_lambdas
from cbi_pipeline.stages.folds import load_anchor, scaler_file
from cbi_pipeline.stages.gates import admission, folds_of
from cbi_pipeline.stages.selection import load_lock
from cbi_pipeline.stages.training import TrainingRun, load_config, load_weights, train_one

if TYPE_CHECKING:
    from cbi_pipeline.warehouse.base import Warehouse

CHAMPION_STAGE = "champion"


def refit_champion(
    winner: WinnerRef,
    scorecard: ScorecardRef,
    selection: SelectionRef,
    run: TrainingRun,
    *,
    settings: Settings,
    warehouse: Warehouse,
) -> ModelRef:
    """Train the winner on the serving fold, store the model whole as candidate, and make it champion if it may be.

    The champion learns the anchored target alone, and is given the locked features alone. Whether it may serve is read
    from the verdicts that the warehouse holds, whoever started this.

    Raises:
        ModelError: winner, scorecard, selection and training inputs do not belong together, or a gate failed or was
            never judged on this scorecard and dataset; the champion alias stays as it is.
    """
    from cbi_pipeline.features.catalogue import FEATURE_NAMES
    from cbi_pipeline.registry.artifacts import ModelContent, model_version, save_model
    from cbi_pipeline.registry.champion import set_candidate, set_champion

    own = (run.features.key, run.anchors.key, run.scalers.key)
    made_of = {(made.features_key, made.anchors_key, made.scalers_key) for made in (scorecard, selection)}
    if winner.scorecard_id != scorecard.scorecard_id or made_of != {own}:
        raise ModelError(
            f"champion from scorecard {scorecard.scorecard_id}",
            "the winner, the scorecard, the feature selection and the data to refit on come from different runs.",
            "materialise scorecard, bakeoff_winner, feature_selection and champion together, or run `cbi run`.",
        )
    fold = run.anchors.serving
    lock = load_lock(selection)
    cell = train_one(
        winner.architecture, fold, run, targets=("anchored",), feature_names=lock.names, stage=CHAMPION_STAGE
    )
    weights = serving_lambdas(scorecard, winner.architecture)
    content = ModelContent(
        state_dict=load_weights(cell),
        config=load_config(cell).model_dump(mode="json"),
        scaler_path=scaler_file(run.scalers.path, fold.name),
        feature_names=FEATURE_NAMES,
        feature_hash=run.features.feature_hash,
        feature_lock=lock,
        anchor={
            "fit": load_anchor(run.anchors, fold).model_dump(mode="json"),
            "lambda": {str(horizon): weights[horizon] for horizon in HORIZONS_MONTHS},
        },
        metrics={
            "scorecard_id": scorecard.scorecard_id,
            "entry": winner.architecture,
            "folds": folds_of(load_out_of_fold(scorecard)),
            "by_horizon": {str(h): values for h, values in pooled_metrics(scorecard, winner.architecture).items()},
        },
    )
    version = model_version(winner.architecture, fold.test_start, content)
    known = (settings.models_dir / version).exists()
    path = save_model(
        settings.models_dir,
        version,
        content,
        provenance={"dataset_version": run.features.dataset_version, "code_commit": code_commit()},
    )
    set_candidate(settings.models_dir, version)
    admitted, replacing = admission(
        scorecard.scorecard_id,
        scorecard.dataset_version,
        winner.architecture,
        settings=settings,
        warehouse=warehouse,
    )
    set_champion(
        settings.models_dir,
        version,
        admission=admitted,
        by="cbi run",
        reason=f"{winner.reason}; scorecard {scorecard.scorecard_id}",
        replacing=replacing,
    )
    progress.finish(CHAMPION_STAGE, version, reused=known and cell.reused)
    return ModelRef(
        model_version=version,
        path=path,
        architecture=winner.architecture,
        dataset_version=run.features.dataset_version,
        scorecard_id=scorecard.scorecard_id,
        reused=known and cell.reused,
    )
