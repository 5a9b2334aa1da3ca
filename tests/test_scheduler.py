import math
import random

import pytest

from tuner.history import Score
from tuner.scheduler import Judge, signal


def score(level, objective, loss=0.5):
    return Score(level=level, step=level, total_steps=9, objective=objective, loss=loss)


def test_the_signal_is_the_objective_and_the_loss_only_breaks_ties():
    assert signal(0.7, 9.0, "max") > signal(0.69, 0.1, "max")
    assert signal(0.7, 0.1, "max") > signal(0.7, 0.2, "max")
    assert signal(0.3, 9.0, "min") > signal(0.31, 0.1, "min")
    assert signal(0.3, 0.1, "min") > signal(0.3, 0.2, "min")
    assert math.isfinite(signal(0.5, math.inf, "max"))
    assert signal(0.5, math.nan, "max") < signal(0.5, 100.0, "max")


def test_the_first_trial_always_goes_on():
    judge = Judge(3, "max")
    assert judge.goes_on("t000", score(1, 0.1))
    assert judge.goes_on("t000", score(3, 0.1))


def test_a_trial_below_the_best_third_is_stopped():
    judge = Judge(3, "max")
    for number, value in enumerate([0.9, 0.8, 0.7]):
        judge.goes_on(f"t{number:03d}", score(1, value))
    assert not judge.goes_on("t003", score(1, 0.6))
    assert judge.goes_on("t004", score(1, 0.95))


def test_ties_of_a_model_that_predicts_one_class_do_not_pass():
    judge = Judge(3, "max")
    passed = [judge.goes_on(f"t{n:03d}", score(1, 0.684, loss=0.6 + 0.01 * n)) for n in range(12)]
    assert passed[0]
    assert not any(passed[1:])


def test_a_minimised_objective_stops_the_large_ones():
    judge = Judge(2, "min")
    for number, value in enumerate([0.1, 0.2, 0.3]):
        judge.goes_on(f"t{number:03d}", score(1, value))
    assert not judge.goes_on("t003", score(1, 0.9))


def test_a_restarted_trial_passes_the_rung_that_it_passed():
    judge = Judge(3, "max")
    assert judge.goes_on("t000", score(1, 0.5))
    for number in range(1, 6):
        judge.goes_on(f"t{number:03d}", score(1, 0.9))
    assert judge.goes_on("t000", score(1, 0.5))


def test_a_restarted_trial_is_not_judged_at_a_rung_that_it_skips():
    # The first two rungs of a schedule of two steps are one, and it bears the higher level.
    judge = Judge(3, "max")
    assert judge.goes_on("t000", score(3, 0.5))
    for number in range(1, 6):
        judge.goes_on(f"t{number:03d}", score(1, 0.9))
    assert judge.goes_on("t000", score(3, 0.5))


@pytest.mark.parametrize("seed", range(5))
def test_replaying_the_same_results_gives_the_same_verdicts(seed):
    rng = random.Random(seed)
    heard = [(f"t{n % 7:03d}", score(3 ** (n // 7), rng.random())) for n in range(21)]
    first, second = Judge(3, "max"), Judge(3, "max")
    verdicts = [first.goes_on(name, said) for name, said in heard]
    for name, said in heard[:10]:
        second.goes_on(name, said)
    assert [second.goes_on(name, said) for name, said in heard[10:]] == verdicts[10:]
    assert not all(verdicts)


def test_without_asha_everyone_goes_on():
    judge = Judge(3, "max", asha=False)
    assert all(judge.goes_on(f"t{n:03d}", score(1, -n)) for n in range(10))
