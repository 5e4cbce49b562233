"""Content-addressed store of computed files: the same inputs, configuration, code and libraries are computed once.

An artifact is a folder `<kind>/<first 16 hex of key>/` with its files and an `artifact.json` that lists
the sha256 of each. It appears whole or not at all, so a killed run resumes by computing what is missing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from cbi_pipeline.atomic import IGNORED_NAMES, publish_directory, unfinished_directory, write_synced
from cbi_pipeline.errors import ModelError
from cbi_pipeline.provenance import content_key

_INDEX: Final = "artifact.json"
_LIBRARIES: Final = ("numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "TA-Lib", "torch")
"""Distributions whose version decides numbers; a part of every key."""


@cache
def _installed() -> dict[str, str]:
    """Versions of the distributions that decide numbers; looked up once, since every step opens the store."""
    return {name: version(name) for name in _LIBRARIES}


@dataclass(frozen=True, slots=True)
class Artifact:
    """A verified folder of computed files."""

    kind: str
    key: str
    path: Path
    reused: bool


def sha256_file(path: Path) -> str:
    """sha256 of a file's bytes, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ArtifactStore:
    """Folder of artifacts under `root`.

    Every key holds the installed versions of numpy, pandas, pyarrow, scikit-learn, scipy, TA-Lib and torch beside the
    caller's inputs, so that nothing computed by other libraries is re-used.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._libraries = _installed()

    def get_or_build(self, kind: str, inputs: Mapping[str, Any], build: Callable[[Path], None]) -> Artifact:
        """The artifact of these inputs: found and verified, or built by `build(folder)` and stored.

        If another process stores the same artifact during the build, that one is returned as re-used.

        Args:
            kind: what it is, the name of its folder, e.g. `features`.
            inputs: everything that decides the content but the libraries: hashes of inputs, configuration, code.
            build: writes the files into the folder that it is given.

        Raises:
            FileExistsError: what took the artifact's place meanwhile is not this artifact.
        """
        key = content_key(kind=kind, libraries=self._libraries, **inputs)
        final = self.root / kind / key[:16]
        if _intact_key(final) == key:
            return Artifact(kind, key, final, reused=True)
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists():
            _discard(final)
        with unfinished_directory(final.parent) as folder:
            build(folder)
            index = {
                "kind": kind,
                "key": key,
                "libraries": self._libraries,
                "inputs": dict(inputs),
                "files": _sha256s(folder),
            }
            write_synced(folder / _INDEX, json.dumps(index, indent=2, sort_keys=True, default=str).encode())
            try:
                publish_directory(folder, final)
            except FileExistsError:
                if _intact_key(final) != key:
                    raise
                return Artifact(kind, key, final, reused=True)
        return Artifact(kind, key, final, reused=False)


def verify_artifact(path: Path) -> Path:
    """Check an artifact against its index before its files are read; returns the path.

    Raises:
        ModelError: the folder is missing, belongs to another key, or a file differs from what was recorded.
    """
    key = _intact_key(path)
    if key is None or key[:16] != path.name:
        raise ModelError(
            str(path), "this computed artifact is missing or was altered.", "run `cbi run`: it is computed again."
        )
    return path


def _sha256s(folder: Path) -> dict[str, str]:
    """sha256 of every file below the folder but the index, by path within it."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    counted = (path for path in files if path.name not in IGNORED_NAMES | {_INDEX})
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in counted}


def _intact_key(folder: Path) -> str | None:
    """The key of an artifact whose files are those recorded; None if it is absent, cut or altered in any way."""
    try:
        index = json.loads((folder / _INDEX).read_bytes())
        key, recorded = index["key"], index["files"]
        intact = isinstance(key, str) and recorded == _sha256s(folder)
    except (FileNotFoundError, NotADirectoryError):  # absent, or just taken away by another process
        return None
    except (ValueError, KeyError, TypeError):  # the index itself was cut or altered
        return None
    return key if intact else None


def _discard(damaged: Path) -> None:
    """Take a damaged artifact away in one step; another process may have done so already."""
    with unfinished_directory(damaged.parent) as aside, suppress(FileNotFoundError):
        damaged.rename(aside / damaged.name)
