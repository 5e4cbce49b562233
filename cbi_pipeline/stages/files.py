"""Reading the files of an artifact, verified first."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cbi_pipeline.contracts.references import ArtifactRef
from cbi_pipeline.registry.artifact_store import Artifact, verify_artifact

if TYPE_CHECKING:
    import pandas as pd


def read_parquet(artifact: Artifact | ArtifactRef, name: str) -> pd.DataFrame:
    """A parquet file of the artifact.

    Raises:
        ModelError: a file of the artifact is missing or was altered.
    """
    import pandas as pd

    return pd.read_parquet(verify_artifact(artifact.path) / name)


def read_json(artifact: Artifact | ArtifactRef, name: str) -> Any:
    """A JSON file of the artifact.

    Raises:
        ModelError: a file of the artifact is missing or was altered.
    """
    return json.loads((verify_artifact(artifact.path) / name).read_text())
