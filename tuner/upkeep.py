"""Keeps a run's leaderboard files up to date while it is driven.

Hears of events as a search's watcher does, and takes a small share of the driver's time only.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from tuner.comparer import FEW, Comparer
from tuner.comparisons import Comparisons, write_comparisons
from tuner.formats import write_leaderboard
from tuner.history import Direction, History, Record
from tuner.leaderboard import rows
from tuner.runs import Run
from tuner.throttle import Throttle

WRITE_EVERY = 1.0
"""Seconds between two rewrites of the files, at least."""


class LeaderboardFiles:
    """Keeps a run's leaderboard files up to date, and hears what happens as a search's watcher.

    The files are rewritten at most once a second. A change that comes too soon after a write is
    written when the second is over, by a thread of its own. With an `objective`, another thread
    compares the trials that have finished and keeps what it finds in comparisons.json; where that
    goes wrong, `note` is told so, once.
    """

    def __init__(
        self,
        run: Run,
        direction: Direction,
        objective: str | None = None,
        *,
        every: float = WRITE_EVERY,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._run = run
        self._direction = direction
        self._objective = objective
        # A leaderboard of thousands of rows takes a while to write, and so does comparing trials.
        self._files, self._compared = Throttle(every), Throttle(every)
        self._tell = note
        self._told = False
        self._history: History | None = None
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()
        self._comparer: Comparer | None = None
        self._comparisons: Comparisons | None = None
        self._news = threading.Event()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, text: str) -> None:
        """Nothing: a note changes no row."""

    def search_started(self, planned: int, slots: int) -> None:
        """Nothing: no row yet."""

    def event(self, name: str, record: Record, history: History) -> None:
        """Write the files now, or as soon as the last write is old enough."""
        with self._lock:
            self._history = history
            self._write_soon(history)
        if name == "finished" and self._objective is not None:
            self._news.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep_comparing, daemon=True)
                self._thread.start()

    def search_ended(self, reason: str) -> None:
        """Write what has not been written yet. Who has interrupted the search does not wait until
        each of thousands of trials is compared: the best are."""
        self._ending.set()
        if self._thread is not None:
            self._news.set()
            self._thread.join()
        with self._lock:
            history = self._history
            if history is not None and self._thread is not None:
                self._compare(history, last=True, most=FEW if reason == "interrupted" else None)
            if history is not None and (self._timer is not None or self._thread is not None):
                if self._timer is not None:
                    self._timer.cancel()
                self._write(history)

    def _write_soon(self, history: History) -> None:
        wait = self._files.wait
        if not wait:
            self._write(history)
        elif self._timer is None:
            self._timer = threading.Timer(wait, self._late, [history])
            self._timer.daemon = True
            self._timer.start()

    def _late(self, history: History) -> None:
        with self._lock:
            if self._timer is threading.current_thread():  # else another write has come before
                self._write(history)

    def _write(self, history: History) -> None:
        self._timer = None
        # The journal is the run: a file that can be derived from it must not end a search.
        with self._files.work(), contextlib.suppress(OSError):
            write_leaderboard(self._run, rows(history, self._direction, self._comparisons))

    def _keep_comparing(self) -> None:
        while self._news.wait() and not self._ending.is_set():
            self._news.clear()
            history = self._history
            if history is not None:
                with self._compared.work():
                    self._compare(history)
                with self._lock:
                    self._write_soon(history)
            if self._ending.wait(self._compared.wait):
                return

    def _compare(self, history: History, *, last: bool = False, most: int | None = None) -> None:
        """Compare the trials anew. Nothing that goes wrong with their predictions ends a search."""
        if self._objective is None:
            return
        self._comparer = self._comparer or Comparer(self._run, self._objective, self._direction)
        stop = self._ending.is_set if not last else lambda: False
        found = self._comparer.update(history, most=most, again=last, stop=stop)
        if found.trouble is not None:
            if not self._told:
                self._told = True
                self._tell(f"{found.trouble}; the search goes on, and who is tied is not known")
            return
        self._comparisons = found
        with contextlib.suppress(OSError):
            write_comparisons(self._run, found)
