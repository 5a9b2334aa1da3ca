"""What is known of a trial while it runs: its schedule, its clock, what it has reported.

Knows nothing of models, nor of how the trial is trained.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field
from typing import Any, Literal

from tuner.checkpoints import Progress
from tuner.credentials import masked
from tuner.hyperparameters import (
    BATCH,
    DEFAULTS,
    EPOCHS,
    Batch,
    Rung,
    Value,
    cut_batch,
    epoch_ends,
    rungs,
    total_steps,
)
from tuner.mailbox import Order, Report

Lap = Literal["train", "eval", "other"]


class Clock:
    """The seconds of a trial by what they were spent on. They go on from a checkpoint's."""

    def __init__(self) -> None:
        self._began = self._mark = time.monotonic()
        self._before = 0.0
        self.seconds: dict[Lap, float] = {"train": 0.0, "eval": 0.0, "other": 0.0}

    def lap(self, kind: Lap) -> None:
        """Count the time since the last lap as `kind`."""
        now = time.monotonic()
        self.seconds[kind] += now - self._mark
        self._mark = now

    def go_on_from(self, progress: Progress) -> None:
        """Add what a checkpoint had counted."""
        self.seconds["train"] += progress.train_seconds
        self.seconds["eval"] += progress.eval_seconds
        self._before += progress.total_seconds

    @property
    def total(self) -> float:
        """Seconds since the order came, and those before a checkpoint."""
        return self._before + time.monotonic() - self._began


@dataclass
class Trial:
    """What is known of a trial over all attempts at it.

    `most` bounds the rows a worker takes in a pass, `told` is the step of the last rung that was
    reported, `epoch` the steps of an epoch, `place` the point this rank has come to.
    """

    order: Order
    workers: int
    clock: Clock = field(default_factory=Clock)
    most: int | None = None
    steps: int = 0
    epoch: int = 0
    batch: Batch | None = None
    step: int = 0
    told: int = 0
    place: str = "start"
    warning: str | None = None

    def __post_init__(self) -> None:
        self._bound = self.most

    @property
    def configuration(self) -> dict[str, Value]:
        return {**DEFAULTS, **self.order.configuration}

    def cut(self, rows: int) -> Batch:
        """Lay the schedule out over `rows` training rows and cut the batch."""
        effective = int(self.configuration[BATCH])
        self.steps = total_steps(rows, effective, float(self.configuration[EPOCHS]))
        self.epoch = total_steps(rows, effective, 1)
        self.batch = cut_batch(effective, self.workers, self.most)
        return self.batch

    @property
    def halvings(self) -> int:
        """How often the passes were halved because they did not fit the device, also by the trial's
        processes before this one."""
        if self.batch is None:
            return 0
        micro = cut_batch(self.batch.effective, self.workers, self._bound).micro
        count = 0
        while micro > self.batch.micro:
            micro, count = -(-micro // 2), count + 1
        return count

    def half(self) -> int | None:
        """Half the rows a pass, for when memory ran out; None when a pass has one row only."""
        micro = self.batch.micro if self.batch else 1
        return -(-micro // 2) if micro > 1 else None

    def rungs(self) -> tuple[Rung, ...]:
        count = self.order.rungs
        return rungs(self.steps, count) if count else epoch_ends(self.steps, self.epoch)

    def warn(self, text: str) -> None:
        """Tell of something that does not end the trial: in its log, and in its next reports."""
        self.warning = masked(text)
        warnings.warn(text, stacklevel=2)

    def mark(self, place: str) -> None:
        self.place = place

    def report(
        self,
        kind: Literal["rung", "end", "failed", "unsaved", "tick"],
        *,
        error: str | None = None,
        **more: Any,
    ) -> Report:
        """A report with everything that is known at any time; `more` adds scores or an error."""
        batch = self.batch
        return Report(
            trial=self.order.trial,
            kind=kind,
            step=self.step,
            total_steps=self.steps,
            train_seconds=self.clock.seconds["train"],
            eval_seconds=self.clock.seconds["eval"],
            total_seconds=self.clock.total,
            effective_batch_size=batch.effective if batch else 0,
            micro_batch_size=batch.micro if batch else 0,
            gradient_accumulation_steps=batch.accumulation if batch else 0,
            workers=self.workers,
            halvings=self.halvings,
            warning=self.warning,
            error=error and masked(error),
            **more,
        )
