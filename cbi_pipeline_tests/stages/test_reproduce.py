"""A published row computed again: the same bits, or the fields that differ; refused where that cannot be told."""

from __future__ import annotations

import shutil
from datetime import date

import numpy as np
import pytest

from cbi_pipeline import stages
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.errors import BundleError, FeatureError, ModelError, WarehouseError
from cbi_pipeline.registry.champion import read_champion
from cbi_pipeline.warehouse import DuckDBWarehouse
from cbi_pipeline_tests.projects import change_warehouse

DAY = date(2024, 12, 31)


def reproduce(settings, horizon=None, day=DAY):
    return stages.reproduce(day, horizon, settings=settings, warehouse=DuckDBWarehouse(settings.warehouse_path))


def test_every_horizon_gives_the_same_bits(finished_run):
    results = reproduce(finished_run.settings)
    assert [result.row.horizon_months for result in results] == list(HORIZONS_MONTHS)
    assert all(not result.differing for result in results)
    assert [result.row.horizon_months for result in reproduce(finished_run.settings, 9)] == [9]


def test_one_bit_of_one_number_is_found_and_named(copied_settings):
    price = next(result.row.q75 for result in reproduce(copied_settings, 9))
    other = float(np.nextafter(price, np.inf))
    change_warehouse(copied_settings, f"UPDATE predictions SET q75 = {other!r} WHERE horizon_months = 9")
    by_horizon = {result.row.horizon_months: result.differing for result in reproduce(copied_settings)}
    assert by_horizon == {3: {}, 6: {}, 9: {"q75": (other, price)}, 12: {}}


def test_other_features_a_lost_bundle_and_a_lost_model_are_refused(copied_settings, tmp_path):
    with pytest.raises(BundleError, match="is not in") as refusal:
        reproduce(copied_settings.model_copy(update={"starter_dir": tmp_path / "none"}))
    assert "cbi bundle sync" in refusal.value.fix
    with pytest.raises(WarehouseError, match="no forecast of that date"):
        reproduce(copied_settings, day=date(2024, 12, 30))
    shutil.rmtree(copied_settings.models_dir / read_champion(copied_settings.models_dir).model_version)
    with pytest.raises(ModelError, match="no manifest"):
        reproduce(copied_settings)
    change_warehouse(copied_settings, "UPDATE predictions SET feature_hash = repeat('0', 64)")
    with pytest.raises(FeatureError, match="this code makes") as refusal:
        reproduce(copied_settings)
    assert refusal.value.fix.startswith("`git checkout ")
