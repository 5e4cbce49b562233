"""Charts of the documentation: a PNG that carries a digest of what it shows, so that a stale one is noticed without
comparing pixels."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cbi_pipeline.errors import CbiError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DIGEST: Final = "Source"
_DPI: Final = 110


def to_png(figure: Figure, digest: str) -> bytes:
    """The figure as a PNG file that carries the digest."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    target = BytesIO()
    metadata = {_DIGEST: digest, "Software": None}
    FigureCanvasAgg(figure).print_figure(target, format="png", dpi=_DPI, facecolor="white", metadata=metadata)
    return target.getvalue()


def check_png(path: Path, digest: str, error: type[CbiError], command: str) -> None:
    """Refuse a chart that does not carry the digest.

    Args:
        path: the chart, below docs/images.
        digest: of what the starter bundle has.
        error: what is raised.
        command: makes the chart anew.

    Raises:
        CbiError: of the kind `error`: there is no such file, or it shows something else.
    """
    from PIL import Image

    subject, fix = f"docs/images/{path.name}", f"run `{command}`, and commit what it writes."
    if not path.is_file():
        raise error(subject, "There is no such file.", fix)
    with Image.open(path) as image:
        found = image.info.get(_DIGEST)
    if found != digest:
        raise error(subject, "It does not show what the starter bundle has.", fix)
