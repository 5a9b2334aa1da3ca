"""Where a search stands: how much is done, the best so far, and about how long it will take.

Estimates for people, from the history alone; nothing is decided by them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tuner.hyperparameters import REDUCTION
from tuner.journal import Direction, History, Record


@dataclass(frozen=True)
class Standing:
    """`done` of `planned` trials; `best` is the trial with the best objective so far, `value` that
    objective; `seconds_left` is an estimate, None while no trial is done."""

    done: int
    planned: int
    best: str | None
    value: float | None
    seconds_left: float | None


def standing(history: History, direction: Direction) -> Standing:
    """Where the search stands. The best is a finished trial as soon as there is one."""
    value, best = _best(history, direction)
    return Standing(history.done, history.planned, best, value, seconds_left(history))


def _best(history: History, direction: Direction) -> tuple[float | None, str | None]:
    scored = [
        (record.status == "finished", record.last.objective, record)
        for record in list(history.records.values())
        if record.last is not None and not math.isnan(record.last.objective)
    ]
    if not scored:
        return None, None
    sign = 1 if direction == "max" else -1
    _, value, record = max(
        scored, key=lambda entry: (entry[0], sign * entry[1], -_loss(entry[2]), -entry[2].number)
    )
    return value, record.name


def _loss(record: Record) -> float:
    last = record.last
    return math.inf if last is None or math.isnan(last.loss) else last.loss


def seconds_left(history: History) -> float | None:
    """Trials to go times the mean seconds of those done, less what running ones have spent, over
    the slots; None while there is nothing to go by."""
    records = list(history.records.values())
    spent = [record.last.total_seconds for record in records if record.done and record.last]
    to_go = history.planned - history.done
    if to_go <= 0:
        return 0.0
    if not any(spent):
        return None
    mean = sum(spent) / len(spent)
    begun = sum(
        min(mean, record.last.total_seconds)
        for record in records
        if record.status == "running" and record.last
    )
    return max(0.0, to_go * mean - begun) / max(1, min(history.slots, to_go))


def reached(record: Record, now: float) -> float:
    """About how far (0 to 1) a running trial is through its schedule at `now`, unix seconds.

    What it last reported, carried on at its own pace, but not past its next rung.
    """
    last = record.last
    if last is None or record.reported_at is None or last.total_seconds <= 0:
        return last.progress if last else 0.0
    pace = last.progress / last.total_seconds
    guess = last.progress + pace * max(0.0, now - record.reported_at)
    return min(guess, REDUCTION * last.progress, 1.0)
