"""Runs that break off: a cell that cannot be trained, a process that is killed. What is finished is kept."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from cbi_pipeline.contracts.references import FailedCellRef
from cbi_pipeline.errors import CbiError, ModelError
from cbi_pipeline.modeling import training
from cbi_pipeline.modeling.config import ARCHITECTURES, TARGETS
from cbi_pipeline.registry.champion import read_champion
from cbi_pipeline.warehouse import open_warehouse
from cbi_pipeline_tests.projects import (
    REPOSITORY,
    forecasts,
    load_cells,
    run_job,
    stored,
    without_stamps,
)

pytestmark = pytest.mark.slow


def forget_cells(settings, architecture):
    """Delete the stored out-of-fold cells of an architecture, as if they had never been trained."""
    shutil.rmtree(settings.artifacts_dir / "cells" / load_cells(settings)[architecture].path.name)


def test_a_failed_cell_is_named_stops_what_follows_and_is_all_that_is_trained_again(
    finished_run, copied_settings, monkeypatch
):
    trained, train_cell = [], training.train_cell

    def watched(cell, config, *rest, fails=(), **options):
        trained.append((config.architecture, config.target))
        if config.architecture in fails:
            raise ModelError("epoch 1 batch 3", "The training loss is nan.", "lower the learning rate.")
        return train_cell(cell, config, *rest, **options)

    for architecture in ("lstm_mha", "tcn"):
        forget_cells(copied_settings, architecture)
    (copied_settings.models_dir / "champion.json").unlink()

    monkeypatch.setattr(training, "train_cell", partial(watched, fails=("lstm_mha",)))
    with pytest.raises(CbiError, match="every_cell_trained") as refusal:
        run_job(copied_settings)
    assert "lstm_mha fold_1: " in refusal.value.rule
    assert "epoch 1 batch 3: The training loss is nan." in refusal.value.rule
    assert "tcn" not in refusal.value.rule
    assert {name for name, _ in trained} == {"lstm_mha", "tcn"}, "the cells after the failed one go on"
    folder = copied_settings.dagster_dir / "references" / "trained_models"
    failed = FailedCellRef.model_validate_json((folder / "lstm_mha|fold_1.json").read_text())
    assert "The training loss is nan." in failed.reason
    assert read_champion(copied_settings.models_dir) is None
    assert stored(copied_settings) == finished_run.stored

    trained.clear()
    monkeypatch.setattr(training, "train_cell", watched)
    outcome, events = run_job(copied_settings)
    assert trained == [("lstm_mha", target) for target in TARGETS]
    assert "1 cells trained" in events["training"].note
    assert "2 re-used" in events["training"].note
    assert outcome.forecast == finished_run.outcome.forecast
    assert stored(copied_settings) == finished_run.stored


def test_a_run_that_is_killed_goes_on_from_its_last_finished_cell(finished_run, copied_settings):
    """SIGKILL after the first cell: no handler runs. The next run trains the rest, and all is as in a run left alone.

    Features, anchors, scalers and selection are there from the start, so that the first thing to do is to train.
    """
    undisturbed = weights(copied_settings)
    for folder in (copied_settings.artifacts_dir / "cells", copied_settings.artifacts_dir / "scorecard"):
        shutil.rmtree(folder)
    shutil.rmtree(copied_settings.models_dir)
    copied_settings.warehouse_path.unlink()

    killed = start_run(copied_settings)
    deadline = time.monotonic() + 300
    while not finished_cells(copied_settings):
        assert killed.poll() is None, killed.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait(timeout=60) == -signal.SIGKILL
    before = finished_cells(copied_settings)
    assert 1 <= len(before) < len(ARCHITECTURES), "the kill came too late to show anything"
    for published in ("predictions", "metrics", "gate_verdicts"):
        assert not open_warehouse(copied_settings).query(f"SELECT * FROM {published}").num_rows

    again = start_run(copied_settings)
    out, err = again.communicate(timeout=600)
    assert again.returncode == 0, err
    assert f"{len(ARCHITECTURES) - len(before)} cells trained" in out
    assert f"{len(before)} re-used" in out
    after = finished_cells(copied_settings)
    assert {path: after[path] for path in before} == before, "a finished cell was written again"
    assert weights(copied_settings) == undisturbed
    assert without_stamps(forecasts(copied_settings)) == without_stamps(forecasts(finished_run.settings))


def weights(settings):
    """The bytes of every stored network, by path within the store: of the cells, and of the champion."""
    cells = (settings.artifacts_dir / "cells").rglob("*.safetensors")
    return {path.relative_to(settings.artifacts_dir): path.read_bytes() for path in cells}


def start_run(settings):
    """`cbi run` in a process of its own, with the settings of a test project."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("CBI_")}
    own |= {"CBI_PROJECT_DIR": str(settings.project_dir), "CBI_STARTER_DIR": str(settings.starter_dir)}
    own |= {"CBI_DEVICE": settings.device, "CBI_THREADS": str(settings.threads), "COLUMNS": "400"}
    command = [sys.executable, "-m", "cbi_pipeline.cli", "run", "--profile", "smoke"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY, env=own)


def finished_cells(settings):
    """Index file of every stored cell, and when it was written."""
    return {path: path.stat().st_mtime_ns for path in settings.artifacts_dir.glob("cells/[0-9a-f]*/artifact.json")}
