"""The warm slot: a Tune actor that keeps one crew for the whole search and feeds it trials.

Knows nothing of how a crew trains: neither this module nor a process that runs a slot needs torch,
unless its crew does.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any, Protocol

from ray import tune

from tuner.errors import Preempted
from tuner.hyperparameters import Configuration
from tuner.mailbox import Order, Report, Word
from tuner.preemption import notice


class OpenCrew(Protocol):
    """Who runs a slot's trials, one after another (`crews.Crew`)."""

    def give(self, order: Order) -> None:
        """Hand over the next trial."""

    def say(self, word: Word) -> None:
        """Answer the last rung report."""

    def next_report(self) -> Report:
        """Wait for the running trial's next report. Raises CrewLost."""

    def close(self) -> None:
        """End it, whatever it does."""


class CrewToOpen(Protocol):
    """How a slot comes by its crew (`crews.CrewPlan`). It is pickled on its way to the slot."""

    def open(self) -> OpenCrew: ...


@dataclass(frozen=True)
class SlotPlan:
    """What every slot of a search is given: its crew, and what each order says beside the trial.

    `checkpoints`, `predictions` and `logs` are folders or URIs, for all trials together.
    """

    crew: CrewToOpen
    rungs: int
    checkpoints: str
    checkpoint_every: float
    predictions: str | None = None
    logs: str | None = None

    def order(self, trial: str, configuration: Configuration) -> Order:
        """The order for one trial."""
        return Order(
            trial,
            dict(configuration),
            rungs=self.rungs,
            checkpoints=f"{self.checkpoints}/{trial}",
            checkpoint_every=self.checkpoint_every,
            predictions=self.predictions and f"{self.predictions}/{trial}.parquet",
            log=self.logs and f"{self.logs}/{trial}.log",
        )


class Slot(tune.Trainable):
    """A Tune actor (`reuse_actors=True`) whose train loop stays warm from trial to trial.

    `config` holds `trial` and `configuration`. A trial that fails is returned as a result, never
    raised: Tune throws an actor away on an exception. CrewLost is raised, and the slot replaced; so
    is Preempted, by a slot that is handed a trial when its host is about to be taken away.

    A result holds `report` and `slot`. The report is one object: Tune keeps averages of every
    number that it can see, for every trial.
    """

    def setup(self, config: dict[str, Any], plan: SlotPlan) -> None:  # type: ignore[override]
        # `plan` comes from tune.with_parameters.
        self._plan = plan
        self._waiting = False
        self._order: Order | None = plan.order(config["trial"], config["configuration"])
        self._crew = plan.crew.open()
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
        return {"report": report, "slot": self._name}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._dismiss("stop")
        if (leaving := notice()) is not None:
            raise Preempted(str(leaving))
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
