from __future__ import annotations

import pytest

from cbi_pipeline.contracts.warehouse import WAREHOUSE_TABLES
from cbi_pipeline.contracts.warehouse_views import WAREHOUSE_VIEWS
from cbi_pipeline.reports.warehouse_dictionary import PAGE, dictionary_page


def test_the_stored_page_is_up_to_date():
    again = "run `python -m cbi_pipeline.reports.warehouse_dictionary`"
    assert PAGE.read_text(encoding="utf-8") == dictionary_page(), again


@pytest.mark.parametrize("name", [*WAREHOUSE_TABLES, *WAREHOUSE_VIEWS])
def test_an_entry_holds_every_column_once(name):
    one = WAREHOUSE_TABLES.get(name) or WAREHOUSE_VIEWS[name]
    entry = dictionary_page().split(f"\n### {name}\n")[1].split("\n#")[0]
    rows = [line for line in entry.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [column.name for column in one.columns]
    assert all(row.replace("\\|", "").count("|") == 5 for row in rows)
    assert all(column.description.replace("|", "\\|") in entry for column in one.columns)
