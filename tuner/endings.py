"""What experiment trackers are told of a trial that has ended, in plain values.

Derived from the journal's record alone, so that it can be told at any later time. Knows no tracker.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tuner.credentials import masked
from tuner.history import Record, Score
from tuner.hyperparameters import Value

RETRAINED = "retrained"
"""The `status` of the model that was retrained on all training rows."""


@dataclass(frozen=True)
class Point:
    """What was known at an optimizer step, and when (unix seconds). Values are finite."""

    step: int
    time: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class Ending:
    """A trial that is done, or the retrained winner.

    `configuration` holds the hyperparameters under Hugging Face's names, `effective_batch_size`
    and `status`; a trial that failed has an `error` there, one that repeats another under a new
    seed names it in `reseed_of`. `points` are in order of `step`, with `objective`, the task's
    metrics by their names, `loss` (on the selection rows), `train_loss`, `progress` (the share of
    the trial's schedule) and `total_seconds`. `began` and `ended` are unix seconds.
    """

    name: str
    configuration: Mapping[str, Value]
    points: tuple[Point, ...]
    began: float
    ended: float
    failed: bool = False


def of_trial(record: Record) -> Ending:
    """What there is to tell of a trial that is done."""
    ended = record.reported_at or 0.0
    last = record.last or Score()
    configuration = {**record.configuration, "status": record.status}
    if last.effective_batch_size:
        configuration["effective_batch_size"] = last.effective_batch_size
    if record.error:
        configuration["error"] = masked(record.error)
    if record.reseed_of:
        configuration["reseed_of"] = record.reseed_of
    return Ending(
        record.name,
        configuration,
        # Seconds count over restarts, the time between them does not.
        tuple(_point(score, ended - last.total_seconds) for score in record.scores),
        began=ended - last.total_seconds,
        ended=ended,
        failed=record.status == "failed",
    )


def of_winner(
    trial: str,
    hyperparameters: Mapping[str, Value],
    scores: Mapping[str, Mapping[str, float]],
    time: float,
) -> Ending:
    """What there is to tell of the retrained winner: `scores` are its metrics by split, and become
    `validation/accuracy` and so on."""
    values = {
        f"{split}/{name}": value
        for split, metrics in scores.items()
        for name, value in metrics.items()
    }
    return Ending(
        f"{RETRAINED}-{trial}",
        {**hyperparameters, "status": RETRAINED},
        (Point(0, time, _finite(values)),),
        began=time,
        ended=time,
    )


def _point(score: Score, began: float) -> Point:
    values = {
        **score.metrics,
        "objective": score.objective,
        "loss": score.loss,
        "train_loss": score.train_loss,
        "progress": score.progress,
        "total_seconds": score.total_seconds,
    }
    return Point(score.step, began + score.total_seconds, _finite(values))


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}
