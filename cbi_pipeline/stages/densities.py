"""The densities of each network's served entry: which one its rows carry, what that rests on, what the model keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.folds import SERVING_FOLD
from cbi_pipeline.contracts.forecast import QUANTILE_COLUMNS
from cbi_pipeline.contracts.references import CellRef, FoldsRef, ScorecardRef
from cbi_pipeline.stages.files import read_json, read_parquet
from cbi_pipeline.stages.training import load_forecasts

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

BY_RULE: Final = "by rule"
"""Name of the density that the rows of a network's entry carry: in each fold the one that had earned it by then."""
TABLE_FILE, CHOICES_FILE = "densities.parquet", "density_choices.json"


def entry_densities(
    rows: pd.DataFrame, architecture: str, cells: Mapping[str, CellRef], anchors: FoldsRef, last_price: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, list[dict[str, Any]]]:
    """Give the rows of a network's entry the density of the rule, and compare all candidates.

    Args:
        rows: its out-of-fold rows, with the normal density.
        last_price: those of the last price, at least the same dates.

    Returns:
        The rows with the density that the rule picks at each test start; `evaluation.density_table` of the candidates
        and of these rows (`BY_RULE`); the choice of each fold, and of serving, by horizon.
    """
    import pandas as pd

    from cbi_pipeline.evaluation.densities import candidate_rows, rows_by_rule, serving_densities
    from cbi_pipeline.evaluation.density_table import density_table

    candidates = candidate_rows(rows, _offsets(rows, cells))
    starts = {fold.name: pd.Timestamp(fold.test_start) for fold in anchors.folds}
    by_rule, chosen = rows_by_rule(candidates, starts)
    serving = serving_densities(candidates, pd.Timestamp(anchors.serving.test_start))
    chosen |= {(SERVING_FOLD, horizon): density for horizon, density in serving.items()}
    choices = [
        {"architecture": architecture, "fold": fold, "horizon_months": horizon, **density.model_dump(mode="json")}
        for (fold, horizon), density in chosen.items()
    ]
    compared = {str(name): own for name, own in candidates.items()} | {BY_RULE: by_rule}
    table = density_table(compared, last_price)
    return by_rule, table.assign(architecture=architecture), choices


def _offsets(rows: pd.DataFrame, cells: Mapping[str, CellRef]) -> np.ndarray:
    """Quantiles less the median that the anchored network states for each row, mean of its members [n, 7]."""
    import pandas as pd

    columns = [f"offset_{name}" for name in QUANTILE_COLUMNS]
    keys = ["as_of_date", "horizon_months"]
    by_fold = []
    for fold, own in rows.groupby("fold", sort=False):
        stated = load_forecasts(cells[str(fold)]).query("target == 'anchored'").astype(dict.fromkeys(columns, float))
        mean = stated.groupby(keys)[columns].mean().loc[pd.MultiIndex.from_frame(own[keys])]
        by_fold.append(mean.set_axis(own.index))
    return pd.concat(by_fold).loc[rows.index].to_numpy()


def load_density_table(scorecard: ScorecardRef) -> pd.DataFrame:
    """`evaluation.density_table` of each `architecture`, on all rows of its entry whose outcome is known."""
    return read_parquet(scorecard, TABLE_FILE)


def density_choices(scorecard: ScorecardRef) -> list[dict[str, Any]]:
    """The density of each `architecture`, `fold` and `horizon_months`, its corrections and its reason.

    Fold `serving` is what the champion uses.
    """
    return read_json(scorecard, CHOICES_FILE)


def serving_calibration(scorecard: ScorecardRef, architecture: str) -> dict[str, Any]:
    """`evaluation.densities.ServedDensity` by horizon, as JSON values, that the champion of an architecture keeps."""
    own = {
        row["horizon_months"]: {name: row[name] for name in ("density", "corrections", "reason")}
        for row in density_choices(scorecard)
        if (row["architecture"], row["fold"]) == (architecture, SERVING_FOLD)
    }
    return {str(horizon): own[horizon] for horizon in HORIZONS_MONTHS}
