"""Runs side by side: what differs in their settings, what came out of each and at what cost, and
all their trials in one order.

Prints nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuner.documents import finite
from tuner.errors import UserError
from tuner.leaderboard import ORDER, Row, csv_of, to_json
from tuner.leaderboard import columns as flat_columns
from tuner.ordering import ordered, picked_json, picks, table_of
from tuner.overview import COLUMNS, COST, Entry, entry_of, sheet
from tuner.overview import plain as plain_entry
from tuner.rendering import Column, chosen, one_line, status
from tuner.rendering import sheet as rows_sheet
from tuner.sheets import Head, Sheet, escaped, fitted, markdown, page
from tuner.sheets import plain as plain_sheet
from tuner.views import View

_NOT_COMPARED = ("name", "storage", "address", "checkpoint_every", "max_failures")
"""Settings that change nothing of what comes out."""

_RESULTS = ("run", "status", "trial", "score", "low", "final", "done", "seconds", "device")


@dataclass(frozen=True)
class Merged(Row):
    """A row of one of the runs, with the run's name."""

    run: str = ""


@dataclass(frozen=True)
class Comparison:
    """Runs side by side. `names` are what they are called here; `differences` map a setting to its
    value in each run; `warnings` tell why scores do not compare; `rows` are ranked together, or,
    where the runs are judged by different metrics, run by run."""

    names: tuple[str, ...]
    views: tuple[View, ...]
    entries: tuple[Entry, ...]
    differences: dict[str, list[str]]
    warnings: tuple[str, ...]
    rows: tuple[Merged, ...]

    @property
    def objective(self) -> str:
        return self.views[0].objective


def compare(views: Sequence[View]) -> Comparison:
    """Put two or more runs side by side. Raises UserError for the same run twice."""
    places = [view.run.where for view in views]
    if twice := next((place for place in places if places.count(place) > 1), None):
        raise UserError(f"{twice} is named twice; name different runs")
    short = [view.run.name for view in views]
    names = [name if short.count(name) == 1 else views[n].run.where for n, name in enumerate(short)]
    return Comparison(
        tuple(names),
        tuple(views),
        tuple(replace(entry_of(view), run=name) for name, view in zip(names, views, strict=True)),
        _differences(views),
        tuple(_warnings(names, views)),
        tuple(_merged(names, views)),
    )


def _differences(views: Sequence[View]) -> dict[str, list[str]]:
    told = [_facts(view) for view in views]
    keys = dict.fromkeys(key for facts in told for key in facts)
    table = {key: [facts.get(key, "") for facts in told] for key in keys}
    return {key: values for key, values in table.items() if len(set(values)) > 1}


def _facts(view: View) -> dict[str, str]:
    """What decides about a run's scores, as texts."""
    found: dict[str, str] = {"task": view.task, "objective": view.objective}
    facts, data = view.facts, view.facts.get("data") or {}
    if view.settings is not None:
        plain = view.settings.plain()
        given = {name: value for name, value in plain.items() if name not in _NOT_COMPARED}
        found = {**{name: _shown(value) for name, value in given.items()}, **found}
    model = facts.get("model") or {}
    found["weights"] = str(model.get("fingerprint") or "")[:12]
    for name in ("training_rows", "selection_rows", "full_training_rows", "validation_rows"):
        found[name] = _shown(data.get(name))
    for split, mark in (data.get("fingerprints") or {}).items():
        found[f"{split} rows"] = str(mark)[:12]
    for name, version in (facts.get("versions") or {}).items():
        found[f"{name} version"] = str(version)
    found["code"] = str(facts.get("git") or "")[:12]
    return found


def _shown(value: Any) -> str:
    if value is None or value in ({}, ()):
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{name}={it}" for name, it in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _warnings(names: Sequence[str], views: Sequence[View]) -> Iterator[str]:
    first = views[0]
    for name, view in zip(names[1:], views[1:], strict=True):
        both = f"{names[0]} and {name}"
        if view.task != first.task:
            known = [task or "a task that is not known" for task in (first.task, view.task)]
            yield f"{both} are runs of different tasks ({' and '.join(known)})"
        if view.objective != first.objective:
            yield f"{both} are judged by different metrics ({first.objective}, {view.objective})"
        rows = [_selection(first), _selection(view)]
        if None in rows:
            yield f"{both}: whether the same rows gave the scores is not known"
        elif rows[0] != rows[1]:
            yield f"{both} are scored on different rows: their scores do not compare"


def _selection(view: View) -> tuple[Any, ...] | None:
    """What tells the selection rows apart; None where run.yaml does not say."""
    data = view.facts.get("data") or {}
    marks = data.get("fingerprints") or {}
    if view.settings is None or not marks:
        return None
    if data.get("selected_on") == "validation":
        return ("validation", marks.get("validation"))
    # Held out of the training rows by the run's seed, and by no other setting.
    return ("holdout", marks.get("train"), data.get("selection_rows"), view.settings.seed)


def _merged(names: Sequence[str], views: Sequence[View]) -> list[Merged]:
    rows = [
        Merged(**{**vars(row), "run": name})
        for name, view in zip(names, views, strict=True)
        for row in view.rows
    ]
    if len({view.objective for view in views}) > 1:
        return rows
    sign = -1.0 if views[0].direction == "max" else 1.0
    ranked = [row for row in rows if row.rank is not None]
    ranked.sort(key=lambda row: (sign * _score(row, sign), _or_most(row.loss)))
    again = [replace(row, rank=place) for place, row in enumerate(ranked, start=1)]
    rest = [row for row in rows if row.rank is None]
    rest.sort(key=lambda row: ORDER.index(row.status))
    return again + rest


def _score(row: Row, sign: float) -> float:
    given = row.objective if row.objective_mean is None else row.objective_mean
    return sign * float("inf") if given is None else given


def _or_most(number: float | None) -> float:
    return float("inf") if number is None else number


def render(
    found: Comparison,
    form: str,
    *,
    top: int | None = None,
    sort: str | None = None,
    names: str | None = None,
    width: int | None = None,
) -> str:
    """The comparison as text that ends with a newline. CSV holds the merged rows alone; JSON an
    object of `runs`, `differences`, `warnings` and `rows`. `sort`, `names` and `top` are about the
    rows. Raises UserError for a column that there is not."""
    objective = found.objective
    rows = ordered(found.rows, sort, objective)
    wanted = picks(names, rows, objective)
    shown = rows if top is None else rows[:top]
    if form == "csv":
        whole = {"run": [row.run for row in shown], **flat_columns(shown)}
        return csv_of(table_of(shown, wanted) if wanted else whole)
    if form == "json":
        body = picked_json(shown, wanted) if wanted else None
        return json.dumps(_plain(found, shown, body), allow_nan=False, indent=1) + "\n"
    usual = chosen(shown, found.views[0].heading, wanted)
    abouts = {n: view.heading for n, view in zip(found.names, found.views, strict=True)}

    def told(row: Row) -> str:
        return status(row, abouts[_run(row)])

    usual = [replace(it, text=told) if it.name == "status" else it for it in usual]
    if not wanted:
        usual.insert(1, Column("run", False, _run))
    left = len(rows) - len(shown)
    foot = [f"... and {left:,} more rows"] if left else []
    foot += [
        f"{name}: {one_line(trouble, 300)}"
        for name, entry in zip(found.names, found.entries, strict=True)
        for trouble in entry.troubles
    ]
    parts: list[str | Sheet] = [", ".join(found.names), *_warned(found), "What differs:"]
    parts += [_differing(found)] if found.differences else ["nothing in their settings"]
    parts += ["What came out, and what it cost:", sheet(found.entries, _results())]
    ranked = len({view.objective for view in found.views}) == 1
    parts += ["All trials:" if ranked else "All trials, run by run:", rows_sheet(shown, usual)]
    return _laid_out([*parts, *foot], form, width)


def _run(row: Row) -> str:
    return row.run if isinstance(row, Merged) else ""


def _laid_out(parts: Sequence[str | Sheet], form: str, width: int | None) -> str:
    if form == "html":
        return page(str(parts[0]), parts[1:], label="trial")
    if form == "md":
        texts = (markdown(it) if isinstance(it, Sheet) else escaped(it) for it in parts)
        return "\n\n".join(texts) + "\n"
    lines: list[str] = []
    for part in parts:
        if isinstance(part, str):
            lines += ["", part] if part.endswith(":") else [part]
            continue
        cells, left_out = fitted(part, width)
        lines.append(plain_sheet(cells))
        lines += [f"left out here: {', '.join(left_out)}"] if left_out else []
    return "\n".join(lines) + "\n"


def _warned(found: Comparison) -> list[str]:
    return [f"Not comparable: {warning}" for warning in found.warnings]


def _differing(found: Comparison) -> Sheet:
    rows = [
        [key, *(one_line(value, 60) for value in values)]
        for key, values in found.differences.items()
    ]
    return Sheet([Head("setting"), *(Head(name) for name in found.names)], rows)


def _results() -> list[Any]:
    known = {column.field: column for column in COLUMNS}
    listed = [known[name] for name in _RESULTS]
    return [*listed[:7], *COST, *listed[7:]]


def _plain(found: Comparison, shown: Sequence[Merged], body: str | None) -> Any:
    rows = (
        json.loads(body)
        if body is not None
        else [{"run": row.run, **item} for row, item in zip(shown, to_json(shown), strict=True)]
    )
    told = {
        "runs": [plain_entry(entry) for entry in found.entries],
        "differences": {
            key: dict(zip(found.names, values, strict=True))
            for key, values in found.differences.items()
        },
        "warnings": list(found.warnings),
        "rows": rows,
    }
    return finite(told)
