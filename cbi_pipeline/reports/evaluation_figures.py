"""Two pictures of a scorecard: skill by horizon with intervals, and loss against the last price through time.

Belongs here: drawing only. Small enough (some 10 KB each) to lie in the metadata of an asset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.evaluation.benchmarks import ANCHOR, FUTURES_CURVE, LAST_PRICE
from cbi_pipeline.reports.console import ARCHITECTURE_TITLES, ENTRY_TITLES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COMPARED: Final = (FUTURES_CURVE, "half_capped_curve", ANCHOR, *ARCHITECTURE_TITLES, "networks_lambda_1")
"""Entries whose loss is drawn through time; one whose forecasts equal those of an earlier one is left out."""
_RATIOS: Final = (0.8, 1.3)
_COLOURS: Final = 32
_GOOD, _BAD, _QUIET = "tab:blue", "tab:red", "#808080"


def skill_png(records: Sequence[Mapping[str, Any]]) -> bytes:
    """RMSE ratio to last price of each entry with its 90 % interval, one panel a horizon; red is worse than last price.

    Args:
        records: as `stages.leaderboard` makes them; networks at a fixed weight are left out. An interval that is
            missing is not drawn, one that leaves the panel is cut.

    Returns:
        PNG of 900 x 330 pixels.
    """
    networks = tuple(ARCHITECTURE_TITLES)
    shown = [r for r in records if r["entry"] in networks or not r["entry"].startswith(networks)]
    figure, panels = _panels(3.3, sharey=True)
    for panel, horizon in zip(panels, HORIZONS_MONTHS, strict=True):
        for place, record in enumerate(shown):
            ratio, low, high = (record[f"rmse_ratio{end}_{horizon}m"] for end in ("", "_low", "_high"))
            if ratio is None:
                continue
            colour = _QUIET if ratio == 1 else _GOOD if ratio < 1 else _BAD
            panel.plot(min(ratio, _RATIOS[1]), place, "o" if ratio < _RATIOS[1] else ">", color=colour, markersize=3)
            if low is not None and high is not None:
                panel.plot([low, high], [place, place], color=colour, linewidth=1)
        panel.axvline(1, color=_QUIET, linewidth=0.8)
        panel.set(title=f"{horizon} months", xlim=_RATIOS)
    panels[0].set_yticks(range(len(shown)), [ENTRY_TITLES.get(r["entry"], r["entry"]) for r in shown])
    panels[0].invert_yaxis()
    figure.supxlabel("RMSE of log returns / last price's, below 1 is better; 90 % interval", fontsize=7)
    return _png(figure)


def loss_png(losses: Mapping[int, pd.DataFrame]) -> bytes:
    """Running sum of squared errors less the last price's, in percent of the last price's total; falling is a gain.

    Args:
        losses: by horizon in months, squared errors of the entries (`evaluation.significance.squared_errors`) with
            `last_price` among them.

    Returns:
        PNG of 900 x 250 pixels.
    """
    figure, panels = _panels(2.5, sharey=False)
    for panel, horizon in zip(panels, HORIZONS_MONTHS, strict=True):
        own = losses[horizon]
        drawn = own[[entry for entry in COMPARED if entry in own]].T.drop_duplicates().T
        excess = drawn.sub(own[LAST_PRICE], axis=0).cumsum() * 100 / own[LAST_PRICE].sum()
        for place, entry in enumerate(COMPARED):
            if entry in excess:
                panel.plot(excess.index, excess[entry], color=f"C{place}", linewidth=1, label=ENTRY_TITLES[entry])
        panel.axhline(0, color=_QUIET, linewidth=0.8)
        panel.set_title(f"{horizon} months")
        panel.tick_params(axis="x", rotation=45)
    panels[0].set_ylabel("% of last price's loss")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False, fontsize=7
    )
    return _png(figure)


def _panels(height: float, *, sharey: bool) -> tuple[Figure, Sequence[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, height), dpi=100, layout="constrained")
    return figure, figure.subplots(1, len(HORIZONS_MONTHS), sharey=sharey)


def _png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    for axes in figure.axes:
        axes.title.set_fontsize(8)
        axes.tick_params(labelsize=7)
        axes.yaxis.label.set_fontsize(7)
        axes.spines[["top", "right"]].set_visible(False)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert("RGB")
    file = BytesIO()
    picture.quantize(_COLOURS).save(file, "PNG", optimize=True)
    return file.getvalue()
