"""Scores against their definitions, at the edges, and without a trace."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from tuner.errors import UserError
from tuner.metrics import FAMILIES, score
from tuner.tasks import DIRECTIONS, TASKS, Task

LABELS = np.array([1, 1, 1, 0, 0, 1, 0, 0])
PREDICTED = np.array([1, 1, 0, 0, 1, 1, 0, 0])
"""Three true positives, one false, three true negatives, one false."""


def logits(classes: np.ndarray, labels: int = 2) -> np.ndarray:
    return np.eye(labels, dtype=np.float32)[classes]


def test_classification_scores_follow_their_definitions() -> None:
    names = ["f1", "accuracy", "matthews_correlation", "macro_f1"]
    scores = score(names, logits(PREDICTED), LABELS)
    assert list(scores) == names
    assert scores["accuracy"] == 6 / 8
    assert scores["f1"] == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))
    assert scores["matthews_correlation"] == pytest.approx((3 * 3 - 1 * 1) / math.sqrt(4**4))
    assert scores["macro_f1"] == pytest.approx(0.75)
    assert all(type(value) is float for value in scores.values())


def test_f1_counts_class_one_as_positive() -> None:
    labels, predicted = np.array([1, 0, 0, 0]), np.array([1, 1, 0, 0])
    assert score(["f1"], logits(predicted), labels)["f1"] == pytest.approx(2 / 3)
    assert score(["f1"], logits(1 - predicted), 1 - labels)["f1"] == pytest.approx(4 / 5)


def test_macro_f1_weighs_three_classes_alike() -> None:
    labels, predicted = np.array([0, 0, 0, 1, 2]), np.array([0, 0, 0, 1, 1])
    expected = (1 + 2 / 3 + 0) / 3
    found = score(["macro_f1"], logits(predicted, 3), labels)["macro_f1"]
    assert found == pytest.approx(expected)


def test_regression_scores_follow_their_definitions() -> None:
    labels = np.array([0.0, 1.0, 2.0, 5.0], dtype=np.float32)
    outputs = np.array([[1.0], [2.0], [9.0], [4.0]], dtype=np.float32)
    scores = score(["pearson", "spearman", "rmse"], outputs, labels)
    assert scores["pearson"] == pytest.approx(np.corrcoef(outputs[:, 0], labels)[0, 1])
    assert scores["spearman"] == pytest.approx(0.8)
    assert scores["rmse"] == pytest.approx(math.sqrt((1 + 1 + 49 + 1) / 4))


@pytest.mark.parametrize("metric", ["pearson", "spearman", "matthews_correlation"])
@pytest.mark.parametrize("constant", ["predictions", "labels", "both"])
def test_an_undefined_correlation_is_nought_and_warns_of_nothing(
    metric: str, constant: str
) -> None:
    ones = np.ones(4, dtype=int)
    predictions = ones if constant != "labels" else np.array([0, 1, 0, 1])
    labels = ones if constant != "predictions" else np.array([0, 1, 1, 0])
    outputs = logits(predictions) if metric[0] == "m" else predictions[:, None].astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert score([metric], outputs, labels) == {metric: 0.0}


def test_outputs_that_are_not_finite_correlate_with_nothing() -> None:
    outputs = np.array([[np.nan], [1.0], [2.0]])
    assert score(["pearson"], outputs, np.array([0.0, 1.0, 2.0])) == {"pearson": 0.0}


def test_no_positive_row_at_all_is_an_f1_of_nought() -> None:
    assert score(["f1"], logits(np.zeros(3, int)), np.zeros(3, int)) == {"f1": 0.0}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_task_can_be_scored(task: Task) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, max(2, task.num_labels), 50)
    scores = score(task.metrics, rng.normal(size=(50, task.num_labels)), labels)
    assert tuple(scores) == task.metrics
    assert all(np.isfinite(value) for value in scores.values())


def test_every_metric_belongs_to_one_family() -> None:
    assert sorted(name for family in FAMILIES for name in family.names) == sorted(DIRECTIONS)


def test_a_family_is_an_evaluate_metric_of_its_own() -> None:
    for family in FAMILIES:
        one = family()
        found = one.compute(predictions=[0, 1, 1], references=[0, 1, 0])
        assert tuple(found) == family.names


def test_scoring_leaves_the_random_state_alone_and_contacts_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("scoring opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    np.random.seed(3)
    expected = np.random.random(4)
    np.random.seed(3)
    score(["accuracy", "f1"], logits(PREDICTED), LABELS)
    assert np.random.random(4).tolist() == expected.tolist()


def test_an_unknown_metric_is_an_error_that_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="there is no metric 'acuracy'; did you mean 'accuracy'"):
        score(["acuracy"], logits(PREDICTED), LABELS)


@pytest.mark.parametrize(
    ("outputs", "labels"),
    [(np.zeros((3, 2)), np.zeros(4)), (np.zeros(3), np.zeros(3)), (np.zeros((0, 2)), np.zeros(0))],
)
def test_shapes_that_do_not_fit_are_refused(outputs: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        score(["accuracy"], outputs, labels)


def test_scoring_needs_no_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code = "from tuner.metrics import score; print(score(['accuracy'], [[0, 1]], [1])['accuracy'])"
    environment = {**os.environ, "HF_HOME": str(tmp_path / "file" / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.stdout == "1.0\n", done.stderr
