"""Where a search stands: how much is done, the best so far, and about how long it will take.

Estimates for people, from the history alone; nothing is decided by them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tuner.finalists import foreseen, in_all
from tuner.hyperparameters import REDUCTION
from tuner.journal import Direction, History, Record


@dataclass(frozen=True)
class Standing:
    """`done` of `planned` trials; `best` is the trial with the best objective so far, `value` that
    objective; `seconds_left` is an estimate, None while no trial is done."""

    done: int
    planned: int
    best: str | None
    value: float | None
    seconds_left: float | None


def standing(history: History, direction: Direction) -> Standing:
    """Where the search stands. The best is a finished trial as soon as there is one."""
    return Tally(history, direction).standing


def seconds_left(history: History) -> float | None:
    """Trials to go times the mean seconds of those done, less what running ones have spent, over
    the slots; None while there is nothing to go by."""
    return Tally(history, "max").seconds_left


class Tally:
    """A history's standing, kept up with the search: what it costs to hear of an event does not
    grow with the number of trials."""

    def __init__(self, history: History, direction: Direction) -> None:
        self._history = history
        self._direction = direction
        self._sign = 1 if direction == "max" else -1
        self._done: set[str] = set()
        self._searched = 0
        self._repeats: set[str] = set()
        self._counted: tuple[int, ...] = ()
        self._in_all = 0
        self._running: dict[str, Record] = {}
        self._spent = 0.0
        self._timed = 0
        self._best: Record | None = None
        self._merit: tuple[float, ...] | None = None
        for record in list(history.records.values()):  # another thread may add a trial meanwhile
            self.hear(record)

    def hear(self, record: Record) -> None:
        """Something happened to a trial."""
        if record.reseed_of is not None:
            self._repeats.add(record.name)
        if record.done and record.name not in self._done:
            self._done.add(record.name)
            self._searched += record.reseed_of is None
            if record.last is not None:
                self._spent += record.last.total_seconds
                self._timed += 1
        if record.status == "running":
            self._running[record.name] = record
        else:
            self._running.pop(record.name, None)
        self._compare(record)

    def _compare(self, record: Record) -> None:
        merit = self._merit_of(record)
        fell = record is self._best and self._merit is not None and merit != self._merit
        if merit is not None and (self._merit is None or merit > self._merit):
            self._best, self._merit = record, merit
        elif fell:  # a failure, or a restart from an earlier rung
            self._best, self._merit = None, None
            for other in list(self._history.records.values()):
                self._compare(other)

    def _merit_of(self, record: Record) -> tuple[float, ...] | None:
        """What the best trial has most of."""
        last = record.last
        if last is None or math.isnan(last.objective):
            return None
        loss = math.inf if math.isnan(last.loss) else last.loss
        return (record.status == "finished", self._sign * last.objective, -loss, -record.number)

    @property
    def standing(self) -> Standing:
        """Where the search stands now."""
        best = self._best
        name = None if best is None else best.name
        value = None if best is None or best.last is None else best.last.objective
        return Standing(len(self._done), self._planned, name, value, self.seconds_left)

    @property
    def _planned(self) -> int:
        """How many trials there are to be, finalists' runs under other seeds included."""
        history, repeats = self._history, len(self._repeats)
        if history.sessions:
            drawn = len(history.records) - repeats
            known = foreseen(history.sessions[-1], drawn, repeats, self._searched)
            if known is not None:
                return known
        # Of all events, these alone change it: to sort thousands of trials at each one would cost.
        now = len(history.records), len(history.sessions), self._searched
        if now != self._counted:
            self._counted, self._in_all = now, in_all(history, self._direction)
        return self._in_all

    @property
    def seconds_left(self) -> float | None:
        """As `seconds_left` says."""
        to_go = self._planned - len(self._done)
        if to_go <= 0:
            return 0.0
        if not self._spent:
            return None
        mean = self._spent / self._timed
        begun = sum(
            min(mean, record.last.total_seconds)
            for record in self._running.values()
            if record.last is not None
        )
        return max(0.0, to_go * mean - begun) / max(1, min(self._history.slots, to_go))


def reached(record: Record, now: float) -> float:
    """About how far (0 to 1) a running trial is through its schedule at `now`, unix seconds.

    What it last reported, carried on at its own pace, but not past its next rung.
    """
    last = record.last
    if last is None or record.reported_at is None or last.total_seconds <= 0:
        return last.progress if last else 0.0
    pace = last.progress / last.total_seconds
    guess = last.progress + pace * max(0.0, now - record.reported_at)
    return min(guess, REDUCTION * last.progress, 1.0)
