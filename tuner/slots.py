"""The warm slot: a Tune actor that owns a `TorchTrainer` for the whole search and feeds it trials.

`Crew` keeps the Train run alive, `Slot` speaks Tune. Neither knows of tasks, files of data, or how
a trial trains.
"""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from tuner.errors import CrewLost
from tuner.hyperparameters import Configuration
from tuner.mailbox import CrewSide, LocalMailbox, Order, PostOffice, Report, Word

_PATIENCE = 1.0
"""Seconds between two looks at whether the worker group still lives while no report comes."""

_GOODBYE = 30.0
"""Seconds that a train loop gets to end by itself."""


@dataclass(frozen=True)
class CrewPlan:
    """What a worker group is made of.

    `materials` is a reference to `bench.Materials` in Ray's object store (in a tuple, so that
    nobody resolves it on the way). `local` runs the loop in the process at hand (Train's local
    mode), which takes one worker; `folder` is for Train's own files.
    """

    materials: tuple[Any]
    workers: int
    cpus: float
    gpus: float
    folder: str
    local: bool = True


class Crew:
    """A `TorchTrainer` whose train loop outlives trials: orders in, reports out.

    Raises CrewLost from `next_report` when the worker group is gone.
    """

    def __init__(self, plan: CrewPlan) -> None:
        self._plan = plan
        self._local = plan.local and plan.workers == 1
        self._box: Any = LocalMailbox() if self._local else PostOffice()
        self._error: BaseException | None = None
        self._ended = threading.Event()
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
                storage_path=plan.folder,
                failure_config=FailureConfig(max_failures=0),
            ),
        )

    @property
    def side(self) -> CrewSide:
        """The slot's side of the mailbox."""
        side: CrewSide = self._box
        return side

    def give(self, order: Order) -> None:
        """Hand the loop its next trial."""
        self._guarded(self.side.give, order)

    def say(self, word: Word) -> None:
        """Answer the last rung report."""
        self._guarded(self.side.say, word)

    def next_report(self) -> Report:
        """Wait for the running trial's next report. Raises CrewLost."""
        while True:
            report: Report | None = self._guarded(self.side.next_report, _PATIENCE)
            if report is not None:
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
            raise CrewLost(f"the mailbox is gone: {_first_line(error)}") from error

    def _lost(self) -> CrewLost:
        why = "it ended by itself" if self._error is None else _first_line(self._error)
        return CrewLost(f"the worker group is gone: {why}")

    def close(self) -> None:
        """Tell the loop to exit, and wait for it; a loop that does not is left to its process."""
        if not self._ended.is_set():
            try:
                self.side.close()
            except (CrewLost, ray.exceptions.RayError):
                return
            self._thread.join(_GOODBYE)
        if isinstance(self._box, PostOffice):
            self._box.remove()


def _train_loop(config: dict[str, Any]) -> None:
    """What `TorchTrainer` runs on every rank, for as long as the slot lives."""
    from tuner.bench import work

    (reference,) = config["materials"]
    rank = (
        0 if isinstance(config["box"], LocalMailbox) else ray.train.get_context().get_world_rank()
    )
    work(config["box"] if rank == 0 else None, ray.get(reference))


@dataclass(frozen=True)
class SlotPlan:
    """What every slot of a search is given: its crew, and what each order says beside the trial."""

    crew: CrewPlan
    rungs: int
    checkpoints: str
    checkpoint_every: float
    predictions: str | None = None

    def order(self, trial: str, configuration: Configuration) -> Order:
        """The order for one trial."""
        return Order(
            trial,
            dict(configuration),
            rungs=self.rungs,
            checkpoints=str(Path(self.checkpoints) / trial),
            checkpoint_every=self.checkpoint_every,
            predictions=self.predictions and str(Path(self.predictions) / f"{trial}.parquet"),
        )


class Slot(tune.Trainable):
    """A Tune actor (`reuse_actors=True`) whose train loop stays warm from trial to trial.

    `config` holds `trial` and `configuration`. A trial that fails is returned as a result, never
    raised: Tune throws an actor away on an exception. CrewLost is raised, and the slot replaced.
    """

    def setup(self, config: dict[str, Any], plan: SlotPlan) -> None:  # type: ignore[override]
        # `plan` comes from tune.with_parameters.
        self._plan = plan
        self._waiting = False
        self._order: Order | None = plan.order(config["trial"], config["configuration"])
        self._crew = Crew(plan.crew)
        self._name = f"{socket.gethostname()}:{os.getpid()}"

    def step(self) -> dict[str, Any]:
        order, self._order = self._order, None
        if order is not None:
            self._crew.give(order)
        else:
            self._crew.say("go")
        self._waiting = False
        report = self._crew.next_report()
        self._waiting = report.kind == "rung"
        return {"report": asdict(report), "slot": self._name}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._dismiss("stop")
        self._order = self._plan.order(new_config["trial"], new_config["configuration"])
        return True

    def cleanup(self) -> None:
        # The trial at hand may be one that an interrupted search begins again.
        self._dismiss("leave")
        self._crew.close()

    def _dismiss(self, word: Word) -> None:
        """Tell a trial that waits at a rung to end there."""
        if self._waiting:
            self._waiting = False
            self._crew.say(word)


def report_of(result: dict[str, Any]) -> Report:
    """The report inside a slot's result, also after Tune flattened it."""
    if "report" in result:
        return Report(**result["report"])
    flat = {k.removeprefix("report/"): v for k, v in result.items() if k.startswith("report/")}
    known = {field.name for field in fields(Report)}
    metrics = {k.removeprefix("metrics/"): v for k, v in flat.items() if k.startswith("metrics/")}
    return Report(**{k: v for k, v in flat.items() if k in known}, metrics=metrics)


def _first_line(error: BaseException) -> str:
    """An error's most telling line: the last one of its innermost cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else 'no message'}"
