"""The loss of a cell by epoch, as a picture small enough to lie in the metadata of an asset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, Final

_COLOURS: Final = 8
"""Colours of the picture: enough for two kinds of line with soft edges, at a fraction of the bytes."""


def loss_curve_png(histories: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]) -> bytes:
    """Draw training and validation loss by epoch, one panel a target, one pair of lines a member.

    Args:
        histories: of each target, the epochs of each member; an epoch has `epoch`, `train_loss`, `validation_loss`.
            Epoch 0 is the untrained network.

    Returns:
        PNG of 480 x 144 pixels, a few KB.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    with mpl.rc_context({"font.size": 7}):
        figure = Figure(figsize=(4.8, 1.44), dpi=100, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(histories), squeeze=False)[0]
        for panel, (target, members) in zip(panels, histories.items(), strict=True):
            for number, epochs in enumerate(members):
                for name, colour in (("train_loss", "tab:blue"), ("validation_loss", "tab:red")):
                    at, losses = [epoch["epoch"] for epoch in epochs], [epoch[name] for epoch in epochs]
                    label = name.removesuffix("_loss") if number == 0 else None
                    panel.plot(at, losses, color=colour, marker=".", linewidth=1, label=label)
            panel.set_title(target, fontsize=7)
            panel.legend(frameon=False)
        canvas.draw()
        picture = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert("RGB")
    file = BytesIO()
    picture.quantize(_COLOURS).save(file, "PNG", optimize=True)
    return file.getvalue()


def as_markdown(png: bytes, text: str) -> str:
    """Markdown that holds the picture itself, with a text for readers who cannot see it."""
    from base64 import b64encode

    return f"![{text}](data:image/png;base64,{b64encode(png).decode()})"
