"""A trial's checkpoints while it trains: which one it goes on from, when the next is due, what is
kept beside the weights, and when an attempt leaves its host with one.

Knows no rungs, scores or words; where a checkpoint lies and when it counts is `checkpoints`' own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tuner import checkpoints
from tuner.checkpoints import Progress
from tuner.errors import CrewLost, Preempted, TunerError, Unwritable
from tuner.losses import Losses
from tuner.preemption import Notice
from tuner.ranks import Ranks
from tuner.training import SlotTrainer
from tuner.trials import Trial

WORTH_SAVING = 5.0
"""Seconds of training that are worth a checkpoint when the host is about to be taken away."""


@contextmanager
def storing() -> Iterator[None]:
    """A store that does not answer is no fault of the trial's, which another slot may end. A disk
    that is full is so for the next slot, too."""
    try:
        yield
    except Unwritable:
        raise
    except TunerError as error:
        raise CrewLost(f"the run's store fails this host: {error}") from error


@dataclass(frozen=True)
class Exposure:
    """What a rank stands to lose: the seconds since the last checkpoint (-1: none is kept), and
    whether its host is about to be taken away."""

    seconds: float
    notice: Notice | None


class Checkpointing:
    """The checkpoints of one attempt at a trial, as one of its ranks sees them.

    `notice` says whether this process's host is about to be taken away. All ranks then leave
    together, with a checkpoint where that saves some training. A trial that keeps no checkpoints
    stays: it may end in time, and leaving saves nothing.
    """

    def __init__(self, trial: Trial, ranks: Ranks, notice: Callable[[], Notice | None]) -> None:
        self._trial = trial
        self._ranks = ranks
        self._folder = trial.order.checkpoints
        self._notice = notice if self._folder is not None else lambda: None
        self._kept = time.monotonic()
        self._resumed: Progress | None = None
        self._saved = 0
        self._unsaved = -1.0
        self._leaving: Notice | None = None

    def find(self) -> str | None:
        """The checkpoint to go on from: one that every rank sees, written by this very trial.

        Raises Preempted, on all ranks, when one of their hosts is about to be taken away.
        """
        trial = self._trial
        found = checkpoints.newest(self._folder)
        told = self._ranks.exchange(
            "resume",
            (
                found[1].step if found else None,
                checkpoints.noted_bound(self._folder),
                self._notice(),
            ),
        )
        bounds = [bound for _, bound, _ in told if bound is not None]
        trial.most = min([*bounds, trial.most], key=lambda most: most or math.inf)
        path = None
        if found is not None and len({step for step, _, _ in told}) == 1:
            path = self._go_on_from(*found)
        self._leaving = next((notice for _, _, notice in told if notice), None)
        if self._leaving is not None:
            self._leave()
        return path

    def _go_on_from(self, path: str, progress: Progress) -> str | None:
        trial = self._trial
        if not progress.belongs_to(trial.configuration, self._ranks.size, trial.steps):
            return None
        self._resumed, self._saved = progress, progress.step
        trial.most = min(progress.most, trial.most, key=lambda most: most or math.inf)
        trial.told = max(trial.told, progress.step)
        trial.clock.go_on_from(progress)
        return path

    def begin(self, losses: Losses) -> None:
        """The training begins: the losses go on from where the checkpoint has them."""
        if self._resumed is not None:
            losses.go_on_from(self._resumed.loss_sums[self._ranks.index], self._resumed.loss_steps)
        self._kept = time.monotonic()

    def exposure(self) -> Exposure:
        """This rank's, now."""
        keeps = self._folder is not None
        return Exposure(time.monotonic() - self._kept if keeps else -1.0, self._notice())

    def hear(self, told: Sequence[Exposure]) -> None:
        """Take in the exposures of all ranks, in their order."""
        self._unsaved = told[0].seconds
        self._leaving = next((said.notice for said in told if said.notice), None)

    def due(self) -> bool:
        """Whether a checkpoint is to be written now, by what the ranks said last.

        Raises Preempted, on every rank, when it is time to leave and one would not be worth it;
        else who is leaving leaves once it is written.
        """
        if self._leaving is not None:
            if self._unsaved < WORTH_SAVING:
                self._leave()
            return True
        return self._unsaved >= max(0.0, self._trial.order.checkpoint_every)

    def keep(self, trainer: SlotTrainer) -> None:
        """Write the trial's newest checkpoint; called on every rank at the same step.

        Raises Preempted, on every rank, when it was written in order to leave.
        """
        trial, folder = self._trial, self._folder
        assert folder is not None
        losses = trainer.losses
        gathered = self._ranks.exchange("state", (trainer.random_state(), losses.read()[0]))
        states = [state for state, _ in gathered]
        progress = Progress(
            configuration=trial.configuration,
            workers=self._ranks.size,
            step=trial.step,
            total_steps=trial.steps,
            most=trial.most,
            loss_sums=[total for _, total in gathered],
            loss_steps=losses.steps,
            train_seconds=trial.clock.seconds["train"],
            eval_seconds=trial.clock.seconds["eval"],
            total_seconds=trial.clock.total,
        )
        lost = self._ranks.first(
            "checkpoint",
            lambda: checkpoints.keep(
                folder, progress, lambda near: trainer.write_checkpoint(near, states)
            ),
        )
        self._kept = time.monotonic()
        if lost is None:
            self._saved = trial.step
        else:
            trial.warn(lost)
        trial.clock.lap("other")
        if self._leaving is not None:
            self._leave()

    def discard(self) -> None:
        """Remove what was kept: the trial has ended for good."""
        checkpoints.discard(self._folder)

    def _leave(self) -> None:
        then = (
            f"the trial goes on from step {self._saved}" if self._saved else "the trial begins anew"
        )
        raise Preempted(f"{self._leaving}; {then}")
