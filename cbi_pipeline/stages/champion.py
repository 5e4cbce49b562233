"""The refit of the winner on all data, stored whole as candidate, and its promotion if the stored verdicts let it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cbi_pipeline import progress
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.references import CellRef, ModelRef, ScorecardRef, SelectionRef, WinnerRef
from cbi_pipeline.contracts.verdict import Verdict
from cbi_pipeline.errors import ModelError
from cbi_pipeline.provenance import code_commit
from cbi_pipeline.settings import Settings
from cbi_pipeline.stages.densities import serving_calibration
from cbi_pipeline.stages.evaluation import load_out_of_fold, pooled_metrics, serving_lambdas
from cbi_pipeline.stages.folds import load_anchor, scaler_file
from cbi_pipeline.stages.gates import admission, find_incumbent, folds_of, judgement_id, stored_verdicts
from cbi_pipeline.stages.leaderboard import leaderboard, scorecard_span
from cbi_pipeline.stages.selection import load_lock
from cbi_pipeline.stages.training import TrainingRun, load_config, load_weights, train_one
from cbi_pipeline.stages.training_keys import ANCHORED, training_key

if TYPE_CHECKING:
    from cbi_pipeline.warehouse.base import Warehouse

CANDIDATE_STAGE, CHAMPION_STAGE = "candidate", "champion"


def refit_candidate(
    winner: WinnerRef,
    scorecard: ScorecardRef,
    selection: SelectionRef,
    run: TrainingRun,
    *,
    settings: Settings,
    warehouse: Warehouse,
) -> ModelRef:
    """Train the winner on the serving fold, and store the model whole as candidate.

    It learns the anchored target alone, is given the locked features alone, and is otherwise made exactly as the
    networks that were scored: same settings, seeds, code, device and libraries. Verdicts on those speak for no other.
    The stored verdicts stand on its card.

    Raises:
        ModelError: winner, scorecard, selection and training inputs do not belong together, or the refit was made
            otherwise than the scored networks.
    """
    from cbi_pipeline.features.catalogue import FEATURE_NAMES
    from cbi_pipeline.registry.artifacts import ModelContent, model_version, save_model
    from cbi_pipeline.registry.champion import set_candidate
    from cbi_pipeline.reports.model_card import model_card

    _require_one_origin(winner, scorecard, selection, run)
    fold, lock = run.anchors.serving, load_lock(selection)
    cell = train_one(
        winner.architecture, fold, run, targets=(ANCHORED,), feature_names=lock.names, stage=CANDIDATE_STAGE
    )
    _require_scored_training(winner.architecture, scorecard, cell)
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
        calibration=serving_calibration(scorecard, winner.architecture),
        metrics={
            "scorecard_id": scorecard.scorecard_id,
            "entry": winner.architecture,
            "folds": folds_of(load_out_of_fold(scorecard)),
            "span": scorecard_span(scorecard),
            "window": [str(run.features.first_date), str(run.features.last_date)],
            "leaderboard": _against_benchmarks(scorecard, winner.architecture),
            "by_horizon": {str(h): values for h, values in pooled_metrics(scorecard, winner.architecture).items()},
        },
    )
    version = model_version(winner.architecture, fold.test_start, content)
    known = (settings.models_dir / version).exists()
    path = save_model(
        settings.models_dir,
        version,
        content,
        card=model_card(
            version, content, run.features.dataset_version, _verdicts(winner, scorecard, settings, warehouse)
        ),
        provenance={"dataset_version": run.features.dataset_version, "code_commit": code_commit()},
    )
    set_candidate(settings.models_dir, version)
    progress.finish(CANDIDATE_STAGE, version, reused=known and cell.reused)
    return ModelRef(
        model_version=version,
        path=path,
        architecture=winner.architecture,
        dataset_version=run.features.dataset_version,
        scorecard_id=scorecard.scorecard_id,
        reused=known and cell.reused,
    )


def promote_candidate(
    candidate: ModelRef, winner: WinnerRef, scorecard: ScorecardRef, *, settings: Settings, warehouse: Warehouse
) -> ModelRef:
    """Make the refit the champion, if it may be.

    Whether it may serve is read from the verdicts that the warehouse holds, whoever started this. A version that a
    person rolled back from stays candidate, and what serves goes on serving.

    Returns:
        The model that serves from now on.

    Raises:
        ModelError: candidate, winner and scorecard do not belong together, or a gate failed or was never judged on this
            scorecard and dataset; the champion alias stays as it is.
    """
    from cbi_pipeline.registry.champion import set_champion

    if {candidate.scorecard_id, winner.scorecard_id} != {scorecard.scorecard_id}:
        raise _other_run(scorecard, "the candidate and the winner come from another scorecard.")
    admitted, replacing = admission(
        scorecard.scorecard_id,
        scorecard.dataset_version,
        winner.architecture,
        settings=settings,
        warehouse=warehouse,
        version=candidate.model_version,
    )
    champion = set_champion(
        settings.models_dir,
        candidate.model_version,
        admission=admitted,
        by="cbi run",
        reason=f"{winner.reason}; scorecard {scorecard.scorecard_id}",
        replacing=replacing,
    )
    if champion.model_version == candidate.model_version:
        progress.finish(CHAMPION_STAGE, champion.model_version, reused=candidate.reused)
        return candidate
    why = champion.why_rolled_back(candidate.model_version)
    progress.finish(CHAMPION_STAGE, f"{champion.model_version} stays; {candidate.model_version} was {why}", reused=True)
    return serving_model(settings)


def serving_model(settings: Settings) -> ModelRef:
    """The verified model that serves now.

    Raises:
        ModelError: none serves, or it does not verify.
    """
    from cbi_pipeline.registry.champion import load_serving

    model, champion = load_serving(settings.models_dir)
    return ModelRef(
        model_version=champion.model_version,
        path=model.path,
        architecture=champion.entry,
        dataset_version=model.manifest.provenance["dataset_version"],
        scorecard_id=champion.scorecard_id,
        reused=True,
    )


def _against_benchmarks(scorecard: ScorecardRef, entry: str) -> list[dict[str, Any]]:
    """The rows of the leaderboard that a reader compares, what serves and every benchmark, to six digits.

    The last bits of a tree or a bootstrap depend on the order of sums, and the version of a model on every digit here.
    """
    from cbi_pipeline.evaluation.scorecard import BENCHMARK_ENTRIES

    shown = [row for row in leaderboard(scorecard) if row["entry"] in (entry, *BENCHMARK_ENTRIES)]
    return [{n: float(f"{v:.6g}") if isinstance(v, float) else v for n, v in row.items()} for row in shown]


def _verdicts(winner: WinnerRef, scorecard: ScorecardRef, settings: Settings, warehouse: Warehouse) -> list[Verdict]:
    """What the gates said of the scorecard against the model that serves now; empty if they have not."""
    incumbent = find_incumbent(settings.models_dir, scorecard.scorecard_id)
    own = (scorecard.scorecard_id, scorecard.dataset_version, winner.architecture, incumbent.label)
    return stored_verdicts(warehouse, judgement_id(*own, settings))


def _require_one_origin(winner: WinnerRef, scorecard: ScorecardRef, selection: SelectionRef, run: TrainingRun) -> None:
    own = (run.features.key, run.anchors.key, run.scalers.key)
    made_of = {(made.features_key, made.anchors_key, made.scalers_key) for made in (scorecard, selection)}
    if winner.scorecard_id != scorecard.scorecard_id or made_of != {own}:
        raise _other_run(
            scorecard,
            "the winner, the scorecard, the feature selection and the data to refit on come from different runs.",
        )


def _require_scored_training(architecture: str, scorecard: ScorecardRef, cell: CellRef) -> None:
    if training_key(cell) != scorecard.training_keys.get(architecture):
        raise _other_run(
            scorecard,
            f"the {architecture} that was scored was trained by another seed, profile, code, device or library "
            "than the refit is: the verdicts are not about it.",
        )


def _other_run(scorecard: ScorecardRef, rule: str) -> ModelError:
    return ModelError(
        f"model from scorecard {scorecard.scorecard_id}",
        rule,
        "materialise trained_models, scorecard, bakeoff_winner, feature_selection, candidate and champion together, or "
        "run `cbi run`.",
    )
