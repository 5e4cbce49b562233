"""Which code computed a thing: git commit for people, source hash for content-addressed keys."""

from __future__ import annotations

import hashlib
import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from cbi_pipeline import __version__

_PACKAGE_DIR = Path(__file__).resolve().parent


@cache
def code_commit() -> str:
    """Git commit of the checkout, with `-dirty` when files differ; `release-<version>` outside a checkout."""
    git = ["git", "-C", str(_PACKAGE_DIR.parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "--verify", "HEAD"], capture_output=True, text=True, check=True)
        status = subprocess.run(
            [*git, "status", "--porcelain", "--", "cbi_pipeline"], capture_output=True, text=True, check=True
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        return f"release-{__version__}"
    return commit.stdout.strip() + ("-dirty" if status.stdout.strip() else "")


@cache
def source_hash(*parts: str) -> str:
    """sha256 over the source files of the named modules or subpackages (all of CBI when none is named).

    A part with a suffix is that very file: `warehouse/sql/metric_parity.sql`.

    It changes with every edit, committed or not, so that nothing computed by other code is re-used.

    Raises:
        FileNotFoundError: a named part does not exist.
    """
    digest = hashlib.sha256()
    for part in parts or (".",):
        root = _PACKAGE_DIR / part
        files = sorted(root.rglob("*.py")) if root.is_dir() else [root if root.suffix else root.with_suffix(".py")]
        for file in files:
            digest.update(str(file.relative_to(_PACKAGE_DIR)).encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def content_key(**parts: Any) -> str:
    """sha256 of named values (JSON, sorted names): the key of a content-addressed artifact."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
