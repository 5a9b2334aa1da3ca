"""One attempt at a trial: its Trainer from the start or a checkpoint, to its end or its stop.

Knows rungs, words and checkpoints; what becomes of an attempt that fails is for the bench to say.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch

from tuner import checkpoints
from tuner.arguments import training_arguments
from tuner.batches import GroupedBatches
from tuner.checkpointing import Checkpointing, Exposure, storing
from tuner.errors import Unwritable
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


@dataclass(frozen=True)
class _Told:
    """What the ranks tell each other between steps: the sum of the losses since the last report,
    the first step whose loss was not finite (0: none) and that loss; what they stand to lose."""

    losses: float
    bad_step: int
    bad_loss: float
    exposure: Exposure


def shape(configuration: Configuration) -> dict[str, Any]:
    """What a configuration says about building the model, as `build_model` takes it."""
    names = (REINIT_LAYERS, CLASSIFIER_DROPOUT)
    return {name: configuration[name] for name in names if name in configuration}


class Attempt:
    """One run of a trial's Trainer, from the start or from a checkpoint, to its end or its stop.

    `notice` says whether this process's host is about to be taken away. All ranks then leave
    together, at the next look at the losses, as `Checkpointing` has it.
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
        self.checkpointing = Checkpointing(trial, ranks, notice)
        self.scorer = Scorer(materials, ranks, trial.order.training_rows)
        self.stopped = False
        self.check_every = CHECK_EVERY if ranks.size > 1 or materials.gpus else 1
        self._ticked = time.monotonic()
        self.trainer: SlotTrainer

    def run(self) -> None:
        """Train, report at the rungs, conclude.

        Raises TrialFailed where all ranks know of it, Preempted on all ranks, and whatever else
        goes wrong as it is.
        """
        trial, materials = self.trial, self.materials
        rows = materials.training_rows
        trial.cut(len(rows))
        resume_from = self.checkpointing.find()
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
                keep=lambda: self.checkpointing.keep(self.trainer),
                mark=trial.mark,
                layer_decay=float(configuration.get(LAYER_DECAY, 1.0)),
            )
            try:
                if resume_from is not None:
                    with storing():
                        resume_from = checkpoints.at_hand(resume_from, str(Path(folder, "resumed")))
                self.trainer.train(resume_from_checkpoint=resume_from)
                if not self.stopped:
                    self._conclude()
            finally:
                self.trainer.release()

    def _begin(self) -> None:
        self.trial.clock.lap("other")
        self.checkpointing.begin(self.trainer.losses)
        self._ticked = time.monotonic()

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
        train_loss = self._check()
        if rung is not None:
            self._pass_rung(rung, train_loss)
        if self.stopped:
            control.should_training_stop = True
            return
        control.should_save = self.checkpointing.due() or control.should_save
        trial.clock.lap("other")

    def _check(self) -> float:
        """The mean training loss over all ranks since the last report. Hears whether a checkpoint
        is due, or it is time to leave.

        Raises TrialFailed, on every rank, when a loss was not finite.
        """
        losses, exposure = self.trainer.losses, self.checkpointing.exposure()
        told = self.ranks.exchange("losses", _Told(*losses.read(), exposure))
        bad = min((said.bad_step for said in told if said.bad_step), default=0)
        if bad:
            values = [said.bad_loss for said in told if said.bad_step == bad]
            self._diverged("the loss", math.nan if any(map(math.isnan, values)) else values[0], bad)
        self.checkpointing.hear([said.exposure for said in told])
        return sum(said.losses for said in told) / len(told) / max(1, losses.steps)

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
            self.ranks.first("stop", self.checkpointing.discard)

    def _conclude(self) -> None:
        order = self.trial.order
        train_loss = self._check()
        if order.save_to is not None:
            self.trainer.leave_mixed_precision()
        scored = self._score()

        def conclude() -> None:
            report = self._report("end", self.trial.rungs()[-1], scored, train_loss)
            with storing():
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
            self.checkpointing.discard()
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
