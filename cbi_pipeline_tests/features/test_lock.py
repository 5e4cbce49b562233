from __future__ import annotations

import pytest
from pydantic import ValidationError

from cbi_pipeline.contracts.feature_lock import FeatureLock
from cbi_pipeline.errors import FeatureError
from cbi_pipeline.features import lock as module
from cbi_pipeline.features.catalogue import CATALOGUE, FEATURE_NAMES
from cbi_pipeline.features.lock import check_lock, lock_features

CHOSEN = FEATURE_NAMES[3:35]


@pytest.fixture
def lock():
    return lock_features(CHOSEN, [CHOSEN[4]])


def test_a_lock_is_in_the_order_of_the_catalogue_whatever_was_passed(lock):
    again = lock_features(reversed(CHOSEN), [CHOSEN[4]])
    assert again == lock
    assert (again.names, again.dtype, again.required_by_network) == (CHOSEN, "float32", (CHOSEN[4],))
    assert lock_features(CHOSEN[1:]).hash != lock.hash
    assert FeatureLock.model_validate_json(lock.model_dump_json()) == lock


def test_the_frame_of_this_version_is_served(lock, starter_features):
    check_lock(lock, starter_features)
    check_lock(lock, starter_features[list(CHOSEN)])


def test_another_order_is_refused(lock, starter_features):
    columns = list(starter_features.columns)
    columns[10], columns[20] = columns[20], columns[10]
    with pytest.raises(FeatureError, match=r"another order.*To fix"):
        check_lock(lock, starter_features[columns])


def test_another_dtype_is_refused(lock, starter_features):
    with pytest.raises(FeatureError, match=rf"^{CHOSEN[2]}: it is float64"):
        check_lock(lock, starter_features.astype({CHOSEN[2]: "float64"}))


def test_another_name_is_refused(lock, starter_features):
    with pytest.raises(FeatureError, match=rf"^{CHOSEN[0]}: the served frame lacks"):
        check_lock(lock, starter_features.rename(columns={CHOSEN[0]: "renamed"}))


def test_another_formula_is_refused(lock, starter_features, monkeypatch):
    import dataclasses

    changed = [
        dataclasses.replace(f, formula_version=f.formula_version + 1) if f.name == CHOSEN[-1] else f for f in CATALOGUE
    ]
    monkeypatch.setattr(module, "CATALOGUE", tuple(changed))
    with pytest.raises(FeatureError, match="not computed like that"):
        check_lock(lock, starter_features)


def test_a_feature_that_is_not_chosen_may_change_its_formula(lock, starter_features, monkeypatch):
    import dataclasses

    changed = [dataclasses.replace(f, formula_version=9) if f.name == FEATURE_NAMES[0] else f for f in CATALOGUE]
    monkeypatch.setattr(module, "CATALOGUE", tuple(changed))
    check_lock(lock, starter_features)


@pytest.mark.parametrize(
    "change",
    [
        {"names": CHOSEN[::-1]},
        {"names": (*CHOSEN[:-1], "another")},
        {"dtype": "float64"},
        {"formula_versions": (2, *[1] * (len(CHOSEN) - 1))},
        {"hash": "0" * 64},
        {"names": (CHOSEN[0], *CHOSEN[:-1])},
        {"required_by_network": ("elsewhere",)},
    ],
)
def test_a_lock_that_was_altered_cannot_be_read(lock, change):
    with pytest.raises(ValidationError):
        FeatureLock.model_validate({**lock.model_dump(), **change})


def test_only_features_of_the_catalogue_can_be_locked():
    with pytest.raises(FeatureError, match="no such feature"):
        lock_features(["an invention"])
