"""Scorecard of every entry on the same out-of-fold rows, lambda by the written rule, and the bake-off."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cbi_pipeline import progress
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.folds import SERVING_FOLD
from cbi_pipeline.contracts.references import CellRef, FeaturesRef, FoldsRef, ScorecardRef, WinnerRef
from cbi_pipeline.errors import ModelError
from cbi_pipeline.provenance import source_hash
from cbi_pipeline.registry.artifact_store import ArtifactStore
from cbi_pipeline.stages.files import read_json, read_parquet
from cbi_pipeline.stages.folds import load_anchor, load_market
from cbi_pipeline.stages.training import load_residuals

if TYPE_CHECKING:
    import pandas as pd

    from cbi_pipeline.evaluation.benchmarks import Market

STAGE = "scorecard"
FULL_RESIDUAL_SUFFIX: Final = "_lambda_1"
"""Entry of a network whose residual is added in full: what it would do without having to earn its weight."""
_OUT_OF_FOLD, _SCORES, _LAMBDAS = "out_of_fold.parquet", "scores.parquet", "lambdas.json"


def build_scorecard(
    features: FeaturesRef, anchors: FoldsRef, cells: Mapping[str, CellRef], store: ArtifactStore
) -> ScorecardRef:
    """Score networks and benchmarks on the same folds.

    Raises:
        ModelError: a fold of an architecture is missing, or a cell was trained on other features, folds or scalers.
    """
    progress.report(STAGE, 0, 1)
    by_architecture = _complete_cells(cells, features, anchors)
    inputs = {
        "features": features.key,
        "anchor": anchors.key,
        "cells": sorted(cell.key for cell in cells.values()),
        "code": source_hash("evaluation", "modeling", "stages/evaluation"),
    }

    def build(folder: Path) -> None:
        import pandas as pd

        from cbi_pipeline.evaluation.benchmarks import benchmark_frames
        from cbi_pipeline.evaluation.metrics import score

        market = load_market(anchors)
        frames, choices = [benchmark_frames(market, anchors.folds)], []
        for architecture, own in by_architecture.items():
            frame, chosen = _network_rows(market, architecture, own, anchors)
            frames.append(frame)
            choices += chosen
        out_of_fold = pd.concat(frames, ignore_index=True)
        out_of_fold.to_parquet(folder / _OUT_OF_FOLD)
        score(out_of_fold).to_parquet(folder / _SCORES)
        (folder / _LAMBDAS).write_text(json.dumps(choices, indent=1))

    artifact = store.get_or_build("scorecard", inputs, build)
    scores = read_parquet(artifact, _SCORES)
    reference = ScorecardRef(
        kind=artifact.kind,
        key=artifact.key,
        path=artifact.path,
        reused=artifact.reused,
        scorecard_id=artifact.key[:16],
        dataset_version=features.dataset_version,
        feature_hash=features.feature_hash,
        features_key=features.key,
        anchors_key=anchors.key,
        scalers_key=next(iter(cells.values())).scalers_key,
        rows=len(scores),
    )
    progress.finish(STAGE, f"{scores['entry'].nunique()} entries, {len(scores):,} metrics", reused=artifact.reused)
    return reference


def _complete_cells(
    cells: Mapping[str, CellRef], features: FeaturesRef, anchors: FoldsRef
) -> dict[str, dict[str, CellRef]]:
    """Cells by architecture and fold: all there, all trained on these features and folds."""
    by_architecture: dict[str, dict[str, CellRef]] = {}
    for cell in cells.values():
        by_architecture.setdefault(cell.architecture, {})[cell.fold] = cell
    fix = "materialise all partitions of trained_models, then the scorecard, or run `cbi run`."
    wanted = {fold.name for fold in anchors.folds}
    for architecture, own in by_architecture.items():
        if set(own) != wanted:
            missing, foreign = sorted(wanted - set(own)), sorted(set(own) - wanted)
            rule = f"every fold must be trained; missing {missing}, not of this profile {foreign}."
            raise ModelError(f"scorecard, {architecture}", rule, fix)
    scalers_keys = {cell.scalers_key for cell in cells.values()}
    for cell in cells.values():
        if (cell.features_key, cell.anchors_key) != (features.key, anchors.key) or len(scalers_keys) > 1:
            rule = "it was trained on other features, folds or scalers than the scorecard is made of."
            raise ModelError(f"cell {cell.architecture}, {cell.fold}", rule, fix)
    return by_architecture


def _network_rows(
    market: Market, architecture: str, cells: Mapping[str, CellRef], anchors: FoldsRef
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Out-of-fold rows of an architecture (lambda by rule, and 1), and the lambda of every fold and of serving."""
    import pandas as pd

    from cbi_pipeline.evaluation.benchmarks import add_residual, forecast_frame, residual_targets
    from cbi_pipeline.modeling.anchor import anchor_log_return

    frames: list[pd.DataFrame] = []
    choices: list[dict[str, Any]] = []
    evidence: list[pd.DataFrame] = []
    full = dict.fromkeys(HORIZONS_MONTHS, 1.0)
    for fold in anchors.folds:
        residual = load_residuals(cells[fold.name])
        anchor = anchor_log_return(load_anchor(anchors, fold), market.inputs.loc[residual.index], market.state)
        weights, chosen = _lambdas(architecture, fold.name, evidence, pd.Timestamp(fold.test_start))
        choices += chosen
        for entry, own in ((architecture, weights), (architecture + FULL_RESIDUAL_SUFFIX, full)):
            frames.append(forecast_frame(market, entry, fold.name, add_residual(market, anchor, residual, own)))
        evidence.append(_evidence_rows(fold.name, market, residual, residual_targets(market, anchor)))
    choices += _lambdas(architecture, SERVING_FOLD, evidence, pd.Timestamp(anchors.serving.test_start))[1]
    return pd.concat(frames, ignore_index=True), choices


def _lambdas(
    architecture: str, fold: str, evidence: list[pd.DataFrame], before: pd.Timestamp
) -> tuple[dict[int, float], list[dict[str, Any]]]:
    """Lambda per horizon from earlier folds' rows whose outcome was known before `before`."""
    import pandas as pd

    from cbi_pipeline.evaluation.shrinkage import RESIDUAL_COLUMNS, choose_lambda, known_evidence

    rows = pd.concat(evidence, ignore_index=True) if evidence else pd.DataFrame(columns=list(RESIDUAL_COLUMNS))
    known = known_evidence(rows, before) if evidence else None
    weights, records = {}, []
    for horizon in HORIZONS_MONTHS:
        choice = choose_lambda(known[horizon], horizon) if known else None
        weights[horizon] = choice.lambda_h if choice else 0.0
        records.append(
            {
                "architecture": architecture,
                "fold": fold,
                "horizon_months": horizon,
                "lambda_h": weights[horizon],
                "matured_rows": choice.rows if choice else 0,
                "reason": choice.reason if choice else "first fold: no earlier evidence",
            }
        )
    return weights, records


def _evidence_rows(fold: str, market: Market, network: pd.DataFrame, target: pd.DataFrame) -> pd.DataFrame:
    """Residual target and network residual in long form, one row per as-of date and horizon."""
    import pandas as pd

    columns = list(HORIZONS_MONTHS)
    index = pd.DatetimeIndex(network.index)
    return pd.DataFrame(
        {
            "fold": fold,
            "as_of_date": index.repeat(len(columns)),
            "horizon_months": columns * len(index),
            "target_date": market.targets.loc[index, columns].to_numpy().ravel(),
            "residual": target[columns].to_numpy().ravel(),
            "network": network[columns].to_numpy(float).ravel(),
        }
    )


def choose_winner(scorecard: ScorecardRef, cells: Mapping[str, CellRef]) -> WinnerRef:
    """The network that serves, by the written rule of `evaluation.bakeoff`."""
    from cbi_pipeline.evaluation import bakeoff

    parameters = {cell.architecture: cell.n_parameters for cell in cells.values()}
    result = bakeoff.choose_winner(load_scores(scorecard), parameters)
    progress.finish("bake-off", result.explanation, reused=None)
    return WinnerRef(architecture=result.winner, scorecard_id=scorecard.scorecard_id, reason=result.explanation)


def load_scores(scorecard: ScorecardRef) -> pd.DataFrame:
    """Every entry x horizon x fold x metric, long, as `evaluation.metrics.score` makes it."""
    return read_parquet(scorecard, _SCORES)


def load_out_of_fold(scorecard: ScorecardRef) -> pd.DataFrame:
    """The out-of-fold forecasts behind the scores, with the columns of `OUT_OF_FOLD_COLUMNS`."""
    return read_parquet(scorecard, _OUT_OF_FOLD)


def lambda_table(scorecard: ScorecardRef) -> list[dict[str, Any]]:
    """Lambda per architecture, fold and horizon with its reason; fold `serving` is what the champion uses."""
    return read_json(scorecard, _LAMBDAS)


def serving_lambdas(scorecard: ScorecardRef, architecture: str) -> dict[int, float]:
    """Lambda per horizon that the champion of an architecture uses."""
    return {
        row["horizon_months"]: row["lambda_h"]
        for row in lambda_table(scorecard)
        if row["architecture"] == architecture and row["fold"] == SERVING_FOLD
    }


def pooled_metrics(
    scorecard: ScorecardRef, entry: str, *, common_rows: bool = False
) -> dict[int, dict[str, float | None]]:
    """Metrics of an entry over all folds, per horizon; None where a metric is not defined.

    Args:
        common_rows: on the dates that every entry has (to compare entries), or on all dates of the entry.
    """
    from cbi_pipeline.evaluation.metrics import ALL_FOLDS, COMMON_ROWS

    scores = load_scores(scorecard)
    own = scores[(scores["entry"] == entry) & (scores["fold"] == (COMMON_ROWS if common_rows else ALL_FOLDS))]
    metrics: dict[int, dict[str, float | None]] = {}
    for record in own.to_dict("records"):
        value = float(record["value"])
        metrics.setdefault(int(record["horizon_months"]), {})[record["metric"]] = None if math.isnan(value) else value
    return metrics


def leaderboard(scorecard: ScorecardRef) -> list[dict[str, Any]]:
    """One record per entry, networks first: MAPE in percent and RMSE ratio to last price, per horizon.

    All entries on the same dates: those on which every one of them has a forecast.
    """
    entries = list(load_scores(scorecard)["entry"].unique())
    entries.sort(key=lambda entry: (entry in ("last_price", "futures_curve", "anchor"), entry))
    records = []
    for entry in entries:
        metrics = pooled_metrics(scorecard, entry, common_rows=True)
        record: dict[str, Any] = {"entry": entry}
        for horizon in HORIZONS_MONTHS:
            own = metrics.get(horizon, {})
            record |= {
                f"{name}_{horizon}m": own.get(name)
                for name in ("mape", "rmse_ratio", "directional_accuracy", "coverage_80")
            }
        records.append(record)
    return records


def scorecard_span(scorecard: ScorecardRef) -> str:
    """The as-of dates that the leaderboard is made of, in words: those that all entries have."""
    rows = load_out_of_fold(scorecard)
    first, last = rows["as_of_date"].min().date(), rows["as_of_date"].max().date()
    return f"out of fold, {first} to {last}, common dates"
