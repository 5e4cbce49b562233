"""Deliberate leaks, and which gate stops each of them before the champion moves.

A network of the smoke profile learns too little to give a leak away, and one that keeps its untrained weights cannot:
the parity gate stops what was fitted on the wrong rows, whatever that did to a figure. A source that lies about when it
knew something looks the same in every replay; only figures that are too good speak against it: those of whatever reads
every feature.
"""

from __future__ import annotations

import pytest

from cbi_pipeline.contracts.verdict import BENCHMARK, REPLAY, TRIPWIRE
from cbi_pipeline.errors import ModelError
from cbi_pipeline.registry.champion import CHAMPION_FILE
from cbi_pipeline_tests.leaks import planted
from cbi_pipeline_tests.leaks.pipeline import FIVE_FOLDS, ONE_FOLD, score_and_judge
from cbi_pipeline_tests.projects import copy_project

pytestmark = pytest.mark.slow


def leaky(finished_run, folder):
    """Settings of a copy of a project with an honest champion; nothing that it computed is found again."""
    return copy_project(finished_run.settings, folder / "copy", artifacts_dir=folder / "leaky")


def refused(judged, before: bytes, gate: str) -> None:
    """The leaky model does not become the champion, and the refusal names the gate."""
    candidate = judged.refit()
    with pytest.raises(ModelError, match=gate):
        judged.promote(candidate)
    assert (judged.settings.models_dir / CHAMPION_FILE).read_bytes() == before


@pytest.mark.parametrize(
    "plant",
    [
        planted.unpurged_folds,
        planted.scaler_of_everything,
        planted.feature_of_next_month,
        planted.target_among_features,
    ],
)
def test_what_the_past_could_not_have_known_fails_the_replay(finished_run, tmp_path, monkeypatch, plant):
    settings = leaky(finished_run, tmp_path)
    before = (settings.models_dir / CHAMPION_FILE).read_bytes()
    plant(monkeypatch)
    judged = score_and_judge(settings, ONE_FOLD)
    assert judged.failed()[REPLAY] == [3, 6, 9, 12]
    refused(judged, before, REPLAY)


def test_a_source_that_lies_about_its_time_fails_the_evidence_gates_and_no_replay(finished_run, tmp_path, monkeypatch):
    settings = leaky(finished_run, tmp_path)
    before = (settings.models_dir / CHAMPION_FILE).read_bytes()
    planted.target_in_a_source(monkeypatch)
    judged = score_and_judge(settings, FIVE_FOLDS)
    failed = judged.failed()
    assert 6 in failed[BENCHMARK], "the trees find the leak, and no honest network comes near them"
    assert REPLAY not in failed
    assert 6 in failed[TRIPWIRE], "the networks learned nothing of it, the trees did"
    refused(judged, before, BENCHMARK)
