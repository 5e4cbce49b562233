"""A thousand damaged bundles: each is refused with a typed error, or proven equal to the original."""

from __future__ import annotations

import json
import resource
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cbi_pipeline.bundle.read import load_tables, read_manifest
from cbi_pipeline.bundle.store import LocalBundleStore
from cbi_pipeline.bundle.sync import sync_bundle
from cbi_pipeline.bundle.verify import verify_bundle
from cbi_pipeline.contracts.tables import RAW_TABLES
from cbi_pipeline.errors import BundleError
from cbi_pipeline_tests.bundle import mutations

MUTANTS = 1000
SECONDS_EACH = 20.0
GROWTH_BYTES = 1_500_000_000
"""Peak memory that the whole test may add; one bomb of 20 MB of text in every row of a table would be above it."""


@pytest.fixture(scope="module")
def arena(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("arena")


def files_outside(arena: Path) -> list[tuple[str, int]]:
    """Everything in the arena but the damaged bundle and what a test of links puts down."""
    skipped = ("store", "elsewhere")
    found = (path for path in arena.rglob("*") if path.relative_to(arena).parts[0] not in skipped)
    return sorted((str(path), path.lstat().st_size) for path in found)


@contextmanager
def in_time() -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < SECONDS_EACH


def equal(one: Path, other: Path) -> bool:
    tables, others = load_tables(one), load_tables(other)
    return all(tables[name].equals(others[name]) for name in RAW_TABLES) and set(tables) == set(others)


KINDS = [*mutations.UNSEALED, *mutations.RESEALED]
SEEN: Counter[tuple[str, str]] = Counter()


@settings(
    max_examples=MUTANTS,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def damaged_bundle_is_refused_or_equal(data, small_bundle: Path, arena: Path) -> None:
    kind = data.draw(st.sampled_from(KINDS), label="kind")
    shutil.rmtree(arena, ignore_errors=True)
    bundle = arena / "store" / small_bundle.name
    shutil.copytree(small_bundle, bundle)
    kind(bundle, lambda low, high: data.draw(st.integers(low, high)))
    before = files_outside(arena)
    with in_time():
        try:
            manifest = verify_bundle(bundle)
        except BundleError:
            SEEN[kind.__name__, "refused"] += 1
        else:
            SEEN[kind.__name__, "accepted"] += 1
            assert kind is mutations.flip_sealed or equal(small_bundle, bundle), "accepted, and its rows are others"
            assert (
                kind is mutations.flip_sealed or manifest.content_sha256 == read_manifest(small_bundle).content_sha256
            )
    assert files_outside(arena) == before
    if data.draw(st.integers(0, 3)) == 0:
        copied_or_not(arena, bundle, small_bundle, kind)


def copied_or_not(arena: Path, bundle: Path, small_bundle: Path, kind: object) -> None:
    """What is copied from a damaged store is the original, or nothing at all is left."""
    here = arena / "here"
    with in_time():
        try:
            copy = sync_bundle(LocalBundleStore(bundle.parent), bundle.name, here)
        except BundleError:
            SEEN["sync", "refused"] += 1
            assert [path.name for path in here.iterdir() if not path.name.startswith(".syncing")] == []
        else:
            SEEN["sync", "copied"] += 1
            assert kind is mutations.flip_sealed or equal(small_bundle, copy.path)
    assert {path.parts[len(arena.parts)] for path in map(Path, (name for name, _ in files_outside(arena)))} <= {"here"}


@pytest.mark.slow
def test_a_thousand_damaged_bundles(small_bundle: Path, arena: Path) -> None:
    SEEN.clear()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    damaged_bundle_is_refused_or_equal(small_bundle=small_bundle, arena=arena)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    verified: Counter[str] = Counter()
    for (kind, _), count in SEEN.items():
        verified[kind] += count
    del verified["sync"]
    print(json.dumps({f"{kind} {outcome}": count for (kind, outcome), count in sorted(SEEN.items())}))
    assert sum(verified.values()) >= MUTANTS
    assert set(verified) == {kind.__name__ for kind in KINDS}
    assert min(verified.values()) >= 10, verified
    assert SEEN["sync", "refused"] > 50
    assert grown < GROWTH_BYTES, f"{grown:,} bytes"


def test_the_small_bundle_is_sound(small_bundle: Path) -> None:
    manifest = verify_bundle(small_bundle)
    assert sum(entry.rows for entry in manifest.tables.values()) < 10_000
    assert all(isinstance(frame, pd.DataFrame) for frame in load_tables(small_bundle).values())


@pytest.mark.parametrize("kind", mutations.RESEALED, ids=lambda kind: kind.__name__)
def test_a_mutation_changes_the_bundle(small_bundle: Path, tmp_path: Path, kind) -> None:
    """A mutation that changed nothing would be proven equal, and prove nothing."""
    bundle = tmp_path / "x" / small_bundle.name
    shutil.copytree(small_bundle, bundle)
    numbers = iter(range(1, 1000))
    kind(bundle, lambda low, high: min(max(next(numbers) % 3, low), high))
    assert any((bundle / name).read_bytes() != (small_bundle / name).read_bytes() for name in mutations.FILES)
