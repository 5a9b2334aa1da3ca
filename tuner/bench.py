"""The bench of a warm slot: it runs one trial after another in one process, each as if it were the
first. Knows nothing of Tune, nor of how the search chose a trial.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist

from tuner import checkpoints
from tuner.attempts import Attempt
from tuner.errors import CrewLost
from tuner.mailbox import LoopSide, Order, Report, Word
from tuner.materials import Materials as Materials
from tuner.models import build_model
from tuner.preemption import Notice, Watch
from tuner.ranks import SHORT, Ranks, TrialFailed, one_line
from tuner.training import BACKWARD, has_unused_parameters, is_out_of_memory, quieten
from tuner.triallog import TrialLog, recording
from tuner.trials import Trial

HEARTBEAT = 20.0
"""Seconds after which rank 0 tells the other ranks that there is nothing to do yet."""


def work(box: LoopSide | None, materials: Materials) -> None:
    """The body of the train loop: run the orders from the mailbox until it says "exit".

    Called on every rank of a TorchTrainer's worker group, or in one process alone. Rank 0 holds the
    box and tells the others. Raises CrewLost when the ranks can no longer work together, or this
    process can no longer be trusted, and Preempted when a host is about to be taken away;
    everything else is a report of the trial it befell.
    """
    ranks = Ranks()
    if ranks.index == 0 and box is None:
        raise ValueError("rank 0 of a worker group needs the mailbox; it was given None")

    def send(report: Report) -> None:
        if box is not None:
            box.send(report)

    def word() -> Word:
        while True:
            said = ranks.share("word", box.next_word(HEARTBEAT) if box is not None else None)
            if said is not None:
                return said

    # Where the mailbox goes, its slot's host goes.
    with Watch([box.home] if box is not None and box.home else []) as watch:
        bench = Bench(materials, ranks, lambda: watch.notice)
        while True:
            order = ranks.share("order", box.next_order(HEARTBEAT) if box is not None else None)
            if order == "exit":
                return
            if order is not None:
                bench.run(order, send, word)


@dataclass(frozen=True)
class Failure:
    """Why an attempt ended: what to say of it, and whether more memory would have helped."""

    message: str
    memory: bool = False


class Bench:
    """Materials laid out once, and `run`, which leaves nothing behind for the next trial."""

    def __init__(
        self,
        materials: Materials,
        ranks: Ranks | None = None,
        notice: Callable[[], Notice | None] = lambda: None,
    ) -> None:
        self.materials = materials
        self.ranks = ranks or Ranks()
        self.notice = notice
        quieten()
        # Where this is not set, accelerate chooses a number of threads of its own.
        os.environ["OMP_NUM_THREADS"] = str(materials.threads)
        torch.set_num_threads(materials.threads)
        self._unused_parameters = self.ranks.size > 1 and has_unused_parameters(
            build_model(materials.weights), materials.training_rows, materials.padding
        )
        # What is here now stays: collecting after a trial then visits that trial's objects alone.
        gc.collect()
        gc.freeze()

    def run(self, order: Order, send: Callable[[Report], None], word: Callable[[], Word]) -> None:
        """Run one trial to its end, its stop or its failure, on this rank.

        `send` gets the reports, on rank 0; `word` returns the word on a rung's report, the same on
        every rank. When memory runs out the trial begins anew with passes of half as many rows.
        Raises CrewLost as `work` does.
        """
        with recording(self._log_of(order), order.trial) as log:
            log.say(f"configuration: {order.configuration}")

            def logged_send(report: Report) -> None:
                _log(log, report)
                send(report)

            def logged_word() -> Word:
                said = word()
                if said != "go":
                    log.end("stopped" if said == "stop" else "left")
                return said

            self._run(order, log, logged_send, logged_word)
            log.end("finished")  # on ranks that report nothing: they are still there

    def _log_of(self, order: Order) -> str | None:
        """Where this rank's log goes: the trial's own, or one beside it."""
        rank = self.ranks.index
        if order.log is None or rank == 0:
            return order.log
        return f"{order.log.removesuffix('.log')}.rank{rank}.log"

    def _run(
        self,
        order: Order,
        log: TrialLog,
        send: Callable[[Report], None],
        word: Callable[[], Word],
    ) -> None:
        trial = Trial(order, self.ranks.size, most=self.materials.most_rows)
        while (failure := self._attempt(trial, log, send, word)) is not None:
            if failure.memory and (half := trial.half()):
                log.say(f"out of memory: again, with at most {half} rows a pass", "WARNING")
                trial.most = half
                self.ranks.first("restart", lambda: checkpoints.discard(order.checkpoints))
                continue
            message = failure.message
            if failure.memory:
                message = f"out of memory, even row by row: {message}"

            def say(message: str = message) -> None:
                checkpoints.discard(order.checkpoints)
                send(trial.report("failed", error=message))

            self.ranks.first("failed", say)
            return

    def _attempt(
        self,
        trial: Trial,
        log: TrialLog,
        send: Callable[[Report], None],
        word: Callable[[], Word],
    ) -> Failure | None:
        failure = None
        attempt = Attempt(
            trial, self.materials, self.ranks, send, word, self._unused_parameters, self.notice
        )
        try:
            attempt.run()
        except CrewLost:
            raise
        except Exception as error:
            if not isinstance(error, TrialFailed) or error.__cause__ is not None:
                log.failed(error)  # else its message tells all
            failure = self._judge(error, trial)
        del attempt
        # Trainer, model and accelerator refer to each other in circles.
        gc.collect()
        if self.materials.gpus:
            torch.cuda.empty_cache()
        return failure

    def _judge(self, error: Exception, trial: Trial) -> Failure:
        """What the error means for the trial; raises CrewLost where it means more than that."""
        if isinstance(error, TrialFailed):
            return Failure(str(error))
        if isinstance(error, dist.DistError):
            raise CrewLost(f"the workers lost each other: {one_line(error)}") from error
        if self.materials.gpus:
            try:
                torch.cuda.synchronize()
            except Exception as broken:
                raise CrewLost(f"the GPU no longer answers: {one_line(error)}") from broken
        failure = Failure(one_line(error), is_out_of_memory(error))
        if self.ranks.size > 1:
            if failure.memory and (half := trial.half()):
                # First: when the others wait in a gradient, the exchange ends with this group.
                checkpoints.note_bound(trial.order.checkpoints, half)
            here = (trial.place, type(error).__name__, failure.memory)
            everywhere = set(self.ranks.exchange("failure", here, SHORT))
            if len(everywhere) > 1 or trial.place == BACKWARD:
                raise CrewLost(f"one of the workers failed alone: {failure.message}") from error
        return failure


def _log(log: TrialLog, report: Report) -> None:
    """Write what a report says into the trial's log, and end that with the last one: whoever hears
    the report may look, or end this process."""
    if report.kind in ("failed", "unsaved"):
        log.say(f"{report.kind} at step {report.step}: {report.error}", "ERROR")
        log.end("failed")
    elif report.kind != "tick":
        scores = ", ".join(f"{name} {value:.4f}" for name, value in report.metrics.items())
        log.say(f"step {report.step} of {report.total_steps}: {scores}, loss {report.loss:.4f}")
        if report.kind == "end":
            log.end("finished")
