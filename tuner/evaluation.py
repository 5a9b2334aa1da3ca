"""How good a model is on rows whose labels are known: its metrics with their intervals, which
classes it confuses, and where it is most surely wrong.

Knows logits and labels; nothing of models, of where the rows come from or of how they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tuner.answers import Index, Logits, probabilities
from tuner.errors import UserError
from tuner.intervals import RESAMPLES, Interval, interval_of, resampled
from tuner.metrics import score
from tuner.sources import LABEL
from tuner.tasks import LEVEL, Task

WORST = 10
"""How many mistakes are shown unless another number is asked for."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Score:
    """A metric's value on all rows, its interval, and what the constant answer scores."""

    metric: str
    value: float
    interval: Interval
    baseline: float


@dataclass(frozen=True)
class Mistake:
    """A row that the model gets wrong. `row` counts from 0; `certainty` is the probability of the
    predicted label, None in a regression, whose labels are numbers."""

    row: int
    name: int | str | None
    texts: tuple[str, ...]
    true: str | float
    predicted: str | float
    certainty: float | None


@dataclass(frozen=True)
class Evaluation:
    """A model on `rows` rows of `split`, a split's name or a file.

    `constant` is the baseline's answer to every row: the commonest label of these rows or, in a
    regression, their mean. `confusion` counts rows by true (down) and predicted class, in the order
    of the task's labels; None in a regression. `worst` begins with the surest mistake or the
    largest error. `notes` must be read with the figures.
    """

    task: Task
    split: str
    rows: int
    scores: tuple[Score, ...]
    constant: str | float
    confusion: Array | None
    worst: tuple[Mistake, ...]
    resamples: int
    notes: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return {
            "task": self.task.name,
            "split": self.split,
            "rows": self.rows,
            "metrics": {score.metric: score.value for score in self.scores},
            "intervals": {
                score.metric: [score.interval.low, score.interval.high] for score in self.scores
            },
            "level": LEVEL,
            "resamples": self.resamples,
            "baseline": {
                "answer": self.constant,
                "metrics": {score.metric: score.baseline for score in self.scores},
            },
            "labels": list(self.task.label_names),
            "confusion": None if self.confusion is None else self.confusion.tolist(),
            "worst": [
                {
                    "row": mistake.row,
                    "index": mistake.name,
                    **dict(zip(self.task.text_columns, mistake.texts, strict=True)),
                    "label": mistake.true,
                    "prediction": mistake.predicted,
                    "probability": mistake.certainty,
                }
                for mistake in self.worst
            ],
            "notes": list(self.notes),
        }


def check_labelled(task: Task, table: pa.Table, where: str) -> None:
    """Raises UserError, calling the rows `where`, when there are none or any has no label."""
    if not table.num_rows:
        raise UserError(f"{where} has no rows; there is nothing to evaluate")
    if missing := table[LABEL].null_count:
        first = int(np.flatnonzero(np.asarray(table[LABEL].is_null()))[0])
        raise UserError(
            f"{where}: {missing:,} of {table.num_rows:,} rows have no label (the first is row "
            f"{first}, counted from 0), and only rows with one can be scored; take them out, or "
            "choose a split that is labelled"
        )


def evaluate(
    task: Task,
    table: pa.Table,
    logits: Logits,
    names: Index,
    split: str,
    *,
    worst: int = WORST,
    resamples: int = RESAMPLES,
    seed: int = 0,
    notes: Sequence[str] = (),
) -> Evaluation:
    """Score `logits` [rows, labels] against the labels of `table`, whose rows are called `names`.

    Intervals are 95 % ones over `resamples` bootstrap draws of the rows, as `interval_of` has them.
    `worst` is how many mistakes to keep at most. Raises UserError when a row has no label.
    """
    check_labelled(task, table, split)
    labels = table[LABEL].to_numpy()
    values = score(task.metrics, logits, labels)
    draws = resampled(task.metrics, logits, labels, resamples=resamples, seed=seed)
    constant, baseline = _baseline(task, labels)
    scores = tuple(
        Score(name, value, interval_of(name, draws[name], len(labels)), baseline[name])
        for name, value in values.items()
    )
    return Evaluation(
        task=task,
        split=split,
        rows=len(labels),
        scores=scores,
        constant=constant,
        confusion=None if task.regression else _confusion(task, logits, labels),
        worst=_worst(task, table, logits, labels, names, worst),
        resamples=resamples,
        notes=tuple(notes),
    )


def _baseline(task: Task, labels: Array) -> tuple[str | float, Mapping[str, float]]:
    answer = np.zeros((1, task.num_labels))
    if task.regression:
        answer[0, 0] = labels.mean()
        said: str | float = float(answer[0, 0])
    else:
        commonest = int(np.bincount(labels).argmax())
        answer[0, commonest] = 1
        said = task.label_names[commonest]
    return said, score(task.metrics, answer.repeat(len(labels), axis=0), labels)


def _confusion(task: Task, logits: Logits, labels: Array) -> Array:
    classes = task.num_labels
    cells = np.bincount(labels * classes + logits.argmax(axis=1), minlength=classes**2)
    return cells.reshape(classes, classes)


def _worst(
    task: Task,
    table: pa.Table,
    logits: Logits,
    labels: Array,
    names: Index,
    most: int,
) -> tuple[Mistake, ...]:
    if task.regression:
        wrong = np.arange(len(labels))
        size = np.abs(logits[:, 0] - labels)
    else:
        shares = probabilities(task, logits)
        predicted = logits.argmax(axis=1)
        wrong = np.flatnonzero(predicted != labels)
        size = shares.max(axis=1)
    rows = wrong[np.argsort(-size[wrong], kind="stable")][:most]
    texts = [table[column].take(rows).to_pylist() for column in task.text_columns]
    return tuple(
        Mistake(
            row=int(row),
            name=names[row],
            texts=tuple(column[place] for column in texts),
            true=float(labels[row]) if task.regression else task.label_names[labels[row]],
            predicted=float(logits[row, 0])
            if task.regression
            else task.label_names[int(logits[row].argmax())],
            certainty=None if task.regression else float(size[row]),
        )
        for place, row in enumerate(rows)
    )
