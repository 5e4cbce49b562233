from __future__ import annotations

from pathlib import Path

import pytest

from cbi_pipeline.errors import SettingsError
from cbi_pipeline.settings import Settings, load_settings, nearest_known, unknown_variables


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(f"CBI_{name.upper()}", raising=False)


def test_variables_are_read_by_name(monkeypatch):
    monkeypatch.setenv("CBI_SEED", "7")
    monkeypatch.setenv("CBI_PROFILE", "smoke")
    monkeypatch.setenv("CBI_TARGET_MAPE_PERCENT", "12.5")
    settings = load_settings()
    assert (settings.seed, settings.profile, settings.target_mape_percent) == (7, "smoke", 12.5)


def test_overrides_win_over_variables(monkeypatch):
    monkeypatch.setenv("CBI_SEED", "7")
    assert load_settings(seed=8).seed == 8


def test_defaults_are_those_of_the_desk():
    settings = load_settings()
    assert (settings.profile, settings.device, settings.seed) == ("quick", "auto", 20241231)
    targets = (settings.target_mape_percent, settings.target_sharpe, settings.target_directional_accuracy)
    assert (*targets, settings.target_calibration_error) == (5.0, 1.0, 0.65, 0.10)
    assert settings.project_dir == Path(__file__).resolve().parent.parent


def test_relative_paths_hang_off_the_project(monkeypatch, tmp_path):
    monkeypatch.setenv("CBI_PROJECT_DIR", str(tmp_path))
    monkeypatch.setenv("CBI_MODELS_DIR", "elsewhere/models")
    settings = load_settings(data_dir=Path("/srv/market"))
    assert settings.models_dir == tmp_path / "elsewhere" / "models"
    assert settings.warehouse_path == tmp_path / "data" / "warehouse.duckdb"
    assert settings.data_dir == Path("/srv/market")
    paths = [getattr(settings, name) for name in Settings.model_fields if name.endswith(("_dir", "_path"))]
    assert len(paths) == 8
    assert all(path.is_absolute() for path in paths)


def test_a_relative_project_is_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    settings = load_settings(project_dir=Path("here"))
    monkeypatch.chdir("/")
    assert settings.project_dir == tmp_path / "here"
    assert settings.dagster_dir == tmp_path / "here" / ".dagster"


def test_the_home_folder_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_settings(data_dir=Path("~/market")).data_dir == tmp_path / "market"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("CBI_SEED", "many", "many"),
        ("CBI_PROFILE", "fast", "'quick', 'full' or 'smoke'"),
        ("CBI_DEVICE", "tpu", "'mps', 'cuda' or 'cpu'"),
        ("CBI_THREADS", "0", "greater than or equal to 1"),
        ("CBI_TARGET_DIRECTIONAL_ACCURACY", "65", "less than 1"),
    ],
)
def test_a_bad_value_names_its_variable_and_what_may_stand_there(monkeypatch, name, value, told):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refusal:
        load_settings()
    assert refusal.value.subject == name
    assert told in refusal.value.rule
    assert repr(value) in refusal.value.rule
    assert name in refusal.value.fix


def test_settings_cannot_be_changed_in_flight():
    with pytest.raises(ValueError, match="frozen"):
        load_settings().seed = 1


def test_settings_survive_the_way_through_dagster(tmp_path):
    settings = load_settings(project_dir=tmp_path, seed=3, data_dir=Path("/srv/market"))
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


def test_unknown_variables_are_found_and_known_ones_are_not():
    environ = {"CBI_SEDE": "1", "CBI_SEED": "1", "cbi_profile": "smoke", "HOME": "/", "MY_CBI_SEED": "2", "CBI_Z": ""}
    assert unknown_variables(environ) == ["CBI_SEDE", "CBI_Z"]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("CBI_SEDE", "CBI_SEED"),
        ("CBI_DATADIR", "CBI_DATA_DIR"),
        ("CBI_WEARHOUSE_PATH", "CBI_WAREHOUSE_PATH"),
        ("CBI_OBJECT_STORE_REGION", None),
    ],
)
def test_a_typing_error_gets_a_suggestion(name, near):
    assert nearest_known(name) == near


def test_every_setting_has_a_meaning_and_none_is_a_secret():
    secret = ("key", "token", "password", "secret", "credential")
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert not any(word in name for word in secret), name
