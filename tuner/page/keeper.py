"""Who keeps a run's report.html up to date: written when asked, and again and again while the run
goes on, by a thread of its own that takes little of the driver's time.

Knows when to write; nothing of what stands on the page.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tuner.documents import write_text
from tuner.history import History, Record
from tuner.page.captions import captions
from tuner.page.html import Following, render
from tuner.page.reading import read_report
from tuner.runs import Run
from tuner.throttle import Throttle

PAGE = "report.html"

EVERY = 15.0
"""Seconds between two rewrites of the page, at least."""

EVERY_IN_A_STORE = 60.0
"""The same where each rewrite goes up to a store: some megabytes."""

BEAT = 300.0
"""Seconds after which it is written though nothing happened: when it was written says that the
driver is there."""

ROWS = 200
"""So many rows of the table stand on the page itself; its script shows the others."""

_MARGIN = 2.0
"""The next writing may take so many times as long as the last one."""

_PATIENCE = 20.0
"""Seconds for which the end of a run waits for the page that is being written."""


def page_text(
    run: Run, live: bool | None = None, pace: Throttle | None = None, took: float = 0.0
) -> str:
    """The run's page as it stands now; `live` as for `read_report`. While the run goes on, the
    page looks for the next one, which is written at this `pace`; without one, nobody does. `took`
    is how many seconds the last writing took in all."""
    began = time.monotonic()
    page = read_report(run, live)
    data = page.plain_data()
    following = None
    if pace is not None and page.live:
        following = _following(pace, max(took, time.monotonic() - began))
    return render(
        "report.html",
        data,
        charts=True,
        following=following,
        page=page,
        captions=captions(page),
        rows=ROWS,
    )


def _following(pace: Throttle, took: float) -> Following:
    """When to look for the page after one that takes `took` seconds, and when to give it up."""
    refresh, most = pace.pause(took), _MARGIN * took
    # Nothing may happen for a beat after the pause, and then the next is read and written.
    latest = pace.pause(most) + BEAT + most
    return Following(refresh, max(latest, 2 * max(refresh, BEAT)))


def write_page(run: Run, file: Path | None = None, live: bool | None = None) -> Path:
    """Write the run's page to `file`, or into its folder; return where it lies."""
    own = run.folder / PAGE
    file = file or own
    # In its folder a driver writes it again; elsewhere nobody does.
    write_text(file, page_text(run, live, _pace(run) if file == own else None))
    return file


def _pace(run: Run, every: float | None = None) -> Throttle:
    return Throttle(every or (EVERY if run.uri is None else EVERY_IN_A_STORE))


class ReportPage:
    """Rewrites a run's page while a driver is at it, as its search's watcher: `EVERY` seconds at
    the soonest.

    A context: when it ends, however it ends, the page is written a last time, as long as the run
    is `ours`; nothing that was under way is written after it.
    """

    def __init__(
        self,
        run: Run,
        ours: Callable[[], bool],
        *,
        every: float | None = None,
        patience: float = _PATIENCE,
    ) -> None:
        self._run = run
        self._ours = ours
        self._pace = _pace(run, every)
        self._patience = patience
        self._took = 0.0
        self._changed = threading.Event()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name="report", daemon=True)

    def note(self, text: str) -> None:
        """Nothing: a note is not on the page."""

    def search_started(self, planned: int, slots: int) -> None:
        """Nothing: no trial yet."""

    def event(self, name: str, record: Record, history: History) -> None:
        """Have the page written when the last writing is long enough ago."""
        self._changed.set()

    def search_ended(self, reason: str) -> None:
        """Have it say so, too; the winner is retrained next."""
        self._changed.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._changed.set()
        try:
            self._thread.join(self._patience)
        finally:
            self._write(live=False)

    def _keep(self) -> None:
        while True:
            self._changed.wait(BEAT)
            if self._ended.is_set():
                return
            self._changed.clear()
            began = time.monotonic()
            with self._pace.work():
                self._write(live=True)
            self._took = time.monotonic() - began
            self._ended.wait(self._pace.wait)

    def _write(self, live: bool) -> None:
        # The journal is the run: a page that can be made anew must not end it, whatever is wrong.
        with contextlib.suppress(Exception):
            if not self._run.exists or not self._ours():
                return
            text = page_text(self._run, live, self._pace if live else None, self._took)
            with self._lock:
                if not live or not self._ended.is_set():
                    write_text(self._run.folder / PAGE, text)
