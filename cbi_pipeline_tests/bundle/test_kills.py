"""Kill -9 in the middle of a build, an upload and a copy: the whole bundle or none, and the next run ends the work."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cbi_pipeline.bundle.gcs import GcsBundleStore
from cbi_pipeline.bundle.listing import remote_bundles
from cbi_pipeline.bundle.store import LocalBundleStore
from cbi_pipeline.bundle.sync import sync_bundle
from cbi_pipeline.bundle.verify import verify_bundle
from cbi_pipeline_tests.bundle.workers import DONE, NOTHING_TO_DO, Workers, workers

SEED = 20241231
"""Of the moments below; a failure names its kill."""
KILLS = {"build": 8, "write": 14, "publish": 14, "sync": 14}
KILLED = -signal.SIGKILL

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def forked(small_bundle: Path, _gcs_url: str, tmp_path_factory) -> Iterator[Workers]:
    log = tmp_path_factory.mktemp("workers") / "errors.txt"
    with workers(small_bundle, log) as running:
        yield running
    assert "Traceback" not in log.read_text(), log.read_text()


def seconds(forked: Workers, action: str, *arguments: object) -> float:
    started = time.monotonic()
    assert forked.run(action, *arguments) == DONE
    return time.monotonic() - started


def kill_somewhere(forked: Workers, moment: float, action: str, *arguments: object) -> int:
    """Exit code of a worker that is killed after `moment` seconds, unless it has ended by then."""
    pid = forked.start(action, *arguments)
    time.sleep(moment)
    os.kill(pid, signal.SIGKILL)  # not yet waited for, so the id is still the worker's
    return forked.wait(pid)


def moments(action: str, longest: float, ended: Counter[int]) -> Iterator[tuple[int, float]]:
    """Random moments until half of `KILLS` hit a worker at work: one that got faster since it was timed escapes."""
    draw = random.Random(f"{SEED} {action}")
    for number in range(5 * KILLS[action]):
        if number >= KILLS[action] and ended[KILLED] >= KILLS[action] // 2:
            return
        yield number, draw.uniform(0, longest)


@pytest.mark.parametrize("action", ["build", "write"])
def test_a_killed_build_leaves_the_whole_bundle_or_none(
    forked: Workers, small_bundle: Path, tmp_path: Path, action: str
) -> None:
    longest = seconds(forked, action, tmp_path / "first")
    ended: Counter[int] = Counter()
    for number, moment in moments(action, longest, ended):
        store = tmp_path / f"store-{number}"
        ended[code := kill_somewhere(forked, moment, action, store)] += 1
        kill = f"kill {number} of {action}, {moment:.4f} s, exit code {code}"
        left = LocalBundleStore(store).list(rows=True)
        assert [status.problem for status in left] in ([], [None]), kill
        assert forked.run(action, store) == (NOTHING_TO_DO if left else DONE), kill
        assert verify_bundle(store / small_bundle.name).content_sha256, kill
        if not left:
            assert [path.name for path in store.iterdir()] == [small_bundle.name], f"{kill}: leavings"
        shutil.rmtree(store)
    assert ended[KILLED] >= KILLS[action] // 2, ended


def test_a_killed_upload_is_absent_or_whole(
    forked: Workers, bundle_uri: str, small_bundle: Path, tmp_path: Path
) -> None:
    longest = seconds(forked, "publish", f"{bundle_uri}/first")
    ended: Counter[int] = Counter()
    for number, moment in moments("publish", longest, ended):
        store = GcsBundleStore(f"{bundle_uri}/{number}")
        ended[code := kill_somewhere(forked, moment, "publish", store.location)] += 1
        kill = f"kill {number}, {moment:.4f} s, exit code {code}"
        sealed = store.sealed()
        assert sealed in ((), (small_bundle.name,)), kill
        assert all(one.problem is None for one in remote_bundles(store) if one.version in sealed), kill
        assert forked.run("publish", store.location) == (NOTHING_TO_DO if sealed else DONE), kill
        assert [one.problem for one in remote_bundles(store)] == [None], kill
    sync_bundle(store, small_bundle.name, tmp_path / "here")
    assert ended[KILLED] >= KILLS["publish"] // 2, ended


def test_a_killed_copy_is_absent_or_whole(forked: Workers, bundle_uri: str, small_bundle: Path, tmp_path: Path) -> None:
    assert forked.run("publish", bundle_uri) == DONE
    longest = seconds(forked, "sync", bundle_uri, tmp_path / "first")
    ended: Counter[int] = Counter()
    for number, moment in moments("sync", longest, ended):
        here = tmp_path / f"here-{number}"
        ended[code := kill_somewhere(forked, moment, "sync", bundle_uri, here)] += 1
        kill = f"kill {number}, {moment:.4f} s, exit code {code}"
        left = LocalBundleStore(here).list(rows=True)
        assert [status.problem for status in left] in ([], [None]), kill
        assert forked.run("sync", bundle_uri, here) == (NOTHING_TO_DO if left else DONE), kill
        assert verify_bundle(here / small_bundle.name).content_sha256, kill
        assert {path.name for path in here.iterdir()} == {small_bundle.name, ".syncing.lock"}, f"{kill}: leavings"
        shutil.rmtree(here)
    assert ended[KILLED] >= KILLS["sync"] // 2, ended


def test_eight_processes_that_publish_at_once_seal_one_bundle(forked: Workers, bundle_uri: str) -> None:
    for race in range(3):
        store = GcsBundleStore(f"{bundle_uri}/race-{race}")
        started = [forked.start("publish", store.location) for _ in range(8)]
        codes = sorted(forked.wait(pid) for pid in started)
        assert codes == [DONE] + [NOTHING_TO_DO] * 7
        assert [one.problem for one in remote_bundles(store)] == [None]
