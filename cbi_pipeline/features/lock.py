"""Make and enforce a model's feature lock against the catalogue and against a served frame."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cbi_pipeline.contracts.feature_lock import FeatureLock, lock_hash
from cbi_pipeline.errors import FeatureError
from cbi_pipeline.features.catalogue import CATALOGUE, DTYPE, FEATURE_NAMES

if TYPE_CHECKING:
    import pandas as pd

_RETRAIN = "retrain with `cbi run`, or use the version of CBI that wrote the model."


def lock_features(chosen: Iterable[str], required_by_network: Iterable[str] = ()) -> FeatureLock:
    """Lock some features of the catalogue, in its order and dtype.

    Raises:
        FeatureError: a name is not in the catalogue.
    """
    wanted, required = set(chosen), set(required_by_network)
    unknown = sorted((wanted | required) - set(FEATURE_NAMES))
    if unknown:
        raise FeatureError(", ".join(unknown), "no such feature is in the catalogue.", "choose from FEATURE_NAMES.")
    names = tuple(name for name in FEATURE_NAMES if name in wanted | required)
    versions = _versions(names)
    return FeatureLock(
        names=names,
        formula_versions=versions,
        dtype=DTYPE,
        hash=lock_hash(names, versions, DTYPE),
        required_by_network=tuple(name for name in names if name in required),
    )


def check_lock(lock: FeatureLock, frame: pd.DataFrame) -> None:
    """Refuse a frame whose chosen columns are not those of the lock.

    Args:
        lock: of a verified model.
        frame: [T, F] served features; columns that were not chosen may be among them.

    Raises:
        FeatureError: a chosen column is absent or in another place among the chosen, has another dtype, or its
            formula in this catalogue has another version.
    """
    served = tuple(name for name in frame.columns if name in set(lock.names))
    absent = [name for name in lock.names if name not in served]
    if absent:
        raise FeatureError(", ".join(absent), "the served frame lacks features that the model was locked to.", _RETRAIN)
    if served != lock.names:
        moved = next(name for name, found in zip(lock.names, served, strict=False) if name != found)
        rule = "the served features are in another order than the model was locked to."
        raise FeatureError(moved, rule, "serve the frame of `build_features` as it is.")
    other = [name for name in lock.names if str(frame[name].dtype) != lock.dtype]
    if other:
        rule = f"it is {frame[other[0]].dtype}, the model was locked to {lock.dtype}."
        raise FeatureError(other[0], rule, "serve the frame of `build_features` as it is.")
    unknown = [name for name in lock.names if name not in FEATURE_NAMES]
    if unknown or lock_hash(lock.names, _versions(lock.names), DTYPE) != lock.hash:
        rule = f"the chosen features of the model ({lock.hash[:12]}) are not computed like that in this version."
        raise FeatureError(f"lock {lock.hash[:12]}", rule, _RETRAIN)


def _versions(names: tuple[str, ...]) -> tuple[int, ...]:
    versions = {feature.name: feature.formula_version for feature in CATALOGUE}
    return tuple(versions[name] for name in names)
