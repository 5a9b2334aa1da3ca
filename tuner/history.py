"""What a run's journal says: its trials, their scores, its sessions, taken in event by event.

Pure bookkeeping; knows nothing of files, of Ray or of torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tuner.hyperparameters import Configuration
from tuner.scores import LATEST, MOST, Score, failure_of, moment_of, said, score_of, shown, whole

__all__ = [
    "DONE",
    "Direction",
    "History",
    "Record",
    "Score",
    "Session",
    "Status",
    "Stint",
]

Status = Literal["drawn", "running", "finished", "stopped", "failed"]
Direction = Literal["max", "min"]

DONE: tuple[Status, ...] = ("finished", "stopped", "failed")
"""The statuses that a trial never leaves again."""


@dataclass
class Record:
    """A trial as the journal tells it. `scores` are in order of `step`: a restart that reports a
    step again replaces what was said from there on. Times are unix seconds.

    `losses` counts the slots that died with the trial, `preemptions` those whose host was taken
    away after a notice; a slot counts in one of the two. `warning` is the last thing that went
    wrong without ending the trial. `reseed_of` names the trial whose configuration this one runs
    again under another seed.
    """

    name: str
    number: int
    configuration: Configuration
    start_point: bool = False
    status: Status = "drawn"
    scores: list[Score] = field(default_factory=list)
    error: str | None = None
    warning: str | None = None
    takes: int = 0
    losses: int = 0
    preemptions: int = 0
    slot: str | None = None
    taken_at: float | None = None
    reported_at: float | None = None
    reseed_of: str | None = None

    @property
    def done(self) -> bool:
        """Whether the trial has ended for good."""
        return self.status in DONE

    @property
    def last(self) -> Score | None:
        """The newest score; of a failed trial, where it failed."""
        return self.scores[-1] if self.scores else None

    @property
    def restarts(self) -> int:
        """How often the trial was begun again."""
        return max(0, self.takes - 1)

    @property
    def rung_values(self) -> dict[int, float]:
        """The objective at each rung that was reached, by level; undefined ones are left out."""
        return {
            s.level: s.objective for s in self.scores if s.level and not math.isnan(s.objective)
        }

    def best(self, direction: Direction) -> Score | None:
        """The score with the best objective on the way (the earliest of equals), or None."""
        scored = [score for score in self.scores if not math.isnan(score.objective)]
        pick = max if direction == "max" else min
        return pick(scored, key=lambda score: score.objective, default=None)


@dataclass(frozen=True)
class Session:
    """One start of a driver: when (unix seconds), for how many trials of the search in all, on how
    many slots; and how many `finalists` were to run again under how many `reseeds`."""

    time: float
    planned: int
    slots: int
    pid: int | None = None
    finalists: int = 0
    reseeds: int = 0


@dataclass
class Stint:
    """A slot's work on a trial, from its take to what was last heard of it.

    `start` and `end` are seconds of the run's own time, as `History.seconds`: pauses between its
    drivers are left out. `slot` is None until the trial reports. `ended` is "finished", "stopped",
    "failed", "lost" with its slot, "cut" off with its driver, or None.
    """

    trial: str
    start: float
    end: float
    slot: str | None = None
    ended: str | None = None


@dataclass
class History:
    """Everything a journal says.

    `records` are in drawn order; `results` are (trial, score, status) in journal order, with status
    "report", "finished", "stopped" or "failed". `reason` tells how the newest session ended, None
    while it goes on or when its driver was killed. `seconds` is the time spent over all sessions,
    each from its start to its last event. `slots` is how many the newest session has now, 0 before
    the first. `stints` are in the order in which slots took trials.
    """

    records: dict[str, Record] = field(default_factory=dict)
    sessions: list[Session] = field(default_factory=list)
    reason: str | None = None
    results: list[tuple[str, Score, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    slots: int = 0
    stints: list[Stint] = field(default_factory=list)
    _before: float = 0.0
    _open: dict[str, Stint] = field(default_factory=dict)

    @property
    def planned(self) -> int:
        """How many trials of the search the newest session was started for, finalists' runs under
        other seeds not counted; 0 before the first."""
        return self.sessions[-1].planned if self.sessions else 0

    @property
    def done(self) -> int:
        """How many trials finished, were stopped or failed."""
        return sum(record.done for record in self.records.values())

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take one event in; unknown ones are passed over: an older tuner reads a newer journal.

        Raises KeyError, TypeError, ValueError, AttributeError or OverflowError for an event that
        lacks what it must say, or says it in another type; nothing of it is then taken in.
        """
        name, moment = event["event"], event.get("time")
        if moment is not None and (type(moment) is not float or not 0.0 <= moment < LATEST):
            moment = moment_of(moment)
        if name == "report":
            self._reported(self.records[event["trial"]], event)
        elif name in DONE:
            self._ended(self.records[event["trial"]], event, name)
        elif name == "taken":
            record = self.records[event["trial"]]
            record.status, record.takes = "running", record.takes + 1
            record.taken_at = record.reported_at = moment
        elif name == "lost":
            record = self.records[event["trial"]]
            record.status = "drawn"  # it waits for another slot
            if event.get("preempted"):
                record.preemptions += 1
            else:
                record.losses += 1
        elif name == "drawn":
            self._drawn(event)
        elif name == "session":
            self._began(event)
        elif name == "note":
            text = str(event["text"])  # first: it may be missing
            self.slots = whole(event.get("slots", self.slots), "slots")
            self.notes.append(text)
        elif name == "ended":
            self.reason = str(event["reason"])
        elif not isinstance(name, str):
            raise TypeError(f"{shown(name)} is no event")
        if self.sessions and moment is not None:
            # A clock that was set back must not make time spent shrink.
            self.seconds = max(self.seconds, self._before + moment - self.sessions[-1].time)
        if (trial := event.get("trial")) is not None:
            self._worked(str(trial), name, event.get("slot"))

    def _drawn(self, event: Mapping[str, Any]) -> None:
        trial, again = event["trial"], event.get("reseed_of")
        configuration = event["configuration"]
        if not isinstance(trial, str) or not isinstance(again, str | None):
            raise TypeError(f"{shown(again if isinstance(trial, str) else trial)} is no trial")
        if trial in self.records:
            raise ValueError(f"{trial} was drawn before")
        if not isinstance(configuration, dict):
            raise TypeError(f"configuration is {shown(configuration)}, no hyperparameters")
        for name, value in configuration.items():
            if not isinstance(value, str) and not (
                isinstance(value, int | float) and -MOST < value < MOST
            ):
                raise TypeError(f"{name} is {shown(value)}, neither a number nor a word")
        number = whole(event["number"], "number")
        start_point = bool(event.get("start_point"))
        self.records[trial] = Record(
            trial, number, dict(configuration), start_point, reseed_of=again
        )

    def _worked(self, trial: str, event: str, slot: str | None) -> None:
        """Keep the time that slots spend on a trial; what is open is what `taken` opened."""
        if event == "taken":
            self._open[trial] = Stint(trial, self.seconds, self.seconds)
            self.stints.append(self._open[trial])
        elif (stint := self._open.get(trial)) is not None:
            stint.end, stint.slot = self.seconds, said(slot) or stint.slot
            if event in DONE or event == "lost":
                stint.ended = event
                del self._open[trial]

    def _began(self, event: Mapping[str, Any]) -> None:
        planned, slots = (whole(event[name], name) for name in ("planned", "slots"))
        finals = (whole(event.get(name) or 0, name) for name in ("finalists", "reseeds"))
        moment = moment_of(event["time"])
        began = Session(moment, planned, slots, event.get("pid"), *finals)
        self.sessions.append(began)
        self.reason, self._before, self.slots = None, self.seconds, slots
        for stint in self._open.values():
            stint.ended = "cut"
        self._open.clear()
        for record in self.records.values():
            if record.status == "running":  # its driver is gone: nobody runs it now
                record.status = "drawn"

    def _reported(self, record: Record, event: Mapping[str, Any]) -> Score:
        score = score_of(event)
        if record.scores and record.scores[-1].step >= score.step:
            record.scores = [said for said in record.scores if said.step < score.step]
        self._keep(record, event, score, "report")
        return score

    def _ended(self, record: Record, event: Mapping[str, Any], status: Status) -> None:
        if status == "failed":
            self._keep(record, event, failure_of(event, record.last), status)
        else:
            self._reported(record, event)
            name, score, _ = self.results.pop()
            self.results.append((name, score, status))
        record.status, record.error = status, said(event.get("error"))

    def _keep(self, record: Record, event: Mapping[str, Any], score: Score, status: str) -> None:
        record.scores.append(score)
        record.slot = score.slot or record.slot
        record.warning = said(event.get("warning")) or record.warning
        record.reported_at = event.get("time")
        self.results.append((record.name, score, status))
