"""The crew of a slot: a Train run that outlives trials, told what to do through a mailbox.

Knows nothing of Tune, of tasks, of files of data, or of how a trial trains.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from tuner.collection import collection_paused
from tuner.errors import CrewLost, NoRoom, Preempted
from tuner.mailbox import CrewSide, LocalMailbox, Order, PostOffice, Report, Word
from tuner.preemption import loss_of

_PATIENCE = 1.0
"""Seconds between two looks at whether the worker group still lives while no report comes."""

_LOOKING = 60.0
"""Seconds that Train looks for room for a worker group before it calls that a failure."""

_GOODBYE = 30.0
"""Seconds that a train loop gets to end by itself."""

_HURRY = 5.0
"""Seconds that it gets where it is in the midst of a trial that nobody waits for any more."""


@dataclass(frozen=True)
class CrewPlan:
    """What a worker group is made of.

    `materials` is a reference to `bench.Materials` in Ray's object store (in a tuple, so that
    nobody resolves it on the way). `local` runs the loop in the process at hand (Train's local
    mode), which takes one worker. `folder` is for Train's own files; None: a temporary one on the
    host of whoever opens the crew, which is all that Train needs as long as no checkpoint is
    reported to it. `patience` is for how many seconds a group of several workers, or one that is
    not local, waits for room on the hosts.
    """

    materials: tuple[Any]
    workers: int
    cpus: float
    gpus: float
    folder: str | None = None
    local: bool = True
    patience: float = 60.0

    def open(self) -> Crew:
        """Start the worker group, and wait until it is there. Raises CrewLost."""
        crew = Crew(self)
        try:
            crew.wait()
        except BaseException:
            crew.close()
            raise
        return crew


class Crew:
    """A `TorchTrainer` whose train loop outlives trials: orders in, reports out.

    Raises CrewLost from `next_report` when the worker group is gone.
    """

    def __init__(self, plan: CrewPlan) -> None:
        self._plan = plan
        self._local = plan.local and plan.workers == 1
        self._box: Any = LocalMailbox() if self._local else PostOffice()
        self._files = None
        if plan.folder is None:
            self._files = TemporaryDirectory(prefix="tuner-train-", ignore_cleanup_errors=True)
        self._error: BaseException | None = None
        self._ended = threading.Event()
        self._busy = False
        self._thread = threading.Thread(target=self._fit, name="train-run", daemon=True)
        self._thread.start()

    def _fit(self) -> None:
        try:
            self._trainer().fit()
        except BaseException as error:  # whatever ended it, the slot must hear of it
            self._error = error
        finally:
            self._ended.set()

    def _trainer(self) -> TorchTrainer:
        plan = self._plan
        # Train's own watcher would start a preempted group again behind the slot's back, and is one
        # more process a crew; the train loop hears of a notice by itself (`tuner.preemption`).
        os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"
        return TorchTrainer(
            _train_loop,
            train_loop_config={"box": self._box, "materials": plan.materials},
            scaling_config=ScalingConfig(
                num_workers=0 if self._local else plan.workers,
                use_gpu=plan.gpus > 0,
                resources_per_worker=None
                if self._local
                else {"CPU": plan.cpus, **({"GPU": plan.gpus} if plan.gpus else {})},
            ),
            run_config=RunConfig(
                name=f"slot-{os.getpid()}-{id(self):x}",
                storage_path=self._files.name if self._files else plan.folder,
                failure_config=FailureConfig(  # type: ignore[call-arg]  # that of Train V2
                    max_failures=0,
                    # Each time Train looks for room for a minute. It would look for ever.
                    controller_failure_limit=max(0, int(plan.patience / _LOOKING) - 1),
                ),
            ),
        )

    @property
    def side(self) -> CrewSide:
        """The slot's side of the mailbox."""
        side: CrewSide = self._box
        return side

    def wait(self) -> None:
        """Wait until the worker group has come for its first order. Raises CrewLost, and NoRoom
        when no host has room for it."""
        if isinstance(self._box, PostOffice):
            while not self._guarded(self._box.met, _PATIENCE):
                if self._ended.is_set():
                    raise self._lost()

    def give(self, order: Order) -> None:
        """Hand the loop its next trial."""
        self._busy = True
        self._guarded(self.side.give, order)

    def say(self, word: Word) -> None:
        """Answer the last rung report."""
        self._busy = word == "go"
        self._guarded(self.side.say, word)

    def next_report(self) -> Report:
        """Wait for the running trial's next report. Raises CrewLost."""
        while True:
            report: Report | None = self._guarded(self.side.next_report, _PATIENCE)
            if report is not None:
                self._busy = report.kind in ("rung", "tick")
                return report
            if self._ended.is_set():
                last: Report | None = self._guarded(self.side.next_report, 0.0)
                if last is not None:
                    return last
                raise self._lost()

    def _guarded(self, call: Any, *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except ray.exceptions.RayError as error:
            raise CrewLost(f"the mailbox is gone: {loss_of(error).why}") from error

    def _lost(self) -> CrewLost:
        if self._error is None:
            return CrewLost("the worker group is gone: it ended by itself")
        cause = getattr(self._error, "controller_failure", None)
        if type(cause).__name__ == "WorkerGroupStartupTimeoutError":
            return NoRoom(
                f"no host had room for {self._plan.workers} workers in {self._plan.patience:g} s"
            )
        loss = loss_of(self._error)
        return Preempted(loss.why) if loss.preempted else CrewLost(loss.why)

    def close(self) -> None:
        """Tell the loop to exit, and wait for it; a loop that does not is left to its process.

        One in the midst of a trial ends when it next has something to say, and is hardly waited
        for."""
        if not self._ended.is_set():
            try:
                self.side.close()
            except (CrewLost, ray.exceptions.RayError):
                return
            if self._busy and isinstance(self._box, PostOffice):
                self._box.remove()
            self._thread.join(_HURRY if self._busy else _GOODBYE)
        if isinstance(self._box, PostOffice):
            self._box.remove()
        if self._files is not None:
            self._files.cleanup()


def _train_loop(config: dict[str, Any]) -> None:
    """What `TorchTrainer` runs on every rank, for as long as the slot lives."""
    with collection_paused():
        from tuner.bench import work

    (reference,) = config["materials"]
    rank = (
        0 if isinstance(config["box"], LocalMailbox) else ray.train.get_context().get_world_rank()
    )
    work(config["box"] if rank == 0 else None, ray.get(reference))
