"""The driver set: locked order, and a scaler fitted on one training span only.

Stored with joblib beside its sha256. joblib is pickle underneath, so a file is read only after its
bytes match the sha256 that the caller holds from a signed-off manifest.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import joblib
import numpy as np
import pandas as pd

from cbi_pipeline.errors import FeatureError
from cbi_pipeline.features.build import check_frame
from cbi_pipeline.features.catalogue import CATALOGUE, DTYPE, FEATURE_NAMES, feature_hash
from cbi_pipeline.features.transformations import network_view

FILE_NAME: Final = "driver_set.joblib"
SHA256_NAME: Final = "driver_set.joblib.sha256"
CLIP: Final = 10.0
"""Scaled values are cut at +-10 interquartile ranges: one outlier must not own a layer."""
MINIMUM_OBSERVED: Final = 60
"""Observed training values below which a median and an interquartile range mean little."""


@dataclass(frozen=True)
class DriverSet:
    """Names, order and hash of the features with the scaler fitted on one training span.

    Args:
        names, transformations: [F], as in the catalogue when fitted.
        feature_hash: of the catalogue when fitted.
        train_start, train_end: the span that was looked at, inclusive.
        scaled: names that the scaler covers, in order; one-hots pass unscaled.
        unusable: name to reason, for columns that cannot be scaled; they are missing all through.
        center, scale: [len(scaled)] median and interquartile range, as scikit-learn's RobustScaler fits them. Kept as
            numbers: what serves need not load scikit-learn, and its pickles bind a model to its version.
    """

    names: tuple[str, ...]
    transformations: tuple[str, ...]
    feature_hash: str
    train_start: date
    train_end: date
    scaled: tuple[str, ...]
    unusable: dict[str, str]
    center: np.ndarray
    scale: np.ndarray

    def check(self) -> None:
        """Refuse to serve another catalogue than the one it was fitted for.

        Raises:
            FeatureError: names, order, transformations or hash differ.
        """
        transformations = tuple(feature.transformation for feature in CATALOGUE)
        if (self.names, self.transformations, self.feature_hash) != (FEATURE_NAMES, transformations, feature_hash()):
            raise FeatureError(
                f"driver set {self.feature_hash[:12]}",
                f"its features are not those of this version ({feature_hash()[:12]}).",
                "retrain with `cbi run`, or use the version of CBI that wrote it.",
            )

    def transform(self, frame: pd.DataFrame) -> np.ndarray:
        """Scaled network view, [T, F] float32 in locked order, NaN where missing or unusable.

        Args:
            frame: [T, F] from `build_features`, full history (trailing means reach back).

        Raises:
            FeatureError: the frame or this set is not the catalogue's.
        """
        self.check()
        check_frame(frame)
        seen = network_view(frame)
        scaled = (seen[list(self.scaled)].to_numpy() - self.center) / self.scale
        seen[list(self.scaled)] = np.clip(scaled, -CLIP, CLIP)
        seen[list(self.unusable)] = np.nan
        return seen.to_numpy(DTYPE)

    def save(self, directory: Path) -> str:
        """Write `driver_set.joblib` and its sha256 file into an existing directory; returns the sha256 (hex).

        The directory is published whole by whoever asks, so the files are plain writes.
        """
        buffer = io.BytesIO()
        joblib.dump(_to_payload(self), buffer)
        digest = sha256(buffer.getvalue()).hexdigest()
        (directory / FILE_NAME).write_bytes(buffer.getvalue())
        (directory / SHA256_NAME).write_bytes(f"{digest}  {FILE_NAME}\n".encode())
        return digest


def fit_driver_set(frame: pd.DataFrame, train_start: date, train_end: date) -> DriverSet:
    """Fit median and interquartile range on the training span; rows after it are not even looked at.

    Args:
        frame: [T, F] from `build_features`; rows before `train_start` serve trailing means only.
        train_start, train_end: inclusive.

    Raises:
        FeatureError: the frame is not the catalogue's, or the span holds no row.
    """
    from sklearn.preprocessing import RobustScaler

    check_frame(frame)
    start, end = pd.Timestamp(train_start), pd.Timestamp(train_end)
    training = network_view(frame.loc[:end]).loc[start:]
    if training.empty:
        raise FeatureError(
            f"training span {start.date()}..{end.date()}", "holds no row.", "take a span inside the data."
        )
    unusable = {name: reason for name in FEATURE_NAMES if (reason := _why_unusable(training[name]))}
    one_hot = {feature.name for feature in CATALOGUE if feature.transformation == "one_hot"}
    scaled = tuple(name for name in FEATURE_NAMES if name not in unusable and name not in one_hot)
    scaler = RobustScaler(copy=True).fit(training[list(scaled)].to_numpy())
    transformations = tuple(feature.transformation for feature in CATALOGUE)
    return DriverSet(
        names=FEATURE_NAMES,
        transformations=transformations,
        feature_hash=feature_hash(),
        train_start=start.date(),
        train_end=end.date(),
        scaled=scaled,
        unusable=unusable,
        center=scaler.center_,
        scale=scaler.scale_,
    )


def _why_unusable(column: pd.Series) -> str:
    observed = column.dropna()
    if len(observed) < MINIMUM_OBSERVED:
        return f"{len(observed)} observed values in the training span, {MINIMUM_OBSERVED} needed"
    if observed.min() == observed.max():
        return "constant in the training span"
    return ""


def load_driver_set(directory: Path, expected_sha256: str) -> DriverSet:
    """Read a driver set whose bytes match the sha256 of the signed-off manifest, and check its catalogue.

    Raises:
        FeatureError: a file is missing, the sha256 differs (nothing is unpickled then), or the
            catalogue is another one.
    """
    path = directory / FILE_NAME
    if not path.is_file():
        raise FeatureError(
            str(path), "there is no driver set.", "train with `cbi run`, or restore the model directory."
        )
    content = path.read_bytes()
    digest = sha256(content).hexdigest()
    if digest != expected_sha256:
        raise FeatureError(
            str(path),
            f"its sha256 is {digest[:12]}, {expected_sha256[:12]} is signed off; it was not read.",
            "restore the file, or retrain.",
        )
    loaded = _from_payload(joblib.load(io.BytesIO(content)))
    loaded.check()
    return loaded


def _to_payload(drivers: DriverSet) -> dict[str, Any]:
    return {name: getattr(drivers, name) for name in DriverSet.__dataclass_fields__}


def _from_payload(payload: dict[str, Any]) -> DriverSet:
    own = dict(payload)
    if scaler := own.pop("scaler", None):  # of models from before its numbers were kept: scikit-learn's own object
        own |= {"center": scaler.center_, "scale": scaler.scale_}
    return DriverSet(**own)
