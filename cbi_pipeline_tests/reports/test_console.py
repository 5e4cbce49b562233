from __future__ import annotations

import io
from datetime import date

from rich.console import Console

from cbi_pipeline import progress
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.errors import WarehouseError
from cbi_pipeline.reports.console import RunDisplay, error_panel, forecast_table, leaderboard_table, status_reasons


def printed(renderable, *, terminal: bool = False) -> str:
    console = Console(file=io.StringIO(), width=140, force_terminal=terminal)
    console.print(renderable)
    return console.file.getvalue()


def row(horizon: int, reasons: str, status: str = "HOLD"):
    return {
        "as_of_date": date(2024, 12, 31),
        "horizon_months": horizon,
        "target_date": date(2025, horizon % 12 + 1, 28),
        "last_price": 40.0,
        "predicted_price": 40.0 + horizon / 8,
        "q10": 30.126,
        "q90": 55.0,
        "status": status,
        "status_reasons": reasons,
    }


def test_the_forecast_table_shows_prices_changes_and_interval():
    text = printed(forecast_table([row(3, "old"), row(12, "", "PRODUCTION")]))
    assert "last trade date 2024-12-31, last price 40.00 cents/lb" in text
    three, twelve = (line for line in text.splitlines() if " months " in line)
    for shown in ("3 months", "2025-04-28", "40.38", "+0.9%", "30.13 to 55.00", "HOLD"):
        assert shown in three
    for shown in ("12 months", "41.50", "+3.8%", "PRODUCTION"):
        assert shown in twelve


def test_a_reason_that_all_rows_share_is_said_once():
    rows = [row(3, "data end; MAPE 13%"), row(6, "data end; MAPE 14%"), row(9, "data end")]
    assert list(status_reasons(rows)) == ["all horizons: data end", "3 months: MAPE 13%", "6 months: MAPE 14%"]


def test_production_rows_have_no_reasons():
    assert list(status_reasons([row(3, "", "PRODUCTION"), row(6, "", "PRODUCTION")])) == []
    assert list(status_reasons([])) == []


def scores(entry: str, mape: float | None, ratio: float | None):
    return {"entry": entry} | {
        key: value for h in HORIZONS_MONTHS for key, value in ((f"mape_{h}m", mape), (f"rmse_ratio_{h}m", ratio))
    }


def test_the_leaderboard_has_a_line_an_entry_in_the_given_order():
    text = printed(leaderboard_table([scores("tcn", 13.54, 0.9471), scores("new_entry", 10.0, 1.0)], "the folds"))
    assert "Leaderboard, the folds" in text
    lines = [line for line in text.splitlines() if line.startswith("│")]
    assert [line.split("│")[1].strip() for line in lines] == ["TCN on anchor", "new_entry"]
    assert lines[0].count("13.5  0.947") == 4


def test_a_metric_that_is_not_known_is_left_empty():
    text = printed(leaderboard_table([scores("tcn", 13.5, None)], ""))
    assert "13.5" not in text
    assert "None" not in text


def test_the_panel_of_an_error_says_what_which_rule_and_what_to_do():
    text = printed(error_panel(WarehouseError("row 7", "A price is missing.", "look at the bundle.")))
    for shown in ("WarehouseError", "row 7", "A price is missing.", "To fix: look at the bundle."):
        assert shown in text


def test_a_dumb_terminal_gets_a_line_a_finished_stage():
    console = Console(file=io.StringIO(), width=140)
    with RunDisplay(console).live() as display:
        progress.report("training", 1, 8, "fold_1")
        progress.finish("features", "43 features", reused=True)
        progress.finish("training", "5 cells", reused=False)
        progress.finish("bake-off", "tcn")
    lines = console.file.getvalue().splitlines()
    assert [line.split(" in ")[0].strip() for line in lines] == [
        "features: re-used",
        "training: done",
        "bake-off: done",
    ]
    assert lines[0].endswith("43 features")
    assert (display.reused_stages, display.computed_stages) == (["features"], ["training"])
    assert display.elapsed_seconds > 0


def test_a_terminal_shows_a_bar_while_a_stage_works_and_its_outcome_after():
    display = RunDisplay(Console(file=io.StringIO(), force_terminal=True))
    with progress.listening(display.on_event):
        progress.report("training", 2, 8, "fold_1, epoch 2")
        working = printed(display, terminal=True)
        progress.finish("training", "5 cells")
        progress.finish("features", "43 features", reused=True)
        done = printed(display, terminal=True)
    assert "fold_1, epoch 2" in working
    assert "━" in working
    assert "✓" in done
    assert "re-used  43 features" in done
    assert "━" not in done


def test_a_stage_that_never_finished_is_in_neither_list():
    display = RunDisplay(Console(file=io.StringIO()))
    with progress.listening(display.on_event):
        progress.report("training", 2, 8)
    assert display.reused_stages == display.computed_stages == []
