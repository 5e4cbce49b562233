"""The `cbi features` commands: the pages that are made from the feature catalogue and the starter bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cbi_pipeline.settings import load_settings

if TYPE_CHECKING:
    import pandas as pd

features_app = typer.Typer(
    help="Features: the data dictionary and the chart of what is real when.", no_args_is_help=True
)

Check = Annotated[bool, typer.Option("--check", help="Write nothing; exit code 1 if the stored one is out of date.")]


@features_app.command("dictionary")
def dictionary(check: Check = False) -> None:
    """Write docs/features.md: every feature, its unit, formula, inputs, reference and life."""
    from cbi_pipeline.features.report import availability_report
    from cbi_pipeline.reports.feature_dictionary import PAGE, check_page, dictionary_page

    frame = _starter_features()
    page = dictionary_page(availability_report(frame), frame.index)
    if check:
        check_page(PAGE.read_text(encoding="utf-8") if PAGE.is_file() else "", page)
    _finish(PAGE, None if check else page.encode())


@features_app.command("life")
def life(check: Check = False) -> None:
    """Draw docs/images/feature_life.png: from when to when each feature is real."""
    from cbi_pipeline.features.report import availability_report, monthly_presence
    from cbi_pipeline.reports.feature_dictionary import LIFE_CHART
    from cbi_pipeline.reports.feature_life import check_chart, life_chart

    frame = _starter_features()
    presence = monthly_presence(frame)
    if check:
        check_chart(LIFE_CHART, presence)
    _finish(LIFE_CHART, None if check else life_chart(presence, availability_report(frame)))


def _starter_features() -> pd.DataFrame:
    """[T, F], from verified files, so that a page never describes an altered bundle."""
    from cbi_pipeline.bundle.read import load_tables
    from cbi_pipeline.features.build import build_features

    return build_features(load_tables(load_settings().starter_dir))


def _finish(path: Path, content: bytes | None) -> None:
    """Write the content, if there is any, and say what became of the file."""
    from cbi_pipeline.atomic import replace_file

    if content is not None:
        replace_file(path, content)
    typer.echo(f"{path.name} {'is up to date' if content is None else 'is written'}")
