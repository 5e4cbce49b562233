"""The gates on a scorecard: judged, stored in the warehouse, and read again by whoever promotes.

A judgement is one entry of one scorecard on one dataset, by one set of bounds, against one champion. Its id is the hash
of all that, so that verdicts of another scorecard, dataset, bound or champion are simply not there, which refuses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cbi_pipeline import progress
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.references import Cell, FeaturesRef, FoldsRef, RawTableRef, ScorecardRef
from cbi_pipeline.contracts.verdict import Admission, Verdict
from cbi_pipeline.contracts.warehouse import GATE_VERDICTS
from cbi_pipeline.errors import ModelError
from cbi_pipeline.provenance import code_commit, content_key
from cbi_pipeline.registry.artifact_store import ArtifactStore
from cbi_pipeline.settings import Settings
from cbi_pipeline.stages.evaluation import choose_winner, load_out_of_fold, load_scores
from cbi_pipeline.stages.parity import metrics_by_sql, replayed_features, replayed_forecasts

if TYPE_CHECKING:
    import pandas as pd

    from cbi_pipeline.registry.artifacts import LoadedModel
    from cbi_pipeline.warehouse.base import Warehouse

STAGE: Final = "gates"
_VERDICTS_SQL: Final = "SELECT * FROM gate_verdicts WHERE judgement_id = @judgement_id ORDER BY name, horizon_months"


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The model that a new one would replace.

    Attributes:
        version: its version; None if none serves.
        admission: how it came to serve; None if none serves.
        model: the verified model; None if none serves, or it does not verify.
        problem: why there is no such model, in words.
    """

    version: str | None
    admission: Admission | None
    model: LoadedModel | None
    problem: str

    @property
    def label(self) -> str | None:
        """What verdicts call it: a model that does not verify is another one than the same model whole."""
        if self.version is None or self.model is not None:
            return self.version
        return f"{self.version}, which does not verify"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Every verdict on the winner of a scorecard, and the model it would replace."""

    judgement_id: str
    entry: str
    verdicts: tuple[Verdict, ...]
    incumbent: Incumbent


def judge(
    scorecard: ScorecardRef,
    cells: Mapping[str, Cell],
    features: FeaturesRef,
    anchors: FoldsRef,
    scalers: FoldsRef,
    raw: Sequence[RawTableRef],
    *,
    settings: Settings,
    store: ArtifactStore,
    warehouse: Warehouse,
    run_id: str,
) -> Judgement:
    """Pass every gate over the winner of the scorecard, and write rows and verdicts to the warehouse.

    Args:
        raw: every raw table.

    Raises:
        ModelError: a cell failed, a stored file was changed, or what is judged is not what the scorecard is made of.
        WarehouseError: the same judgement was published with other verdicts.
    """
    from cbi_pipeline.evaluation import gates
    from cbi_pipeline.evaluation.status import QualityTargets

    progress.report(STAGE, 0, 1)
    _require_one_origin(scorecard, cells, features, anchors, scalers, raw)
    entry = choose_winner(scorecard, cells).architecture
    scores, rows, bounds = load_scores(scorecard), load_out_of_fold(scorecard), settings.gates
    incumbent = find_incumbent(settings.models_dir, scorecard.scorecard_id)
    served, why_none = _comparable(incumbent, scorecard.dataset_version, rows)
    verdicts = [
        *gates.evaluate_metric_parity(scores, entry, metrics_by_sql(scorecard, entry, rows, warehouse, run_id), bounds),
        *gates.evaluate_row_parity(replayed_forecasts(entry, cells, features, anchors, scalers), bounds),
        *gates.evaluate_replay(replayed_features(features, raw, store)),
        *gates.evaluate_benchmark(rows, entry, bounds),
        *gates.evaluate_tripwire(scores, entry, bounds),
        *gates.evaluate_coverage(scores, entry, bounds),
        *gates.evaluate_champion(scores, entry, served, why_none, bounds),
        *gates.evaluate_quality(scores, entry, QualityTargets(**settings.quality_targets)),
    ]
    identity = judgement_id(scorecard.scorecard_id, scorecard.dataset_version, entry, incumbent.label, settings)
    stamp = {
        "judgement_id": identity,
        "scorecard_id": scorecard.scorecard_id,
        "dataset_version": scorecard.dataset_version,
        "entry": entry,
        "against": incumbent.label,
        "created_at": datetime.now(UTC),
        "run_id": run_id,
        "code_commit": code_commit(),
    }
    result = warehouse.merge(GATE_VERDICTS.name, [{**verdict.model_dump(), **stamp} for verdict in verdicts])
    passed = sum(verdict.passed for verdict in verdicts)
    progress.finish(STAGE, f"{passed} of {len(verdicts)} verdicts on {entry} passed", reused=result.inserted == 0)
    return Judgement(identity, entry, tuple(verdicts), incumbent)


def _require_one_origin(
    scorecard: ScorecardRef,
    cells: Mapping[str, Cell],
    features: FeaturesRef,
    anchors: FoldsRef,
    scalers: FoldsRef,
    raw: Sequence[RawTableRef],
) -> None:
    """Refuse to store verdicts about other cells or data under the name of this scorecard."""
    own = (scorecard.features_key, scorecard.anchors_key, scorecard.scalers_key)
    made_of = {(features.key, anchors.key, scalers.key)}
    made_of |= {(cell.features_key, cell.anchors_key, cell.scalers_key) for cell in cells.values()}
    versions = {features.dataset_version, *(reference.dataset_version for reference in raw)}
    if made_of != {own} or len(versions) > 1:
        raise ModelError(
            f"gates of scorecard {scorecard.scorecard_id}",
            "the cells, features, anchors, scalers or raw tables to judge are not those that the scorecard is made of.",
            "materialise trained_models and scorecard together, or run `cbi run`.",
        )


def judgement_id(scorecard_id: str, dataset_version: str, entry: str, against: str | None, settings: Settings) -> str:
    """Hash of what is judged, by which bounds, against which champion."""
    return content_key(
        scorecard_id=scorecard_id,
        dataset_version=dataset_version,
        entry=entry,
        against=against,
        bounds=settings.gates.model_dump(),
        targets=settings.quality_targets,
    )[:16]


def admission(
    scorecard_id: str,
    dataset_version: str,
    entry: str,
    *,
    settings: Settings,
    warehouse: Warehouse,
    override_reason: str | None = None,
) -> tuple[Admission, str | None]:
    """How a model may serve by the verdicts that the warehouse holds now, and the version that served at that moment.

    Raises:
        ModelError: it may not; names every gate that failed or was never judged on this scorecard and dataset.
    """
    from cbi_pipeline.evaluation.gates import admit
    from cbi_pipeline.registry.champion import replaceable_champion

    serving = replaceable_champion(settings.models_dir)
    incumbent = find_incumbent(settings.models_dir, scorecard_id)
    identity = judgement_id(scorecard_id, dataset_version, entry, incumbent.label, settings)
    admitted = admit(
        stored_verdicts(warehouse, identity), incumbent=incumbent.admission, override_reason=override_reason
    )
    return admitted, serving.model_version if serving else None


def stored_verdicts(warehouse: Warehouse, judgement: str) -> list[Verdict]:
    """The verdicts of a judgement as the warehouse holds them; empty if it was never made."""
    rows = warehouse.query(_VERDICTS_SQL, {"judgement_id": judgement}).to_pylist()
    return [Verdict(**{name: row[name] for name in Verdict.model_fields}) for row in rows]


def find_incumbent(models_dir: Path, scorecard_id: str) -> Incumbent:
    """The champion, or the one before it where the champion is of this very scorecard: what it replaced."""
    from cbi_pipeline.registry.artifacts import load_model
    from cbi_pipeline.registry.champion import Promotion, replaceable_champion

    champion = replaceable_champion(models_dir)
    serving: Promotion | None = champion
    problem = "no model was promoted yet"
    for _ in range(2):
        if serving is None:
            break
        try:
            model = load_model(models_dir / serving.model_version, manifest_sha256=serving.manifest_sha256)
        except ModelError:
            return Incumbent(serving.model_version, serving.admission, None, f"{serving.model_version} does not verify")
        if model.metrics["scorecard_id"] != scorecard_id:
            return Incumbent(serving.model_version, serving.admission, model, "")
        serving = champion.previous if champion and serving is champion else None
    return Incumbent(None, None, None, problem)


def folds_of(out_of_fold: pd.DataFrame) -> dict[str, list[str]]:
    """First and last as-of date of every fold: what two scorecards must share to be compared."""
    spans = out_of_fold.groupby("fold")["as_of_date"].agg(["min", "max"])
    return {str(name): [str(low.date()), str(high.date())] for name, (low, high) in spans.iterrows()}


def _comparable(
    incumbent: Incumbent, dataset_version: str, out_of_fold: pd.DataFrame
) -> tuple[dict[int, float | None] | None, str]:
    """RMSE ratio of the incumbent by horizon, if it was scored on this dataset and these folds; else why not."""
    if incumbent.model is None:
        return None, incumbent.problem
    recorded = incumbent.model.metrics
    if incumbent.model.manifest.provenance["dataset_version"] != dataset_version:
        return None, f"{incumbent.version} was scored on another dataset"
    if recorded["folds"] != folds_of(out_of_fold):
        return None, f"{incumbent.version} was scored on other folds"
    by_horizon = recorded["by_horizon"]
    return {h: by_horizon.get(str(h), {}).get("rmse_ratio") for h in HORIZONS_MONTHS}, ""
