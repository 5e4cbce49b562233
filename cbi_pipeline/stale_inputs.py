"""What a forecast of one day is without the sources that are too old: impossible, or made without them and said so.

Pure: a model, the features, the anchor's inputs and the raw tables in, findings out (decision 0022). A source counts
where an input that it feeds is missing at the close of the day and the model reads that input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.errors import StaleInputsError
from cbi_pipeline.evaluation.densities import BY_NETWORK, ServedDensity
from cbi_pipeline.features.catalogue import CATALOGUE
from cbi_pipeline.features.declarations import (
    CURVE,
    WASDE_STOCKS,
    WASDE_USE,
    WB_PALM_OIL,
    WB_SOYBEAN_OIL,
    Input,
)
from cbi_pipeline.features.validation.staleness import SourceAge, stale_sources
from cbi_pipeline.modeling.anchor import AnchorFit
from cbi_pipeline.modeling.config import TrainingConfig

if TYPE_CHECKING:
    import pandas as pd

    from cbi_pipeline.features.driver_set import DriverSet
    from cbi_pipeline.registry.artifacts import LoadedModel

Effect = Literal["needed", "curve", "gap", "nothing"]
"""What a missing input does to the forecast of a horizon: there is none; the anchor adds no curve; the network sees a
gap, as it did in training; nothing, since nothing hangs on it there."""

_EFFECTS: Final[tuple[Effect, ...]] = ("needed", "curve", "gap", "nothing")
"""The gravest first."""
_WORDS: Final[dict[Effect, str]] = {
    "curve": "the anchor adds no curve",
    "gap": "the network sees a gap",
    "nothing": "it moves nothing at this horizon",
}
_CARRY: Final = "carry"
ANCHOR_SOURCES: Final[dict[str, tuple[Input, ...]]] = {
    _CARRY: (CURVE,),
    "stocks_to_use_deviation": (WASDE_STOCKS, WASDE_USE),
    "palm_soybean_oil_ratio_deviation": (WB_PALM_OIL, WB_SOYBEAN_OIL),
}
"""What each of `modeling.anchor.INPUT_COLUMNS` is made of."""
MINIMUM_GAPS: Final = 60
"""Training sessions on which an input must have been missing for the network to know what to do without it: as many as
a scaler wants to see of an input (`driver_set.MINIMUM_OBSERVED`)."""


@dataclass(frozen=True, slots=True)
class StaleInput:
    """A stale source with one input of the model that is missing for it.

    Attributes:
        feeds: a feature, or `the anchor's` input.
        effects: per horizon in months.
    """

    source: SourceAge
    feeds: str
    effects: Mapping[int, Effect]

    @property
    def needed_at(self) -> list[int]:
        """Horizons in months at which there is no forecast without it."""
        return [horizon for horizon, effect in self.effects.items() if effect == "needed"]


def missing_inputs(
    model: LoadedModel, drivers: DriverSet, features: pd.DataFrame, anchor_inputs: pd.DataFrame, day: pd.Timestamp
) -> dict[str, dict[int, Effect]]:
    """The inputs that the model reads and that are missing on a day, with what that means per horizon.

    Args:
        drivers: the model's own.
        features: [T, F] curated features, with the span that the model was trained on.
        anchor_inputs: as of `modeling.anchor.anchor_inputs`.
        day: a trade date of both.
    """
    network = TrainingConfig.model_validate(model.config).network
    beta = AnchorFit.model_validate(model.anchor["fit"]).beta
    missing: dict[str, dict[int, Effect]] = {}
    for name in ANCHOR_SOURCES:
        if anchor_inputs.loc[[day], name].isna().all():
            missing[_of_anchor(name)] = {h: _without_anchor_input(name, beta[h]) for h in HORIZONS_MONTHS}
    spread = set(network.spread_inputs or model.feature_lock.names)
    trained_on = features.loc[str(drivers.train_start) : str(drivers.train_end)]
    for name in model.feature_lock.names:
        if name in drivers.unusable or features.loc[[day], name].notna().all():
            continue
        knows_gaps = int(trained_on[name].isna().sum()) >= MINIMUM_GAPS
        missing[name] = {}
        for h in HORIZONS_MONTHS:
            moves_mean = name in network.mean_path_inputs and float(model.anchor["lambda"][str(h)]) != 0
            density = ServedDensity.model_validate(model.calibration[str(h)]).density
            moves = moves_mean or (name in spread and density in BY_NETWORK)
            missing[name][h] = ("gap" if knows_gaps else "needed") if moves else "nothing"
    return missing


def _without_anchor_input(name: str, beta: Mapping[str, float]) -> Effect:
    if name == _CARRY:
        return "curve"
    return "needed" if beta[name] != 0 else "nothing"


def _of_anchor(name: str) -> str:
    """An input of the anchor beside a feature of the same name."""
    return f"the anchor's {name}"


def sources_of(inputs: Iterable[str]) -> list[Input]:
    """Every source that feeds one of these features or inputs of the anchor."""
    return list(dict.fromkeys(source for name in inputs for source in _made_of()[name]))


def _made_of() -> dict[str, tuple[Input, ...]]:
    features = {feature.name: feature.inputs for feature in CATALOGUE}
    return features | {_of_anchor(name): sources for name, sources in ANCHOR_SOURCES.items()}


def stale_inputs(
    missing: Mapping[str, Mapping[int, Effect]], tables: Mapping[str, pd.DataFrame], day: pd.Timestamp
) -> list[StaleInput]:
    """The missing inputs of a day that a stale source explains, one entry for each source and input.

    Args:
        missing: as of `missing_inputs`.
        tables: raw tables of `sources_of(missing)`, by name.
    """
    made_of = _made_of()
    return [
        StaleInput(stale, name, effects)
        for stale in stale_sources(tables, day, sources_of(missing))
        for name, effects in missing.items()
        if stale.source in made_of[name]
    ]


def described(stale: SourceAge) -> str:
    """One source with its age, e.g. `futures_curve/ZL is 397 days old (at most 7)`."""
    age = "has no known value" if stale.age_days is None else f"is {stale.age_days} days old"
    return f"{stale.source.label} {age} (at most {stale.source.maximum_age_days})"


def made_without(stale: Sequence[StaleInput], horizon: int) -> list[str]:
    """The reasons that a row gives: one a source, with the gravest of what it does to this horizon."""
    by_source: dict[str, list[Effect]] = {}
    for one in stale:
        by_source.setdefault(described(one.source), []).append(one.effects[horizon])
    return [
        f"{source}: forecast made without it, {_WORDS[min(effects, key=_EFFECTS.index)]}"
        for source, effects in by_source.items()
    ]


def is_needed(stale: Sequence[StaleInput]) -> bool:
    """Whether there is no forecast of the day."""
    return any(one.needed_at for one in stale)


def refusal(stale: Sequence[StaleInput], day: pd.Timestamp, model_version: str) -> StaleInputsError:
    """The error that names every source that the forecast of a day needs, and beside them those it could go without."""
    needed = [one for one in stale if one.needed_at]
    labels = {one.source.source.label for one in needed}
    beside = dict.fromkeys(described(one.source) for one in stale if one.source.source.label not in labels)
    more = f" Beside that {', '.join(beside)}." if beside else ""
    named = "; ".join(
        f"{described(one.source)} and feeds {one.feeds}, needed at {', '.join(map(str, one.needed_at))} months"
        for one in needed
    )
    return StaleInputsError(
        f"forecast of {day.date()} by {model_version}",
        f"{named}.{more} No forecast was made.",
        "`cbi sources status` shows what is late at its provider; get a newer bundle (`cbi sources fetch` and `cbi "
        "bundle build`, or `cbi bundle sync`), then `cbi predict`.",
        {one.source.source.label: str(one.source.newest) for one in needed},
    )
