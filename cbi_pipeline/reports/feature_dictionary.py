"""The data dictionary, `docs/features.md`: every feature as the catalogue declares it, and from when it is real.

The text is made from the catalogue and the starter bundle only, so the same repository always gives the
same page. Nothing is edited in it by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from cbi_pipeline.errors import FeatureError
from cbi_pipeline.features.catalogue import CATALOGUE, DTYPE, feature_hash
from cbi_pipeline.features.declarations import Feature, Input, Pillar, Transformation
from cbi_pipeline.settings import REPOSITORY_DIR

if TYPE_CHECKING:
    import pandas as pd

PAGE: Final = REPOSITORY_DIR / "docs" / "features.md"
LIFE_CHART: Final = REPOSITORY_DIR / "docs" / "images" / "feature_life.png"

PILLAR_TITLES: Final[dict[Pillar, str]] = {
    "prices": "Prices",
    "technical": "Technical",
    "substitution_and_macro": "Substitution and macro",
    "supply_and_demand": "Supply and demand",
    "weather": "Weather",
    "positioning_and_regime": "Positioning and regime",
}
"""Every pillar, in the order in which page and chart show them."""

TRANSFORMATIONS: Final[dict[Transformation, str]] = {
    "level": "the value itself",
    "log": "ln(value)",
    "relative_to_close": "value / close",
    "log_relative_to_close": "ln(value / close)",
    "log_relative_to_trailing_mean": "ln(value / its mean over the trailing 252 sessions, at least 126 of them known)",
    "difference_from_trailing_mean": "value - its mean over the trailing 252 sessions, at least 126 of them known",
    "one_hot": "the value itself, 0 or 1",
}
"""What a network sees, in words."""


def dictionary_page(availability: pd.DataFrame, sessions: pd.Index) -> str:
    """The whole page as markdown, ending in a line feed.

    Args:
        availability: from `features.report.availability_report`, of the starter bundle.
        sessions: [T] trade dates of the frame that it reports on.
    """
    first, last = (f"{day:%Y-%m-%d}" for day in (sessions[0], sessions[-1]))
    lines = [
        "<!-- Made by `cbi features dictionary` from the catalogue and the starter bundle. Do not edit. -->",
        "# Features",
        "",
        f"{len(CATALOGUE)} features, one row per ZL trade date, all `{DTYPE}`, in one locked order. The catalogue "
        "(`cbi_pipeline/features/catalogue/`) declares them; this page, the schemas and Dagster's column lineage are "
        "made from it.",
        f"`feature_hash` is `{feature_hash()}`.",
        "",
        "A feature on trade date t uses what was known at 14:00 Chicago on t, and no value that is older than its "
        "maximum age. Outside its life a feature is **missing**, never zero and never carried on.",
        "",
        f'![From when to when each feature is real](images/{LIFE_CHART.name} "made by cbi features life")',
        "",
        "How to read an entry:",
        "",
        "- **Possible**: a value outside is a defect and stops the run.",
        "- **Inputs** are series of the raw tables (`table/series`), with the columns that the formula reads.",
        "- **Known** is the publication lag: when a value could first be known.",
        "- **Used** is the maximum age: for how many calendar days after the date it describes a value may be used.",
        "- **Network sees** is the form in which a network gets it, before scaling.",
        f"- **Real** is measured on the [starter bundle](../data/starter/README.md): {len(sessions):,} trade dates "
        f"from {first} to {last}. A share missing is of the trade dates since the feature was first there.",
        "",
        "In Dagster, `curated_features` carries this lineage as `dagster/column_lineage`; Dagster+ draws it as a "
        "graph. The open-source UI shows it as tags of each column, under Overview, Columns:",
        "",
        "![Lineage of three features in the Dagster UI, three searches one below another](images/column_lineage.png)",
        "",
    ]
    real = availability.T
    for pillar, title in PILLAR_TITLES.items():
        features = [feature for feature in CATALOGUE if feature.pillar == pillar]
        if not features:
            continue
        lines += [f"## {title}", "", "| feature | unit | real from | real to | missing |", "|---|---|---|---|---|"]
        lines += [_summary(feature, real[feature.name]) for feature in features]
        for feature in features:
            lines += ["", *_entry(feature, real[feature.name], sessions)]
        lines.append("")
    return "\n".join(lines)


def check_page(found: str, wanted: str) -> None:
    """Refuse a page that is not what the catalogue and the starter bundle say.

    Raises:
        FeatureError: names the first line that differs.
    """
    pairs = zip_longest(found.splitlines(), wanted.splitlines(), fillvalue="(nothing)")
    for number, (old, new) in enumerate(pairs, 1):
        if old != new:
            raise FeatureError(
                f"docs/{PAGE.name}, line {number}",
                f"it is not what the catalogue and the starter bundle say.\n- {old}\n+ {new}\n",
                "run `cbi features dictionary` and `cbi features life`, and commit what they write.",
            )


def _summary(feature: Feature, real: pd.Series) -> str:
    cells = (
        f"[`{feature.name}`](#{feature.name.lower()})",
        feature.unit,
        _day(real["first_usable"]),
        _day(real["last_usable"]),
        _share(real["missing_share"]),
    )
    return _row(*cells)


def _entry(feature: Feature, real: pd.Series, sessions: pd.Index) -> list[str]:
    rows = [
        ("Unit", feature.unit + _bounds(feature)),
        ("Possible", f"{feature.possible[0]:,g} to {feature.possible[1]:,g}"),
        ("Formula", feature.formula),
        ("Inputs", _each(f"`{source.label}`: {', '.join(source.columns)}" for source in feature.inputs)),
        ("Known", _by_input(feature, lambda source: source.publication_lag)),
        ("Used", _by_input(feature, _age)),
        ("Network sees", TRANSFORMATIONS[feature.transformation]),
        ("Reference", feature.reference),
        ("Real", _life(real, sessions)),
        ("Missing when", feature.missing_because),
        ("Computed by", f"`{feature.function}`, formula version {feature.formula_version}"),
    ]
    if feature.economic_reason:
        rows.insert(3, ("Economic reason", feature.economic_reason))
    (first, value), *others = rows
    return [
        f"### {feature.name}",
        "",
        _row(first, value),
        "|---|---|",
        *(_row(f"**{name}**", text) for name, text in others),
    ]


def _each(texts: Iterable[str]) -> str:
    return "<br>".join(texts)


def _by_input(feature: Feature, text: Callable[[Input], str]) -> str:
    """What all inputs have in common once, else one line an input."""
    if len({text(source) for source in feature.inputs}) == 1:
        return text(feature.inputs[0])
    return _each(f"`{source.label}`: {text(source)}" for source in feature.inputs)


def _age(source: Input) -> str:
    if source.maximum_age_days == 0:
        return "on the date it describes only"
    return f"up to {source.maximum_age_days} days after the date it describes"


def _bounds(feature: Feature) -> str:
    """The range, unless the unit says it."""
    least, most = feature.by_definition
    if least is None or most is not None:
        return ""
    return f", never below {least:g}"


def _life(real: pd.Series, sessions: pd.Index) -> str:
    if real["first_usable"] != real["first_usable"]:  # NaT
        return "never in the starter bundle"
    first = " (the first trade date)" if real["first_usable"] == sessions[0] else ""
    last = " (the last trade date)" if real["last_usable"] == sessions[-1] else ""
    share = real["missing_share"]
    gaps = "on every trade date" if share == 0 else f"missing on {_share(share)} of the trade dates since the first"
    return f"{_day(real['first_usable'])}{first} to {_day(real['last_usable'])}{last}, {gaps}"


def _day(day: pd.Timestamp) -> str:
    return "never" if day != day else f"{day:%Y-%m-%d}"


def _share(share: float) -> str:
    if share != share:
        return "all"
    return "none" if share == 0 else f"{max(share, 0.001):.1%}".replace("%", " %")


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
