"""The leaderboard as text: what is shown, what the heading owns up to, and what fits."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tests.journals import Told, journal_of
from tuner.cells import configuration, value
from tuner.errors import UserError
from tuner.formats import csv_text
from tuner.headings import Heading, duration, heading, time_left
from tuner.leaderboard import Row, rows
from tuner.rendering import render
from tuner.views import final_score

LONG = "RuntimeError: [rank 0]\x1b a | b\nand then " + "x" * 300
TRIALS = (
    Told(),
    Told("stopped", (0.5, 0.55), configuration={"learning_rate": 1e-4, "seed": 7}),
    Told("failed", (0.5,), error=LONG),
    Told("running", (0.6,)),
    Told("drawn", ()),
)
ABOUT = Heading(
    run="demo-1",
    task="demo",
    objective="accuracy",
    selection_rows=1043,
    majority=0.5273,
    planned=5,
    reason="complete",
    seconds=83.0,
)


@pytest.fixture
def board(tmp_path: Path) -> list[Row]:
    return rows(journal_of(tmp_path / "journal.jsonl", TRIALS), "max")


def _line(text: str, word: str) -> str:
    return next(line for line in text.splitlines() if word in line.split())


@pytest.mark.parametrize("width", [None, 140])
def test_a_row_tells_rank_scores_progress_hyperparameters_and_time(
    board: list[Row], width: int | None
) -> None:
    text = render(board, "table", ABOUT, width=width)
    cells = _line(text, "t000").split()
    assert cells[:6] == ["1", "t000", "finished", "0.7000", "0.3500", "100"]
    assert cells[7:9] == ["3.1e-05", "3"]
    assert cells[-2:] == ["10.5", "s"]
    stopped = _line(text, "t001").split()
    assert stopped[:4] == ["t001", "stopped", "0.5500", "0.2750"], "no rank"
    assert stopped[4:7] == ["33", "%", "0.0001"]


def test_hyperparameters_that_never_change_are_left_out_of_the_table(board: list[Row]) -> None:
    header = _line(render(board, "table", ABOUT), "rank").split()
    assert header == "rank trial status accuracy f1 done lr epochs batch time error".split()


def test_all_hyperparameters_are_shown_when_none_changes(tmp_path: Path) -> None:
    one = rows(journal_of(tmp_path / "journal.jsonl", [Told()]), "max")
    header = _line(render(one, "table", ABOUT), "rank").split()
    assert header == "rank trial status accuracy f1 done lr epochs seed batch time".split()


def test_an_error_is_one_line_and_not_taken_for_markup(board: list[Row]) -> None:
    for width in (None, 200):
        line = _line(render(board, "table", ABOUT, width=width), "t002")
        assert "RuntimeError: [rank 0] a | b and then" in line
    plain = render(board, "table", ABOUT)
    assert max(map(len, plain.splitlines())) < 220
    assert "x" * 120 not in plain
    assert "\x1b" not in plain


def test_the_heading_says_which_rows_chose_and_what_the_majority_class_scores(
    board: list[Row],
) -> None:
    text = render(board, "table", ABOUT)
    assert "1,043 held-out rows of the training split" in text
    assert "scores 0.5273" in text
    assert "optimistic" not in text


def test_a_winner_chosen_on_the_validation_split_is_called_optimistic(board: list[Row]) -> None:
    about = Heading(selected_on="validation", selection_rows=277, planned=5, reason="complete")
    for form in ("table", "md"):
        text = render(board, form, about)
        assert "277 rows of the official validation split" in text
        assert "that score is optimistic" in text


@pytest.mark.parametrize(
    ("about", "said", "statuses"),
    [
        (Heading(run="r", planned=20, live=True), "the search is running", "running"),
        (Heading(run="r", planned=20), "was cut short (its driver is gone)", "unfinished"),
        (Heading(run="r", planned=20, reason="interrupted"), "was interrupted", "unfinished"),
        (Heading(run="r", planned=20, reason="budget"), "ended by its time budget", "unfinished"),
        (Heading(run="r", planned=20, reason="broken"), "its journal is broken", "unknown"),
    ],
)
def test_a_search_that_is_not_whole_says_what_is_missing(
    board: list[Row], about: Heading, said: str, statuses: str
) -> None:
    text = render(board, "table", about)
    assert "3 of 20 trials done (1 finished, 1 stopped, 1 failed)" in text
    assert said in text
    assert _line(text, "t003").split()[1] == statuses
    waiting = "unknown" if statuses == "unknown" else "waiting"
    assert _line(text, "t004").split()[1] == waiting
    assert ("`tuner resume r` runs them again" in text) == (statuses == "unfinished")


def test_a_board_with_failures_says_how_to_learn_more(board: list[Row]) -> None:
    about = Heading(run="r", resume="runs/r", planned=5, reason="complete")
    assert "`tuner logs runs/r TRIAL`" in render(board, "table", about)
    well = [row for row in board if row.status != "failed"]
    assert "tuner logs" not in render(well, "table", about)


def test_a_heading_reads_the_facts_of_the_run_file(tmp_path: Path) -> None:
    history = journal_of(tmp_path / "journal.jsonl", TRIALS, planned=9, reason="interrupted")
    facts = {
        "data": {
            "selected_on": "validation",
            "selection_rows": 277,
            "majority": {"selection": {"accuracy": 0.53, "f1": 0.0}, "validation": {}},
        }
    }
    about = heading("r", "rte", "accuracy", "max", facts, history)
    assert (about.selected_on, about.selection_rows, about.majority) == ("validation", 277, 0.53)
    assert (about.planned, about.reason) == (9, "interrupted")
    assert heading("r", "rte", "accuracy", "max", {}, history).majority is None


def test_json_and_csv_hold_the_rows_in_full_and_nothing_else(board: list[Row]) -> None:
    listed = json.loads(render(board, "json", ABOUT))
    assert [row["trial"] for row in listed] == [row.trial for row in board]
    assert listed[2]["error"] == LONG
    assert render(board, "csv", ABOUT) == csv_text(board)


def test_markdown_is_one_table_whose_cells_break_nothing(board: list[Row]) -> None:
    lines = [line for line in render(board, "md", ABOUT).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(board)
    bars = [line.replace("\\|", "").count("|") for line in lines]
    assert len(set(bars)) == 1
    assert r"\[rank 0\] a \| b" in "\n".join(lines)


@pytest.mark.parametrize("form", ["table", "csv", "json", "md"])
def test_top_keeps_the_best_rows(board: list[Row], form: str) -> None:
    text = render(board, form, ABOUT, top=2)
    assert "t000" in text
    assert "t001" in text
    assert "t002" not in text


@pytest.mark.parametrize("form", ["md", "html"])
def test_what_is_left_out_is_said_in_markdown_and_html_too(board: list[Row], form: str) -> None:
    assert "... and 3 more rows" in render(board, form, ABOUT, top=2)
    assert "more rows" not in render(board, form, ABOUT)


def test_a_table_says_how_many_rows_it_leaves_out(board: list[Row]) -> None:
    for width in (None, 100):
        assert "... and 3 more rows" in render(board, "table", ABOUT, top=2, width=width)
        assert "more rows" not in render(board, "table", ABOUT, top=5, width=width)


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_narrow_terminal_loses_columns_by_name_and_no_digits(
    board: list[Row], width: int
) -> None:
    text = render(board, "table", ABOUT, width=width)
    assert max(map(len, text.splitlines())) <= width
    cells = _line(text, "t000").split()
    assert cells[:4] == ["1", "t000", "finished", "0.7000"]
    assert "3.1e-05" in cells
    header = _line(text, "rank").split()
    gone = {"f1", "time", "epochs", "batch"} - set(header)
    assert bool(gone) == ("left out here:" in text)
    assert all(name in text for name in gone)
    assert "…" not in text


def test_a_table_without_a_single_row_still_says_where_the_search_stands() -> None:
    for form, width in (("table", None), ("table", 80), ("md", None)):
        text = render([], form, Heading(planned=20, live=True), width=width)
        assert "0 of 20 trials done" in text


def test_a_table_without_colour_holds_no_escape_codes(board: list[Row]) -> None:
    assert "\x1b" not in render(board, "table", ABOUT, width=120)


@pytest.mark.parametrize("form", ["tabel", "htm"])
def test_an_unknown_format_names_those_there_are(board: list[Row], form: str) -> None:
    with pytest.raises(UserError, match=f"--format {form}: is none of table, csv, json, md, html"):
        render(board, form)


def test_a_top_of_none_at_all_is_refused(board: list[Row]) -> None:
    with pytest.raises(UserError, match="--top 0: must be at least 1"):
        render(board, top=0)


@pytest.mark.parametrize(
    ("name", "given", "shown"),
    [
        ("learning_rate", 3.14e-5, "3.1e-05"),
        ("learning_rate", 0.001, "0.001"),
        ("weight_decay", 0.0123456, "0.0123"),
        ("num_train_epochs", 3, "3"),
        ("num_train_epochs", 2.5, "2.5"),
        ("adafactor", True, "true"),
        ("lr_scheduler_type", "cosine_with_min_lr", "cosine_with_min_lr"),
        ("lr_scheduler_type", "a\nb", "a b"),
    ],
)
def test_hyperparameters_are_short_and_readable(name: str, given: float | str, shown: str) -> None:
    assert value(name, given) == shown


def test_a_configuration_is_one_line_of_short_names() -> None:
    drawn = {"learning_rate": 3.14e-5, "per_device_train_batch_size": 16, "seed": 7, "optim": "x"}
    assert configuration(drawn) == "lr 3.1e-05, batch 16, seed 7, optim x"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (0.44, "0.44 s"),
        (8.2, "8.2 s"),
        (42.4, "42 s"),
        (240, "4 min"),
        (3599, "1 h"),
        (7800, "2 h 10 min"),
    ],
)
def test_durations_are_told_in_the_unit_that_fits(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_time_left_is_never_less_than_a_second() -> None:
    assert time_left(1e-9) == "about 1 s left"
    assert time_left(236) == "about 4 min left"


def test_who_is_tied_is_said_of_the_leader_in_whatever_order_the_rows_stand(
    board: list[Row],
) -> None:
    first = board[0]
    found = [
        dataclasses.replace(first, tied=False),
        dataclasses.replace(first, trial="t001", rank=2, tied=True, worse=0.7),
        dataclasses.replace(first, trial="t002", rank=None, status="stopped", objective=0.9),
    ]
    said = "t000 cannot be told from t001 (paired bootstrap over 1,043 rows, 95 %)"
    for order in (found, found[::-1], [found[2], found[0], found[1]]):
        assert said in render(order, "table", ABOUT)


def test_the_heading_has_the_final_score_and_whether_its_rows_had_a_part(board: list[Row]) -> None:
    scores = {"metrics": {"accuracy": 0.834}, "rows": 1000, "split": "validation"}
    final = final_score("accuracy", {**scores, "intervals": {"accuracy": [0.812, 0.857]}})
    assert final == "accuracy 0.8340 (0.8120 to 0.8570) on 1,000 rows of the validation split"
    honest = render(board, "table", dataclasses.replace(ABOUT, final=final))
    assert f"The final score is {final}, which played no part in this." in honest
    bare = final_score("accuracy", scores)
    biased = dataclasses.replace(ABOUT, final=bare, selected_on="validation")
    text = render(board, "table", biased)
    assert "The winner was chosen on the rows that also give the final score" in text
    assert f"final score, {bare}: that score is optimistic." in text
    text = render(board, "table", dataclasses.replace(biased, final=""))
    assert "The winner is chosen on the rows that also give the final score: that" in text
    assert final_score("f1", scores) == ""


def test_a_regression_is_compared_with_the_mean(board: list[Row]) -> None:
    assert "always the majority class scores 0.5273" in render(board, "table", ABOUT)
    text = render(board, "table", dataclasses.replace(ABOUT, regression=True))
    assert "always the mean scores 0.5273" in text


def test_a_search_that_is_over_is_not_said_to_run_while_its_winner_is_retrained(
    board: list[Row],
) -> None:
    for reason, how in (("complete", "is complete"), ("budget", "was ended by its time budget")):
        text = render(board, "table", dataclasses.replace(ABOUT, live=True, reason=reason))
        assert f"the search {how}; what follows it goes on" in text
        assert "is running" not in text.split("rank")[0]
