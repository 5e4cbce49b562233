"""Scorecard of every entry on the same out-of-fold rows, lambda by the written rule, seeds, and the bake-off."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from cbi_pipeline import progress
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.folds import SERVING_FOLD, FoldSpec
from cbi_pipeline.contracts.references import Cell, CellRef, FeaturesRef, FoldsRef, RawTableRef, ScorecardRef, WinnerRef
from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling.config import TARGETS, Target
from cbi_pipeline.provenance import source_hash
from cbi_pipeline.registry.artifact_store import ArtifactStore
from cbi_pipeline.stages.densities import CHOICES_FILE, TABLE_FILE, entry_densities
from cbi_pipeline.stages.features import load_features
from cbi_pipeline.stages.files import read_json, read_parquet
from cbi_pipeline.stages.folds import load_anchor, load_market
from cbi_pipeline.stages.raw import content_of, load_raw_tables
from cbi_pipeline.stages.training import load_member_medians, load_raw, load_residuals, mean_of, trained_cells
from cbi_pipeline.stages.training_keys import shared_training_key

if TYPE_CHECKING:
    import pandas as pd

    from cbi_pipeline.evaluation.benchmarks import Market
    from cbi_pipeline.evaluation.scorecard import TradedMarket

STAGE = "scorecard"
FULL_RESIDUAL_SUFFIX: Final = "_lambda_1"
RAW_SUFFIX: Final = "_raw"
AVERAGE: Final = "networks"
"""Entries of this name and one of the two suffixes are the mean of all networks' medians."""
FIXED_LAMBDAS: Final[dict[str, float]] = {"_lambda_0.1": 0.1, "_lambda_0.25": 0.25, FULL_RESIDUAL_SUFFIX: 1.0}
"""Entries of a network whose residual is added at a fixed weight: what it would do without having to earn one.

The entry without a suffix has the weight of the lambda rule; the raw one forecasts from the last price, no anchor."""
_OUT_OF_FOLD, _SCORES, _LAMBDAS, _SEEDS = "out_of_fold.parquet", "scores.parquet", "lambdas.json", "seeds.parquet"


def build_scorecard(
    features: FeaturesRef,
    anchors: FoldsRef,
    cells: Mapping[str, Cell],
    prices: Sequence[RawTableRef],
    store: ArtifactStore,
    *,
    costs: Mapping[str, float],
) -> ScorecardRef:
    """Score networks, their average and benchmarks on the same folds.

    Args:
        prices: futures_daily and futures_curve, for the P&L.
        costs: of one side of a trade (`Settings.trading_costs`).

    Raises:
        ModelError: a cell failed, a fold of an architecture is missing, or a cell was trained on other features, folds
            or scalers.
    """
    progress.report(STAGE, 0, 1)
    by_architecture = _complete_cells(cells, features, anchors)
    inputs = {
        "features": features.key,
        "anchor": anchors.key,
        "prices": content_of(prices),
        "costs": dict(costs),
        "cells": sorted(cell.key for own in by_architecture.values() for cell in own.values()),
        "code": source_hash(
            "contracts/__init__", "contracts/forecast", "evaluation", "modeling", "stages/evaluation",
            "stages/densities",
        ),
    }  # fmt: skip

    def build(folder: Path) -> None:
        import pandas as pd

        from cbi_pipeline.evaluation.benchmarks import LAST_PRICE, benchmark_frames
        from cbi_pipeline.evaluation.direct_forecasts import direct_frames
        from cbi_pipeline.evaluation.scorecard import full_scores

        market, lambdas, seeds, tables, densities = load_market(anchors), [], [], [], []
        benchmarks = benchmark_frames(market, anchors.folds)
        last_price = benchmarks[benchmarks["entry"] == LAST_PRICE]
        frames = [
            benchmarks,
            direct_frames(market, load_features(features), anchors.folds),
            *_average_rows(market, by_architecture, anchors),
        ]
        for done, (architecture, own) in enumerate(by_architecture.items()):
            progress.report(STAGE, done, len(by_architecture), architecture)
            frame, chosen = _network_rows(market, architecture, own, anchors)
            by_rule = frame["entry"] == architecture
            own_rows = frame[by_rule].reset_index(drop=True)
            served, table, picked = entry_densities(own_rows, architecture, own, anchors, last_price)
            frames += [served, frame[~by_rule]]
            lambdas += chosen
            densities += picked
            tables.append(table)
            seeds.append(_dispersion(market, architecture, own, anchors))
        out_of_fold = pd.concat(frames, ignore_index=True)
        out_of_fold.to_parquet(folder / _OUT_OF_FOLD)
        full_scores(out_of_fold, _traded(market, prices, costs)).to_parquet(folder / _SCORES)
        pd.concat(seeds, ignore_index=True).to_parquet(folder / _SEEDS)
        pd.concat(tables, ignore_index=True).to_parquet(folder / TABLE_FILE)
        (folder / _LAMBDAS).write_text(json.dumps(lambdas, indent=1))
        (folder / CHOICES_FILE).write_text(json.dumps(densities, indent=1))

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
        training_keys={name: shared_training_key(name, own.values()) for name, own in by_architecture.items()},
        rows=len(scores),
    )
    progress.finish(STAGE, f"{scores['entry'].nunique()} entries, {len(scores):,} metrics", reused=artifact.reused)
    return reference


def _complete_cells(
    cells: Mapping[str, Cell], features: FeaturesRef, anchors: FoldsRef
) -> dict[str, dict[str, CellRef]]:
    """Cells by architecture and fold: all there, all trained on these features and folds."""
    by_architecture: dict[str, dict[str, CellRef]] = {}
    for cell in trained_cells(cells):
        by_architecture.setdefault(cell.architecture, {})[cell.fold] = cell
    fix = "materialise all partitions of trained_models, then the scorecard, or run `cbi run`."
    wanted = {fold.name for fold in anchors.folds}
    for architecture, own in by_architecture.items():
        if set(own) != wanted:
            missing, foreign = sorted(wanted - set(own)), sorted(set(own) - wanted)
            rule = f"every fold must be trained; missing {missing}, not of this profile {foreign}."
            raise ModelError(f"scorecard, {architecture}", rule, fix)
    scalers_keys = {cell.scalers_key for cell in cells.values()}
    for cell in trained_cells(cells):
        if (cell.features_key, cell.anchors_key) != (features.key, anchors.key) or len(scalers_keys) > 1:
            rule = "it was trained on other features, folds or scalers than the scorecard is made of."
            raise ModelError(f"cell {cell.architecture}, {cell.fold}", rule, fix)
    return by_architecture


def _network_rows(
    market: Market, architecture: str, cells: Mapping[str, CellRef], anchors: FoldsRef
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Out-of-fold rows of all entries of an architecture, and the lambda of every fold and of serving."""
    import pandas as pd

    from cbi_pipeline.evaluation.benchmarks import add_residual, forecast_frame, residual_targets

    frames: list[pd.DataFrame] = []
    choices: list[dict[str, Any]] = []
    evidence: list[pd.DataFrame] = []
    for fold in anchors.folds:
        residual, raw = load_residuals(cells[fold.name]), load_raw(cells[fold.name])
        anchor = fold_base(market, fold, anchors, "anchored", residual.index)
        weights, chosen = _lambdas(architecture, fold.name, evidence, pd.Timestamp(fold.test_start))
        choices += chosen
        returns = {architecture: add_residual(market, anchor, residual, weights)}
        for suffix, fixed in FIXED_LAMBDAS.items():
            returns[architecture + suffix] = add_residual(market, anchor, residual, _everywhere(fixed))
        last_price = fold_base(market, fold, anchors, "raw", raw.index)
        returns[architecture + RAW_SUFFIX] = add_residual(market, last_price, raw, _everywhere(1.0))
        frames += [forecast_frame(market, entry, fold.name, own) for entry, own in returns.items()]
        evidence.append(_evidence_rows(fold.name, market, residual, residual_targets(market, anchor)))
    choices += _lambdas(architecture, SERVING_FOLD, evidence, pd.Timestamp(anchors.serving.test_start))[1]
    return pd.concat(frames, ignore_index=True), choices


def _average_rows(
    market: Market, by_architecture: Mapping[str, Mapping[str, CellRef]], anchors: FoldsRef
) -> list[pd.DataFrame]:
    """Out-of-fold rows of the mean of the networks' medians, on the anchor and raw; none of a single network."""
    from cbi_pipeline.evaluation.benchmarks import add_residual, forecast_frame

    frames: list[pd.DataFrame] = []
    for suffix, target, load in ((FULL_RESIDUAL_SUFFIX, "anchored", load_residuals), (RAW_SUFFIX, "raw", load_raw)):
        for fold in anchors.folds if len(by_architecture) > 1 else ():
            median = mean_of([load(cells[fold.name]) for cells in by_architecture.values()])
            base = fold_base(market, fold, anchors, cast("Target", target), median.index)
            forecast = add_residual(market, base, median, _everywhere(1.0))
            frames.append(forecast_frame(market, AVERAGE + suffix, fold.name, forecast))
    return frames


def _traded(market: Market, prices: Sequence[RawTableRef], costs: Mapping[str, float]) -> TradedMarket:
    from cbi_pipeline.evaluation.profit_and_loss import TradingCosts, roll_dates
    from cbi_pipeline.evaluation.scorecard import TradedMarket
    from cbi_pipeline.modeling.volatility import within_contract_returns

    tables = load_raw_tables(prices)
    return TradedMarket(within_contract_returns(tables), market.front, roll_dates(tables), TradingCosts(**costs))


def fold_base(market: Market, fold: FoldSpec, anchors: FoldsRef, target: Target, dates: pd.Index) -> pd.DataFrame:
    """What a network's forecast is added to, in log return: the anchor as fitted at the test start, or the last price.

    Returns:
        Index `dates`, one column per horizon in months.
    """
    import pandas as pd

    from cbi_pipeline.modeling.anchor import anchor_log_return

    if target == "raw":
        return pd.DataFrame(0.0, index=dates, columns=list(HORIZONS_MONTHS))
    return anchor_log_return(load_anchor(anchors, fold), market.inputs.loc[dates], market.state)


def _everywhere(weight: float) -> dict[int, float]:
    return dict.fromkeys(HORIZONS_MONTHS, weight)


def _dispersion(market: Market, architecture: str, cells: Mapping[str, CellRef], anchors: FoldsRef) -> pd.DataFrame:
    """Seed dispersion of an architecture in every fold and, pooled, in all of them."""
    import pandas as pd

    from cbi_pipeline.evaluation.benchmarks import add_residual
    from cbi_pipeline.evaluation.dispersion import member_ratios
    from cbi_pipeline.evaluation.metrics import ALL_FOLDS

    pieces = []
    for target in TARGETS:
        by_fold: dict[str, list[pd.DataFrame]] = {}
        for fold in anchors.folds:
            members = load_member_medians(cells[fold.name], target)
            base = fold_base(market, fold, anchors, target, members[0].index)
            by_fold[fold.name] = [add_residual(market, base, own, _everywhere(1.0)) for own in members]
        by_fold[ALL_FOLDS] = [pd.concat(own) for own in zip(*by_fold.values(), strict=True)]
        pieces += [member_ratios(market, own).assign(target=target, fold=name) for name, own in by_fold.items()]
    return pd.concat(pieces, ignore_index=True).assign(architecture=architecture)


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


def choose_winner(scorecard: ScorecardRef, cells: Mapping[str, Cell]) -> WinnerRef:
    """The network that serves, by the written rule of `evaluation.bakeoff`.

    Raises:
        ModelError: a cell failed.
    """
    from cbi_pipeline.evaluation import bakeoff

    parameters = {cell.architecture: cell.n_parameters for cell in trained_cells(cells)}
    result = bakeoff.choose_winner(load_scores(scorecard), parameters)
    reason = result.explanation
    if len(result.ranking) > 1:
        winner, second = (str(entry) for entry in result.ranking.index[:2])
        reason += f"; {bakeoff.beyond_noise(load_out_of_fold(scorecard), winner, second)}"
    return WinnerRef(architecture=result.winner, scorecard_id=scorecard.scorecard_id, reason=reason)


def load_scores(scorecard: ScorecardRef) -> pd.DataFrame:
    """Every entry x horizon x fold x metric, long, as `evaluation.metrics.score` makes it."""
    return read_parquet(scorecard, _SCORES)


def load_out_of_fold(scorecard: ScorecardRef) -> pd.DataFrame:
    """The out-of-fold forecasts behind the scores, with the columns of `OUT_OF_FOLD_COLUMNS`."""
    return read_parquet(scorecard, _OUT_OF_FOLD)


def seed_dispersion(scorecard: ScorecardRef) -> pd.DataFrame:
    """RMSE ratio to last price of every member alone, the network in full, with mean and spread over the members.

    One row per `architecture`, `target`, `fold` (`all`: pooled) and `horizon_months`; further columns as of
    `evaluation.dispersion.member_ratios`.
    """
    return read_parquet(scorecard, _SEEDS)


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
