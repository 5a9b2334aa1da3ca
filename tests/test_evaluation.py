"""Evaluations: figures beside scikit-learn's, the worst mistakes, and how they are shown."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import confusion_matrix

from tuner.errors import UserError
from tuner.evaluation import Evaluation, check_labelled, evaluate
from tuner.metrics import score
from tuner.scorecard import scorecard
from tuner.tasks import find_task

MNLI = find_task("mnli")
STSB = find_task("stsb")


def table(task, labels, hard: str = "a text") -> pa.Table:
    kind = pa.float64() if task.regression else pa.int64()
    texts = {name: [f"{hard} {row}" for row in range(len(labels))] for name in task.text_columns}
    return pa.table({**texts, "label": pa.array(labels, kind)})


def random_classes(rows: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    labels = random.integers(0, classes, rows)
    logits = random.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[labels]
    return logits.astype(np.float32), labels


@pytest.fixture(scope="module")
def mnli() -> Evaluation:
    logits, labels = random_classes(300, 3)
    return evaluate(MNLI, table(MNLI, labels), logits, range(300), "the validation split")


def test_the_figures_are_those_of_the_metrics_and_of_scikit_learn(mnli: Evaluation) -> None:
    logits, labels = random_classes(300, 3)
    (found,) = mnli.scores
    assert found.value == score(("accuracy",), logits, labels)["accuracy"]
    assert found.interval.low < found.value < found.interval.high
    assert 0.05 < found.interval.high - found.interval.low < 0.15
    assert found.baseline == np.bincount(labels).max() / 300
    assert mnli.constant == MNLI.label_names[np.bincount(labels).argmax()]
    np.testing.assert_array_equal(mnli.confusion, confusion_matrix(labels, logits.argmax(axis=1)))


def test_the_worst_are_wrong_and_the_surest_of_the_wrong(mnli: Evaluation) -> None:
    logits, labels = random_classes(300, 3)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wrong = np.flatnonzero(logits.argmax(axis=1) != labels)
    surest = wrong[np.argsort(-shares[wrong].max(axis=1))][:10]
    assert [mistake.row for mistake in mnli.worst] == surest.tolist()
    first = mnli.worst[0]
    assert first.texts == (f"a text {first.row}",) * 2
    assert first.true == MNLI.label_names[labels[first.row]] != first.predicted
    assert first.certainty == pytest.approx(shares[first.row].max())


def test_a_regressions_worst_are_its_largest_errors() -> None:
    labels = np.arange(20) / 4
    logits = (labels + np.where(np.arange(20) == 7, 3.0, 0.1)).astype(np.float32)[:, None]
    found = evaluate(STSB, table(STSB, labels), logits, range(20), "it", worst=2)
    assert found.worst[0].row == 7
    assert len(found.worst) == 2
    assert (found.worst[0].true, found.worst[0].predicted) == (1.75, 4.75)
    assert found.confusion is None
    assert found.constant == pytest.approx(labels.mean())
    assert [s.baseline for s in found.scores] == [0.0, 0.0]
    shown = "\n".join(scorecard(found))
    assert "row 7: 1.75, predicted 4.75" in shown
    assert "the 2 largest errors:" in shown
    assert "always 2.3750 (the mean)" in shown


def test_rows_without_labels_are_refused_with_how_many_and_where() -> None:
    given = table(MNLI, [0, None, 1, None])
    with pytest.raises(
        UserError, match=r"rows.csv: 2 of 4 rows have no label \(the first is row 1"
    ):
        check_labelled(MNLI, given, "rows.csv")
    with pytest.raises(UserError, match="has no rows"):
        check_labelled(MNLI, given.slice(0, 0), "rows.csv")


def test_it_is_shown_in_plain_columns(mnli: Evaluation) -> None:
    noted = dataclasses.replace(mnli, notes=("the scores are optimistic",))
    lines = scorecard(noted)
    assert lines[0] == "mnli, 300 rows of the validation split"
    assert lines[1] == "note: the scores are optimistic"
    (given,) = mnli.scores
    assert lines[3].split() == ["metric", "value", "95%", "interval", "always", mnli.constant]
    low, high = given.interval.low, given.interval.high
    figures = f"accuracy {given.value:.4f} {low:.4f} to {high:.4f} {given.baseline:.4f}"
    assert lines[4].split() == figures.split()
    matrix = lines.index("rows by true class (down) and predicted class:")
    assert lines[matrix + 1].split() == [*MNLI.label_names, "right"]
    cells = [line.split() for line in lines[matrix + 2 : matrix + 5]]
    assert [row[0] for row in cells] == list(MNLI.label_names)
    assert [[int(cell) for cell in row[1:4]] for row in cells] == mnli.confusion.tolist()
    assert max(map(len, lines)) <= 100


def test_hostile_texts_are_shown_on_one_short_line() -> None:
    evil = "\x1b[31mred\x1b[0m \u202ereversed\nnext\r" + "long " * 100
    given = table(MNLI, [0], evil)
    logits = np.array([[0.0, 9.0, 0.0]], np.float32)
    lines = scorecard(evaluate(MNLI, given, logits, ["\x1b[2J"], "it"))
    assert all(line.isprintable() and len(line) <= 100 for line in lines)
    assert any("premise: [31mred" in line for line in lines)


def test_without_a_mistake_it_says_so() -> None:
    found = evaluate(MNLI, table(MNLI, [0, 1]), np.eye(3, dtype=np.float32)[:2], range(2), "it")
    assert scorecard(found)[-1] == "no row is wrong"
    none = evaluate(
        MNLI, table(MNLI, [0, 1]), np.eye(3, dtype=np.float32)[[1, 0]], range(2), "it", worst=0
    )
    assert none.worst == ()
    assert "no row is wrong" not in scorecard(none)


def test_many_classes_are_listed_by_what_is_confused_most() -> None:
    names = tuple(f"class {number}" for number in range(40))
    task = dataclasses.replace(MNLI, label_names=names)
    labels = np.arange(120) % 40
    logits = np.eye(40, dtype=np.float32)[np.where(labels == 3, 5, labels)]
    lines = scorecard(evaluate(task, table(task, labels), logits, range(120), "it"))
    head = next(place for place, line in enumerate(lines) if line.startswith("classes most often"))
    assert lines[head + 2].split() == ["class", "3", "class", "5", "3"]
    assert lines[head + 3] == ""


def test_its_plain_form_is_json_with_everything_in_it(mnli: Evaluation) -> None:
    plain = json.loads(json.dumps(mnli.plain()))
    assert plain["metrics"] == {"accuracy": mnli.scores[0].value}
    low, high = plain["intervals"]["accuracy"]
    assert low < plain["metrics"]["accuracy"] < high
    assert (plain["level"], plain["resamples"], plain["rows"]) == (0.95, 2000, 300)
    assert np.sum(plain["confusion"]) == 300
    assert plain["baseline"]["answer"] in MNLI.label_names
    assert len(plain["worst"]) == 10
    assert set(plain["worst"][0]) == {
        *("row", "index", "premise", "hypothesis", "label", "prediction", "probability")
    }
