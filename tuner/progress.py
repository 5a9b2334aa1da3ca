"""What a user sees while a run goes on: a live table on a terminal, a line an event elsewhere.

Writes to the stream it is given. Knows the journal's records; nothing of Ray or torch.
"""

from __future__ import annotations

import os
import threading
import time
from types import TracebackType
from typing import IO, Literal, Protocol, Self

from tuner.cells import configuration
from tuner.credentials import masked
from tuner.headings import ENDS, duration, percent, time_left
from tuner.journal import Direction, History, Record
from tuner.standing import Tally

Event = Literal["drawn", "taken", "report", "lost", "finished", "stopped", "failed"]

TICK_EVERY = 10.0
"""Seconds between two lines about the same piece of work."""


class Watcher(Protocol):
    """Who is told what a run does. Any thread may tell; a stream that is gone raises nothing."""

    def stage(self, text: str) -> None:
        """What is being done from now on."""

    def note(self, text: str) -> None:
        """Something worth knowing that needs no answer."""

    def say(self, text: str) -> None:
        """What has come out so far, in a line."""

    def aim(self, objective: str, direction: Direction) -> None:
        """What the search is after."""

    def search_started(self, planned: int, slots: int) -> None:
        """A search of `planned` trials in all begins, or goes on, on so many slots."""

    def event(self, name: str, record: Record, history: History) -> None:
        """Something (an `Event`) happened to a trial; both already tell it."""

    def tick(self, step: int, total: int, seconds_left: float | None, unit: str = "step") -> None:
        """Of the stage's work `step` of `total` are done: optimizer steps, or another `unit`."""

    def search_ended(self, reason: str) -> None:
        """The search is over: "complete", "budget", "interrupted" or "lost"."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def watcher(stream: IO[str]) -> Watcher:
    """A live table where `stream` is a terminal that can move its cursor, lines elsewhere."""
    if stream.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        from tuner.live import Live

        return Live(stream)
    return Lines(stream)


class Silent:
    """Says nothing."""

    def stage(self, text: str) -> None: ...

    def note(self, text: str) -> None: ...

    def say(self, text: str) -> None: ...

    def aim(self, objective: str, direction: Direction) -> None: ...

    def search_started(self, planned: int, slots: int) -> None: ...

    def event(self, name: str, record: Record, history: History) -> None: ...

    def tick(
        self, step: int, total: int, seconds_left: float | None, unit: str = "step"
    ) -> None: ...

    def search_ended(self, reason: str) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Lines(Silent):
    """One plain line an event."""

    def __init__(self, stream: IO[str], *, tick_every: float = TICK_EVERY) -> None:
        self._stream = stream
        self._tick_every = tick_every
        self._lock = threading.Lock()
        self._objective = "objective"
        self._direction: Direction = "max"
        self._history: History | None = None
        self._tally: Tally | None = None
        self._ticked = 0.0

    def stage(self, text: str) -> None:
        self._ticked = time.monotonic()
        self._say(text)

    def note(self, text: str) -> None:
        self._say(f"note: {masked(text)}")

    def say(self, text: str) -> None:
        self._ticked = time.monotonic()
        self._say(text)

    def aim(self, objective: str, direction: Direction) -> None:
        self._objective, self._direction = objective, direction

    def search_started(self, planned: int, slots: int) -> None:
        self._say(f"searching: {planned} trials, {slots} at a time")

    def event(self, name: str, record: Record, history: History) -> None:
        if self._tally is None or self._history is not history:
            self._history, self._tally = history, Tally(history, self._direction)
        self._tally.hear(record)
        now = self._tally.standing
        if name == "taken":
            again = " again" if record.restarts else ""
            what = f"started{again}: {configuration(record.configuration)}"
            self._say(f"[{now.done}/{now.planned}] {record.name} {what}")
        elif name not in ("drawn", "lost"):  # a line that follows or went before says more
            best = f" (best {now.value:.4f} {now.best})" if now.value is not None else ""
            left = now.seconds_left
            rest = f", {time_left(left)}" if left else ""
            told = _told(name, record, self._objective)
            self._say(f"[{now.done}/{now.planned}] {record.name} {told}{best}{rest}")

    def tick(self, step: int, total: int, seconds_left: float | None, unit: str = "step") -> None:
        if time.monotonic() - self._ticked < self._tick_every:
            return
        self._ticked = time.monotonic()
        left = "" if seconds_left is None else f", {time_left(seconds_left)}"
        self._say(f"{unit} {step:,} of {total:,} ({percent(step, total)}){left}")

    def search_ended(self, reason: str) -> None:
        history = self._history
        statuses = [] if history is None else [r.status for r in history.records.values()]
        counts = [(statuses.count(name), name) for name in ("finished", "stopped", "failed")]
        told = ", ".join(f"{count} {name}" for count, name in counts if count)
        self._say(f"the search {ENDS.get(reason, reason)}" + (f": {told}" if told else ""))

    def _say(self, text: str) -> None:
        line = " ".join(text.split()) + "\n"
        coding = getattr(self._stream, "encoding", None) or "utf-8"
        with self._lock:
            try:
                self._stream.write(line.encode(coding, "replace").decode(coding))
                self._stream.flush()
            except (OSError, ValueError):
                pass  # whoever was reading has gone; a run does not end for that


def _told(name: str, record: Record, objective: str) -> str:
    last = record.last
    share = f"{100 * last.progress:.0f} %" if last else "0 %"
    if name == "failed":
        return f"failed at {share} of its schedule: {record.error or 'no reason given'}"
    score = "no score" if last is None else f"{objective} {last.objective:.4f}"
    if name == "finished":
        spent = f" in {duration(last.total_seconds)}" if last else ""
        return f"finished{spent}: {score}"
    verb = "stopped at" if name == "stopped" else "at"
    return f"{verb} {share} of its schedule: {score}"
