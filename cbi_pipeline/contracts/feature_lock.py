"""The lock on a model's features: which columns it may read, in which order, dtype and formula version.

Standard library and pydantic only: the registry stores a lock, `features.lock` makes and enforces it.
"""

from __future__ import annotations

from hashlib import sha256

from pydantic import BaseModel, ConfigDict, model_validator


class FeatureLock(BaseModel):
    """The chosen features of a model, in the catalogue's order.

    Args:
        names: chosen columns, in order.
        formula_versions: of each, when chosen.
        dtype: of every column.
        hash: sha256 (hex) of the three above; checked whenever a lock is read.
        required_by_network: chosen names that the selection would have left out, had the network not read them.

    Raises:
        pydantic.ValidationError: the hash is not that of the content, lengths differ, or a name occurs twice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...]
    formula_versions: tuple[int, ...]
    dtype: str
    hash: str
    required_by_network: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> FeatureLock:
        if len(set(self.names)) != len(self.names) or len(self.names) != len(self.formula_versions):
            raise ValueError("a lock has each name once, and one formula version for each")
        if not set(self.required_by_network) <= set(self.names):
            raise ValueError("a feature that the network requires is not among the names")
        if self.hash != lock_hash(self.names, self.formula_versions, self.dtype):
            raise ValueError("the hash of the chosen features is not that of their names, order, dtype and versions")
        return self


def lock_hash(names: tuple[str, ...], formula_versions: tuple[int, ...], dtype: str) -> str:
    """sha256 (hex) of ordered names, dtype and formula versions, in the form of `features.catalogue.feature_hash`."""
    lines = [f"{name}:{dtype}:{version}" for name, version in zip(names, formula_versions, strict=True)]
    return sha256("\n".join(lines).encode()).hexdigest()
