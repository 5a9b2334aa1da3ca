"""Columns by the names that people use, rows in the order of one of them, in every form."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.journals import Told, journal_of
from tuner.errors import UserError
from tuner.headings import Heading
from tuner.leaderboard import Row, rows
from tuner.ordering import Pick, ordered, pick
from tuner.rendering import FORMATS, render

ABOUT = Heading(run="r", task="demo", objective="accuracy")
TRIALS = (
    Told(values=(0.5, 0.7), configuration={"learning_rate": 1e-4, "optim": "adamw", "seed": 1}),
    Told(values=(0.5, 0.9), configuration={"learning_rate": 9e-5, "optim": "lion10", "seed": 2}),
    Told("stopped", (0.8,), configuration={"learning_rate": 2e-4, "optim": "lion9", "seed": 3}),
    Told("failed", ()),
)


@pytest.fixture
def board(tmp_path: Path) -> list[Row]:
    return rows(journal_of(tmp_path / "journal.jsonl", TRIALS), "max")


def order(board: list[Row], by: str) -> list[str]:
    return [row.trial for row in ordered(board, by, "accuracy")]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("lr", ["t003", "t001", "t000", "t002"]),
        ("-learning_rate", ["t002", "t000", "t001", "t003"]),
        ("-hyperparameter.learning_rate", ["t002", "t000", "t001", "t003"]),
        ("optim", ["t000", "t002", "t001", "t003"]),
        ("-optim", ["t001", "t002", "t000", "t003"]),
        ("-accuracy", ["t001", "t002", "t000", "t003"]),
        ("metric.accuracy", ["t000", "t002", "t001", "t003"]),
        ("objective", ["t000", "t002", "t001", "t003"]),
        ("rank", ["t001", "t000", "t002", "t003"]),
        ("-rank", ["t000", "t001", "t002", "t003"]),
        ("-trial", ["t003", "t002", "t001", "t000"]),
    ],
)
def test_numbers_sort_as_numbers_texts_by_their_numbers_too_and_what_is_missing_comes_last(
    board: list[Row], by: str, expected: list[str]
) -> None:
    assert order(board, by) == expected


def test_rows_that_are_equal_stay_as_they_were(board: list[Row]) -> None:
    assert order(board, "restarts") == order(board, "-restarts") == [row.trial for row in board]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("time", Pick("total_seconds")),
        ("done", Pick("progress")),
        ("lr", Pick("hyperparameters", "learning_rate")),
        ("optim", Pick("hyperparameters", "optim")),
        ("f1", Pick("metrics", "f1")),
        (" metric.f1 ", Pick("metrics", "f1")),
        ("loss", Pick("loss")),
    ],
)
def test_a_column_has_every_name_that_a_form_gives_it(
    board: list[Row], name: str, expected: Pick
) -> None:
    assert pick(name, board, "accuracy") == expected


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("acuracy", "did you mean 'accuracy'"),
        ("hyperparameter.optm", "did you mean 'hyperparameter.optim'"),
        ("qqqqqq", "there are rank, trial, status, accuracy"),
        ("", "''"),
        ("x" * 300, "no such column"),
    ],
)
def test_a_column_that_there_is_not_is_one_line_with_a_way_out(
    board: list[Row], name: str, said: str
) -> None:
    with pytest.raises(UserError, match="no such column") as caught:
        pick(name, board, "accuracy")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 250
    for form in FORMATS:
        with pytest.raises(UserError, match="no such column"):
            render(board, form, ABOUT, names=f"trial,{name}")


def test_many_values_at_once_are_no_order(board: list[Row]) -> None:
    with pytest.raises(UserError, match="name one of them, such as accuracy"):
        ordered(board, "metrics", "accuracy")


NAMES = "trial,lr,accuracy,metrics,time"


def test_an_interval_has_both_its_bounds(board: list[Row]) -> None:
    board = [replace(board[0], objective_low=0.8, objective_high=0.95), *board[1:]]
    assert json.loads(render(board, "json", ABOUT, names="trial,interval"))[0] == {
        "trial": "t001",
        "objective_low": 0.8,
        "objective_high": 0.95,
    }
    lines = render(board, "table", ABOUT, names="trial,interval").splitlines()
    assert ["t001", "0.8000", "0.9500"] in [line.split() for line in lines]
    assert order(board, "interval")[0] == "t001"


def test_json_keeps_the_keys_that_were_named(board: list[Row]) -> None:
    found = json.loads(render(board, "json", ABOUT, names="trial,lr,accuracy,time"))
    assert found[0] == {
        "trial": "t001",
        "hyperparameters": {"learning_rate": 9e-5},
        "metrics": {"accuracy": 0.9},
        "total_seconds": board[0].total_seconds,
    }
    assert list(found[0]) == ["trial", "hyperparameters", "metrics", "total_seconds"]
    assert found[-1]["metrics"] == {}, "a trial without a score has no metrics"


def test_csv_and_tables_keep_the_columns_in_the_order_that_was_named(board: list[Row]) -> None:
    header = next(csv.reader(io.StringIO(render(board, "csv", ABOUT, names=NAMES))))
    assert header == [
        "trial",
        "hyperparameter.learning_rate",
        "metric.accuracy",
        "metric.f1",
        "total_seconds",
    ]
    text = render(board, "table", ABOUT, names=NAMES).splitlines()
    lines = text[text.index("") + 1 :]
    assert lines[0].split() == ["trial", "lr", "accuracy", "f1", "time"]
    assert lines[2].split() == ["t001", "9e-05", "0.9000", "0.4500", "3.8", "s"]
    assert "| trial | lr | accuracy | f1 | time |" in render(board, "md", ABOUT, names=NAMES)
    on_terminal = render(board, "table", ABOUT, names=NAMES, width=60)
    assert ["trial", "lr", "accuracy", "f1", "time"] in [x.split() for x in on_terminal.split("\n")]


def test_any_field_can_be_a_column_of_the_table(board: list[Row]) -> None:
    names = ",".join(json.loads(render(board, "json", ABOUT))[0])
    cells = render(board, "table", ABOUT, names=names).splitlines()
    assert "reseed_of" in cells[-6]
    assert render(board, "html", ABOUT, names=names).count("<tr>") == 5


def test_columns_are_known_before_there_is_a_trial() -> None:
    assert json.loads(render([], "json", ABOUT, names="trial,lr,accuracy")) == []
    assert ordered([], "-accuracy", "accuracy") == []
