"""What is fitted inside the training part of each fold before any network: anchor and scaler."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_pipeline import progress
from cbi_pipeline.contracts.folds import FoldSpec
from cbi_pipeline.contracts.references import FeaturesRef, FoldsRef, RawTableRef
from cbi_pipeline.profiles import Profile, RollingFolds
from cbi_pipeline.provenance import source_hash
from cbi_pipeline.registry.artifact_store import ArtifactStore, sha256_file
from cbi_pipeline.stages.features import load_features
from cbi_pipeline.stages.files import read_json, read_parquet
from cbi_pipeline.stages.raw import content_of, load_raw_tables

if TYPE_CHECKING:
    import pandas as pd

    from cbi_pipeline.evaluation.benchmarks import Market
    from cbi_pipeline.features.driver_set import DriverSet
    from cbi_pipeline.modeling.anchor import AnchorFit

ANCHOR_STAGE = "anchor"
SCALER_STAGE = "scaler"
_PRICES, _STATE = "prices.parquet", "volatility.parquet"


def fit_anchors(
    features: FeaturesRef, raw: Sequence[RawTableRef], profile: Profile, store: ArtifactStore
) -> tuple[FoldsRef, list[dict[str, Any]]]:
    """Cut the folds, and fit the anchor of each on labels known before its test start.

    Args:
        features: decides the sessions.
        raw: futures_daily, futures_curve, macro_series, fundamentals.
        profile: number and length of the folds.

    Returns:
        The reference, and one record per fold and horizon with the coefficients.
    """
    progress.report(ANCHOR_STAGE, 0, 1)
    folds, serving = cut_folds(load_features(features).index, profile)

    def build(folder: Path) -> None:
        from cbi_pipeline.evaluation.benchmarks import fold_anchor, prepare_market

        market = prepare_market(load_raw_tables(raw))
        market.inputs.assign(front=market.front).to_parquet(folder / _PRICES)
        market.state.to_parquet(folder / _STATE)
        for fold in (*folds, serving):
            (folder / f"{fold.name}.json").write_text(fold_anchor(market, fold).model_dump_json(indent=1))

    inputs = {
        "tables": content_of(raw),
        "folds": [fold.model_dump(mode="json") for fold in (*folds, serving)],
        "code": source_hash(
            "contracts/__init__", "fundamentals", "modeling/anchor", "modeling/volatility", "market_calendar",
            "evaluation/walk_forward", "evaluation/benchmarks", "stages/folds",
        ),
    }  # fmt: skip
    artifact = store.get_or_build("anchor", inputs, build)
    reference = FoldsRef(
        kind=artifact.kind,
        key=artifact.key,
        path=artifact.path,
        reused=artifact.reused,
        features_key=features.key,
        folds=tuple(folds),
        serving=serving,
        sha256_by_fold={f.name: sha256_file(artifact.path / f"{f.name}.json") for f in (*folds, serving)},
    )
    span = f"{len(folds)} folds, tests {folds[0].test_start} to {folds[-1].test_end}"
    progress.finish(ANCHOR_STAGE, span, reused=artifact.reused)
    return reference, _coefficients(reference)


def cut_folds(sessions: pd.Index, profile: Profile) -> tuple[list[FoldSpec], FoldSpec]:
    """The walk-forward folds of a profile, oldest first, and the fold that serves, which trains on the same span.

    Raises:
        ModelError: the sessions are too few for the profile.
    """
    import pandas as pd

    from cbi_pipeline.evaluation.walk_forward import make_expanding_folds, make_folds, serving_fold

    days, spans = pd.DatetimeIndex(sessions), profile.folds.model_dump(exclude={"kind"})
    train = profile.folds.train_sessions if isinstance(profile.folds, RollingFolds) else None
    make = make_folds if isinstance(profile.folds, RollingFolds) else make_expanding_folds
    serving = serving_fold(days, train_sessions=train, validation_sessions=profile.folds.validation_sessions)
    return make(days, **spans), serving


def fit_scalers(features: FeaturesRef, anchors: FoldsRef, store: ArtifactStore) -> FoldsRef:
    """Fit the robust scaler of each fold on its training part only."""
    progress.report(SCALER_STAGE, 0, 1)
    folds = (*anchors.folds, anchors.serving)

    def build(folder: Path) -> None:
        from cbi_pipeline.features.driver_set import fit_driver_set

        frame = load_features(features)
        for fold in folds:
            (folder / fold.name).mkdir()
            fit_driver_set(frame, fold.train_start, fold.train_end).save(folder / fold.name)

    inputs = {
        "features": features.key,
        "folds": [fold.model_dump(mode="json") for fold in folds],
        "code": source_hash("features/driver_set", "features/transformations"),
    }
    artifact = store.get_or_build("scaler", inputs, build)
    progress.finish(SCALER_STAGE, f"{len(folds)} robust scalers", reused=artifact.reused)
    return FoldsRef(
        kind=artifact.kind,
        key=artifact.key,
        path=artifact.path,
        reused=artifact.reused,
        features_key=features.key,
        folds=anchors.folds,
        serving=anchors.serving,
        sha256_by_fold={fold.name: sha256_file(scaler_file(artifact.path, fold.name)) for fold in folds},
    )


def load_market(anchors: FoldsRef) -> Market:
    """Prices, anchor inputs, volatilities and outcomes, as the anchors were fitted on them."""
    from cbi_pipeline.evaluation.benchmarks import market_from

    prices = read_parquet(anchors, _PRICES)
    return market_from(prices["front"], prices.drop(columns="front"), read_parquet(anchors, _STATE))


def load_anchor(anchors: FoldsRef, fold: FoldSpec) -> AnchorFit:
    """The anchor of a fold."""
    from cbi_pipeline.modeling.anchor import AnchorFit

    return AnchorFit.model_validate(read_json(anchors, f"{fold.name}.json"))


def load_scaler(scalers: FoldsRef, fold: FoldSpec) -> DriverSet:
    """The driver set of a fold, read only if its bytes have the recorded sha256."""
    from cbi_pipeline.features.driver_set import load_driver_set

    return load_driver_set(scaler_file(scalers.path, fold.name).parent, scalers.sha256_by_fold[fold.name])


def scaler_file(folder: Path, fold: str) -> Path:
    """The joblib file of a fold's scaler."""
    return folder / fold / "driver_set.joblib"


def fold_named(reference: FoldsRef, name: str) -> FoldSpec:
    """The fold of that name, the serving fold included."""
    return next(fold for fold in (*reference.folds, reference.serving) if fold.name == name)


def _coefficients(anchors: FoldsRef) -> list[dict[str, Any]]:
    fits = {fold.name: load_anchor(anchors, fold) for fold in (*anchors.folds, anchors.serving)}
    return [
        {"fold": name, "horizon_months": h, **{k: f"{v:+.3f}" for k, v in beta.items()}, "weekly_rows": fit.rows[h]}
        for name, fit in fits.items()
        for h, beta in fit.beta.items()
    ]
