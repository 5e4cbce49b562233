"""The one declaration of every feature: name, pillar, unit, inputs, formula, ranges, and how a network sees it.

One module a pillar. The data dictionary, the column lineage, the schema, the range check and `feature_hash` are all
made from here. To add a feature: one `Feature` entry in its pillar's module, and one pure function that returns its
column. Nothing is computed here, and of other packages nothing but the standard library is imported.

The 43 that the desk asked for come first. The others, at most 17, give an economic reason and follow; whether a model
uses one is decided by out-of-fold evidence, not here.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from cbi_pipeline.features.catalogue.positioning_and_regime import POSITIONING_AND_REGIME
from cbi_pipeline.features.catalogue.prices import PRICES
from cbi_pipeline.features.catalogue.substitution_and_macro import SUBSTITUTION_AND_MACRO
from cbi_pipeline.features.catalogue.supply_and_demand import SUPPLY_AND_DEMAND
from cbi_pipeline.features.catalogue.technical import TECHNICAL
from cbi_pipeline.features.catalogue.weather import WEATHER_FEATURES
from cbi_pipeline.features.declarations import Feature

DTYPE: Final = "float32"

_DECLARED: Final = (
    *PRICES,
    *TECHNICAL,
    *SUBSTITUTION_AND_MACRO,
    *WEATHER_FEATURES,
    *POSITIONING_AND_REGIME,
    *SUPPLY_AND_DEMAND,
)

CATALOGUE: Final[tuple[Feature, ...]] = tuple(sorted(_DECLARED, key=lambda feature: feature.is_extra))
"""Every feature, in the locked order of the frame: the 43 of the desk, then the extras, each part pillar by pillar."""

FEATURE_NAMES: Final[tuple[str, ...]] = tuple(feature.name for feature in CATALOGUE)


def feature_hash() -> str:
    """sha256 (hex) of the ordered names, dtypes and formula versions; a model refuses another hash."""
    return sha256("\n".join(f"{f.name}:{DTYPE}:{f.formula_version}" for f in CATALOGUE).encode()).hexdigest()
