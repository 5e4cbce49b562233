"""A training that is killed outright, in a process of its own, and goes on in this one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from cbi_pipeline.modeling import training
from cbi_pipeline_tests.stages.conftest import CELLS
from cbi_pipeline_tests.stages.test_training import content_of, histories_of

KILLED_AT = "tcn fold_2, raw seed 1 of 2, epoch 1"
"""In the middle of the second cell: one target is trained, the other is on its way."""

TRAIN = """
import json, sys
from pathlib import Path
import torch
from cbi_pipeline import progress, stages
from cbi_pipeline.contracts.references import FeaturesRef, FoldsRef
from cbi_pipeline.profiles import Profile
from cbi_pipeline.registry.artifact_store import ArtifactStore

given = json.loads(sys.stdin.read())
torch.set_num_threads(given["threads"])
run = stages.TrainingRun(
    FeaturesRef.model_validate(given["features"]),
    FoldsRef.model_validate(given["anchors"]),
    FoldsRef.model_validate(given["scalers"]),
    Profile.model_validate(given["profile"]),
    given["seed"],
    torch.device("cpu"),
    ArtifactStore(Path(given["store"])),
)
with progress.listening(lambda event: print(event.note, flush=True)):
    stages.train_cells([tuple(cell) for cell in given["cells"]], run)
"""


def start(lineage, store) -> subprocess.Popen[str]:
    """Another Python that trains the cells of the lineage into a store and prints its progress."""
    import torch

    given = {name: getattr(lineage, name).model_dump(mode="json") for name in ("features", "anchors", "scalers")}
    given |= {"profile": lineage.profile.model_dump(mode="json"), "seed": 1, "cells": CELLS}
    given |= {"store": str(store.root), "threads": torch.get_num_threads()}
    process = subprocess.Popen([sys.executable, "-c", TRAIN], stdin=-1, stdout=-1, text=True)
    process.stdin.write(json.dumps(given))
    process.stdin.close()
    return process


@pytest.mark.slow
def test_a_training_killed_outright_goes_on_without_training_a_finished_cell_again(lineage, other_store, monkeypatch):
    process = start(lineage, other_store)
    for line in process.stdout:
        if line.startswith(KILLED_AT):
            process.kill()
            break
    assert process.wait(timeout=60) == -signal.SIGKILL
    stored = [path.parent.name for path in other_store.root.glob("cells/*/artifact.json")]
    assert stored == [lineage.cells["tcn|fold_1"].path.name]

    real, trained = training.train_cell, []

    def train_cell(cell, config, *others):
        trained.append((config.architecture, config.target))
        return real(cell, config, *others)

    monkeypatch.setattr(training, "train_cell", train_cell)
    resumed = lineage.train(other_store)
    assert trained == [(name, target) for name in ("tcn", "nbeatsx", "nbeatsx") for target in ("anchored", "raw")]
    assert [cell.reused for cell in resumed] == [True, False, False, False]
    for one, two in zip(resumed, lineage.cells.values(), strict=True):
        assert one.key == two.key
        assert content_of(one) == content_of(two)
        assert histories_of(one) == histories_of(two)
