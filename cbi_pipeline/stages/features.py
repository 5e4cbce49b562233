"""Curated features as a content-addressed parquet file, with the report of what is real from when."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_pipeline import progress
from cbi_pipeline.contracts.references import FeaturesRef, RawTableRef
from cbi_pipeline.errors import FeatureError
from cbi_pipeline.features.catalogue import feature_hash
from cbi_pipeline.provenance import source_hash
from cbi_pipeline.registry.artifact_store import ArtifactStore
from cbi_pipeline.stages.files import read_json, read_parquet
from cbi_pipeline.stages.raw import content_of, load_raw_tables

if TYPE_CHECKING:
    import pandas as pd

STAGE = "curated features"
_FRAME, _AVAILABILITY = "features.parquet", "availability.json"


def build_curated_features(
    raw: Sequence[RawTableRef], store: ArtifactStore
) -> tuple[FeaturesRef, list[dict[str, Any]]]:
    """Build the features of every ZL trade date, or find them if the same tables and code made them before.

    Returns:
        The reference, and one record per feature: first usable date, missing share, reason.
    """
    progress.report(STAGE, 0, 1)

    def build(folder: Path) -> None:
        from cbi_pipeline.features.build import build_features
        from cbi_pipeline.features.report import availability_report

        frame = build_features(load_raw_tables(raw))
        frame.to_parquet(folder / _FRAME)
        report = availability_report(frame).reset_index()
        (folder / _AVAILABILITY).write_text(report.to_json(orient="records", date_format="iso", indent=1))

    inputs = {
        "tables": content_of(raw),
        "feature_hash": feature_hash(),
        "code": source_hash("features", "fundamentals", "market_calendar", "contracts/tables"),
    }
    artifact = store.get_or_build("features", inputs, build)
    frame = read_parquet(artifact, _FRAME)
    reference = FeaturesRef(
        kind=artifact.kind,
        key=artifact.key,
        path=artifact.path,
        reused=artifact.reused,
        dataset_version=raw[0].dataset_version,
        feature_hash=feature_hash(),
        rows=len(frame),
        first_date=frame.index[0].date(),
        last_date=frame.index[-1].date(),
    )
    note = f"{frame.shape[1]} features, {len(frame):,} sessions from {reference.first_date} to {reference.last_date}"
    progress.finish(STAGE, note, reused=artifact.reused)
    return reference, read_json(artifact, _AVAILABILITY)


def load_features(reference: FeaturesRef) -> pd.DataFrame:
    """The feature frame of a reference, verified: index trade_date, float32 columns in locked order.

    Raises:
        ModelError: the file was altered.
        FeatureError: the frame was made by another catalogue than this code has.
    """
    if reference.feature_hash != feature_hash():
        raise FeatureError(
            str(reference.path),
            f"its features ({reference.feature_hash[:12]}) are not those of this version ({feature_hash()[:12]}).",
            "materialise curated_features again.",
        )
    return read_parquet(reference, _FRAME)
