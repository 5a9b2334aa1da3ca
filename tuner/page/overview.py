"""The page of all runs in a storage, which leads to the pages of each.

What stands in its table is `tuner.overview`'s; knows nothing of how a run is read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from tuner.documents import finite, write_text
from tuner.entries import Entry
from tuner.overview import Column, reading, usual
from tuner.page.grid import Field, Grid, Key, Line
from tuner.page.html import render
from tuner.page.keeper import PAGE, ROWS
from tuner.stores import is_uri

_FIRST = ("run", "task", "score", "low", "sd", "final", "final_low")
"""What a phone shows before one scrolls."""


def overview_grid(entries: Sequence[Entry], folder: Path) -> Grid:
    """The table of the runs; links lead from `folder` to the pages that there are."""
    listed = sorted(usual(entries), key=lambda column: column.field not in _FIRST)
    fields = [Field(column.head.name, column.head.numeric) for column in listed]
    return Grid(tuple(fields), tuple(_line(entry, listed, folder) for entry in entries))


def write_overview(file: Path, title: str, entries: Sequence[Entry]) -> None:
    """Write the overview as a page of its own."""
    grid = overview_grid(entries, file.parent)
    data = {
        "fields": [vars(field) for field in grid.fields],
        "lines": [vars(line) for line in grid.lines],
    }
    text = render(
        "overview.html",
        finite({"grid": data}),
        charts=False,
        title=title,
        written=datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds"),
        grid=grid,
        reading=reading(entries),
        notes=[f"{entry.run}: {trouble}" for entry in entries for trouble in entry.troubles],
        rows=ROWS,
    )
    write_text(file, text)


def _line(entry: Entry, listed: Sequence[Column], folder: Path) -> Line:
    cells = tuple(column.text(entry) for column in listed)
    keys = tuple(_key(getattr(entry, column.field)) for column in listed)
    page = None if is_uri(entry.where) else Path(entry.where, PAGE)
    link = quote(os.path.relpath(page, folder)) if page and page.is_file() else None
    return Line(cells, keys, entry.status.replace(" ", "-"), link)


def _key(value: float | str | None) -> Key:
    return value if value is None or isinstance(value, str) else float(value)
