"""A retrained model that falls short of its trial is told of; one that chance explains is not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.test_comparisons import TRIALS, board, run_of
from tuner.cli import run_guarded
from tuner.headings import Heading, heading_lines
from tuner.history import Direction
from tuner.journal import read_history
from tuner.leaderboard import Row
from tuner.page.reading import read_report
from tuner.settings import Settings, write_run_file
from tuner.shortfall import Shortfall, runner_up, shortfall


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """The rows of a small run, its first trial's score 0.539 with a standard error of 0.011."""
    first, *others = board(run_of(tmp_path_factory.mktemp("run"))).values()
    return [replace(first, objective=0.539, objective_se=0.011), *others]


def found(
    rows: list[Row], value: float, half: float = 0.01, direction: Direction = "max"
) -> Shortfall | None:
    """For a final score with an interval of `half` to both sides."""
    within = {"accuracy": (value - half, value + half)}
    return shortfall(rows, "accuracy", direction, {"accuracy": value}, within)


def test_a_model_far_below_its_trial_is_told_of_with_a_way_out(listed: list[Row]) -> None:
    short = found(listed, 0.471)
    assert short is not None
    assert (short.metric, short.trial, short.expected, short.score) == (
        *("accuracy", listed[0].trial),
        *(0.539, 0.471),
    )
    assert json.loads(json.dumps(short.plain()))["bound"] == short.bound
    told = short.sentence("runs/m", runner_up(listed))
    assert "\n" not in told
    for words in ("0.4710", "0.5390", "0.0680 worse", f"tuner show runs/m {listed[1].trial} "):
        assert words in told
    assert told.endswith("tuner resume runs/m --finalists 3 --reseeds 2")
    assert "tuner show" not in short.sentence("runs/m", None)


def test_the_runner_up_is_another_configuration(listed: list[Row]) -> None:
    again = replace(listed[0], trial="t009", rank=None, reseed_of=listed[0].trial)
    stopped = replace(listed[1], trial="t008", rank=None, status="stopped")
    failed = replace(stopped, trial="t007", status="failed")
    assert runner_up([listed[0], again, *listed[1:]]) == listed[1].trial
    assert runner_up([listed[0], again, stopped, failed]) == "t008"
    assert runner_up([listed[0], again, failed]) is None
    assert runner_up([]) is None


def test_neither_score_counts_for_more_than_its_rows_do(listed: list[Row]) -> None:
    """A drop out of the trial's own interval, which few final rows explain."""
    assert found(listed, 0.49) is not None
    assert found(listed, 0.49, half=0.06) is None
    assert found([replace(listed[0], objective_se=0.05), *listed[1:]], 0.49) is None


def test_a_trial_without_an_exception_is_not_taken_for_certain(listed: list[Row]) -> None:
    """100 right of 100 rows, where a model that is right in 98 % may well be."""
    perfect = {"objective": 1.0, "objective_se": 0.0, "objective_high": 1.0}
    rows = [replace(listed[0], **perfect, objective_low=0.025 ** (1 / 100)), *listed[1:]]
    assert found(rows, 0.98, half=0.004) is None
    assert found(rows, 0.9, half=0.004) is not None


def test_a_better_score_and_one_of_which_nothing_more_is_known_are_no_shortfall(
    listed: list[Row],
) -> None:
    assert found(listed, 0.9) is None
    assert found(listed, 0.9, direction="min") is not None
    assert found([replace(listed[0], objective_se=None)], 0.1) is None
    assert shortfall(listed, "accuracy", "max", {"accuracy": 0.1}, {}) is None
    assert shortfall(listed, "accuracy", "max", {"accuracy": 0.1}, {}, 1000) is not None
    assert shortfall(listed, "f1", "max", {"f1": 0.1}, {}, 1000) is None
    assert shortfall([], "accuracy", "max", {"accuracy": 0.1}, {}) is None


def test_of_scores_on_the_same_rows_nothing_is_said(listed: list[Row]) -> None:
    same = {"accuracy": 0.471}
    assert shortfall(listed, "accuracy", "max", same, {}, 8000) is not None
    assert shortfall(listed, "accuracy", "max", same, {}, 8000, same_rows=True) is None


def test_of_a_mean_over_seeds_the_spread_between_them_counts(listed: list[Row]) -> None:
    seeded = replace(listed[0], objective_mean=0.539, objective_sd=0.004, seeds=3)
    assert found([seeded, *listed[1:]], 0.471) is not None
    assert found([replace(seeded, objective_sd=0.05), *listed[1:]], 0.471) is None
    assert found([replace(seeded, objective_mean=0.48), *listed[1:]], 0.471) is None


@pytest.mark.parametrize("trials", [1, 10, 40])
def test_the_luck_of_the_best_of_equals_is_no_shortfall(listed: list[Row], trials: int) -> None:
    """Equal trials and a final model as good as they are: told of in 2.5 % of searches at most."""
    random, alarms = np.random.default_rng(3), 0
    for _ in range(400):
        luckiest = float(random.normal(0.8, 0.01, trials).max())
        rows = [replace(listed[0], objective=luckiest, objective_se=0.01, rank=1)] * trials
        final = float(random.normal(0.8, 0.005))
        alarms += found(rows, final, half=1.96 * 0.005) is not None
    assert alarms <= 16, "10 are expected at most"


def test_the_leaderboard_and_the_page_tell_of_it_and_older_scores_do_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(tmp_path, TRIALS)
    write_run_file(run, Settings(task="rte"), {"data": {"selected_on": "holdout"}})
    winner = next(iter(board(run).values()))
    run.best_folder.mkdir()
    scores = {
        "metrics": {"accuracy": 0.6},
        "intervals": {"accuracy": [0.58, 0.62]},
        "hyperparameters": dict(winner.hyperparameters),
        "rows": 2000,
    }
    file = run.best_folder / "metrics.json"
    short = Shortfall("accuracy", winner.trial, 0.8, 0.6, 0.1)
    told = f"Retrained, {winner.trial} scores accuracy 0.6000 where its trial had"
    for changes, said in (
        ({}, True),
        ({"intervals": {}}, True),
        ({"intervals": {}, "rows": 12}, False),
        ({"hyperparameters": {"seed": 1}}, False),
        ({"shortfall": None}, False),  # reckoned when it was exported, and found to be none
        ({"shortfall": {"metric": "accuracy"}}, True),
        ({"shortfall": [1]}, True),
        ({"intervals": {}, "rows": 12, "shortfall": short.plain()}, True),
    ):
        file.write_text(json.dumps({**scores, **changes}))
        assert run_guarded(["leaderboard", str(run.folder)]) == 0
        assert (told in capsys.readouterr().out) == said
        page = read_report(run)
        assert (told in " ".join(page.verdict)) == said
        assert told not in " ".join(page.heading), "once on a page"
    assert len(read_history(run.journal_file).records) == len(TRIALS)


@pytest.mark.parametrize(
    "changes",
    [
        {"intervals": [0.5, 0.6]},
        {"intervals": {"accuracy": 0.6}},
        {"intervals": {"accuracy": [None, None]}},
        {"rows": "many"},
        {"rows": -1, "intervals": {}},
        {"metrics": {"accuracy": "0.6"}},
        {"metrics": {"accuracy": [None, None]}},
        {"metrics": {"accuracy": 1.5}, "intervals": {}},
        {"metrics": {"accuracy": 10**400}},
    ],
)
def test_an_odd_file_of_scores_is_a_trouble_of_its_run(
    changes: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(tmp_path, TRIALS)
    write_run_file(run, Settings(task="rte"), {"data": {"selected_on": "holdout"}})
    run.best_folder.mkdir()
    scores = {
        "metrics": {"accuracy": 0.6},
        "intervals": {"accuracy": [0.58, 0.62]},
        "hyperparameters": dict(next(iter(board(run).values())).hyperparameters),
        "rows": 2000,
    }
    (run.best_folder / "metrics.json").write_text(json.dumps({**scores, **changes}))
    assert run_guarded(["leaderboard", str(run.folder)]) == 0
    assert "Not whole: best/metrics.json cannot be read" in capsys.readouterr().out
    assert "best/metrics.json cannot be read" in " ".join(read_report(run).heading)


def test_a_heading_without_one_has_no_line_for_it(listed: list[Row]) -> None:
    plain, short = heading_lines(listed, Heading()), Heading(shortfall="It falls short")
    assert heading_lines(listed, short) == [*plain, "It falls short"]
