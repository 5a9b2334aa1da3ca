"""The runs of a storage in a line each, as a table, Markdown, HTML, CSV or JSON.

Knows how they look; nothing of how a run is read. Prints nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from tuner.cells import one_line
from tuner.documents import finite
from tuner.entries import Entry
from tuner.errors import UserError, suggestion
from tuner.formats import csv_of, json_of
from tuner.headings import bounds, decimals, duration
from tuner.ordering import by_value
from tuner.sheets import Head, Sheet, escaped, markdown, page, text


@dataclass(frozen=True)
class Column:
    """A column of the table: its field, its head, and each entry's text."""

    field: str
    head: Head
    text: Callable[[Entry], str]


def _spread(entry: Entry) -> str:
    """How far the seeds of a mean lie apart, and how many those are."""
    if entry.seeds == 1:
        return ""
    return f"± {decimals(entry.sd)} ({entry.seeds})"


def _date(entry: Entry) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.created)) if entry.created else ""


def _text(name: str) -> Callable[[Entry], str]:
    return lambda entry: _cell(getattr(entry, name))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return decimals(value)
    return "" if value is None else one_line(str(value), 40)


DATA = ("json", "csv")
"""The forms for programs."""

INTERVAL = "95 % interval"
FINAL_INTERVAL = "final's interval"
_PAIRS = {INTERVAL: ("low", "high"), FINAL_INTERVAL: ("final_low", "final_high")}
"""Columns of texts for two fields; programs get both."""

COLUMNS = (
    Column("run", Head("run"), _text("run")),
    Column("task", Head("task"), _text("task")),
    Column("model", Head("model", spare=2), _text("model")),
    Column("status", Head("status"), _text("status")),
    Column("trial", Head("trial", spare=4), _text("trial")),
    Column("objective", Head("metric", spare=1), _text("objective")),
    Column("score", Head("score", True), lambda entry: decimals(entry.score)),
    Column("low", Head(INTERVAL, spare=2), lambda entry: bounds(entry.low, entry.high)),
    Column("sd", Head("± sd (seeds)", True, spare=1), lambda entry: _spread(entry)),
    Column("final", Head("final", True), lambda entry: decimals(entry.final)),
    Column(
        "final_low",
        Head(FINAL_INTERVAL, spare=3),
        lambda entry: bounds(entry.final_low, entry.final_high),
    ),
    Column("done", Head("trials", True), lambda entry: f"{entry.done}/{entry.planned}"),
    Column("seconds", Head("time", True, 1), lambda entry: duration(entry.seconds)),
    Column("device", Head("device", spare=3), _text("device")),
    Column("created", Head("created", spare=3), _date),
)
COST = (
    Column("schedules", Head("schedules", True), lambda entry: f"{entry.schedules:.1f}"),
    Column("epochs", Head("epochs", True, 1), lambda entry: f"{entry.epochs:.1f}"),
)
ALL = (*COLUMNS, *COST)
_NAMES = {
    **{field.name: field.name for field in fields(Entry)},
    **{column.head.name: column.field for column in ALL},
    "interval": "low",
}


def _field(name: str) -> str:
    name = name.strip()
    if name not in _NAMES:
        near = suggestion(name, _NAMES) or f"; there are {', '.join(f.name for f in fields(Entry))}"
        raise UserError(f"{name[:60]!r}: the overview of runs has no such column{near}")
    return _NAMES[name]


def ordered(found: Sequence[Entry], by: str | None) -> list[Entry]:
    """The entries by a column, `-NAME` the greatest first, as rows are. Raises UserError."""
    if by is None:
        return list(found)
    field = _field(by.strip().removeprefix("-"))
    return by_value(found, lambda entry: getattr(entry, field), by.strip().startswith("-"))


def usual(found: Sequence[Entry]) -> list[Column]:
    """The columns worth showing."""
    seeded = any(entry.seeds > 1 for entry in found)
    return [column for column in COLUMNS if column.field != "sd" or seeded]


def reading(found: Sequence[Entry]) -> str:
    """What the two scores of a run are."""
    seeded = any(entry.seeds > 1 for entry in found)
    means = ", the mean where a run's best ran under several seeds" if seeded else ""
    return (
        f"score: on the rows that chose it{means}; final: the exported model's, on the validation "
        "rows"
    )


def sheet(found: Sequence[Entry], listed: Sequence[Column]) -> Sheet:
    """The entries as texts."""
    rows = [[column.text(entry) for column in listed] for entry in found]
    return Sheet([column.head for column in listed], rows)


def _chosen(names: str | None, found: Sequence[Entry], form: str) -> list[Column]:
    if names is None:
        return usual(found)
    heads = {pair[0]: head for head, pair in _PAIRS.items()}
    known = {heads.get(column.field, column.field): column for column in ALL}
    wanted: dict[str, None] = {}
    for name in map(str.strip, names.split(",")):
        head = INTERVAL if name == "interval" else name
        if head in _PAIRS:
            wanted |= dict.fromkeys(_PAIRS[head] if form in DATA else (head,))
        else:
            wanted[_field(name)] = None
    bounding = [bound for pair in _PAIRS.values() for bound in pair]
    chosen = [
        known.get(name) or Column(name, Head(name, name in bounding), _text(name))
        for name in wanted
    ]
    return [replace(column, head=replace(column.head, spare=0)) for column in chosen]


def plain(entry: Entry) -> dict[str, Any]:
    """An entry as plain data."""
    return {**asdict(entry), "troubles": list(entry.troubles)}


def render(
    found: Sequence[Entry],
    form: str,
    storage: str,
    *,
    top: int | None = None,
    names: str | None = None,
    width: int | None = None,
) -> str:
    """The overview as text that ends with a newline; `top`, `names` and `width` as for the rows of
    a run. Raises UserError for a column that there is not."""
    shown = list(found) if top is None else list(found[:top])
    listed = _chosen(names, shown, form)
    if form in DATA:
        data = [finite(plain(entry)) for entry in shown]
        if names is not None:
            data = [{column.field: item[column.field] for column in listed} for item in data]
        if form == "json":
            return json_of(data)
        keys = [column.field for column in listed] if names else [f.name for f in fields(Entry)]
        table = {key: [item[key] for item in data] for key in keys}
        if "troubles" in table:
            table["troubles"] = ["; ".join(each) or None for each in table["troubles"]]
        return csv_of(table)
    many = len(found)
    lines = [
        f"{many} run{'s' * (many != 1)} in {storage}: the best trial of each, by task",
        reading(shown),
    ]
    troubles = [f"{e.run}: {one_line(trouble, 300)}" for e in shown for trouble in e.troubles]
    left = many - len(shown)
    foot = [*([f"... and {left:,} more runs"] if left else []), *troubles]
    cells = sheet(shown, listed)
    if form == "html":
        return page(f"Runs in {storage}", [*lines, cells, *foot], label="run")
    if form == "md":
        head, tail = map(escaped, lines), map(escaped, foot)
        return "\n\n".join([*head, markdown(cells), *tail]) + "\n"
    return text(lines, cells, foot, width)
