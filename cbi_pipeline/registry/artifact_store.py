"""Content-addressed store of computed files: the same inputs, configuration and code are computed once.

An artifact is a folder `<kind>/<first 16 hex of key>/` with its files and an `artifact.json` that lists
the sha256 of each. It appears whole or not at all, so a killed run resumes by computing what is missing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cbi_pipeline.bundle.atomic import publish_directory, unfinished_directory, write_synced
from cbi_pipeline.errors import ModelError
from cbi_pipeline.provenance import content_key

_INDEX: Final = "artifact.json"


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
    """Folder of artifacts under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get_or_build(self, kind: str, inputs: Mapping[str, Any], build: Callable[[Path], None]) -> Artifact:
        """The artifact of these inputs: found and verified, or built by `build(folder)` and stored.

        Args:
            kind: what it is, the name of its folder, e.g. `features`.
            inputs: everything that decides the content: hashes of inputs, configuration, code version.
            build: writes the files into the folder that it is given.
        """
        key = content_key(kind=kind, **inputs)
        final = self.root / kind / key[:16]
        if final.exists():
            if _is_intact(final):
                return Artifact(kind, key, final, reused=True)
            shutil.rmtree(final)
        final.parent.mkdir(parents=True, exist_ok=True)
        with unfinished_directory(final.parent) as folder:
            build(folder)
            files = {path.relative_to(folder).as_posix(): sha256_file(path) for path in _files(folder)}
            index = {"kind": kind, "key": key, "inputs": dict(inputs), "files": files}
            write_synced(folder / _INDEX, json.dumps(index, indent=2, sort_keys=True, default=str).encode())
            publish_directory(folder, final)
        return Artifact(kind, key, final, reused=False)


def verify_artifact(path: Path) -> Path:
    """Check an artifact against its index before its files are read; returns the path.

    Raises:
        ModelError: the folder is missing, or a file differs from what was recorded.
    """
    if not _is_intact(path):
        raise ModelError(
            str(path), "this computed artifact is missing or was altered.", "run `cbi run`: it is computed again."
        )
    return path


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _INDEX)


def _is_intact(folder: Path) -> bool:
    index = folder / _INDEX
    if not index.is_file():
        return False
    try:
        recorded = json.loads(index.read_bytes())["files"]
    except (ValueError, KeyError):  # the index itself was cut or altered
        return False
    present = {path.relative_to(folder).as_posix(): sha256_file(path) for path in _files(folder)}
    return recorded == present
