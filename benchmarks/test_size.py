"""What the tests of `evaluation.significance` and `evaluation.bootstrap` reject when there is nothing to find.

Run by hand: `python benchmarks/test_size.py`, with another number of permutations as the first argument. Reads the
starter bundle; prints two markdown tables, one per span of as-of dates.

Real forecasts of the last price, the futures curve and the anchor meet outcomes that they cannot know: the daily log
price changes since 1985 are permuted in blocks, and each outcome is the sum of the changes from as-of to target date.
Outcomes so overlap exactly as real ones do; permuting the outcomes themselves would cut the overlap at every seam.
A forecast f without information still has a higher expected loss than the last price, by mean(f^2) - 2 mean(f E y).
That known difference is subtracted, so that the hypothesis of equal accuracy holds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm
from scipy.stats import t as student_t

from cbi_pipeline.bundle.read import load_tables
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.evaluation.anchor_skill import HALF_CURVE, anchor_record
from cbi_pipeline.evaluation.benchmarks import ANCHOR, FUTURES_CURVE, LAST_PRICE, prepare_market
from cbi_pipeline.evaluation.bootstrap import Interval, ratio_interval, resample, share_interval
from cbi_pipeline.evaluation.metrics import SESSIONS_PER_MONTH
from cbi_pipeline.evaluation.significance import (
    diebold_mariano,
    direction_test,
    fixed_b_critical_value,
    model_confidence_set,
    weighted_covariance_variance,
    weighted_periodogram_variance,
)

STARTER = Path(__file__).resolve().parent.parent / "data" / "starter"
BLOCK_SESSIONS = 63
PERMUTATIONS = 300
SPANS = {"2013 to 2024": ("2013-01-01", "2024-12-31"), "2018-12-24 to 2023-12-29": ("2018-12-24", "2023-12-29")}
ENTRIES = (LAST_PRICE, FUTURES_CURVE, HALF_CURVE, ANCHOR)
PAIRS = ((ANCHOR, LAST_PRICE), (FUTURES_CURVE, LAST_PRICE), (ANCHOR, FUTURES_CURVE))
NOMINAL = 0.05
SET_EVERY, SET_DRAWS = 3, 299
"""The confidence set is slow: it is measured on every third permutation, with fewer draws."""


@dataclass(frozen=True)
class Rows:
    """Common rows of some entries at one horizon: forecast and 80 % interval as log returns, by entry."""

    months: int
    start: np.ndarray
    target: np.ndarray
    forecast: dict[str, np.ndarray]
    low: dict[str, np.ndarray]
    high: dict[str, np.ndarray]

    @property
    def horizon_rows(self) -> int:
        """Rows that one horizon spans."""
        return self.months * SESSIONS_PER_MONTH


def permuted_log_prices(front: pd.Series, count: int, seed: int) -> np.ndarray:
    """[count, sessions] log price paths of permuted daily changes; a random rotation moves the seams of the blocks."""
    rng = np.random.default_rng(seed)
    changes = np.diff(np.log(front.to_numpy()))
    paths = np.zeros((count, len(front)))
    for path in paths:
        blocks = np.array_split(np.roll(changes, rng.integers(len(changes))), len(changes) // BLOCK_SESSIONS)
        path[1:] = np.cumsum(np.concatenate([blocks[k] for k in rng.permutation(len(blocks))]))
    return paths


def common_rows(record: pd.DataFrame, front: pd.Series, entries: tuple[str, ...], months: int) -> Rows:
    known = record[(record["horizon_months"] == months) & record["target_date"].isin(front.index)]
    tables = {
        name: np.log(known[name] / known["last_price"])
        .to_frame("value")
        .assign(entry=known["entry"], date=known["as_of_date"])
        .pivot(index="date", columns="entry", values="value")[list(entries)]
        .dropna()
        for name in ("predicted_price", "q10", "q90")
    }
    dates = tables["predicted_price"].index
    target = known.drop_duplicates("as_of_date").set_index("as_of_date").loc[dates, "target_date"]
    forecast, low, high = ({entry: table[entry].to_numpy() for entry in entries} for table in tables.values())
    index = pd.DatetimeIndex(front.index)
    return Rows(months, index.get_indexer(dates), index.get_indexer(pd.DatetimeIndex(target)), forecast, low, high)


def pair_rejections(rows: Rows, pair: tuple[str, str], paths: np.ndarray, drift: float) -> Iterator[dict[str, bool]]:
    first, second = (rows.forecast[entry] for entry in pair)
    n, h = len(first), rows.horizon_rows
    expected = first**2 - second**2 - 2 * (first - second) * drift * (rows.target - rows.start)
    m, bandwidth, name = int(n ** (1 / 3)), int(n**0.5), f"{pair[0]} against {pair[1]}"
    for path in paths:
        y = path[rows.target] - path[rows.start]
        losses, rival = (y - first) ** 2 - expected.mean(), (y - second) ** 2
        d = losses - rival
        periodogram = d.mean() / np.sqrt(weighted_periodogram_variance(d, m) / n)
        covariance = d.mean() / np.sqrt(weighted_covariance_variance(d, bandwidth) / n)
        rejected = {
            f"DM, WPE (default): {name}": diebold_mariano(losses, rival, h).p_two_sided < NOMINAL,
            f"DM, WPE, every 21st row: {name}": diebold_mariano(losses[::21], rival[::21], rows.months).p_two_sided
            < NOMINAL,
            f"DM, WPE, m = T^(1/3): {name}": abs(periodogram) > student_t.ppf(1 - NOMINAL / 2, 2 * m),
            f"DM, WCE (2 horizons): {name}": diebold_mariano(losses, rival, h, "wce").p_two_sided < NOMINAL,
            f"DM, WCE, M = T^(1/2): {name}": abs(covariance) > fixed_b_critical_value(bandwidth / n, 0.975),
        }
        if pair[1] == LAST_PRICE:
            noise = diebold_mariano((y - first) ** 2, rival, h)
            rejected[f"DM, WPE, one-sided, the entry is noise: {name}"] = noise.p_less < NOMINAL
        yield rejected


def pesaran_timmermann_1992(predicted: np.ndarray, realised: np.ndarray) -> float:
    """The statistic of Pesaran and Timmermann (1992), standard normal for independent rows."""
    n, hit = len(predicted), float(np.mean((predicted > 0) == (realised > 0)))
    x, y = float(np.mean(predicted > 0)), float(np.mean(realised > 0))
    chance = y * x + (1 - y) * (1 - x)
    of_hit = chance * (1 - chance) / n
    of_chance = ((2 * y - 1) ** 2 * x * (1 - x) + (2 * x - 1) ** 2 * y * (1 - y)) / n
    of_chance += 4 * y * x * (1 - y) * (1 - x) / n**2
    return (hit - chance) / np.sqrt(of_hit - of_chance)


def entry_rejections(rows: Rows, entry: str, paths: np.ndarray) -> Iterator[dict[str, bool]]:
    f = rows.forecast[entry]
    draws = resample(len(f), rows.horizon_rows, seed=0)
    outcomes = paths[:, rows.target] - paths[:, rows.start]
    covered = (outcomes >= rows.low[entry]) & (outcomes <= rows.high[entry])
    same_sign = (outcomes > 0) == (f > 0)
    ratio = np.sqrt(np.mean((outcomes - f) ** 2) / np.mean(outcomes**2))
    for y, inside, hit in zip(outcomes, covered, same_sign, strict=True):
        direction = direction_test(f, y, rows.horizon_rows).test
        yield {
            f"direction, one-sided (default): {entry}": direction.p_greater < NOMINAL,
            f"direction, two-sided: {entry}": direction.p_two_sided < NOMINAL,
            f"direction, variance of 1992: {entry}": abs(pesaran_timmermann_1992(f, y)) > norm.ppf(1 - NOMINAL / 2),
            f"95 % interval of the RMSE ratio: {entry}": misses(ratio_interval(draws, (y - f) ** 2, y**2), ratio),
            f"95 % interval of directional accuracy: {entry}": misses(share_interval(draws, hit), same_sign.mean()),
            f"95 % interval of 80 % coverage: {entry}": misses(share_interval(draws, inside), covered.mean()),
        }


def misses(interval: Interval, truth: float) -> bool:
    return not interval.low <= truth <= interval.high


def set_rejections(rows: Rows, paths: np.ndarray, drift: float) -> Iterator[dict[str, bool]]:
    ahead = drift * (rows.target - rows.start)
    for number, path in enumerate(paths):
        y = path[rows.target] - path[rows.start]
        losses = pd.DataFrame({e: (y - f) ** 2 - np.mean(f**2 - 2 * f * ahead) for e, f in rows.forecast.items()})
        held = model_confidence_set(losses, rows.horizon_rows, seed=number, draws=SET_DRAWS)
        yield {f"75 % confidence set of {len(ENTRIES)} equal entries loses one": len(held.included) < len(ENTRIES)}


def rejection_rates(
    record: pd.DataFrame, front: pd.Series, permutations: int, months: int, with_set: bool = True
) -> pd.Series:
    """Share of permutations rejected by each test at one horizon, index its name, in the order of the table."""
    paths = permuted_log_prices(front, permutations, seed=months)
    drift = float(np.diff(np.log(front.to_numpy())).mean())
    parts = [
        *(pair_rejections(common_rows(record, front, pair, months), pair, paths, drift) for pair in PAIRS),
        *(entry_rejections(common_rows(record, front, (e,), months), e, paths) for e in (ANCHOR, FUTURES_CURVE)),
    ]
    if with_set:
        parts.append(set_rejections(common_rows(record, front, ENTRIES, months), paths[::SET_EVERY], drift))
    rates = pd.concat([pd.DataFrame(list(part)).mean() for part in parts])
    return rates.sort_index(key=lambda names: pd.Index([str(name).split(":")[0] for name in names]), kind="stable")


def main(permutations: int) -> None:
    market = prepare_market(load_tables(STARTER))
    record = anchor_record(market, 2013, 2024)
    for title, (first, last) in SPANS.items():
        rows = record[record["as_of_date"].between(first, last)]
        print(f"\nAs-of dates {title}, {permutations} permutations, percent rejected\n")
        print(f"| test | {' | '.join(f'{h} m' for h in HORIZONS_MONTHS)} |\n|---|{'---|' * len(HORIZONS_MONTHS)}")
        rates = pd.DataFrame({h: rejection_rates(rows, market.front, permutations, h) for h in HORIZONS_MONTHS})
        for name, row in rates.iterrows():
            print(f"| {name} | {' | '.join(f'{100 * rate:.1f}' for rate in row)} |")
        sizes = [len(common_rows(rows, market.front, (ANCHOR, LAST_PRICE), h).start) for h in HORIZONS_MONTHS]
        blocks = [f"{n} ({n / (h * SESSIONS_PER_MONTH):.0f})" for n, h in zip(sizes, HORIZONS_MONTHS, strict=True)]
        print(f"| rows (n_eff) of the anchor | {' | '.join(blocks)} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else PERMUTATIONS)
