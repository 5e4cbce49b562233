"""What decides how a network is made, beside data and fold: it binds the verdicts on scored networks to their refit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cbi_pipeline.contracts.references import CellRef
from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling.config import Target
from cbi_pipeline.provenance import content_key
from cbi_pipeline.stages.files import read_json

ANCHORED: Final[Target] = "anchored"
"""The target that is served."""


def training_key(cell: CellRef) -> str:
    """Hash of the served target's configuration, seed included, code, device type, threads and library versions.

    Which of the features the network is given has no part in it: the refit knows the locked ones alone.
    """
    index = read_json(cell, "artifact.json")
    made = {name: index["inputs"][name] for name in ("code", "device", "threads")}
    return content_key(config=index["inputs"]["config"][ANCHORED], libraries=index["libraries"], **made)


def shared_training_key(architecture: str, cells: Iterable[CellRef]) -> str:
    """The key that all cells of an architecture have in common.

    Raises:
        ModelError: they were trained by different settings, seeds or code.
    """
    keys = {training_key(cell) for cell in cells}
    if len(keys) != 1:
        raise ModelError(
            f"scorecard, {architecture}",
            "its folds were trained by different settings, seeds, code or libraries.",
            "materialise all partitions of trained_models, then the scorecard, or run `cbi run`.",
        )
    return keys.pop()
