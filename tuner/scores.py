"""What a trial reports at one point of its schedule, and what an event of the journal must say.

Knows the types of an event's fields; nothing of trials or of files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MOST = 1e300
"""A hyperparameter's number is below it."""

LATEST = 1e11
"""Unix seconds that no event reaches."""

_NAN = math.nan
_LARGEST = 2**53


@dataclass(frozen=True)
class Score:
    """What a trial reported at one point of its schedule.

    `level` is the rung (3^k; 0 for a failure), `step` of `total_steps` are optimizer steps.
    `loss` is the mean loss on the selection rows. Seconds count over restarts. A number that the
    trial could not give is NaN here and null in the journal.
    """

    level: int = 0
    step: int = 0
    total_steps: int = 0
    objective: float = _NAN
    loss: float = _NAN
    metrics: Mapping[str, float] = field(default_factory=dict)
    train_loss: float = _NAN
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    total_seconds: float = 0.0
    slot: str | None = None
    effective_batch_size: int = 0
    micro_batch_size: int = 0
    gradient_accumulation_steps: int = 0
    workers: int = 1
    halvings: int = 0

    @property
    def progress(self) -> float:
        """The share of the trial's own schedule that is done, 0 to 1."""
        return self.step / self.total_steps if self.total_steps else 0.0


def said(value: Any) -> str | None:
    """A text, whatever was written in its place."""
    return value if value is None or isinstance(value, str) else str(value)


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def whole(value: Any, name: str) -> int:
    if type(value) is not int or abs(value) > _LARGEST:
        raise TypeError(f"{name} is {shown(value)}, not a whole number")
    return value


def moment_of(value: Any) -> float:
    """Unix seconds that a calendar has."""
    if -LATEST < _number(value, "time") < LATEST:
        return float(value)
    raise ValueError(f"time is {shown(value)}, no time of any year")


def _number(value: Any, name: str) -> float:
    if type(value) is not float and type(value) is not int:
        raise TypeError(f"{name} is {shown(value)}, not a number")
    return float(value)


def _finite(value: Any, name: str) -> float:
    """A number, NaN where there is none."""
    if type(value) is float:  # nearly always, and tens of thousands of times
        return value if math.isfinite(value) else _NAN
    return _NAN if value is None else _number(value, name)


def score_of(event: Mapping[str, Any]) -> Score:
    """The score that an event tells. Raises TypeError, AttributeError or OverflowError where it has
    what is no number."""
    get = event.get
    level, step, total_steps = get("level") or 0, get("step") or 0, get("total_steps") or 0
    train, scoring = get("train_seconds") or 0.0, get("eval_seconds") or 0.0
    total, workers, halvings = (
        get("total_seconds") or 0.0,
        get("workers") or 1,
        get("halvings") or 0,
    )
    batch, micro = get("effective_batch_size") or 0, get("micro_batch_size") or 0
    passes, slot = get("gradient_accumulation_steps") or 0, get("slot")
    score = Score(
        level,
        step,
        total_steps,
        _finite(get("objective"), "objective"),
        _finite(get("loss"), "loss"),
        {name: _finite(value, name) for name, value in (get("metrics") or {}).items()},
        _finite(get("train_loss"), "train_loss"),
        train,
        scoring,
        total,
        slot if type(slot) is str else said(slot),
        batch,
        micro,
        passes,
        workers,
        halvings,
    )
    try:  # all at once: a sum of what is no number is none
        numbers = level + step + total_steps + batch + micro + passes + workers + halvings
        whole = math.isfinite(numbers + train + scoring + total)
    except (TypeError, OverflowError):
        whole = False
    if not whole:
        raise TypeError(_wrong(score))
    return score


def _wrong(score: Score) -> str:
    """Which of a score's numbers is none."""
    for name, value in vars(score).items():
        if name in ("metrics", "slot") or (type(value) is int and abs(value) < 2**63):
            continue
        if type(value) is not float or math.isinf(value):
            return f"{name} is {shown(value)}, not a number"
    return "its numbers are too large"


def failure_of(event: Mapping[str, Any], last: Score | None) -> Score:
    """A failed trial's last word: no objective, and what it leaves out as in the report before."""
    told, before = score_of(event), last or Score()
    return Score(
        step=told.step or before.step,
        total_steps=told.total_steps or before.total_steps,
        loss=told.loss,
        train_loss=told.train_loss,
        train_seconds=told.train_seconds or before.train_seconds,
        eval_seconds=told.eval_seconds or before.eval_seconds,
        total_seconds=told.total_seconds or before.total_seconds,
        slot=told.slot or before.slot,
        effective_batch_size=told.effective_batch_size or before.effective_batch_size,
        micro_batch_size=told.micro_batch_size or before.micro_batch_size,
        gradient_accumulation_steps=(
            told.gradient_accumulation_steps or before.gradient_accumulation_steps
        ),
        workers=told.workers if told.workers > 1 else before.workers,
        halvings=told.halvings or before.halvings,
    )
