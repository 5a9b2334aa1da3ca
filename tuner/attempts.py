"""One attempt at a trial: its Trainer from the start or a checkpoint, to its end or its stop.

Knows rungs, words and checkpoints; what becomes of an attempt that fails is for the bench to say.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch

from tuner import checkpoints
from tuner.arguments import training_arguments
from tuner.batches import GroupedBatches
from tuner.checkpoints import Progress
from tuner.errors import CrewLost, Preempted, TunerError, Unwritable
from tuner.hyperparameters import (
    CLASSIFIER_DROPOUT,
    LAYER_DECAY,
    REINIT_LAYERS,
    SEED,
    Configuration,
    Rung,
)
from tuner.mailbox import Report, Word
from tuner.materials import Materials
from tuner.models import build_model
from tuner.preemption import Notice
from tuner.ranks import Ranks, TrialFailed
from tuner.scoring import Scored, Scorer
from tuner.training import SlotTrainer, StepEnd, save_model
from tuner.trials import Trial

CHECK_EVERY = 8
"""Steps between two looks at whether the loss is finite, where a look costs a wait for a GPU or for
other workers."""

WORTH_SAVING = 5.0
"""Seconds of training that are worth a checkpoint when the host is about to be taken away."""


@dataclass(frozen=True)
class _Told:
    """What the ranks tell each other between steps: the sum of the losses since the last report,
    the first step whose loss was not finite (0: none) and that loss; the seconds since the last
    checkpoint (-1: none is kept); whether the host is about to be taken away."""

    losses: float
    bad_step: int
    bad_loss: float
    unsaved: float
    notice: Notice | None


def shape(configuration: Configuration) -> dict[str, Any]:
    """What a configuration says about building the model, as `build_model` takes it."""
    names = (REINIT_LAYERS, CLASSIFIER_DROPOUT)
    return {name: configuration[name] for name in names if name in configuration}


@contextmanager
def _storing() -> Iterator[None]:
    """A store that does not answer is no fault of the trial's, which another slot may end. A disk
    that is full is so for the next slot, too."""
    try:
        yield
    except Unwritable:
        raise
    except TunerError as error:
        raise CrewLost(f"the run's store fails this host: {error}") from error


class Attempt:
    """One run of a trial's Trainer, from the start or from a checkpoint, to its end or its stop.

    `notice` says whether this process's host is about to be taken away. All ranks then leave
    together: at the next look at the losses, with a checkpoint where that saves some training. A
    trial that keeps no checkpoints stays: it may end in time, and leaving saves nothing.
    """

    def __init__(
        self,
        trial: Trial,
        materials: Materials,
        ranks: Ranks,
        send: Callable[[Report], None],
        word: Callable[[], Word],
        unused_parameters: bool,
        notice: Callable[[], Notice | None] = lambda: None,
    ) -> None:
        self.trial = trial
        self.materials = materials
        self.ranks = ranks
        self.send = send
        self.word = word
        self.unused_parameters = unused_parameters
        self.notice = notice if trial.order.checkpoints is not None else lambda: None
        self.scorer = Scorer(materials, ranks, trial.order.training_rows)
        self.stopped = False
        self.check_every = CHECK_EVERY if ranks.size > 1 or materials.gpus else 1
        self._kept = self._ticked = time.monotonic()
        self._resumed: Progress | None = None
        self._saved = 0
        self._leaving: Notice | None = None
        self.trainer: SlotTrainer

    def run(self) -> None:
        """Train, report at the rungs, conclude.

        Raises TrialFailed where all ranks know of it, Preempted on all ranks, and whatever else
        goes wrong as it is.
        """
        trial, materials = self.trial, self.materials
        rows = materials.training_rows
        trial.cut(len(rows))
        resume_from = self._checkpoint()
        if self._leaving is not None:
            self._leave()
        batch = trial.cut(len(rows))
        configuration = trial.configuration
        with TemporaryDirectory(prefix="tuner-") as folder:
            arguments = training_arguments(
                configuration,
                batch,
                trial.steps,
                folder,
                precision=materials.precision,
                gpus=materials.gpus,
                unused_parameters=self.unused_parameters,
            )
            if materials.regression and arguments.label_smoothing_factor:
                raise ValueError(
                    f"label_smoothing_factor is {arguments.label_smoothing_factor}, but a "
                    "regression has no classes to smooth; leave it out"
                )
            # accelerate may have set the threads of a CPU worker to its own idea.
            torch.set_num_threads(materials.threads)
            self.trainer = SlotTrainer(
                args=arguments,
                model_init=lambda: build_model(materials.weights, **shape(configuration)),
                rows=rows,
                padding=materials.padding,
                batches=GroupedBatches(
                    rows.lengths, batch, int(configuration[SEED]), self.ranks.index
                ),
                regression=materials.regression,
                callback=StepEnd(self._begin, partial(trial.mark, "update"), self._after_step),
                keep=self._keep_checkpoint,
                mark=trial.mark,
                layer_decay=float(configuration.get(LAYER_DECAY, 1.0)),
            )
            try:
                if resume_from is not None:
                    with _storing():
                        resume_from = checkpoints.at_hand(resume_from, str(Path(folder, "resumed")))
                self.trainer.train(resume_from_checkpoint=resume_from)
                if not self.stopped:
                    self._conclude()
            finally:
                self.trainer.release()

    def _checkpoint(self) -> str | None:
        """The checkpoint to go on from: one that every rank sees, written by this very trial."""
        trial, folder = self.trial, self.trial.order.checkpoints
        found = checkpoints.newest(folder)
        told = self.ranks.exchange(
            "resume",
            (found[1].step if found else None, checkpoints.noted_bound(folder), self.notice()),
        )
        self._leaving = next((notice for _, _, notice in told if notice), None)
        bounds = [bound for _, bound, _ in told if bound is not None]
        trial.most = min([*bounds, trial.most], key=lambda most: most or math.inf)
        if found is None or len({step for step, _, _ in told}) > 1:
            return None
        path, progress = found
        if not progress.belongs_to(trial.configuration, self.ranks.size, trial.steps):
            return None
        self._resumed, self._saved = progress, progress.step
        trial.most = min(progress.most, trial.most, key=lambda most: most or math.inf)
        trial.told = max(trial.told, progress.step)
        trial.clock.go_on_from(progress)
        return path

    def _begin(self) -> None:
        if self._resumed is not None:
            self.trainer.losses.go_on_from(
                self._resumed.loss_sums[self.ranks.index], self._resumed.loss_steps
            )
        self.trial.clock.lap("other")
        self._kept = self._ticked = time.monotonic()

    def _after_step(self, step: int, control: Any) -> None:
        trial = self.trial
        trial.step = step
        trial.mark(f"after step {step}")
        trial.clock.lap("train")
        self.trainer.losses.close_step(step)
        if step >= trial.steps:
            return
        self._tick()
        rung = next((rung for rung in trial.rungs() if rung.step == step), None)
        if rung is None and step % self.check_every:
            return
        train_loss, unsaved = self._check()
        if rung is not None:
            self._pass_rung(rung, train_loss)
        if self.stopped:
            control.should_training_stop = True
            return
        if self._leaving is not None and unsaved < WORTH_SAVING:
            self._leave()
        due = unsaved >= 0 and unsaved >= trial.order.checkpoint_every
        # Who is leaving leaves once the checkpoint is written.
        control.should_save = control.should_save or due or self._leaving is not None
        trial.clock.lap("other")

    def _check(self) -> tuple[float, float]:
        """The mean training loss over all ranks since the last report; the seconds since the last
        checkpoint (-1: none is kept). Hears whether it is time to leave.

        Raises TrialFailed, on every rank, when a loss was not finite.
        """
        keeps = self.trial.order.checkpoints is not None
        unsaved = time.monotonic() - self._kept if keeps else -1.0
        losses = self.trainer.losses
        told = self.ranks.exchange("losses", _Told(*losses.read(), unsaved, self.notice()))
        bad = min((said.bad_step for said in told if said.bad_step), default=0)
        if bad:
            values = [said.bad_loss for said in told if said.bad_step == bad]
            self._diverged("the loss", math.nan if any(map(math.isnan, values)) else values[0], bad)
        self._leaving = next((said.notice for said in told if said.notice), None)
        mean = sum(said.losses for said in told) / len(told) / max(1, losses.steps)
        return mean, told[0].unsaved

    def _leave(self) -> None:
        """Leave the trial to another slot, on every rank. Raises Preempted."""
        then = (
            f"the trial goes on from step {self._saved}" if self._saved else "the trial begins anew"
        )
        raise Preempted(f"{self._leaving}; {then}")

    def _diverged(self, what: str, value: float, step: int) -> None:
        self.trial.step = step
        raise TrialFailed(
            f"{what} became {value} at step {step} of {self.trial.steps}; "
            "a smaller learning rate may help"
        )

    def _pass_rung(self, rung: Rung, train_loss: float) -> None:
        """Report and take the word; a rung that an earlier attempt reported is passed by."""
        self.trainer.losses.start_over()
        if rung.step <= self.trial.told:
            return
        scored = self._score()
        self.ranks.first("rung", lambda: self.send(self._report("rung", rung, scored, train_loss)))
        self.trial.told = rung.step
        word = self.word()
        self.stopped = word != "go"
        if word == "stop":
            self.ranks.first("stop", lambda: checkpoints.discard(self.trial.order.checkpoints))

    def _conclude(self) -> None:
        order = self.trial.order
        train_loss, _ = self._check()
        if order.save_to is not None:
            self.trainer.leave_mixed_precision()
        scored = self._score()

        def conclude() -> None:
            report = self._report("end", self.trial.rungs()[-1], scored, train_loss)
            with _storing():
                if order.predictions is not None:
                    try:
                        self.scorer.write_predictions(order.predictions, scored)
                    except OSError as error:  # the score is what counts
                        why = error.strerror or str(error)
                        self.trial.warn(f"{order.predictions} cannot be written ({why})")
                if order.save_to is not None:
                    try:
                        save_model(self.trainer.network, order.save_to)
                    except Unwritable as error:  # no fault of the configuration's
                        self.send(self.trial.report("unsaved", error=str(error)))
                        return
            report = replace(report, warning=self.trial.warning)
            checkpoints.discard(order.checkpoints)
            self.send(report)

        self.ranks.first("end", conclude)

    def _report(
        self, kind: Literal["rung", "end"], rung: Rung, scored: Scored, train_loss: float
    ) -> Report:
        return self.trial.report(
            kind,
            level=rung.level,
            metrics=self.scorer.metrics(scored),
            train_metrics=self.scorer.training_metrics(scored),
            loss=scored.loss,
            train_loss=train_loss,
        )

    def _score(self) -> Scored:
        """On every rank: what the model scores now."""
        scored = self.scorer.score(self.trainer, self.trial.halvings)
        if not scored.finite:
            self._diverged("the loss on the selection rows", scored.loss, self.trial.step)
        self.trial.clock.lap("eval")
        return scored

    def _tick(self) -> None:
        order, now = self.trial.order, time.monotonic()
        if self.ranks.index == 0 and 0 < order.ticks <= now - self._ticked:
            self._ticked = now
            self.send(self.trial.report("tick"))

    def _keep_checkpoint(self) -> None:
        """Write the trial's newest checkpoint; called on every rank at the same step."""
        trial, folder = self.trial, self.trial.order.checkpoints
        assert folder is not None
        losses = self.trainer.losses
        gathered = self.ranks.exchange("state", (self.trainer.random_state(), losses.read()[0]))

        states = [state for state, _ in gathered]
        progress = Progress(
            configuration=trial.configuration,
            workers=self.ranks.size,
            step=trial.step,
            total_steps=trial.steps,
            most=trial.most,
            loss_sums=[total for _, total in gathered],
            loss_steps=losses.steps,
            train_seconds=trial.clock.seconds["train"],
            eval_seconds=trial.clock.seconds["eval"],
            total_seconds=trial.clock.total,
        )
        lost = self.ranks.first(
            "checkpoint",
            lambda: checkpoints.keep(
                folder, progress, lambda near: self.trainer.write_checkpoint(near, states)
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
