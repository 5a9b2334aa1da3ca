"""The leaderboard: ranks that depend on scores alone, and three files that say the same."""

from __future__ import annotations

import csv
import itertools
import json
import math
import random
import re
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.journals import Told, drawn, journal_of, run_trial, said
from tuner.formats import csv_text, json_text, to_frame, to_json, to_table, write_leaderboard
from tuner.history import Direction, Record
from tuner.journal import Journal, Score, read_history
from tuner.leaderboard import Row, best, rows, rung_of, unranked_place
from tuner.runs import Run, create_run
from tuner.upkeep import LeaderboardFiles

COLUMNS = [
    "rank",
    "trial",
    "status",
    "objective",
    "objective_se",
    "tied",
    "metrics",
    "hyperparameters",
    "progress",
    "train_seconds",
    "eval_seconds",
    "total_seconds",
    "restarts",
    "slot",
    "error",
    "preemptions",
]
"""What other programs rely on."""

TRIALS = (
    Told("stopped", (0.66,)),
    Told(values=(0.9, 0.6, 0.70)),
    Told("failed", (0.8,), error='CUDA out of memory, "again"\nand again'),
    Told(values=(0.5, 0.6, 0.75), loss=0.4),
    Told("stopped", (0.5, 0.55)),
    Told("running", (0.95,)),
    Told(values=(0.5, 0.6, 0.75), loss=0.3),
    Told(values=(0.5, 0.6, 0.75), loss=0.3),
    Told("stopped", (0.5, 0.58)),
    Told("drawn", ()),
)
BEST_FIRST = ["t006", "t007", "t003", "t001", "t008", "t004", "t000", "t002", "t005", "t009"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def test_finished_trials_come_first_then_stopped_failed_and_running_ones(path: Path) -> None:
    board = rows(journal_of(path, TRIALS), "max")
    assert [row.trial for row in board] == BEST_FIRST
    assert [row.rank for row in board] == [1, 2, 3, 4, None, None, None, None, None, None]
    statuses = [row.status for row in board]
    assert statuses == ["finished"] * 4 + ["stopped"] * 3 + ["failed"] + ["running"] * 2
    assert [row.begun for row in board[-2:]] == [True, False]


def test_ranks_do_not_depend_on_the_order_in_which_trials_ended(tmp_path: Path) -> None:
    expected = rows(journal_of(tmp_path / "first", TRIALS), "max")
    for number in range(20):
        order = random.Random(number).sample(range(len(TRIALS)), len(TRIALS))
        history = journal_of(tmp_path / str(number), TRIALS, order=order)
        assert rows(history, "max") == expected


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_equal_scores_and_losses_rank_in_the_order_of_drawing(
    path: Path, order: tuple[int, ...]
) -> None:
    history = journal_of(path, [Told(), Told(), Told()], order=order)
    assert [row.trial for row in rows(history, "max")] == ["t000", "t001", "t002"]


def test_where_less_is_better_the_lowest_score_wins_and_the_lower_loss_breaks_ties(
    path: Path,
) -> None:
    trials = [Told(values=(0.1, 0.5, 0.3)), Told(values=(0.6, 0.5, 0.2))]
    trials.append(Told(values=(0.6, 0.5, 0.2), loss=0.1))
    board = rows(journal_of(path, trials), "min")
    assert [row.trial for row in board] == ["t002", "t001", "t000"]
    assert [row.best_objective for row in board] == [0.2, 0.2, 0.1]


def test_a_score_is_the_one_at_the_end_and_the_best_on_the_way_stands_beside_it(
    path: Path,
) -> None:
    row = next(r for r in rows(journal_of(path, TRIALS), "max") if r.trial == "t001")
    assert (row.objective, row.best_objective, row.progress) == (0.70, 0.9, 1.0)


def test_a_trial_that_failed_has_its_reason_and_no_score(path: Path) -> None:
    row = next(r for r in rows(journal_of(path, TRIALS), "max") if r.trial == "t002")
    assert row.error == 'CUDA out of memory, "again"\nand again'
    assert (row.objective, row.metrics, row.rank) == (None, {}, None)
    assert row.best_objective == 0.8
    assert row.progress == pytest.approx(1 / 9)


def test_there_is_no_winner_before_a_trial_has_finished(path: Path) -> None:
    assert best(rows(journal_of(path, TRIALS[4:6]), "max")) is None
    assert best([]) is None


def test_the_winner_is_the_first_row(path: Path) -> None:
    winner = best(rows(journal_of(path, TRIALS), "max"))
    assert winner is not None
    assert winner.trial == "t006"


@pytest.mark.parametrize("direction", ["max", "min"])
def test_a_finished_trial_whose_score_is_undefined_ranks_last(
    path: Path, direction: Direction
) -> None:
    trials = [Told(values=(0.5, 0.5, math.nan)), Told(values=(0.5, 0.5, 0.1))]
    board = rows(journal_of(path, trials), direction)
    assert [row.trial for row in board] == ["t001", "t000"]
    assert board[1].objective is None
    assert json.loads(json_text(board))[1]["objective"] is None


@pytest.mark.parametrize("cut", range(0, 40, 3))
def test_a_journal_cut_off_anywhere_still_gives_a_leaderboard(path: Path, cut: int) -> None:
    journal_of(path, TRIALS, order=(3, 0, 1, 2, 4, 5, 6, 7, 8, 9))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * cut // 40])
    history = read_history(path)
    board = rows(history, "max")
    assert {row.trial for row in board} == set(history.records)
    finished = [row.objective for row in board if row.rank is not None]
    assert finished == sorted(finished, key=lambda value: -(value or 0))
    assert [row.rank for row in board[: len(finished)]] == list(range(1, len(finished) + 1))
    json.loads(json_text(board))


def test_json_rows_have_the_columns_that_other_programs_rely_on(path: Path) -> None:
    listed = to_json(rows(journal_of(path, TRIALS), "max"))
    assert all(list(row)[: len(COLUMNS)] == COLUMNS for row in listed)
    assert listed == json.loads(json_text(rows(read_history(path), "max")))
    first = listed[0]
    assert first["metrics"] == {"accuracy": 0.75, "f1": 0.375}
    assert first["hyperparameters"] == {
        "learning_rate": 3.14e-5,
        "num_train_epochs": 3,
        "seed": 7,
        "per_device_train_batch_size": 16,
    }
    assert (first["total_seconds"], first["slot"], first["restarts"]) == (10.5, "host:100", 0)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    rest = {k: v for k, v in row.items() if k not in ("metrics", "hyperparameters")}
    metrics = {f"metric.{name}": value for name, value in row["metrics"].items()}
    drawn_ = {f"hyperparameter.{name}": value for name, value in row["hyperparameters"].items()}
    return {k: v for k, v in {**rest, **metrics, **drawn_}.items() if v is not None}


def _read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        listed = list(csv.DictReader(file))
    return [{name: text for name, text in row.items() if text != ""} for row in listed]


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_parquet_csv_and_json_agree_to_the_last_digit(path: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    write_leaderboard(run, rows(journal_of(path, TRIALS), "max"))
    listed = [_flat(row) for row in json.loads(run.leaderboard_file("json").read_text())]
    assert [row["trial"] for row in listed] == BEST_FIRST
    table = pq.read_table(run.leaderboard_file("parquet"))
    known = [{k: v for k, v in row.items() if v is not None} for row in table.to_pylist()]
    assert known == listed
    in_csv = _read_csv(run.leaderboard_file("csv"))
    assert in_csv == [{name: _written(value) for name, value in row.items()} for row in listed]
    assert sorted(file.name for file in run.folder.iterdir()) == [
        "leaderboard.csv",
        "leaderboard.json",
        "leaderboard.parquet",
    ], "no temporary file stays"


def test_an_empty_leaderboard_is_written_with_its_types(tmp_path: Path) -> None:
    run = Run(tmp_path)
    write_leaderboard(run, [])
    assert json.loads(run.leaderboard_file("json").read_text()) == []
    schema = pq.read_schema(run.leaderboard_file("parquet"))
    assert str(schema.field("objective").type) == "double"
    assert str(schema.field("rank").type) == "int64"
    assert run.leaderboard_file("csv").read_text().startswith("rank,trial,status,objective,")


def test_columns_keep_their_types_while_nothing_is_known(path: Path) -> None:
    table = to_table(rows(journal_of(path, [Told("drawn", ())]), "max"))
    assert str(table.schema.field("error").type) == "string"
    assert str(table.schema.field("total_seconds").type) == "double"


def test_a_hyperparameter_of_mixed_types_is_text_in_parquet_and_itself_in_json(
    path: Path,
) -> None:
    mixed = [1, 2.5, "cosine", True, None, 2**70]
    trials = [Told(configuration={} if v is None else {"odd": v}) for v in mixed]
    board = rows(journal_of(path, trials), "max")
    column = to_table(board).column("hyperparameter.odd").to_pylist()
    assert column == ["1", "2.5", "cosine", "True", None, str(2**70)]
    assert [row["hyperparameters"].get("odd") for row in to_json(board)] == mixed


def test_whole_and_broken_numbers_share_a_column(path: Path) -> None:
    trials = [Told(configuration={"num_train_epochs": v}) for v in (3, 2.5)]
    table = to_table(rows(journal_of(path, trials), "max"))
    assert table.column("hyperparameter.num_train_epochs").to_pylist() == [3.0, 2.5]


def test_the_frame_has_a_row_a_trial_best_first(path: Path) -> None:
    frame = to_frame(rows(journal_of(path, TRIALS), "max"))
    assert list(frame["trial"]) == BEST_FIRST
    assert frame["metric.accuracy"][0] == 0.75


def test_csv_quotes_what_would_break_a_line(path: Path) -> None:
    text = csv_text(rows(journal_of(path, TRIALS), "max"))
    listed = list(csv.DictReader(text.splitlines(keepends=True)))
    assert len(listed) == len(TRIALS)
    assert listed[7]["error"] == 'CUDA out of memory, "again"\nand again'


def _trial_in_file(run: Run) -> list[str]:
    listed: list[dict[str, Any]] = json.loads(run.leaderboard_file("json").read_text())
    return [row["trial"] for row in listed]


def _events(path: Path, files: LeaderboardFiles, count: int) -> None:
    with Journal.open(path) as journal:
        journal.append("session", planned=count, slots=1)
        files.search_started(count, 1)
        for number in range(count):
            name = drawn(journal, number)
            files.event("drawn", journal.history.records[name], journal.history)
            run_trial(journal, name, Told())
            files.event("finished", journal.history.records[name], journal.history)


def test_files_are_written_at_once_and_then_not_before_their_time(
    path: Path, tmp_path: Path
) -> None:
    run = Run(tmp_path / "run")
    files = LeaderboardFiles(run, "max", every=3600)
    _events(path, files, 5)
    assert _trial_in_file(run) == ["t000"], "the first event is written, the others wait"
    files.search_ended("complete")
    assert _trial_in_file(run) == ["t000", "t001", "t002", "t003", "t004"]


def test_a_change_that_nothing_follows_is_written_when_its_time_has_come(
    path: Path, tmp_path: Path
) -> None:
    run = Run(tmp_path / "run")
    files = LeaderboardFiles(run, "max", every=0.05)
    _events(path, files, 3)
    deadline = time.monotonic() + 60
    while _trial_in_file(run) != ["t000", "t001", "t002"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_folder_that_cannot_be_written_does_not_end_a_search(path: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where the folder should be")
    files = LeaderboardFiles(Run(tmp_path / "run"), "max", every=0)
    _events(path, files, 2)
    files.search_ended("complete")


def test_a_row_of_a_restarted_trial_says_so(path: Path) -> None:
    with Journal.open(path) as journal:
        journal.append("session", planned=1, slots=1)
        name = drawn(journal, 0)
        for preempted in (False, True):
            journal.append("taken", trial=name)
            journal.append("report", **said(name, 0, 0.5))
            journal.append("lost", trial=name, error="gone", preempted=preempted)
        waiting: Row = rows(journal.history, "max")[0]
        run_trial(journal, name, Told())
        row: Row = rows(journal.history, "max")[0]
    assert (waiting.status, waiting.restarts, waiting.preemptions) == ("running", 1, 1)
    assert (row.restarts, row.preemptions, row.rank, row.start_point) == (2, 1, 1, True)


def test_two_lines_in_a_notebook_read_the_columns_that_the_readme_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(tmp_path / "runs", "rte", "RUN")
    write_leaderboard(run, rows(journal_of(run.journal_file, TRIALS), "max"))
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    section = readme.partition("### The leaderboard in a notebook\n")[2].partition("\n## ")[0]
    lines = [line.strip() for line in section.splitlines() if line.startswith("    ")]
    assert len(lines) == 2
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec("\n".join(lines), names)
    assert list(names["trials"]["trial"]) == BEST_FIRST

    trials = names["trials"]
    kinds = {name: str(trials[name].dtype) for name in ("rank", "tied", "seeds", "begun")}
    assert kinds == {"rank": "Int64", "tied": "boolean", "seeds": "Int64", "begun": "boolean"}
    assert list(trials[trials.tied == False].trial) == BEST_FIRST[:1]  # noqa: E712
    assert list(trials[trials["rank"] <= 2].trial) == BEST_FIRST[:2], "nulls are no rank"
    assert list(trials[trials.tied].trial) == []

    table = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| `")]
    listed = {
        name: kind.strip() for columns, kind in table for name in re.findall(r"`([^`]+)`", columns)
    }
    schema = pq.read_schema(run.leaderboard_file("parquet"))
    stored: dict[str, str] = {}
    for field in schema:
        prefix, dot, _ = field.name.partition(".")
        stored[f"{prefix}.NAME" if dot else field.name] = str(field.type)
    kinds = {str(field.type) for field in schema if field.name.startswith("hyperparameter.")}
    assert kinds <= set(re.split(r", | or ", listed["hyperparameter.NAME"]))
    stored["hyperparameter.NAME"] = listed["hyperparameter.NAME"]
    assert list(listed.items()) == list(stored.items())


def test_of_trials_stopped_at_one_rung_the_better_is_first_whatever_a_step_rounds_to() -> None:
    assert [rung_of(p) for p in (1.0, 0.34, 1 / 3, 1 / 9, 2 / 17, 0.5, 0.0)] == pytest.approx(
        [1, 1 / 3, 1 / 3, 1 / 9, 1 / 9, 1 / 3, 0]
    )
    records = [
        Record(name, 0, {}, False, "stopped", [Score(1, step, 1000, objective=score)])
        for name, score, step in (("a", 0.1, 340), ("b", 0.5, 335), ("c", 0.9, 120))
    ]
    assert [r.name for r in sorted(records, key=lambda r: unranked_place(r, -1.0))] == [*"bac"]
