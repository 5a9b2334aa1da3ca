"""A run on a terminal: the best trials first, the running ones with their progress, time left.

Draws what it is told; knows nothing of Ray or torch.
"""

from __future__ import annotations

import contextlib
import threading
import time
from types import TracebackType
from typing import IO, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live as Screen
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from tuner.cells import configuration
from tuner.credentials import masked
from tuner.headings import Heading, duration, percent, time_left
from tuner.journal import Direction, History, Record
from tuner.leaderboard import Row, rows
from tuner.rendering import table
from tuner.standing import Standing, reached, standing

_REFRESHES = 4
_BAR = 20
_LINES_AROUND = 8
_LEAST_ROWS = 3
# Ranking thousands of trials at every event would slow the search down.
_REDRAWN_EVERY = 0.25


class _Terminal(Console):
    """A console that falls silent, and does not end the process, when nobody reads it any more."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Live:
    """A `progress.Watcher` for a terminal.

    The live part vanishes at its end; stages, notes and what other threads print stay above it.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._console = _Terminal(file=stream, highlight=False)
        self._spinner = Spinner("line")
        self._lock = threading.Lock()
        self._stage = ""
        self._since = time.monotonic()
        self._ticked: tuple[int, int, float | None, str] | None = None
        self._heading = Heading(live=True)
        self._history: History | None = None
        self._standing: Standing | None = None
        self._rows: list[Row] = []
        self._running: list[Record] = []
        self._next_ranking = 0.0
        self._stale = False
        self._screen = Screen(
            console=self._console,
            refresh_per_second=_REFRESHES,
            transient=True,
            get_renderable=self._draw,
        )

    def stage(self, text: str) -> None:
        with self._lock:
            ended = self._end_stage()
            self._stage, self._since = text, time.monotonic()
        self._print(ended)

    def _end_stage(self) -> Text | None:
        if not self._stage:
            return None
        took = duration(time.monotonic() - self._since)
        line = Text.assemble(self._stage, (f"  {took}", "dim"))
        self._stage, self._ticked = "", None
        return line

    def note(self, text: str) -> None:
        self._print(Text(masked(text), style="yellow"))

    def say(self, text: str) -> None:
        self._print(Text(text))

    def aim(self, objective: str, direction: Direction) -> None:
        with self._lock:
            self._heading = Heading(objective=objective, direction=direction, live=True)

    def search_started(self, planned: int, slots: int) -> None:
        self.stage(f"searching: {planned} trials, {slots} at a time")

    def event(self, name: str, record: Record, history: History) -> None:
        with self._lock:
            self._history = history
            self._stale = True
            if time.monotonic() >= self._next_ranking:
                self._rank()

    def _rank(self) -> None:
        history = self._history
        if history is None:
            return
        began = time.monotonic()
        direction = self._heading.direction
        self._rows = [row for row in rows(history, direction) if row.status != "running"]
        self._running = [r for r in list(history.records.values()) if r.status == "running"]
        self._standing = standing(history, direction)
        self._stale = False
        now = time.monotonic()
        self._next_ranking = now + max(_REDRAWN_EVERY, 20 * (now - began))

    def tick(self, step: int, total: int, seconds_left: float | None, unit: str = "step") -> None:
        with self._lock:
            self._ticked = (step, total, seconds_left, unit)

    def search_ended(self, reason: str) -> None:
        with self._lock:
            ended = self._end_stage()
            self._history, self._standing, self._rows, self._running = None, None, [], []
        self._print(ended)

    def refresh(self) -> None:
        """Draw now, as it happens by itself four times a second."""
        with self._lock:
            self._next_ranking = 0.0
        self._screen.refresh()

    def _print(self, line: Text | None) -> None:
        if line is not None:
            with contextlib.suppress(OSError, ValueError):  # a run outlives its terminal
                self._console.print(line)

    def _draw(self) -> RenderableType:
        with self._lock:
            if self._stale and time.monotonic() >= self._next_ranking:
                self._rank()
            parts: list[RenderableType] = []
            if self._rows or self._running:
                parts.append(self._search())
            if self._stage:
                parts.append(self._status())
            return Group(*parts)

    def _search(self) -> RenderableType:
        height, width = self._console.height, self._console.width
        room = max(_LEAST_ROWS, height - len(self._running) - _LINES_AROUND)
        parts: list[RenderableType] = []
        if self._rows:
            parts.append(table(self._rows, self._heading, room, width))
        if len(self._rows) > room:
            parts.append(Text(f"... and {len(self._rows) - room} more", style="dim"))
        if self._running:
            parts += [Text(), self._trials()]
        return Group(*parts)

    def _trials(self) -> Table:
        grid = Table.grid(padding=(0, 1))
        now = time.time()
        for record in self._running:
            share = reached(record, now)
            last = record.last
            score = "" if last is None else f"{last.objective:.4f}"
            spent = "" if record.taken_at is None else duration(round(now - record.taken_at))
            grid.add_row(
                Text(record.name, style="cyan"),
                ProgressBar(total=1.0, completed=share, width=_BAR),
                Text(f"{100 * share:3.0f} %"),
                Text(spent, style="dim", justify="right"),
                Text(score),
                Text(configuration(record.configuration), style="dim", no_wrap=True),
            )
        return grid

    def _status(self) -> RenderableType:
        text = [self._stage]
        if (now := self._standing) is not None:
            text.append(f"{now.done} of {now.planned} done")
            left = now.seconds_left
            if left is not None:
                text.append(time_left(left))
        if self._ticked is not None:
            step, total, left, unit = self._ticked
            text.append(f"{unit} {step:,} of {total:,}")
            if left is not None:
                text.append(time_left(left))
        if len(text) == 1:
            text.append(duration(round(time.monotonic() - self._since)))
        self._spinner.update(text=Text(", ".join(text)))
        if self._ticked is None:
            return self._spinner
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            self._spinner,
            ProgressBar(total=total, completed=step, width=_BAR),
            Text(percent(step, total)),
        )
        return bar

    def __enter__(self) -> Self:
        self._screen.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            ended = self._end_stage() if error is None else None
            self._stage = ""
            self._rows, self._running = [], []
        self._print(ended)
        with contextlib.suppress(OSError, ValueError):
            self._screen.stop()
