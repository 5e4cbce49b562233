from __future__ import annotations

import re
import shutil
import sys

import pytest

from cbi_pipeline import cli
from cbi_pipeline.reports import feature_dictionary
from cbi_pipeline_tests.projects import REPOSITORY, STARTER


@pytest.fixture
def features(monkeypatch, capsys, tmp_path):
    """Run `cbi features ...` on copies of the stored pages; answers exit code, text, and the copies' folder."""
    page, chart = tmp_path / "docs" / "features.md", tmp_path / "docs" / "images" / "feature_life.png"
    chart.parent.mkdir(parents=True)
    shutil.copy(REPOSITORY / "docs" / "features.md", page)
    shutil.copy(REPOSITORY / "docs" / "images" / "feature_life.png", chart)
    monkeypatch.setattr(feature_dictionary, "PAGE", page)
    monkeypatch.setattr(feature_dictionary, "LIFE_CHART", chart)
    monkeypatch.setenv("CBI_STARTER_DIR", str(STARTER))
    monkeypatch.setattr(cli.error_console, "_width", 400)

    def command(*arguments: str):
        monkeypatch.setattr(sys, "argv", ["cbi", "features", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        return int(end.value.code or 0), re.sub(r"[\s│╭╮╰╯─]+", " ", printed.out + printed.err)

    command.page, command.chart = page, chart
    return command


@pytest.mark.parametrize(("name", "file"), [("dictionary", "features.md"), ("life", "feature_life.png")])
def test_what_is_stored_is_up_to_date(features, name, file):
    code, text = features(name, "--check")
    assert code == 0, text
    assert text.strip().endswith(f"{file} is up to date")


def test_a_stale_page_is_refused_and_then_written(features):
    right = features.page.read_text(encoding="utf-8")
    features.page.write_text(right.replace("cents/lb", "USD/lb", 1), encoding="utf-8")
    stale = features.page.read_text(encoding="utf-8")
    code, text = features("dictionary", "--check")
    assert code == 1
    assert re.search(r"FeatureError docs/features.md, line \d+ it is not what the catalogue .* To fix: run", text), text
    assert "Traceback" not in text
    assert features.page.read_text(encoding="utf-8") == stale, "a check writes nothing"
    assert features("dictionary") == (0, f"{features.page.name} is written ")
    assert features.page.read_text(encoding="utf-8") == right


def test_a_missing_page_or_chart_is_refused(features):
    features.page.unlink()
    features.chart.unlink()
    assert features("dictionary", "--check")[0] == 1
    code, text = features("life", "--check")
    assert code == 1
    assert "There is no such file" in text
    assert not features.page.exists()
    assert not features.chart.exists()


def test_the_chart_is_written_and_then_up_to_date(features):
    features.chart.write_bytes((REPOSITORY / "docs" / "images" / "asset_graph.png").read_bytes())
    assert features("life", "--check")[0] == 1
    assert features("life")[0] == 0
    assert features("life", "--check")[0] == 0
