"""The bootstrap: its values are the metrics' own on the rows drawn, and its intervals cover."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import binomtest

from tuner.errors import UserError
from tuner.intervals import counts, interval, interval_of, resampled, standard_error
from tuner.metrics import score
from tuner.tasks import ACCURACY, DIRECTIONS, F1, MACRO_F1, MATTHEWS, PEARSON, RMSE, SPEARMAN

CLASSES = (ACCURACY, MACRO_F1, MATTHEWS)
NUMBERS = (PEARSON, SPEARMAN, RMSE)


def classified(rows: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, rows)
    return random.normal(size=(rows, classes)) + np.eye(classes)[labels], labels


def scored(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels with many ties, as STS-B's are, and scores that follow them."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 11, rows) / 2
    return (labels + random.normal(size=rows)).round(1).astype(np.float32)[:, None], labels


@pytest.mark.parametrize(
    ("names", "given"),
    [
        ((*CLASSES, F1), classified(30, 2)),
        (CLASSES, classified(40, 5)),
        (CLASSES, classified(6, 5)),  # resamples in which classes are missing
        (NUMBERS, scored(50)),
        (NUMBERS, scored(3)),  # resamples of one row, three times
        ((*CLASSES, F1), (np.eye(2)[[1] * 5], np.ones(5, int))),
        (NUMBERS, (np.full((8, 1), 1e6 + 0.1), np.arange(8.0))),
    ],
)
def test_a_resamples_value_is_the_metric_of_the_rows_drawn(names, given) -> None:
    logits, labels = given
    found = resampled(names, logits, labels, resamples=60, seed=3)
    drawn = np.concatenate(list(counts(len(labels), 60, seed=3))).astype(int)
    assert (drawn.sum(axis=1) == len(labels)).all()
    for number, times in enumerate(drawn):
        rows = np.repeat(np.arange(len(labels)), times)
        expected = score(names, logits[rows], labels[rows])
        values = {name: found[name][number] for name in names}
        assert values == pytest.approx(expected, abs=1e-7)


def test_there_is_a_bootstrap_for_every_metric() -> None:
    assert {*CLASSES, F1, *NUMBERS} == set(DIRECTIONS)
    with pytest.raises(UserError, match="did you mean 'accuracy'"):
        resampled(["acuracy"], *classified(3, 2))
    with pytest.raises(ValueError, match="do not fit"):
        resampled([ACCURACY], np.zeros((0, 2)), np.zeros(0))


def test_the_same_seed_draws_the_same_rows_for_every_model() -> None:
    logits, labels = classified(200, 2)
    ones = resampled([ACCURACY], logits, labels, resamples=100, seed=5)[ACCURACY]
    same = resampled([MATTHEWS, ACCURACY], logits, labels, resamples=100, seed=5)[ACCURACY]
    other = resampled([ACCURACY], logits, labels, resamples=100, seed=6)[ACCURACY]
    np.testing.assert_array_equal(ones, same)
    assert (ones != other).any()
    # A model that is right where the other is, and on one row more, wins or ties on every draw.
    better = logits.copy()
    wrong = int(np.flatnonzero(logits.argmax(axis=1) != labels)[0])
    better[wrong] = np.eye(2)[labels[wrong]] * 9
    assert (resampled([ACCURACY], better, labels, resamples=100, seed=5)[ACCURACY] >= ones).all()


def test_the_draws_do_not_depend_on_how_many_are_held_at_once(monkeypatch) -> None:
    whole = np.concatenate(list(counts(10, 7, seed=1)))
    monkeypatch.setattr("tuner.intervals._BLOCK", 1)
    np.testing.assert_array_equal(np.concatenate(list(counts(10, 7, seed=1))), whole)


def test_an_accuracys_interval_and_error_are_those_of_the_binomial() -> None:
    labels = np.zeros(400, int)
    logits = np.eye(2)[(np.arange(400) % 4 == 0).astype(int)]
    values = resampled([ACCURACY], logits, labels, resamples=4000)[ACCURACY]
    error = np.sqrt(0.75 * 0.25 / 400)
    assert standard_error(values) == pytest.approx(error, rel=0.05)
    found = interval(values)
    assert (found.low, found.high) == pytest.approx(
        (0.75 - 1.96 * error, 0.75 + 1.96 * error), abs=4e-3
    )
    assert interval(values, 0.5).low > found.low


@pytest.mark.parametrize("right", [True, False])
def test_an_accuracy_without_a_single_exception_is_not_called_certain(right: bool) -> None:
    labels, logits = np.zeros(400, int), np.eye(2)[np.full(400, int(not right))]
    values = resampled([ACCURACY], logits, labels)[ACCURACY]
    assert set(values) == {float(right)}
    found = interval_of(ACCURACY, values, 400)
    exact = binomtest(400 * right, 400).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    some = np.array([0.5, 0.7, 1.0])
    assert interval_of(ACCURACY, some, 400) == interval(some)


@pytest.mark.parametrize(
    ("names", "given"),
    [((*CLASSES, F1), classified(10_000, 2)), (NUMBERS, scored(10_000))],
)
def test_ten_thousand_rows_take_seconds(names, given) -> None:
    began = time.process_time()
    found = resampled(names, *given)
    assert time.process_time() - began < 20, "processor seconds; a few on an idle machine"
    point = score(names, *given)
    for name in names:
        assert interval(found[name]).low < point[name] < interval(found[name]).high
