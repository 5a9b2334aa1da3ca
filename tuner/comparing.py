"""Runs compared: what differs in their settings, whether their scores compare, what came out of
each and at what cost, and all their trials in one order where there is one.

Knows nothing of how that looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuner.entries import Entry, entry_of
from tuner.errors import UserError
from tuner.history import Record
from tuner.leaderboard import Row, unranked_place
from tuner.ranking import ranked_together
from tuner.views import View

_NOT_COMPARED = ("name", "storage", "address", "checkpoint_every", "max_failures")
"""Settings that change nothing of what comes out."""


@dataclass(frozen=True)
class Merged(Row):
    """A row of one of the runs, with the run's name."""

    run: str = ""


@dataclass(frozen=True)
class Comparison:
    """Runs side by side. `names` are what they are called here; `differences` map a setting to its
    value in each run; `warnings` tell why scores do not compare. Where they do, `rows` are ranked
    together, and `tied` and `worse`, which are about a run's own leader, are told of that run alone
    whose leader is the first of all; where they do not, the rows are each run's own, run by run."""

    names: tuple[str, ...]
    views: tuple[View, ...]
    entries: tuple[Entry, ...]
    differences: dict[str, list[str]]
    warnings: tuple[str, ...]
    rows: tuple[Merged, ...]

    @property
    def together(self) -> bool:
        """Whether all trials stand in one order."""
        return not self.warnings

    @property
    def mixed(self) -> bool:
        """Whether the runs are judged by different metrics."""
        return len({view.objective for view in self.views}) > 1

    @property
    def objective(self) -> str:
        """What the column of the objectives is called."""
        return "objective" if self.mixed else self.views[0].objective


def compare(views: Sequence[View]) -> Comparison:
    """Put two or more runs side by side. Raises UserError for the same run twice."""
    places = [view.run.where for view in views]
    if twice := next((place for place in places if places.count(place) > 1), None):
        raise UserError(f"{twice} is named twice; name different runs")
    short = [view.run.name for view in views]
    names = [name if short.count(name) == 1 else views[n].run.where for n, name in enumerate(short)]
    warnings = tuple(_warnings(names, views))
    return Comparison(
        tuple(names),
        tuple(views),
        tuple(replace(entry_of(view), run=name) for name, view in zip(names, views, strict=True)),
        _differences(views),
        warnings,
        tuple(_apart(names, views) if warnings else _together(names, views)),
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


def _apart(names: Sequence[str], views: Sequence[View]) -> list[Merged]:
    return [
        Merged(**{**vars(row), "run": name})
        for name, view in zip(names, views, strict=True)
        for row in view.rows
    ]


def _together(names: Sequence[str], views: Sequence[View]) -> list[Merged]:
    direction = views[0].direction
    rows = [{row.trial: row for row in view.rows} for view in views]

    def merged(run: int, record: Record, rank: int | None = None) -> Merged:
        fields = {**vars(rows[run].pop(record.name)), "rank": rank, "run": names[run]}
        if run != first:
            fields |= {"tied": None, "worse": None}
        return Merged(**fields)

    ranking = ranked_together([view.history for view in views], direction)
    first = ranking[0][0] if ranking else None
    found: list[Merged] = []
    for rank, (run, entrant) in enumerate(ranking, start=1):
        found.append(merged(run, entrant.record, rank))
        found += [merged(run, record) for record in entrant.repeats]
    sign = -1.0 if direction == "max" else 1.0
    rest = [
        (unranked_place(record, sign), run, record)
        for run, view in enumerate(views)
        for record in view.history.records.values()
        if record.name in rows[run]
    ]
    rest.sort(key=lambda it: it[:2])
    return found + [merged(run, record) for _, run, record in rest]
