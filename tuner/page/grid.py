"""A table for a page: each cell as people read it, and the key that it is sorted by.

Knows rows of a leaderboard; nothing of HTML.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tuner.cells import mean, one_line, searched, status, value
from tuner.headings import Heading, bounds, decimals, duration
from tuner.hyperparameters import SHORT
from tuner.leaderboard import Row

Key = float | str | None

_LONGEST = 300


@dataclass(frozen=True)
class Field:
    """A column: what its head says, whether it holds numbers, and what there is to know of it."""

    name: str
    numeric: bool = True
    hint: str = ""


@dataclass(frozen=True)
class Line:
    """A row: its cells, their sort keys (None: last, either way), its status, and where its first
    cell leads to."""

    cells: tuple[str, ...]
    keys: tuple[Key, ...]
    status: str
    link: str | None = None


@dataclass(frozen=True)
class Grid:
    """A table in its first order."""

    fields: tuple[Field, ...]
    lines: tuple[Line, ...]


_Cell = tuple[str, Key]


def grid(rows: Sequence[Row], about: Heading) -> Grid:
    """The leaderboard: the columns that say something of any row, best row first."""
    columns: list[tuple[Field, Callable[[Row], _Cell]]] = [
        (Field("rank"), lambda row: _whole(row.rank)),
        (Field("trial", numeric=False), lambda row: (_trial(row), row.trial)),
        (Field("status", numeric=False), lambda row: (status(row, about),) * 2),
        (
            Field(about.objective, hint="on the selection rows, at the trial's last report"),
            lambda row: _decimals(row.objective),
        ),
    ]
    if any(row.objective_low is not None for row in rows):
        hint = "95 % interval over the selection rows"
        columns.append((Field("95 %", hint=hint), _interval))
    if any(row.seeds > 1 for row in rows):
        hint = "mean and standard deviation over so many seeds"
        columns.append((Field("seeds", hint=hint), _seeds))
    if any(row.worse is not None for row in rows):
        hint = (
            "the probability that the trial really is worse than the leader, of the two by "
            "themselves; tied: not told from it, with 95 % for all trials together"
        )
        columns.append((Field("worse", hint=hint), _worse))
    metrics = dict.fromkeys(name for row in rows for name in row.metrics)
    metrics.pop(about.objective, None)
    for name in metrics:
        columns.append((Field(name), lambda row, name=name: _decimals(row.metrics.get(name))))  # type: ignore[misc]
    hint = "the share of the trial's own schedule"
    columns.append((Field("done", hint=hint), _done))
    for name in searched(rows):
        numeric = all(isinstance(row.hyperparameters.get(name, 0), int | float) for row in rows)
        field = Field(SHORT.get(name, one_line(name, 40)), numeric, one_line(name, 60))
        columns.append((field, lambda row, name=name: _hyperparameter(row, name)))  # type: ignore[misc]
    columns.append((Field("time", hint="from the slot taking it to its last report"), _time))
    if any(row.restarts for row in rows):
        columns.append((Field("restarts"), lambda row: _whole(row.restarts or None)))
    if any(row.error or row.warning or row.reseed_of for row in rows):
        columns.append((Field("what was said", numeric=False), _said))
    lines = []
    for row in rows:
        cells = [cell(row) for _, cell in columns]
        texts, keys = zip(*cells, strict=True)
        lines.append(Line(texts, keys, status(row, about)))
    return Grid(tuple(field for field, _ in columns), tuple(lines))


def _trial(row: Row) -> str:
    return row.trial if row.reseed_of is None else f"{row.trial} of {row.reseed_of}"


def _whole(number: int | None) -> _Cell:
    return ("", None) if number is None else (str(number), number)


def _decimals(number: float | None) -> _Cell:
    return decimals(number), number


def _interval(row: Row) -> _Cell:
    shown = bounds(row.objective_low, row.objective_high)
    return shown, row.objective_low if shown else None


def _seeds(row: Row) -> _Cell:
    return mean(row), row.objective_mean


def _worse(row: Row) -> _Cell:
    if row.worse is None:
        return "", None
    return f"{row.worse:.2f}{' (tied)' if row.tied else ''}", row.worse


def _done(row: Row) -> _Cell:
    return (f"{100 * row.progress:.0f} %", row.progress) if row.begun else ("", None)


def _hyperparameter(row: Row, name: str) -> _Cell:
    given = row.hyperparameters.get(name)
    shown = value(name, given)
    return shown, float(given) if isinstance(given, int | float) else shown or None


def _time(row: Row) -> _Cell:
    seconds = row.total_seconds
    return ("", None) if seconds is None else (duration(seconds), seconds)


def _said(row: Row) -> _Cell:
    seeded = f"{row.reseed_of} under another seed" if row.reseed_of else None
    text = "; ".join(said for said in (row.error, row.warning, seeded) if said)
    shown = one_line(text, _LONGEST)
    return shown, shown or None
