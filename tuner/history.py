"""What a run's journal says: its trials, their scores, its sessions, taken in event by event.

Pure bookkeeping; knows nothing of files, of Ray or of torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tuner.hyperparameters import Configuration

Status = Literal["drawn", "running", "finished", "stopped", "failed"]
Direction = Literal["max", "min"]

DONE: tuple[Status, ...] = ("finished", "stopped", "failed")
"""The statuses that a trial never leaves again."""

_NAN = math.nan
_LARGEST = 2**53
_MOST = 1e300
_LATEST = 1e11


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
        if moment is not None:
            moment = _moment(moment)
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
            self.slots = _whole(event.get("slots", self.slots), "slots")
            self.notes.append(str(event["text"]))
        elif name == "ended":
            self.reason = str(event["reason"])
        elif not isinstance(name, str):
            raise TypeError(f"{_shown(name)} is no event")
        if self.sessions and moment is not None:
            # A clock that was set back must not make time spent shrink.
            self.seconds = max(self.seconds, self._before + moment - self.sessions[-1].time)
        if (trial := event.get("trial")) is not None:
            self._worked(str(trial), name, _said(event.get("slot")))

    def _drawn(self, event: Mapping[str, Any]) -> None:
        trial, again = event["trial"], event.get("reseed_of")
        configuration = event["configuration"]
        if not isinstance(trial, str) or not isinstance(again, str | None):
            raise TypeError(f"{_shown(again if isinstance(trial, str) else trial)} is no trial")
        if trial in self.records:
            raise ValueError(f"{trial} was drawn before")
        if not isinstance(configuration, dict):
            raise TypeError(f"configuration is {_shown(configuration)}, no hyperparameters")
        for name, value in configuration.items():
            if not isinstance(value, str) and not (
                isinstance(value, int | float) and -_MOST < value < _MOST
            ):
                raise TypeError(f"{name} is {_shown(value)}, neither a number nor a word")
        number = _whole(event["number"], "number")
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
            stint.end, stint.slot = self.seconds, slot or stint.slot
            if event in DONE or event == "lost":
                stint.ended = event
                del self._open[trial]

    def _began(self, event: Mapping[str, Any]) -> None:
        planned, slots = (_whole(event[name], name) for name in ("planned", "slots"))
        finals = (_whole(event.get(name) or 0, name) for name in ("finalists", "reseeds"))
        moment = _moment(event["time"])
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
        score = _score(event)
        if record.scores and record.scores[-1].step >= score.step:
            record.scores = [said for said in record.scores if said.step < score.step]
        self._keep(record, event, score, "report")
        return score

    def _ended(self, record: Record, event: Mapping[str, Any], status: Status) -> None:
        if status == "failed":
            self._keep(record, event, _failure(event, record.last), status)
        else:
            self._reported(record, event)
            name, score, _ = self.results.pop()
            self.results.append((name, score, status))
        record.status, record.error = status, _said(event.get("error"))

    def _keep(self, record: Record, event: Mapping[str, Any], score: Score, status: str) -> None:
        record.scores.append(score)
        record.slot = score.slot or record.slot
        record.warning = _said(event.get("warning")) or record.warning
        record.reported_at = event.get("time")
        self.results.append((record.name, score, status))


def _said(value: Any) -> str | None:
    """A text, whatever was written in its place."""
    return value if value is None or isinstance(value, str) else str(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _whole(value: Any, name: str) -> int:
    if type(value) is not int or abs(value) > _LARGEST:
        raise TypeError(f"{name} is {_shown(value)}, not a whole number")
    return value


def _moment(value: Any) -> float:
    """Unix seconds that a calendar has."""
    if -_LATEST < _number(value, "time") < _LATEST:
        return float(value)
    raise ValueError(f"time is {_shown(value)}, no time of any year")


def _number(value: Any, name: str) -> float:
    if type(value) is not float and type(value) is not int:
        raise TypeError(f"{name} is {_shown(value)}, not a number")
    return float(value)


def _finite(value: Any, name: str) -> float:
    """A number, NaN where there is none."""
    if value is None:
        return _NAN
    number = _number(value, name)
    return number if math.isfinite(number) else _NAN


def _score(event: Mapping[str, Any]) -> Score:
    get = event.get
    score = Score(
        get("level") or 0,
        get("step") or 0,
        get("total_steps") or 0,
        _finite(get("objective"), "objective"),
        _finite(get("loss"), "loss"),
        {name: _finite(value, name) for name, value in (get("metrics") or {}).items()},
        _finite(get("train_loss"), "train_loss"),
        get("train_seconds") or 0.0,
        get("eval_seconds") or 0.0,
        get("total_seconds") or 0.0,
        _said(get("slot")),
        get("effective_batch_size") or 0,
        get("micro_batch_size") or 0,
        get("gradient_accumulation_steps") or 0,
        get("workers") or 1,
        get("halvings") or 0,
    )
    try:  # all at once: a long journal has tens of thousands of these
        whole = math.isfinite(
            score.level
            + score.step
            + score.total_steps
            + score.train_seconds
            + score.eval_seconds
            + score.total_seconds
            + score.effective_batch_size
            + score.micro_batch_size
            + score.gradient_accumulation_steps
            + score.workers
            + score.halvings
        )
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
            return f"{name} is {_shown(value)}, not a number"
    return "its numbers are too large"


def _failure(event: Mapping[str, Any], last: Score | None) -> Score:
    """A failed trial's last word: no objective, and what it leaves out as in the report before."""
    said, before = _score(event), last or Score()
    return Score(
        step=said.step or before.step,
        total_steps=said.total_steps or before.total_steps,
        loss=said.loss,
        train_loss=said.train_loss,
        train_seconds=said.train_seconds or before.train_seconds,
        eval_seconds=said.eval_seconds or before.eval_seconds,
        total_seconds=said.total_seconds or before.total_seconds,
        slot=said.slot or before.slot,
        effective_batch_size=said.effective_batch_size or before.effective_batch_size,
        micro_batch_size=said.micro_batch_size or before.micro_batch_size,
        gradient_accumulation_steps=(
            said.gradient_accumulation_steps or before.gradient_accumulation_steps
        ),
        workers=said.workers if said.workers > 1 else before.workers,
        halvings=said.halvings or before.halvings,
    )
