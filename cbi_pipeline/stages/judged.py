"""Bundles that were judged before: what the rules say of the same bytes is worked out once.

Every file is still compared with the manifest each time. Kept is the outcome of `judge_rows` for a sound bundle, under
the hash of its manifest (which holds the sha256 of every table), of all code and of the libraries; a refusal never is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

from cbi_pipeline.bundle.verify import judge_rows, read_files
from cbi_pipeline.contracts.manifest import Finding, Manifest
from cbi_pipeline.provenance import source_hash
from cbi_pipeline.registry.artifact_store import ArtifactStore
from cbi_pipeline.stages.files import read_json

_WARNINGS: Final = "warnings.json"
_LIBRARIES: Final = ("pandas-market-calendars", "pandera", "pydantic")
"""Distributions whose version decides an outcome, besides those in the key of every artifact."""


class JudgedBundles:
    """`verify_bundle` and the warnings of the sense rules, out of `store` where the same bytes were judged before."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    def verify(self, bundle: Path) -> Manifest:
        """The manifest of a folder that is a sound bundle; takes arguments and raises as `verify_bundle`."""
        manifest, contents = read_files(bundle)
        self._warnings(bundle, manifest, lambda: contents)
        return manifest

    def warnings(self, bundle: Path, manifest: Manifest) -> tuple[Finding, ...]:
        """What today's rules say of the bundle of this manifest; raises as `verify_bundle` where nothing is kept."""
        return self._warnings(bundle, manifest, lambda: read_files(bundle)[1])

    def _warnings(
        self, bundle: Path, manifest: Manifest, contents: Callable[[], Mapping[str, bytes]]
    ) -> tuple[Finding, ...]:
        def build(folder: Path) -> None:
            found = judge_rows(bundle, manifest, contents())
            (folder / _WARNINGS).write_text(json.dumps([finding.model_dump() for finding in found]))

        inputs = {
            "manifest": hashlib.sha256(manifest.to_json()).hexdigest(),
            "code": source_hash(),
            "rules": {name: version(name) for name in _LIBRARIES},
        }
        stored = read_json(self._store.get_or_build("judged_bundles", inputs, build), _WARNINGS)
        return tuple(Finding.model_validate(finding) for finding in stored)
