"""A leaderboard's columns by the names that people call them, and its rows in the order of one.

Knows nothing of how rows look.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from tuner.errors import UserError, suggestion
from tuner.formats import NESTED, csv_of, json_of
from tuner.hyperparameters import SHORT
from tuner.leaderboard import Row

AnyRow = TypeVar("AnyRow", bound=Row)
Item = TypeVar("Item")

SHOWN = {
    "progress": "done",
    "total_seconds": "time",
    "preemptions": "preempted",
    "objective_se": "± se",
}
"""What a table calls fields of a row."""


_INTERVAL = ("objective_low", "objective_high")


@dataclass(frozen=True)
class Pick:
    """A field of `Row`; `inner` is one of the metrics or of the hyperparameters in it, None stands
    for the whole of it."""

    field: str
    inner: str | None = None

    def of(self, row: Row) -> Any:
        """What stands there in `row`; None where nothing is known."""
        value = getattr(row, self.field)
        return value if self.inner is None else value.get(self.inner)


def pick(name: str, rows: Sequence[Row], objective: str, kind: type[Row] = Row) -> Pick:
    """The column called `name` in a table, in CSV or in JSON, of these rows of a `kind`.

    Hyperparameters and metrics are known by their bare names, too. Raises UserError.
    """
    name = name.strip()
    known = _known(rows, objective, kind)
    if name in known:
        return known[name]
    near = suggestion(name, known) or (
        f"; there are rank, trial, status, {objective}, lr, time and more: --format csv has them"
    )
    raise UserError(f"{name[:60]!r}: the leaderboard has no such column{near}")


def picks(
    names: str | None, rows: Sequence[Row], objective: str, kind: type[Row] = Row
) -> list[Pick]:
    """The columns of a list `a,b,c`, each once; none for None. Raises UserError."""
    parts = [] if names is None else names.split(",")
    found = dict.fromkeys(
        pick(name, rows, objective, kind) for part in parts for name in _spelt(part)
    )
    return list(found)


def _spelt(name: str) -> tuple[str, ...]:
    """The names of what one name stands for."""
    return _INTERVAL if name.strip() == "interval" else (name,)


def _known(rows: Sequence[Row], objective: str, kind: type[Row]) -> dict[str, Pick]:
    """Every name of a column, those that go first last."""
    metrics = dict.fromkeys([objective, *(name for row in rows for name in row.metrics)])
    parameters = dict.fromkeys(name for row in rows for name in row.hyperparameters)
    # Those with a short name are known even before there is a trial.
    parameters |= dict.fromkeys(SHORT)
    known = {name: Pick("metrics", name) for name in metrics}
    known |= {name: Pick("hyperparameters", name) for name in parameters}
    known |= {short: Pick("hyperparameters", name) for name, short in SHORT.items()}
    known |= {f"metric.{name}": Pick("metrics", name) for name in metrics}
    known |= {f"hyperparameter.{name}": Pick("hyperparameters", name) for name in parameters}
    known |= {shown: Pick(name) for name, shown in SHOWN.items()}
    known["interval"] = Pick(_INTERVAL[0])
    return known | {field.name: Pick(field.name) for field in fields(kind)}


def ordered(
    rows: Sequence[AnyRow], by: str | None, objective: str, kind: type[Row] = Row
) -> list[AnyRow]:
    """The rows by the column `by`, the least first; `-NAME` is the greatest first, as `by_value`
    has it. None leaves the order. Raises UserError."""
    if by is None:
        return list(rows)
    name = by.strip()
    column = pick(name.removeprefix("-"), rows, objective, kind)
    if column.inner is None and column.field in NESTED:
        one = next((name for row in rows for name in getattr(row, column.field)), "learning_rate")
        raise UserError(f"--sort {name}: holds several values; name one of them, such as {one}")
    return by_value(rows, column.of, name.startswith("-"))


def by_value(items: Sequence[Item], of: Callable[[Item], Any], descending: bool) -> list[Item]:
    """The items by a value of each: numbers before texts, texts by alphabet and the numbers in them
    (t999 before t1000). Those without a value come last either way; equal ones stay as they are."""
    known = [item for item in items if of(item) is not None]
    known.sort(key=lambda item: _place(of(item)), reverse=descending)
    return known + [item for item in items if of(item) is None]


def _place(value: Any) -> tuple[Any, ...]:
    if isinstance(value, bool | int | float):
        return (0, value)
    # Texts and numbers alternate, so that like is compared with like.
    parts = re.split(r"(\d+)", str(value))
    return (1, [int(part) if place % 2 else part for place, part in enumerate(parts)])


def picked_json(rows: Iterable[Row], columns: Sequence[Pick]) -> str:
    """The rows as a JSON list, a row a line, with these keys alone; one metric is in `metrics`."""
    return json_of(_plain(row, columns) for row in rows)


def _plain(row: Row, columns: Sequence[Pick]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for column in columns:
        value = column.of(row)
        if column.inner is not None:
            found.setdefault(column.field, {})
            if column.inner in getattr(row, column.field):
                found[column.field] = {**found[column.field], column.inner: value}
        else:
            found[column.field] = value
    return found


def picked_csv(rows: Sequence[Row], columns: Sequence[Pick]) -> str:
    """The rows as CSV with these columns alone, under CSV's own names for them."""
    return csv_of(table_of(rows, columns))


def table_of(rows: Sequence[Row], columns: Sequence[Pick]) -> dict[str, list[Any]]:
    """Flat columns by CSV's names for them."""
    table: dict[str, list[Any]] = {}
    for column in spread(rows, columns):
        name = column.field
        if column.inner is not None:
            name = f"{NESTED[name]}.{column.inner}"
        table[name] = [column.of(row) for row in rows]
    return table


def spread(rows: Sequence[Row], columns: Iterable[Pick]) -> list[Pick]:
    """The columns with each of the metrics and hyperparameters by itself."""
    found: list[Pick] = []
    for column in columns:
        if column.inner is None and column.field in NESTED:
            names = dict.fromkeys(name for row in rows for name in getattr(row, column.field))
            found += [Pick(column.field, name) for name in names]
        else:
            found.append(column)
    return list(dict.fromkeys(found))
