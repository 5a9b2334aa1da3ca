"""Experiment trackers beside a run: each is told of every trial once it has ended, exactly once.

A tracker works in a thread of its own, from a queue, so that one that is slow holds no slot up, and
one that fails fails alone. Knows no tracker by name, and nothing of Ray.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from tuner.credentials import masked
from tuner.endings import Ending, of_trial
from tuner.history import History, Record

PATIENCE = 120.0
"""Seconds that a tracker gets for a trial, where somebody waits for it."""

BUDGET = 300.0
"""Seconds for which the end of a run waits for its trackers, all of them together."""

_SOON = 1.0
_LOOK = 0.1


class Tracker(Protocol):
    """Who is told. Everything is called from one thread, and whatever is raised ends it there."""

    @property
    def name(self) -> str:
        """As in `--track`."""

    def open(self) -> str | None:
        """Called once, before the first trial; where it keeps what it is told, and how to look at
        it, in a line, unless that goes without saying."""

    def has(self, trial: str) -> bool:
        """Whether it was told of this trial, by this driver or an earlier one."""

    def take(self, ending: Ending) -> None:
        """Take in a trial that has ended."""

    def close(self) -> None:
        """Called once, after the last trial."""


class Telling(Protocol):
    """Who is shown what the trackers do (`progress.Watcher`)."""

    def stage(self, text: str) -> None: ...

    def note(self, text: str) -> None: ...

    def say(self, text: str) -> None: ...

    def tick(
        self, step: int, total: int, seconds_left: float | None, unit: str = "step"
    ) -> None: ...


class Tracking:
    """All trackers of a run; hears what happens as a search's watcher.

    A context: at its end the trackers get the time that they need, as long as each takes in a trial
    every `patience` seconds, and `budget` seconds in all. A tracker that fails, or that needs
    longer, is mentioned in a note and left alone. A run that a Ctrl-C ends in good order raises
    nothing, and its trackers are waited for as ever; a Ctrl-C while they are, or one that comes as
    an exception, leaves all of them at once.
    """

    def __init__(
        self,
        trackers: Sequence[Tracker],
        telling: Telling,
        *,
        patience: float = PATIENCE,
        budget: float = BUDGET,
    ) -> None:
        self._telling = telling
        self._patience = patience
        self._budget = budget
        self._lines = [_Line(tracker, telling) for tracker in trackers]
        self._told: set[str] = set()

    def note(self, text: str) -> None:
        """Nothing: trackers hear of trials."""

    def search_started(self, planned: int, slots: int) -> None:
        """Nothing: no trial has ended yet."""

    def event(self, name: str, record: Record, history: History) -> None:
        """Tell of a trial that is done."""
        if record.done:
            self.tell(of_trial(record))

    def search_ended(self, reason: str) -> None:
        """Nothing: the winner is still to come."""

    def catch_up(self, history: History) -> None:
        """Tell of the trials that ended under an earlier driver, where a tracker lacks them."""
        for record in history.records.values():
            if record.done and record.name not in self._told:
                self.tell(of_trial(record))

    def tell(self, ending: Ending) -> None:
        """Tell all trackers of it, where they were not told of one of this name before."""
        self._told.add(ending.name)
        for line in self._lines:
            line.tell(ending)

    def __enter__(self) -> Self:
        for line in self._lines:
            line.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        interrupted = kind is not None and not issubclass(kind, Exception)
        for line in self._lines:
            line.end()
        try:
            until = time.monotonic() + self._budget
            for line in self._lines if not interrupted else []:
                self._wait(line, until)
        except KeyboardInterrupt:
            interrupted = True
        for line in self._lines:
            line.leave(
                "interrupted"
                if interrupted
                else f"the {self._budget:g} s for which a run's end waits for its trackers are up"
            )

    def _wait(self, line: _Line, until: float) -> None:
        line.wait(min(_SOON, self._patience, self._budget))
        if not line.is_busy:
            return
        began, total = time.monotonic(), line.left
        self._telling.stage(f"telling {line.name} what came out; Ctrl-C leaves it at that")
        while line.is_busy and time.monotonic() < until:
            if time.monotonic() - line.moved >= self._patience:
                return line.leave(f"it took in nothing for {self._patience:g} s")
            done = total - line.left
            each = (time.monotonic() - began) / done if done else None
            self._telling.tick(done, total, each and each * line.left, "trial")
            line.wait(_LOOK)


class _Line:
    """The queue and the thread of one tracker. `moved` is when it last took something in."""

    def __init__(self, tracker: Tracker, telling: Telling) -> None:
        self.name = tracker.name
        self.moved = time.monotonic()
        self._tracker = tracker
        self._telling = telling
        self._queue: queue.SimpleQueue[Ending | None] = queue.SimpleQueue()
        self._left = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name=f"track-{self.name}", daemon=True)

    @property
    def is_busy(self) -> bool:
        return self._thread.is_alive()

    @property
    def left(self) -> int:
        """How many trials wait, beside the one that it may have in hand."""
        return self._queue.qsize()

    def start(self) -> None:
        self._thread.start()

    def tell(self, ending: Ending) -> None:
        self._queue.put(ending)

    def end(self) -> None:
        """Nothing more will be told."""
        self.moved = time.monotonic()
        self._queue.put(None)

    def wait(self, seconds: float) -> None:
        self._thread.join(seconds)

    def leave(self, why: str) -> None:
        """Whatever it still does, nobody waits for it or hears of it."""
        if self.is_busy:
            self._give_up(why)

    def _work(self) -> None:
        try:
            if (where := self._tracker.open()) is not None and not self._left:
                self._telling.say(masked(f"--track {self.name}: {where}"))
            while (ending := self._queue.get()) is not None and not self._left:
                if not self._tracker.has(ending.name):
                    self._tracker.take(ending)
                self.moved = time.monotonic()
            if not self._left:
                self._tracker.close()
        except BaseException as error:  # some libraries raise SystemExit
            self._give_up(_in_a_line(error))

    def _give_up(self, why: str) -> None:
        with self._lock:
            said, self._left = self._left, True
        if not said:
            with contextlib.suppress(Exception):
                self._telling.note(
                    f"--track {self.name} is left alone ({why}); what it lacks it is told when "
                    "tuner resume goes on with the run"
                )


def _in_a_line(error: BaseException) -> str:
    return masked(" ".join(str(error).split()) or type(error).__name__)[:300]
