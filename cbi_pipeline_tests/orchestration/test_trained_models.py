"""What a run keeps of its training: the table of experiments, and what the UI shows of every cell."""

from __future__ import annotations

import base64
import json
import re
from itertools import pairwise, product

import dagster as dg
import pytest

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.references import ScorecardRef
from cbi_pipeline.contracts.warehouse import EXPERIMENTS
from cbi_pipeline.modeling.config import ARCHITECTURES, TARGETS, TrainingConfig
from cbi_pipeline.orchestration.instance import open_instance
from cbi_pipeline.orchestration.run import load_reference
from cbi_pipeline.stages.evaluation import load_scores
from cbi_pipeline.stages.publishing import experiment_id
from cbi_pipeline.stages.training import cell_record
from cbi_pipeline_tests.projects import load_cells, stored

pytestmark = pytest.mark.slow


def experiments(settings):
    return [dict(zip(EXPERIMENTS.column_names, row, strict=True)) for row in stored(settings)["experiments"]]


def test_the_experiments_table_has_a_row_per_architecture_and_target(finished_run):
    rows = experiments(finished_run.settings)
    assert sorted((row["architecture"], row["target"]) for row in rows) == sorted(product(ARCHITECTURES, TARGETS))
    assert len({row["experiment_id"] for row in rows}) == len(rows)
    scorecard = load_reference(finished_run.settings, "scorecard", ScorecardRef)
    for row in rows:
        assert (row["profile"], row["folds"], row["members"], row["device"]) == ("smoke", 1, 1, "cpu")
        assert (row["scorecard_id"], row["dataset_version"]) == (scorecard.scorecard_id, scorecard.dataset_version)
        assert row["parameters"] > 100
        assert row["training_seconds"] > 0
        config = TrainingConfig.model_validate_json(row["config"])
        assert (config.architecture, config.target) == (row["architecture"], row["target"])
        assert config.seed == finished_run.settings.seed


def test_an_experiment_has_the_figures_of_the_scorecard(finished_run):
    scores = load_scores(load_reference(finished_run.settings, "scorecard", ScorecardRef))
    common = scores[(scores["fold"] == "common") & (scores["metric"] == "rmse_ratio")]
    figures = common.set_index(["entry", "horizon_months"])["value"]
    for row in experiments(finished_run.settings):
        assert row["entry"] == row["architecture"] + {"anchored": "_lambda_1", "raw": "_raw"}[row["target"]]
        for horizon in HORIZONS_MONTHS:
            assert row[f"rmse_ratio_{horizon}m"] == figures[row["entry"], horizon]


def test_an_experiment_has_the_validation_loss_of_the_best_epoch(finished_run):
    cells = load_cells(finished_run.settings)
    for row in experiments(finished_run.settings):
        (member,) = cell_record(cells[row["architecture"]])["targets"][row["target"]]["members"]
        losses = [epoch["validation_loss"] for epoch in member["history"]]
        assert row["validation_loss"] == min(losses) == losses[member["best_epoch"]]


def test_the_identity_of_an_experiment_hangs_on_all_that_decides_it(finished_run):
    """Its own target's settings, data, fold, device, threads, code and libraries; not the other target's settings."""
    cells = load_cells(finished_run.settings)
    index = json.loads((cells["tcn"].path / "artifact.json").read_text())
    known = {row["experiment_id"] for row in experiments(finished_run.settings)}
    own = experiment_id([index], "anchored")
    assert own in known

    def changed(*path, target="anchored"):
        other = json.loads(json.dumps(index))
        part = other
        for name in path[:-1]:
            part = part[name]
        assert path[-1] in part
        part[path[-1]] = "something else"
        return experiment_id([other], target)

    inputs = set(index["inputs"])
    assert {"features", "market", "scaler", "fold", "config", "device", "threads", "code"} <= inputs
    paths = [("inputs", name) for name in inputs - {"config", "fold"}]
    paths += [("inputs", "fold", "test_start"), ("libraries", "torch")]
    own_settings = (("seed",), ("fit", "epochs"), ("network", "dropout"))
    paths += [("inputs", "config", "anchored", *path) for path in own_settings]
    identities = {changed(*path) for path in paths}
    assert len(identities) == len(paths)
    assert not identities & known
    other_target = ("inputs", "config", "raw", "fit", "epochs")
    assert changed(*other_target) == own
    assert changed(*other_target, target="raw") not in known


def test_the_log_has_a_line_a_finished_cell_and_another_every_ten_seconds_at_most(finished_run):
    with open_instance(finished_run.settings) as instance:
        logged = instance.all_logs(finished_run.outcome.run_id)
    cells = load_cells(finished_run.settings)
    finished = [entry.user_message for entry in logged if entry.user_message.startswith("architecture=")]
    for line, architecture in zip(finished, ARCHITECTURES, strict=True):
        best = ",".join(map(str, cells[architecture].best_epochs["anchored"]))
        assert line.startswith(f"architecture={architecture} fold=fold_1 reused=false seconds=")
        assert f"best_epochs_anchored={best} " in line
    at_work = [entry.timestamp for entry in logged if entry.user_message.startswith('stage="training"')]
    assert all(later - earlier > 9.9 for earlier, later in pairwise(at_work))


def test_the_ui_shows_of_every_cell_how_it_was_trained(finished_run):
    with open_instance(finished_run.settings) as instance:
        logged = instance.all_logs(finished_run.outcome.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        made = [entry.get_dagster_event().event_specific_data.materialization for entry in logged]
    shown = {m.partition: m.metadata for m in made if m.asset_key == dg.AssetKey("trained_models")}
    cells = load_cells(finished_run.settings)
    assert sorted(shown) == sorted(f"{architecture}|fold_1" for architecture in ARCHITECTURES)
    for partition, metadata in shown.items():
        cell = cells[partition.split("|")[0]]
        assert not metadata["failed"].value
        assert metadata["parameters"].value == cell.n_parameters
        assert metadata["members"].value == 1
        assert metadata["best_epochs_raw"].value == str(cell.best_epochs["raw"][0])
        assert {record.data["target"] for record in metadata["loss_by_epoch"].records} == set(TARGETS)
        picture = re.fullmatch(r"!\[.+\]\(data:image/png;base64,(.+)\)", metadata["loss_curve"].md_str)
        assert picture is not None
        assert 0 < len(base64.b64decode(picture[1])) < 8_000
