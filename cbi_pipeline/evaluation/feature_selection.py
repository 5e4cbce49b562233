"""Rank features inside the training part of a fold, and keep what is stable across folds.

Belongs here: importance of features by three methods, and the rule that turns ranks into a list. Only rows whose
label is known before the fold's validation part are read, in the network's view (scaled, missing as NaN).

Small data: a training part of 756 sessions holds about 140 weekly rows, and since their labels overlap, only 11
independent ones at 3 months and 2 at 12. A slow series then seems to explain a slow target whatever it is: on targets
that were shifted in time and so mean nothing, raw importances rank the features as on the true ones (correlation 0.7
for SHAP, 0.9 for mutual information). A feature is therefore ranked by its importance in excess of that on shifted
targets. `agreement` of the folds' ranks and `stable_by_chance` say what is left: little.

References:
    Lundberg et al. (2020), Nature Machine Intelligence 2: SHAP values of trees, exact.
    Kraskov, Stoegbauer and Grassberger (2004), Phys. Rev. E 69: mutual information by nearest neighbours.
    Altmann et al. (2010), Bioinformatics 26(10): importance against a null of the target, here by circular shifts,
        which keep the persistence of both sides.
    Meinshausen and Buehlmann (2010), JRSS B 72(4): keep what is selected again and again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from cbi_pipeline.errors import FeatureError

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingRegressor

MINIMUM: Final = 30
MAXIMUM: Final = 60
TOP: Final = MINIMUM
"""A fold votes for its best `TOP`: with the smallest list that is allowed, a vote says most."""
SHARE_OF_FOLDS: Final = 0.6
"""Of the folds, at least this share must vote for a feature: 3 of 5."""
STRIDE: Final = 5
"""Sessions between rows: labels overlap, so weekly rows hold nearly all there is."""
METHODS: Final = ("shap", "mutual_information", "permutation")

_MINIMUM_OBSERVED: Final = 40
_HELD_OUT_FROM: Final = 0.6
_MINIMUM_FIT, _MINIMUM_HELD_OUT = 50, 20
_REPEATS: Final = 20
_CLUSTER_DISTANCE: Final = 0.5


@dataclass(frozen=True, slots=True)
class TrainingPart:
    """The training rows of one fold, cut out before anything is computed: R weekly rows, F features, H horizons.

    Attributes:
        names: F feature names.
        features: [R, F] scaled, NaN where missing.
        targets: [R, H] units of sigma_h, NaN where the row is no training row at that horizon.
        dates: [R] trade dates.
        label_dates: [R, H] when the label is known.
    """

    names: tuple[str, ...]
    features: np.ndarray
    targets: np.ndarray
    dates: np.ndarray
    label_dates: np.ndarray


def training_part(
    names: Sequence[str],
    features: np.ndarray,
    targets: np.ndarray,
    train_mask: np.ndarray,
    dates: np.ndarray,
    label_dates: np.ndarray,
) -> TrainingPart:
    """Every `STRIDE`-th training row counted back from the newest; all other rows are dropped here.

    Args:
        names: F feature names.
        features: [T, F] scaled on the training part.
        targets: [T, H] residual of the anchor, units of sigma_h.
        train_mask: [T, H] bool, purged per horizon (`walk_forward.fold_masks`).
        dates: [T] trade dates.
        label_dates: [T, H] when each label is known.
    """
    known = train_mask & ~np.isnan(targets)
    rows = np.flatnonzero(known.any(axis=1))[::-1][::STRIDE][::-1]
    own = np.where(known[rows], targets[rows], np.nan)
    return TrainingPart(tuple(names), features[rows], own, dates[rows], label_dates[rows])


def rank_features(part: TrainingPart, seed: int, shifts: Sequence[float]) -> pd.DataFrame:
    """Importance and rank of every feature in one fold.

    Args:
        part: training rows.
        seed: of mutual information's jitter and of the permutations.
        shifts: shares of the training part, two or more, by which the targets are moved to see what importance means
            nothing.

    Returns:
        Index name; `shap`, `mutual_information`, `permutation` (importance, larger is more), `excess_<method>` (in
        standard deviations over shifted targets), `rank_<method>` of the excess (1 is best, ties share the mean),
        `rank` (mean of the three), `cluster`, `usable`. Unusable features (fewer than 40 observed rows, or constant)
        have no importance and rank last.

    Raises:
        FeatureError: no feature is usable, or too few rows are held out at every horizon.
    """
    usable = np.array([_is_usable(column) for column in part.features.T])
    if not usable.any():
        raise FeatureError("feature selection", "no feature is observed in the training part.", "move the fold later.")
    x = part.features[:, usable]
    with threadpool_limits(limits=1, user_api="openmp"):
        clusters = correlation_clusters(x)
        true = _importances(x, part, clusters, seed)
        shifted = [_importances(x, shifted_targets(part, share), clusters, seed) for share in shifts]
    columns: dict[str, np.ndarray] = {**true, "cluster": clusters}
    for method in METHODS:
        columns[f"excess_{method}"] = excess(true[method], np.array([null[method] for null in shifted]))
    frame = pd.DataFrame(columns, index=np.array(part.names)[usable]).reindex(list(part.names))
    frame["usable"] = usable
    for method in METHODS:
        frame[f"rank_{method}"] = frame[f"excess_{method}"].rank(ascending=False, na_option="bottom")
    frame["rank"] = frame[[f"rank_{method}" for method in METHODS]].mean(axis=1)
    return frame


def shifted_targets(part: TrainingPart, share: float) -> TrainingPart:
    """The same part with each horizon's known targets moved by a share of their number, the end going to the start.

    Little is left of their relation to the features; persistence and overlap stay as they are.
    """
    moved = part.targets.copy()
    for h, y in enumerate(part.targets.T):
        known = np.flatnonzero(~np.isnan(y))
        moved[known, h] = np.roll(y[known], round(share * len(known)))
    return replace(part, targets=moved)


def excess(true: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Importance [F] less its mean over shifted targets [S, F], in their standard deviations; 0 where none varies."""
    spread = null.std(axis=0, ddof=1)
    difference = true - null.mean(axis=0)
    return np.divide(difference, spread, out=np.zeros_like(difference), where=spread > 0)


def _importances(x: np.ndarray, part: TrainingPart, clusters: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    return {
        "shap": _shap_importance(x, part.targets),
        "mutual_information": _mutual_information(x, part.targets, seed),
        "permutation": _permutation_importance(x, part, clusters, seed),
    }


def boosted_trees(seed: int = 0) -> HistGradientBoostingRegressor:
    """Small boosted trees for a few hundred rows; a missing value goes down its own branch, nothing is imputed."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(
        max_iter=100,
        learning_rate=0.05,
        max_leaf_nodes=4,
        min_samples_leaf=10,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=seed,
    )


def has_two_values(column: np.ndarray) -> bool:
    """Whether a column has something to split on (scikit-learn's binning needs two values)."""
    seen = column[~np.isnan(column)]
    return seen.size > 0 and bool(seen.min() < seen.max())


def correlation_clusters(x: np.ndarray) -> np.ndarray:
    """Cluster number of each column of [R, F]: average linkage on 1 - |Spearman|, cut at 0.5.

    Columns that were never observed together have distance 1.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    if x.shape[1] == 1:
        return np.ones(1, dtype=int)
    correlation = pd.DataFrame(x).corr(method="spearman", min_periods=_MINIMUM_OBSERVED).abs()
    distance = (1.0 - correlation.where(correlation.notna(), other=0.0)).to_numpy(copy=True)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), method="average")
    return fcluster(tree, t=_CLUSTER_DISTANCE, criterion="distance")


def _is_usable(column: np.ndarray) -> bool:
    return int((~np.isnan(column)).sum()) >= _MINIMUM_OBSERVED and has_two_values(column)


def _shap_importance(x: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Share of the mean |SHAP| of trees, mean over horizons, on the rows that the trees were fitted on."""
    import shap

    shares = []
    for y in targets.T:
        rows = ~np.isnan(y)
        if rows.sum() < _MINIMUM_OBSERVED:
            continue
        splittable = np.array([has_two_values(column) for column in x[rows].T])
        trees = boosted_trees().fit(x[rows][:, splittable], y[rows])
        values = shap.TreeExplainer(trees).shap_values(x[rows][:, splittable])
        own = np.zeros(x.shape[1])
        own[splittable] = np.abs(values).mean(axis=0)
        shares.append(own / own.sum() if own.sum() > 0 else own)
    return np.mean(shares, axis=0) if shares else np.zeros(x.shape[1])


def _mutual_information(x: np.ndarray, targets: np.ndarray, seed: int) -> np.ndarray:
    """Mutual information in nats, each feature on the rows where it is observed, mean over horizons."""
    from sklearn.feature_selection import mutual_info_regression

    found = np.zeros((targets.shape[1], x.shape[1]))
    for h, y in enumerate(targets.T):
        for f, column in enumerate(x.T):
            rows = ~(np.isnan(y) | np.isnan(column))
            if rows.sum() >= _MINIMUM_OBSERVED:
                discrete = np.unique(column[rows]).size <= 2
                found[h, f] = mutual_info_regression(
                    column[rows, None], y[rows], discrete_features=discrete, random_state=seed
                )[0]
    return found.mean(axis=0)


def _permutation_importance(x: np.ndarray, part: TrainingPart, clusters: np.ndarray, seed: int) -> np.ndarray:
    """Relative rise of the squared error on held-out later training rows when a whole cluster is shuffled.

    The trees are fitted on labels known before the first held-out row. A horizon whose purge leaves fewer than 50
    rows to fit or 20 to hold out is left out (12 months, in a training part of 756 sessions). Members of a cluster
    share its importance.
    """
    generator = np.random.default_rng(seed)
    border = part.dates[int(_HELD_OUT_FROM * len(part.dates))]
    rises = []
    for y, label_dates in zip(part.targets.T, part.label_dates.T, strict=True):
        fit = ~np.isnan(y) & (label_dates < border)
        held_out = np.flatnonzero(~np.isnan(y) & (part.dates >= border))
        if fit.sum() >= _MINIMUM_FIT and len(held_out) >= _MINIMUM_HELD_OUT:
            orders = np.array([generator.permutation(held_out) for _ in range(_REPEATS)])
            rises.append(_cluster_rises(x, y, fit, held_out, orders, clusters))
    if not rises:
        raise FeatureError(
            f"training part from {part.dates[0]}",
            f"no horizon leaves {_MINIMUM_FIT} purged rows to fit and {_MINIMUM_HELD_OUT} to hold out.",
            "use a longer training part.",
        )
    return np.mean(rises, axis=0)


def _cluster_rises(
    x: np.ndarray, y: np.ndarray, fit: np.ndarray, held_out: np.ndarray, orders: np.ndarray, clusters: np.ndarray
) -> np.ndarray:
    """[F] rise of each feature's cluster at one horizon; `orders` [repeats, n] are shuffled held-out rows."""
    splittable = np.array([has_two_values(column) for column in x[fit].T])
    trees = boosted_trees().fit(x[fit][:, splittable], y[fit])
    base = float(np.mean((trees.predict(x[held_out][:, splittable]) - y[held_out]) ** 2))
    rises = np.zeros(x.shape[1])
    for cluster in np.unique(clusters):
        members = clusters == cluster
        shuffled = np.tile(x[held_out], (len(orders), 1))  # [repeats * n, F]
        shuffled[:, members] = x[orders.ravel()][:, members]
        error = (trees.predict(shuffled[:, splittable]) - np.tile(y[held_out], len(orders))) ** 2
        rises[members] = error.mean() / base - 1.0
    return rises


@dataclass(frozen=True, slots=True)
class Selection:
    """The chosen list and why.

    Attributes:
        chosen: names in catalogue order, 30 to 60.
        required_by_network: those of them that are there only because the network reads them.
        decisions: index name; `folds_in_top`, `mean_rank`, `decision` in words.
        folds, needed: number of folds, and how many had to vote for a feature.
        stable: features that met that bar.
        stable_by_chance: how many would meet it if every fold ranked at random.
        agreement: mean Spearman correlation of ranks between folds; None with one fold.
    """

    chosen: tuple[str, ...]
    required_by_network: tuple[str, ...]
    decisions: pd.DataFrame
    folds: int
    needed: int
    stable: int
    stable_by_chance: float
    agreement: float | None


def select_features(ranks: Mapping[str, pd.DataFrame], required: Sequence[str]) -> Selection:
    """Keep what at least `SHARE_OF_FOLDS` of the folds have among their best `TOP`.

    Fewer than `MINIMUM` are filled up, more than `MAXIMUM` cut, by mean rank. What the network's mean path reads
    stays in any case, marked as required.

    Args:
        ranks: `rank_features` of each fold.
        required: inputs of the network's mean path.

    Raises:
        FeatureError: fewer than `MINIMUM` features are usable in any fold, or a required one is not in the ranks.
    """
    from scipy.stats import binom

    combined = pd.DataFrame({fold: frame["rank"] for fold, frame in ranks.items()})
    usable = pd.DataFrame({fold: frame["usable"] for fold, frame in ranks.items()}).any(axis=1)
    absent = sorted(set(required) - set(combined.index))
    if absent or usable.sum() < MINIMUM:
        rule = f"it needs {MINIMUM} usable features ({int(usable.sum())} are) and every input of the network."
        raise FeatureError(f"feature selection {', '.join(absent)}".strip(), rule, "check the catalogue and the folds.")
    votes = pd.DataFrame({fold: _best(frame) for fold, frame in ranks.items()}).sum(axis=1)
    needed = math.ceil(SHARE_OF_FOLDS * len(ranks))
    n_usable, mean_rank = int(usable.sum()), combined.mean(axis=1)
    order = pd.Index(mean_rank[usable].sort_values(kind="stable").index)
    stable = [name for name in order if votes[name] >= needed]
    filled = [name for name in order if name not in stable][: max(0, MINIMUM - len(stable))]
    extra = [name for name in required if name not in stable + filled]
    surplus = max(0, len(stable) + len(filled) + len(extra) - MAXIMUM)
    worst = [name for name in reversed([*stable, *filled]) if name not in required][:surplus]
    kept = [name for name in (*stable, *filled) if name not in worst]
    words = {name: "stable" for name in kept if name in stable} | dict.fromkeys(filled, "filled by mean rank")
    words |= dict.fromkeys(extra, "required by the network")
    decisions = pd.DataFrame({"folds_in_top": votes.astype(int), "mean_rank": mean_rank})
    decisions["decision"] = [words.get(name, "left out") for name in decisions.index]
    return Selection(
        chosen=tuple(name for name in combined.index if name in {*kept, *extra}),
        required_by_network=tuple(name for name in combined.index if name in extra),
        decisions=decisions,
        folds=len(ranks),
        needed=needed,
        stable=len(stable),
        stable_by_chance=n_usable * float(binom.sf(needed - 1, len(ranks), min(1.0, TOP / n_usable))),
        agreement=_agreement(combined),
    )


def _best(frame: pd.DataFrame) -> pd.Series:
    """Whether a feature is among the fold's best `TOP` usable ones; ties go to the earlier one."""
    position = frame["rank"].where(frame["usable"]).rank(method="first")
    return position <= TOP


def _agreement(combined: pd.DataFrame) -> float | None:
    if combined.shape[1] < 2:
        return None
    pairs = combined.corr(method="spearman").to_numpy()
    return float(pairs[np.triu_indices_from(pairs, k=1)].mean())
