from __future__ import annotations

import base64
import re
from io import BytesIO

import pytest
from PIL import Image

from cbi_pipeline.reports.loss_curve import as_markdown, loss_curve_png

FULL = {"anchored": (4, 3), "raw": (12, 3)}
"""Target: epochs and members of the largest profile."""


def histories(shape: dict[str, tuple[int, int]], *, end: float = 0.5):
    def epoch(number: int, member: int, last: int):
        loss = 1.0 + member / 10 - (1.0 - end) * number / last
        return {"epoch": number, "train_loss": loss, "validation_loss": loss + 0.07 * (number % 3)}

    return {
        target: [[epoch(number, member, epochs) for number in range(epochs + 1)] for member in range(members)]
        for target, (epochs, members) in shape.items()
    }


@pytest.mark.parametrize("shape", [FULL, {"anchored": (2, 1), "raw": (2, 1)}, {"anchored": (40, 5)}])
def test_the_picture_is_a_small_sound_png(shape):
    png = loss_curve_png(histories(shape))
    assert len(png) < 8_000
    with Image.open(BytesIO(png)) as picture:
        picture.verify()
        assert (picture.format, picture.size) == ("PNG", (480, 144))


def test_other_losses_are_another_picture():
    assert loss_curve_png(histories(FULL)) == loss_curve_png(histories(FULL))
    assert loss_curve_png(histories(FULL)) != loss_curve_png(histories(FULL, end=0.2))


def test_the_markdown_holds_the_picture_itself():
    png = loss_curve_png(histories(FULL))
    text = as_markdown(png, "loss by epoch")
    found = re.fullmatch(r"!\[loss by epoch\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)", text)
    assert found is not None
    assert base64.b64decode(found[1]) == png
