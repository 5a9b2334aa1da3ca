"""The replay of searches over a pool of trials: what is known beforehand comes out."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import math
import random
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.journals import Told, journal_of
from tuner.runs import Run

FILE = Path(__file__).parent / "benchmarks" / "replay.py"


@pytest.fixture(scope="module")
def replay() -> ModuleType:
    spec = importlib.util.spec_from_file_location("replay", FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["replay"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def pool_of(replay: ModuleType, noise: float = 0.0, configurations: int = 12) -> Any:
    """Configuration k scores k percent, and every seed of it the same but for `noise`."""
    rng = random.Random(1)
    trials = []
    for number in range(configurations):
        seeds = []
        for repeat in range(3):
            true = number / 100
            seen = true + rng.gauss(0, noise)
            row = {
                "configuration": number,
                "repeat": repeat,
                "learning_rate": 10 ** (-5 + 2 * number / configurations),
                "num_train_epochs": 3,
                "per_device_train_batch_size": 16,
                "rows": 600,
                "step": [13, 38, 76, 114],
                "objective": [seen / 4, seen / 2, seen, seen],
                "loss": [0.5] * 4,
                "epoch_steps": 38,
                "total_steps": 114,
                "final": true,
            }
            seeds.append(replay.PoolTrial.of(row))
        trials.append(tuple(seeds))
    return replay.Pool.of("rte", "max", 0.5, tuple(trials))


def test_a_trial_is_judged_at_shares_of_its_schedule_or_at_whole_epochs(replay: ModuleType) -> None:
    trial = pool_of(replay).trials[0][0]
    rows = {
        axis: [(point.level, round(point.cost)) for point in trial.points[axis]]
        for axis in trial.points
    }
    assert rows["fraction"] == [(1, 205), (3, 600), (9, 1800)]
    assert rows["epochs"] == [(1, 600), (2, 1200), (3, 1800)]
    assert rows["none"] == [(9, 1800)]


def test_without_noise_and_with_time_for_all_the_best_configuration_is_chosen(
    replay: ModuleType,
) -> None:
    pool = pool_of(replay)
    for axis in ("fraction", "epochs", "none"):
        outcome = replay.on_axis(pool, random.Random(0), 12 * pool.schedule, axis)
        assert outcome.regret == 0
        assert outcome.final == pytest.approx(0.11)
        assert outcome.promised == pytest.approx(0)


def test_a_search_ends_with_its_budget_and_the_trials_that_then_run(replay: ModuleType) -> None:
    pool = pool_of(replay)
    outcome = replay.on_axis(pool, random.Random(0), 4 * pool.schedule, "none")
    assert 4 <= outcome.spent <= 5
    assert outcome.trials == round(outcome.spent)
    stopped = replay.on_axis(pool, random.Random(0), 4 * pool.schedule, "fraction")
    assert stopped.trials > outcome.trials


def test_finalists_are_paid_for_by_trials_and_take_back_what_luck_promised(
    replay: ModuleType,
) -> None:
    pool = pool_of(replay, noise=0.05)
    budget = 8 * pool.schedule
    without = [replay.with_finalists(pool, random.Random(n), budget, 0, 0) for n in range(60)]
    reseeded = [replay.with_finalists(pool, random.Random(n), budget, 3, 1) for n in range(60)]
    assert sum(o.trials for o in reseeded) < sum(o.trials for o in without)
    assert max(o.spent for o in reseeded) < 10
    assert sum(o.promised for o in reseeded) < sum(o.promised for o in without)


def test_the_seed_that_scores_a_configuration_is_one_that_no_search_saw(
    replay: ModuleType,
) -> None:
    pool = pool_of(replay, noise=0.05)
    view = pool.without_one_seed(random.Random(0))
    for all_seeds, seen in zip(pool.trials, view.trials, strict=True):
        assert len(seen) == len(all_seeds) - 1
        assert set(map(id, seen)) < set(map(id, all_seeds))
    assert view.finals == pytest.approx(pool.finals)  # every seed of this pool ends alike
    assert (view.best, view.schedule) == (pool.best, pool.schedule)
    again = pool.without_one_seed(random.Random(0))
    assert again.trials == view.trials


def test_finals_that_would_need_more_seeds_than_the_pool_has_are_not_played(
    replay: ModuleType,
) -> None:
    pool = pool_of(replay)
    rows = replay.table(pool, "finalists", 2, 8.0)
    assert "3 finalists, 1 new seed" in rows
    assert "2 new seeds" not in rows


def test_a_configuration_that_finished_twice_counts_with_its_better_score(
    replay: ModuleType,
) -> None:
    pool = pool_of(replay, noise=0.2)
    trials = [trial for seeds in pool.trials for trial in seeds]
    found = replay.best_of(pool, trials)
    assert len(found) == len(pool.trials)
    assert found[0].objective == max(trial.objective for trial in trials)
    assert [t.objective for t in found] == sorted((t.objective for t in found), reverse=True)


def test_the_nearest_configuration_of_the_pool_answers_for_what_optuna_draws(
    replay: ModuleType,
) -> None:
    pool = pool_of(replay)
    drawn = {
        "learning_rate": 10 ** (-5 + 2 * 7.2 / 12),
        "num_train_epochs": 3,
        "per_device_train_batch_size": 16,
    }
    assert replay.nearest(pool, drawn) == 7
    for how in ("pruned", "complete", "random"):
        outcome = replay.told_optuna(pool, random.Random(3), 4 * pool.schedule, how)
        assert 0 <= outcome.regret <= 0.11


def test_live_searches_are_compared_at_what_the_shorter_one_had_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(FILE.parent))
    live = importlib.import_module("live")
    good, stopped = Told(values=(0.1, 0.2, 0.7)), Told("stopped", values=(0.1,))
    trials = [Told(values=(0.1, 0.2, 0.4)), stopped, good]
    way = live.way(journal_of(tmp_path / "journal.jsonl", trials), "max")
    assert way == [(pytest.approx(3.0), 0.4), (pytest.approx(6 + 1 / 3), 0.7)]
    search = live.Outcome("default", 1, 6.4, way, 0.65)
    assert [search.at(epochs) for epochs in (3.0, 6.0, 6.4)] == [0.4, 0.4, 0.7]
    assert math.isnan(search.at(2.9))


def test_a_live_search_that_was_cut_short_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(FILE.parent))
    live = importlib.import_module("live")
    args = argparse.Namespace(task="stsb", glue="glue", model="model", folder=tmp_path)
    run = Run(tmp_path / "stsb-default-1")
    begun = live.command(run, live.SEARCHES["default"], 1, args)
    assert begun[3:6] == ["tune", "--task", "stsb"]
    assert begun[-4:] == ["--name", "stsb-default-1", "--storage", str(tmp_path)]
    run.folder.mkdir()
    went_on = live.command(run, live.SEARCHES["default"], 1, args)
    assert went_on[3:] == ["resume", str(run.folder)]
