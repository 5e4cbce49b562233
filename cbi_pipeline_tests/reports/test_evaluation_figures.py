"""The pictures of a scorecard: size, and that they show what they are given and nothing else."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.reports.evaluation_figures import loss_png, skill_png


def record(entry: str, ratio: float | None, low: float | None = 0.9, high: float | None = 1.1):
    figures = {"rmse_ratio": ratio, "rmse_ratio_low": low, "rmse_ratio_high": high}
    return {"entry": entry} | {f"{name}_{h}m": value for h in HORIZONS_MONTHS for name, value in figures.items()}


def losses(**factors: float) -> dict[int, pd.DataFrame]:
    """Squared errors of a random walk; each entry's are a multiple of the last price's."""
    days = pd.bdate_range("2019-01-01", periods=500, name="as_of_date")
    base = np.abs(np.random.default_rng(0).normal(size=500))
    frame = pd.DataFrame({"last_price": base} | {name: factor * base for name, factor in factors.items()}, index=days)
    return dict.fromkeys(HORIZONS_MONTHS, frame)


BOARD = [
    record("tcn", 0.95),
    record("tcn_raw", 1.2),
    record("last_price", 1.0, 1.0, 1.0),
    record("ridge", 1.7, 1.2, 2.5),
]


@pytest.mark.parametrize(
    ("png", "size"), [(skill_png(BOARD), (900, 330)), (loss_png(losses(anchor=0.9, futures_curve=1.1)), (900, 250))]
)
def test_a_picture_is_small(png: bytes, size: tuple[int, int]) -> None:
    with Image.open(BytesIO(png)) as image:
        assert image.size == size
    assert len(png) < 20_000


def test_skill_shows_ratios_and_intervals_of_all_but_fixed_weights() -> None:
    shown = skill_png(BOARD)
    assert skill_png([record("tcn", 0.95), *BOARD[2:]]) == shown
    for changed in (
        record("tcn", 0.96),
        record("tcn", 0.95, 0.85),
        record("tcn", 0.95, None, None),
        record("tcn", None),
    ):
        assert skill_png([changed, *BOARD[1:]]) != shown


def test_loss_draws_an_entry_once() -> None:
    shown = loss_png(losses(anchor=0.9))
    assert loss_png(losses(anchor=0.9, tcn=0.9)) == shown
    assert loss_png(losses(anchor=0.9, ridge=0.8)) == shown
    assert loss_png(losses(anchor=0.9, tcn=0.8)) != shown
