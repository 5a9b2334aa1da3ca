"""What a search will spend, told before it runs: what is certain, and what ASHA's stops come to."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from tuner.forecast import (
    FORESEEN,
    Estimate,
    Pace,
    Schedule,
    Search,
    first_draws,
    forecast,
    foreseen,
    simulate,
)
from tuner.hyperparameters import REDUCTION
from tuner.spaces import load_space
from tuner.study import Study

SPACE = load_space("demo")
FIXED = load_space("demo", fixed={"num_train_epochs": 2, "per_device_train_batch_size": 10})
SEARCH = Search(SPACE, seed=3, trials=8, rows=1000, rungs=3, asha=False, slots=2)


def test_the_first_draws_are_those_of_the_run_s_own_study(tmp_path):
    study = Study(tmp_path / "optuna.journal", "run", SPACE, "min", 3, [], 1)
    drawn = [study.draw()[1] for _ in range(FORESEEN)]
    assert first_draws(SEARCH, FORESEEN) == drawn
    assert len({repr(configuration) for configuration in drawn}) == FORESEEN
    assert first_draws(replace(SEARCH, seed=4), FORESEEN) != drawn


def test_without_asha_every_schedule_is_spent_to_the_last_step_and_evaluation():
    schedules = foreseen(SEARCH)
    found = forecast(SEARCH)
    assert len(schedules) == 8
    assert found.exact
    assert found.epochs == found.drawn == pytest.approx(sum(s.epochs for s in schedules))
    assert found.steps == sum(schedule.steps for schedule in schedules)
    assert found.evaluations == 3 * 8
    assert (found.slots, forecast(replace(SEARCH, slots=20)).slots) == (2, 8)
    assert found.seconds is None


def test_a_search_is_foreseen_beyond_its_first_draws_only_where_schedules_are_all_alike():
    assert not forecast(replace(SEARCH, trials=FORESEEN + 1)).exact
    found = forecast(replace(SEARCH, space=FIXED, trials=50))
    assert found.exact
    assert (found.epochs, found.steps, found.evaluations) == pytest.approx((100, 50 * 200, 150))


def test_rungs_that_coincide_are_evaluated_once():
    tiny = forecast(replace(SEARCH, space=FIXED, rows=10, trials=1))  # two steps in all
    assert (tiny.steps, tiny.evaluations) == (2, 2)


@pytest.mark.parametrize("trials", [300, 30_000])
def test_in_a_long_search_asha_lets_about_a_third_through_every_rung(trials):
    found = forecast(replace(SEARCH, space=FIXED, asha=True, trials=trials))
    shares = [REDUCTION**k / 9 for k in range(3)]
    ideal = shares[0] + (shares[1] - shares[0]) / 3 + (shares[2] - shares[1]) / 9
    assert found.drawn == 2 * trials
    assert ideal < found.epochs / found.drawn < 1.2 * ideal
    assert found.low < found.epochs < found.high
    assert not found.exact


def test_one_rung_leaves_asha_nothing_to_stop():
    assert forecast(replace(SEARCH, asha=True, rungs=1)).exact


def test_two_slots_take_half_as_long_and_a_budget_ends_trials_at_their_next_report():
    schedules = [Schedule.of(FIXED.fixed, 1000, 3)] * 4  # 200 steps: 23, 67 and 200
    pace = Pace(start=10, trial=2, evaluation=1, step=0.5, token=0.05, tokens=float)  # 1 s a step
    one = simulate(schedules, replace(SEARCH, slots=1), pace, random.Random(0))
    two = simulate(schedules, replace(SEARCH, slots=2), pace, random.Random(0))
    assert (one.seconds, two.seconds) == pytest.approx((10 + 4 * 205, 10 + 2 * 205))
    assert (one.steps, two.steps) == (800, 800)
    cut = simulate(schedules, replace(SEARCH, slots=2, limit=250), pace, random.Random(0))
    # 215 s: two are done; the next two report at 215 + 2 + 23 + 1 and, past the limit, at the next.
    assert (cut.done, cut.steps, cut.seconds) == pytest.approx((2, 2 * 200 + 2 * 67, 286))


def test_an_estimate_is_read_back_as_it_was_written():
    found = forecast(SEARCH, Pace(step=0.125))
    again = Estimate.read(found.plain())
    assert again is not None
    assert again.plain() == found.plain()
    assert again.slot_hours == pytest.approx(found.seconds * 2 / 3600, rel=1e-3)
    assert Estimate.read(None) is None
    assert Estimate.read({"trials": 3}) is None
    assert math.isfinite(again.seconds)
