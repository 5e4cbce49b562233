"""What a row is traced to and computed again from is the same in either kind of warehouse."""

from __future__ import annotations

from datetime import date

from cbi_pipeline import stages
from cbi_pipeline.registry.champion import read_champion
from cbi_pipeline.warehouse import DuckDBWarehouse

DAY = date(2024, 12, 31)


def test_a_row_is_traced_and_reproduced_from_either_warehouse(finished_run, warehouse):
    settings = finished_run.settings
    source = DuckDBWarehouse(settings.warehouse_path)
    own = {"entry": read_champion(settings.models_dir).entry}
    for table, condition in (
        ("predictions", ""),
        ("model_registry", ""),
        ("gate_verdicts", ""),
        ("metrics", "WHERE entry = @entry AND horizon_months = 6"),
    ):
        rows = source.query(f"SELECT * FROM {table} {condition}", own if condition else None)
        warehouse.merge(table, rows.to_pylist())
    given = {"settings": settings, "warehouse": warehouse}
    found = stages.trace(DAY, 6, **given)
    expected = stages.trace(DAY, 6, settings=settings, warehouse=source)
    assert found.row == expected.row
    assert found.model == expected.model
    assert found.scores == expected.scores
    assert found.verdicts == expected.verdicts
    assert len(found.scores) == 15
    assert len(found.verdicts) == 8
    assert [result.differing for result in stages.reproduce(DAY, None, **given)] == [{}, {}, {}, {}]
