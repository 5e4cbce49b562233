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
from cbi_pipeline.contracts.references import Cell, FeaturesRef, FoldsRef, RawTableRef, ScorecardRef
from cbi_pipeline.contracts.verdict import Admission, Verdict
from cbi_pipeline.contracts.warehouse import GATE_VERDICTS
from cbi_pipeline.errors import ModelError
from cbi_pipeline.provenance import code_commit, content_key, source_hash
from cbi_pipeline.registry.artifact_store import ArtifactStore
from cbi_pipeline.settings import Settings
from cbi_pipeline.stages.evaluation import (
    FULL_RESIDUAL_SUFFIX,
    RAW_SUFFIX,
    choose_winner,
    load_out_of_fold,
    load_scores,
)
from cbi_pipeline.stages.parity import metrics_by_sql, replayed_features, replayed_fits, replayed_forecasts

if TYPE_CHECKING:
    import pandas as pd

    from cbi_pipeline.registry.champion import Served
    from cbi_pipeline.warehouse.base import Warehouse

STAGE: Final = "gates"
_JUDGING: Final = (
    "contracts/verdict", "evaluation", "stages/gates", "stages/parity", "stages/publishing",
    "warehouse/sql/metric_parity.sql",
)  # fmt: skip
"""What decides a verdict, beside the scorecard: verdicts by other code are not found."""
_SIGNIFICANT_DIGITS: Final = 8
"""Of a stored figure: its last bits depend on the order of sums, and stored verdicts never change. A difference between
two ways to one figure is all last bits: `evaluation.gates` rounds those to `PARITY_DECIMALS`."""
_FORECASTS_SQL: Final = """
SELECT as_of_date, horizon_months, predicted_price FROM out_of_fold_forecasts
WHERE as_of_date BETWEEN @first_day AND @last_day AND scorecard_id = @scorecard_id AND entry = @entry
ORDER BY as_of_date, horizon_months
"""
_VERDICTS_SQL: Final = "SELECT * FROM gate_verdicts WHERE judgement_id = @judgement_id ORDER BY name, horizon_months"


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The model that a new one would replace.

    Attributes:
        label: its version, or what verdicts call one that nobody can tell; None if none serves.
        admission: how it came to serve; None if none serves. One that nobody can tell counts as judged, so that nothing
            unjudged takes its place.
        served: the model's scorecard and entry; None if none serves, or nobody can tell which.
    """

    label: str | None
    admission: Admission | None
    served: Served | None


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
    from cbi_pipeline.evaluation.direct_forecasts import RIDGE, TREES
    from cbi_pipeline.evaluation.status import QualityTargets

    progress.report(STAGE, 0, 1)
    _require_one_origin(scorecard, cells, features, anchors, scalers, raw)
    entry = choose_winner(scorecard, cells).architecture
    scores, rows, bounds = load_scores(scorecard), load_out_of_fold(scorecard), settings.gates
    incumbent = find_incumbent(settings.models_dir, scorecard.scorecard_id)
    by_sql = metrics_by_sql(scorecard, entry, rows, raw, warehouse, costs=settings.trading_costs, run_id=run_id)
    also = (entry + FULL_RESIDUAL_SUFFIX, entry + RAW_SUFFIX, RIDGE, TREES)
    verdicts = [
        *gates.evaluate_metric_parity(scores, entry, by_sql, bounds),
        *gates.evaluate_row_parity(*replayed_forecasts(entry, cells, features, anchors, scalers), bounds),
        *gates.evaluate_replay(
            {**replayed_features(features, raw, store), **replayed_fits(features, anchors, scalers, raw, store)}
        ),
        *gates.evaluate_benchmark(rows, entry, bounds),
        *gates.evaluate_tripwire(scores, entry, also, bounds),
        *gates.evaluate_coverage(scores, entry, bounds),
        *gates.evaluate_champion(rows, entry, incumbent.label, _served_forecasts(incumbent, rows, warehouse), bounds),
        *gates.evaluate_quality(scores, entry, QualityTargets(**settings.quality_targets)),
    ]
    verdicts = [verdict.model_copy(update={"value": _rounded(verdict.value)}) for verdict in verdicts]
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


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_SIGNIFICANT_DIGITS - 1}e}")


def judgement_id(scorecard_id: str, dataset_version: str, entry: str, against: str | None, settings: Settings) -> str:
    """Hash of what is judged, by which bounds and code, against which champion."""
    return content_key(
        code=source_hash(*_JUDGING),
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
    version: str,
    override_reason: str | None = None,
) -> tuple[Admission, str | None]:
    """How a model may serve by the verdicts that the warehouse holds now, and the version that served at that moment.

    Args:
        version: the model, for the message.

    Raises:
        ModelError: it may not; names every gate that failed or was never judged on this scorecard and dataset.
    """
    from cbi_pipeline.evaluation.admission import admit
    from cbi_pipeline.registry.champion import replaceable_champion

    serving = replaceable_champion(settings.models_dir)
    incumbent = find_incumbent(settings.models_dir, scorecard_id)
    identity = judgement_id(scorecard_id, dataset_version, entry, incumbent.label, settings)
    admitted = admit(
        stored_verdicts(warehouse, identity),
        version=version,
        incumbent=incumbent.admission,
        override_reason=override_reason,
    )
    return admitted, serving.model_version if serving else None


def stored_verdicts(warehouse: Warehouse, judgement: str) -> list[Verdict]:
    """The verdicts of a judgement as the warehouse holds them; empty if it was never made."""
    rows = warehouse.query(_VERDICTS_SQL, {"judgement_id": judgement}).to_pylist()
    return [Verdict(**{name: row[name] for name in Verdict.model_fields}) for row in rows]


def find_incumbent(models_dir: Path, scorecard_id: str) -> Incumbent:
    """What the gates compare a scorecard with: the champion, or where that is a refit of this very scorecard, what the
    first such refit replaced."""
    from cbi_pipeline.registry.champion import read_champion

    try:
        champion = read_champion(models_dir)
    except ModelError:
        return Incumbent("a model whose alias cannot be read", "judged", None)
    served: Served | None = champion
    if champion is not None and champion.scorecard_id == scorecard_id:
        served = champion.judged_against
    return Incumbent(served.model_version, served.admission, served) if served else Incumbent(None, None, None)


def folds_of(out_of_fold: pd.DataFrame) -> dict[str, list[str]]:
    """First and last as-of date of every fold: what two scorecards must share to be compared."""
    spans = out_of_fold.groupby("fold")["as_of_date"].agg(["min", "max"])
    return {str(name): [str(low.date()), str(high.date())] for name, (low, high) in spans.iterrows()}


def _served_forecasts(incumbent: Incumbent, rows: pd.DataFrame, warehouse: Warehouse) -> pd.DataFrame | None:
    """The out-of-fold forecasts that the incumbent was judged by, from the first to the last day of `rows`.

    None if the warehouse has none.
    """
    if incumbent.served is None:
        return None
    own = {
        "scorecard_id": incumbent.served.scorecard_id,
        "entry": incumbent.served.entry,
        "first_day": rows["as_of_date"].min().date(),
        "last_day": rows["as_of_date"].max().date(),
    }
    found = warehouse.query(_FORECASTS_SQL, own)
    return found.to_pandas() if found.num_rows else None
