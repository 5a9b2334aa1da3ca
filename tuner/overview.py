"""Every run of a storage in a line: its best trial, its final score, what it cost, how it ended.

Reads what little that takes; a run that is damaged is listed with what is wrong. Prints nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from tuner.connections import at_once
from tuner.documents import finite
from tuner.errors import TunerError, UserError, suggestion
from tuner.headings import bounds, decimals, duration
from tuner.hyperparameters import EPOCHS
from tuner.leaderboard import Row, best, csv_of, json_of
from tuner.ordering import by_value
from tuner.rendering import one_line
from tuner.runs import SCORES, Run, bring, list_runs
from tuner.sheets import Head, Sheet, escaped, markdown, page, text
from tuner.standing import standing
from tuner.tasks import DIRECTIONS
from tuner.views import View, scores_of, view


@dataclass(frozen=True)
class Entry:
    """A run in short. `score` is the best trial's `objective` on the selection rows, with its 95 %
    interval `low` to `high` where that is known; once the finals are settled, it is the mean over
    the `seeds` that the best configuration ran under, with their standard deviation `sd` instead of
    the interval, which is a single score's. `final` is the exported model's score on the validation
    rows, within `final_low` to `final_high`. `done` of `planned` trials have ended; they spent
    `schedules` whole schedules and `epochs` epochs in `seconds` of search. `created` are Unix
    seconds. `troubles` are what is not whole."""

    run: str
    where: str
    task: str
    model: str | None
    status: str
    objective: str
    trial: str | None
    score: float | None
    low: float | None
    high: float | None
    sd: float | None
    seeds: int
    final: float | None
    done: int
    planned: int
    schedules: float
    epochs: float
    seconds: float
    device: str | None
    created: float
    troubles: tuple[str, ...] = ()
    final_low: float | None = None
    final_high: float | None = None


def entries(storage: str, task: str | None = None) -> list[Entry]:
    """The runs of a storage, by task, and those of a task the best first.

    Of the runs of one `task` only, and of those whose task cannot be told. Raises UserError where
    there is none.
    """
    runs = list_runs(storage)
    if not runs:
        raise UserError(f"there is no run in {storage}; start one: tuner tune")
    found = at_once(_entry, runs)
    if task is not None:
        tasks = sorted({entry.task for entry in found if entry.task})
        if task not in tasks:
            near = suggestion(task, tasks) or f"; there are runs of {', '.join(tasks)}"
            raise UserError(f"--task {task}: no run in {storage} is of this task{near}")
        found = [entry for entry in found if entry.task in (task, "")]
    return sorted(found, key=_place)


def _place(entry: Entry) -> tuple[Any, ...]:
    sign = 1 if DIRECTIONS.get(entry.objective) == "min" else -1
    score = math.inf if entry.score is None else sign * entry.score
    return (not entry.task, entry.task, entry.objective, score, entry.created, entry.run)


def _entry(run: Run) -> Entry:
    try:
        return entry_of(view(run))
    except (TunerError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        # A listing must not end with the one run that nobody can read.
        why = f"cannot be read: {one_line(str(error), 200) or type(error).__name__}"
        nothing = (None, None, None, None, None, 1, None, 0, 0, 0.0, 0.0, 0.0, None)
        return Entry(
            run.name, run.where, "", None, "damaged", "", *nothing, run.created, troubles=(why,)
        )


def entry_of(seen: View) -> Entry:
    """A run in short, as far as it can be read."""
    first = leader(seen)
    (final, *within), broken = _final(seen)
    records = list(seen.history.records.values())
    spent = [
        (record.last.progress, record.configuration.get(EPOCHS))
        for record in records
        if record.last is not None
    ]
    schedules = sum(progress for progress, _ in spent)
    epochs = sum(share * float(many) for share, many in spent if isinstance(many, int | float))
    mean = first is not None and first.seeds > 1 and seen.by_means
    if first is None:
        score = low = high = None
    elif mean:
        score, low, high = first.objective_mean, None, None
    else:
        score, low, high = first.objective, first.objective_low, first.objective_high
    return Entry(
        run=seen.run.name,
        where=seen.run.where,
        task=seen.task,
        model=_model(seen),
        status=_status(seen),
        objective=seen.objective if seen.task or first else "",
        trial=first.trial if first else None,
        score=score,
        low=low,
        high=high,
        sd=first.objective_sd if first and mean else None,
        seeds=first.seeds if first and mean else 1,
        final=final,
        done=seen.history.done,
        planned=seen.planned,
        schedules=schedules,
        epochs=epochs,
        seconds=seen.history.seconds,
        device=_device(seen.facts),
        created=seen.run.created,
        troubles=(*seen.troubles, *([broken] if broken else [])),
        final_low=within[0],
        final_high=within[1],
    )


def leader(seen: View) -> Row | None:
    """The winner; while no trial has finished, the one that is ahead."""
    if (winner := best(seen.rows)) is not None:
        return winner
    ahead = standing(seen.history, seen.direction).best
    return next((row for row in seen.rows if row.trial == ahead), None)


def _status(seen: View) -> str:
    if seen.live:
        return "running"
    if seen.unknown is not None:
        return f"{seen.unknown} journal"
    if seen.settings is None:
        return "damaged"
    if not seen.history.sessions:
        return "not begun"
    return seen.history.reason or "killed"


def _model(seen: View) -> str | None:
    named = (seen.facts.get("model") or {}).get("name")
    given = seen.settings.model if seen.settings else None
    return named or (given.rstrip("/").rpartition("/")[2] if given else None)


def _device(facts: Mapping[str, Any]) -> str | None:
    layout = facts.get("layout") or {}
    if not layout.get("slots"):
        return None
    workers = layout.get("workers_per_trial") or 1
    share = layout.get("gpus_per_worker") or 0
    each = f"{share * workers:g} GPU" if share else f"{workers} CPU"
    return f"{layout['slots']} x {each}"


_Final = tuple[float | None, float | None, float | None]


def _final(seen: View) -> tuple[_Final, str | None]:
    """The exported model's score with its interval, and what is wrong with the file they are in."""
    place = f"{seen.run.best_folder.name}/{SCORES}"
    if not bring(seen.run, place):
        return (None, None, None), None
    try:
        scores = scores_of(seen.run.best_folder)
        value = scores["metrics"].get(seen.objective)
        if value is None:
            return (None, None, None), None
        low, high = (scores.get("intervals") or {}).get(seen.objective) or (None, None)
        return (float(value), low, high), None
    except (UserError, ValueError, TypeError, AttributeError):
        return (None, None, None), f"{place} cannot be read"


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
"""A column of texts for two fields; programs get both."""

_BOUNDS = ("low", "high")

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
        Head("final's interval", spare=3),
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


def sheet(found: Sequence[Entry], listed: Sequence[Column]) -> Sheet:
    """The entries as texts."""
    rows = [[column.text(entry) for column in listed] for entry in found]
    return Sheet([column.head for column in listed], rows)


def _chosen(names: str | None, found: Sequence[Entry], form: str) -> list[Column]:
    if names is None:
        return usual(found)
    known = {column.head.name if column.field == "low" else column.field: column for column in ALL}
    wanted: dict[str, None] = {}
    for name in map(str.strip, names.split(",")):
        if name in ("interval", INTERVAL):
            wanted |= dict.fromkeys((INTERVAL,) if form not in DATA else ("low", "high"))
        else:
            wanted[_field(name)] = None
    chosen = [
        known.get(name) or Column(name, Head(name, name in _BOUNDS), _text(name)) for name in wanted
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
    means = ", the mean where a run's best ran under several seeds"
    means = means if any(entry.seeds > 1 for entry in shown) else ""
    lines = [
        f"{many} run{'s' * (many != 1)} in {storage}: the best trial of each, by task",
        f"score: on the rows that chose it{means}; final: the exported model's, on the validation "
        "rows",
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
