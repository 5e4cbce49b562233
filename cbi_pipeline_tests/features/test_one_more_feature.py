"""Adding a feature is one entry and one pure function: both are put into a copy of the package, and nothing else is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.features import FEATURE_NAMES, feature_hash

NAME = "heating_oil_crack"
ENTRY = """
    Feature(
        name="heating_oil_crack",
        pillar="substitution_and_macro",
        unit="USD/bbl",
        inputs=(HO, CL),
        formula="HO x 42 - CL",
        reference="refiners' margin on a barrel, NYMEX heating oil crack",
        function=_F + "substitution.crack_features",
        transformation="difference_from_trailing_mean",
        missing_because="HO begins 2010-06-07; no row of a leg in the last 4 days",
        possible=(-30.0, 150.0),
        economic_reason="dear diesel against crude is demand for biodiesel's feedstock",
    ),
"""
FUNCTION = '''

def crack_features(known: PointInTime) -> dict[str, pd.Series]:
    """Heating oil less crude, [T], USD/bbl."""
    heating_oil, crude = known.latest(HO, ["close"])["close"], known.latest(CL, ["close"])["close"]
    return {"heating_oil_crack": heating_oil * GALLONS_PER_BARREL - crude}
'''


@pytest.fixture(scope="module")
def said(tmp_path_factory, repository, starter_dir) -> dict:
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(repository / "cbi_pipeline", copy / "cbi_pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    features = copy / "cbi_pipeline" / "features"
    pillar = features / "catalogue" / "substitution_and_macro.py"
    entries = pillar.read_text(encoding="utf-8").removesuffix(")\n")
    pillar.write_text(f"{entries}{ENTRY.lstrip()})\n", encoding="utf-8")
    with (features / "substitution.py").open("a", encoding="utf-8") as module:
        module.write(FUNCTION)
    path = {"PYTHONPATH": os.pathsep.join([str(copy), str(repository)])}
    command = [sys.executable, "-m", "cbi_pipeline_tests.features.one_more_feature", NAME, str(starter_dir)]
    done = subprocess.run(command, cwd=copy, env=os.environ | path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert Path(found["package"]) == copy / "cbi_pipeline"
    return found


def test_it_is_built_among_its_pillar_behind_the_desks_43(said, starter_tables):
    assert said["columns"] == said["names"]
    assert [name for name in said["names"] if name != NAME] == list(FEATURE_NAMES)
    assert said["names"].index(NAME) == said["names"].index("heating_oil_spread") + 1
    assert said["hash"] != feature_hash()
    rows = starter_tables["futures_daily"]
    rows = rows[rows["trade_date"] == pd.Timestamp("2022-06-14")].set_index("symbol")["close"]
    assert said["values"]["2022-06-14"] == pytest.approx(rows["HO"] * 42 - rows["CL"], rel=1e-6)
    assert min(said["values"]) == "2010-06-07"
    assert said["scaled"]


def test_schema_and_range_check_know_it(said):
    assert said["nullable"] is True
    assert said["description"] == "HO x 42 - CL [USD/bbl]"
    assert said["errors"] == []
    assert "-30 to 150" in said["impossible"]


def test_lineage_and_dictionary_know_it(said):
    assert said["lineage"] == [["raw_futures_daily", "close"]]
    assert said["tags"] == {"pillar": "substitution_and_macro", "raw_futures_daily": "close of HO, CL"}
    for words in ("-30 to 150", "refiners' margin", "dear diesel", "`futures_daily/HO`: close", "2010-06-07"):
        assert words in said["dictionary"]
    assert said["months"] > 160
