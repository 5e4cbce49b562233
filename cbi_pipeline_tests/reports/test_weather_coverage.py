"""The chart of stations: what it counts, and that a stale one is refused."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from cbi_pipeline.cli import app
from cbi_pipeline.errors import SourceError
from cbi_pipeline.reports import weather_coverage
from cbi_pipeline_tests.projects import STARTER


@pytest.fixture
def coverage(starter_tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return weather_coverage.monthly_coverage(starter_tables["weather_daily"])


def test_a_month_is_the_share_of_its_days_with_every_element(starter_tables: dict[str, pd.DataFrame], coverage) -> None:
    assert len(coverage) == starter_tables["weather_daily"]["station"].nunique()
    assert list(coverage.index.get_level_values("region").unique()) == list(weather_coverage.REGIONS)
    chicago = coverage.xs("POWER Chicago", level="station").iloc[0]
    assert chicago["2023-02"] == 1.0
    assert chicago["1998-12"] == 0.0
    assert coverage.to_numpy().min() == 0.0
    assert coverage.to_numpy().max() == 1.0


def test_the_stored_chart_is_up_to_date(coverage: pd.DataFrame) -> None:
    weather_coverage.check_chart(weather_coverage.CHART, coverage)


def test_a_stale_or_missing_chart_is_refused_and_then_written(
    coverage: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chart = tmp_path / "weather_coverage.png"
    monkeypatch.setattr(weather_coverage, "CHART", chart)
    monkeypatch.setenv("CBI_STARTER_DIR", str(STARTER))
    run = CliRunner().invoke
    assert "no such file" in str(run(app, ["sources", "coverage", "--check"]).exception)
    chart.write_bytes(weather_coverage.coverage_chart(coverage.iloc[1:]))
    with pytest.raises(SourceError, match="does not show what the starter bundle has"):
        weather_coverage.check_chart(chart, coverage)
    assert run(app, ["sources", "coverage"]).exit_code == 0
    assert run(app, ["sources", "coverage", "--check"]).exit_code == 0
