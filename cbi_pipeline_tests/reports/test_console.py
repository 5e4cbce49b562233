from __future__ import annotations

import io
from datetime import UTC, date, datetime

import pytest
from rich.console import Console

from cbi_pipeline import progress
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.errors import WarehouseError
from cbi_pipeline.evaluation.scorecard import BENCHMARK_ENTRIES
from cbi_pipeline.modeling.config import ARCHITECTURES
from cbi_pipeline.reports import console as console_module
from cbi_pipeline.reports.console import (
    ENTRY_TITLES,
    RunDisplay,
    error_panel,
    evidence_table,
    experiments_table,
    forecast_table,
    leaderboard_table,
    status_reasons,
)


def printed(renderable, *, terminal: bool = False, width: int = 140) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal)
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


FIGURES = {
    "dm_p_less": 0.2, "mcs_p": 0.9, "rmse_ratio_low": 0.93, "rmse_ratio_high": 1.04, "ratio_to_best_benchmark": 1.012,
    "crps_ratio": 0.981, "coverage_80": 0.647, "directional_accuracy": 0.6, "direction_p": 0.04, "sharpe": -0.1,
    "sharpe_se": 0.4, "n_eff": 19.03,
}  # fmt: skip


def scores(entry: str, mape: float | None, ratio: float | None, **changes: float | None):
    """A record of `stages.leaderboard` with the same figures at every horizon."""
    figures = {"mape": mape, "rmse_ratio": ratio, **FIGURES, **changes}
    return {"entry": entry} | {f"{name}_{h}m": value for h in HORIZONS_MONTHS for name, value in figures.items()}


def cells(text: str) -> dict[str, list[str]]:
    """Rows of a printed table by their first cell."""
    lines = [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if "│" in line]
    return {line[0]: line[1:] for line in lines}


def test_the_leaderboard_has_a_line_an_entry_in_the_given_order():
    text = printed(leaderboard_table([scores("tcn", 13.54, 0.9471), scores("new_entry", 10.0, 1.0)], "the folds"))
    assert "Leaderboard, the folds" in text
    lines = [line for line in text.splitlines() if line.startswith("│")]
    assert [line.split("│")[1].strip() for line in lines] == ["TCN on anchor", "new_entry"]
    assert lines[0].count("13.5 0.947 ") == 4


@pytest.mark.parametrize(
    ("entry", "title"),
    [
        ("lstm_mha", "LSTM + attention on anchor"),
        ("tcn_lambda_0.1", "TCN, lambda 0.1"),
        ("nbeatsx_lambda_0.25", "N-BEATSx, lambda 0.25"),
        ("tcn_lambda_1", "TCN, full residual"),
        ("lstm_mha_raw", "LSTM + attention, raw"),
        ("last_price", "last price"),
        ("networks_raw", "mean of networks, raw"),
    ],
)
def test_every_entry_has_a_title(entry, title):
    assert ENTRY_TITLES[entry] == title


def test_titles_are_as_many_as_entries_and_all_different():
    assert len(ENTRY_TITLES) == len(set(ENTRY_TITLES.values())) == 5 * len(ARCHITECTURES) + 2 + 9
    assert set(BENCHMARK_ENTRIES) <= set(ENTRY_TITLES)


def experiment(**changes):
    row = {
        "experiment_id": "0123456789abcdef",
        "architecture": "nbeatsx",
        "target": "raw",
        "profile": "full",
        "folds": 12,
        "members": 3,
        "validation_loss": 0.41251,
        **{f"rmse_ratio_{h}m": 1 + h / 1000 for h in HORIZONS_MONTHS},
        "training_seconds": 61.7,
        "created_at": datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
    }
    return row | changes


def test_an_experiment_has_its_figures_at_every_width():
    for width in (80, 140):
        text = printed(
            experiments_table([experiment(), experiment(architecture="tcn", rmse_ratio_9m=None)]), width=width
        )
        lines = [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if "│" in line]
        assert lines == [
            ["0123456789abcdef", "N-BEATSx", "0.413", "1.003", "1.006", "1.009", "1.012"],
            ["2026-01-02 03:04", "raw, full", "12 x 3", "", "", "", ""],
            ["0123456789abcdef", "TCN", "0.413", "1.003", "1.006", "", "1.012"],
            ["2026-01-02 03:04", "raw, full", "12 x 3", "", "", "", ""],
        ]


def test_lines_part_the_leaderboard():
    entries = [
        "lstm_mha",
        "tcn",
        "lstm_mha_raw",
        "lstm_mha_lambda_1",
        "tcn_raw",
        "networks_raw",
        "last_price",
        "anchor",
    ]
    lines = printed(leaderboard_table([scores(entry, 10.0, 1.0) for entry in entries], "")).splitlines()
    body = [line[0] for line in lines if line[:1] in "│├"]
    assert "".join(body) == "││├││├│├│├││"


def test_marks_say_what_is_beyond_noise():
    rows = [
        scores("tcn", 13.5, 0.9, dm_p_less=0.049),
        scores("anchor", 13.5, 0.9, dm_p_less=0.05),
        scores("ridge", 13.5, 1.3, mcs_p=0.25, dm_p_less=0.99),
        scores("last_price", 13.5, 1.0, dm_p_less=None, mcs_p=None),
    ]
    shown = cells(printed(leaderboard_table(rows, "")))
    assert shown["TCN on anchor"] == ["13.5 0.900*"] * 4
    assert shown["anchor"] == ["13.5 0.900"] * 4
    assert shown["ridge"] == ["13.5 1.300°"] * 4
    assert shown["last price"] == ["13.5 1.000"] * 4


def test_the_leaderboard_fits_eighty_columns():
    rows = [scores(entry, 13.5, 1.3, mcs_p=0.1) for entry in ENTRY_TITLES]
    text = printed(leaderboard_table(rows, "out of fold"), width=80) + printed(evidence_table(rows), width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("13.5 1.300°") == 4 * len(rows), "no cell is broken over two lines"


def test_the_evidence_shows_every_figure_of_what_is_served():
    rows = [scores("tcn", 13.5, 0.984), scores("tcn_raw", 14.1, 1.038), scores("anchor", 13.5, 0.984)]
    text = printed(evidence_table(rows))
    shown = cells(text)
    assert "TCN on anchor" in shown
    assert not {"TCN, raw", "anchor"} & set(shown)
    assert shown["RMSE / last price"] == ["0.984"] * 4
    assert shown["its interval"] == ["0.93-1.04"] * 4
    assert shown["RMSE / best benchmark"] == ["1.012"] * 4
    assert shown["CRPS / last price"] == ["0.981"] * 4
    assert shown["80 % covered"] == ["65%"] * 4
    assert shown["direction right"] == ["60%"] * 4
    assert shown["Sharpe ratio"] == ["-0.10±0.40"] * 4
    assert shown["independent periods"] == ["19.0"] * 4
    assert [line.split("│")[2].strip() for line in text.splitlines() if "│ p " in line] == ["0.20", "0.04"]


def test_networks_with_the_same_figures_share_their_evidence():
    same = printed(evidence_table([scores("tcn", 13.5, 0.984), scores("nbeatsx", 13.5, 0.984)]))
    assert "TCN, N-BEATSx on anchor" in same
    assert same.count("RMSE / last price") == 1
    other = printed(evidence_table([scores("tcn", 13.5, 0.984), scores("nbeatsx", 13.5, 0.99)]))
    assert other.count("RMSE / last price") == 2
    assert "TCN on anchor" in other


def test_evidence_that_is_not_known_is_left_empty():
    text = printed(evidence_table([scores("tcn", 13.5, 0.984, sharpe=None, dm_p_less=None)]))
    assert cells(text)["Sharpe ratio"] == [""] * 4
    assert "None" not in text


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


def test_a_question_is_asked_while_the_display_is_off_the_terminal():
    console = Console(file=io.StringIO(), force_terminal=True)
    with RunDisplay(console).live() as display:
        assert display._live.is_started
        with display.paused():
            assert not display._live.is_started
            console.print("Buy it?")
        assert display._live.is_started
        progress.report("training", 2, 8)
    assert "Buy it?" in console.file.getvalue()
    with RunDisplay(Console(file=io.StringIO())).live() as display, display.paused():
        pass


def test_a_working_stage_shows_the_time_that_is_left(monkeypatch):
    """Two of eight units took 30 seconds, so six take 90; five seconds later 85 are left."""
    now = [0.0]
    monkeypatch.setattr(console_module.time, "perf_counter", lambda: now[0])
    display = RunDisplay(Console(file=io.StringIO(), force_terminal=True))
    shown = []
    with progress.listening(display.on_event):
        for seconds, done in ((0.0, 0), (15.0, 1), (30.0, 2)):
            now[0] = seconds
            progress.report("training", done, 8, "cell 1/4 tcn fold_1, epoch 2/4")
            shown.append(printed(display, terminal=True))
        now[0] = 35.0
        shown.append(printed(display, terminal=True))
        progress.finish("training", "4 cells")
        done_text = printed(display, terminal=True)
    assert " left" not in shown[0]
    assert "1 min 45 s left" in shown[1]
    assert "1 min 30 s left" in shown[2]
    assert "1 min 25 s left" in shown[3]
    assert "cell 1/4 tcn fold_1, epoch 2/4" in shown[3]
    assert " left" not in done_text


def test_a_stage_that_never_finished_is_in_neither_list():
    display = RunDisplay(Console(file=io.StringIO()))
    with progress.listening(display.on_event):
        progress.report("training", 2, 8)
    assert display.reused_stages == display.computed_stages == []
