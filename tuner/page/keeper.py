"""Who keeps a run's report.html up to date: written when asked, and again and again while the run
goes on, by a thread of its own that takes little of the driver's time.

Knows when to write; nothing of what stands on the page.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tuner.documents import write_text
from tuner.history import History, Record
from tuner.page.captions import captions
from tuner.page.html import render
from tuner.page.reading import read_report
from tuner.runs import Run

PAGE = "report.html"

EVERY = 15.0
"""Seconds between two rewrites of the page, at least."""

EVERY_IN_A_STORE = 60.0
"""The same where each rewrite goes up to a store: some megabytes."""

ROWS = 200
"""So many rows of the table stand on the page itself; its script shows the others."""

_PATIENCE = 60.0
"""Seconds for which the end of a search waits for the page that is being written."""

_SHARE = 0.02
"""So much of the time goes into writing pages at most."""


def page_text(run: Run, live: bool | None = None) -> str:
    """The run's page as it stands now; arguments as for `read_report`."""
    page = read_report(run, live)
    refresh = EVERY if page.live else None
    data = {**page.plain_data(), "refresh": refresh}
    return render(
        "report.html",
        data,
        charts=True,
        page=page,
        captions=captions(page),
        rows=ROWS,
        refresh=refresh,
    )


def write_page(run: Run, file: Path | None = None, live: bool | None = None) -> Path:
    """Write the run's page to `file`, or into its folder; return where it lies."""
    file = file or run.folder / PAGE
    write_text(file, page_text(run, live))
    return file


class ReportPage:
    """Rewrites the page while a search goes on, as its watcher: `EVERY` seconds at the soonest."""

    def __init__(self, run: Run, *, every: float | None = None) -> None:
        self._run = run
        self._every = every or (EVERY if run.uri is None else EVERY_IN_A_STORE)
        self._changed = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, text: str) -> None:
        """Nothing: a note is not on the page."""

    def search_started(self, planned: int, slots: int) -> None:
        """Nothing: no trial yet."""

    def event(self, name: str, record: Record, history: History) -> None:
        """Have the page written when the last writing is long enough ago."""
        self._changed.set()
        if self._thread is None and not self._ended.is_set():
            self._thread = threading.Thread(target=self._keep, name="report", daemon=True)
            self._thread.start()

    def search_ended(self, reason: str) -> None:
        """Stop: what has not been written is written at the end of the run."""
        self._ended.set()
        self._changed.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    def _keep(self) -> None:
        while True:
            self._changed.wait()
            if self._ended.is_set():
                return
            self._changed.clear()
            began = time.monotonic()
            _write(self._run, live=True)
            took = time.monotonic() - began
            self._ended.wait(max(self._every, took / _SHARE) - took)


@contextmanager
def kept_page(run: Run, ours: Callable[[], bool]) -> Iterator[None]:
    """Write the page when the block ends, however it ends, if the run is still `ours` then."""
    try:
        yield
    finally:
        if ours():
            _write(run, live=False)


def _write(run: Run, live: bool) -> None:
    # The journal is the run: a page that can be made anew must not end it, whatever is wrong.
    if not run.exists:
        return
    with contextlib.suppress(Exception):
        write_page(run, None, live)
