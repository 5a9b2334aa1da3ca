"""Runs side by side, as a table, Markdown, HTML, CSV or JSON.

Knows how a comparison looks; nothing of how it came about. Prints nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from tuner.cells import Column, chosen, one_line, status
from tuner.cells import sheet as rows_sheet
from tuner.comparing import Comparison, Merged
from tuner.documents import finite
from tuner.formats import columns as flat_columns
from tuner.formats import csv_of, to_json
from tuner.leaderboard import Row
from tuner.ordering import Pick, ordered, picked_json, picks, table_of
from tuner.overview import COST, sheet, usual
from tuner.overview import plain as plain_entry
from tuner.sheets import Head, Sheet, escaped, fitted, markdown, page
from tuner.sheets import plain as plain_sheet


def render(
    found: Comparison,
    form: str,
    *,
    top: int | None = None,
    sort: str | None = None,
    names: str | None = None,
    width: int | None = None,
) -> str:
    """The comparison as text that ends with a newline. CSV holds the rows alone; JSON an object
    of `runs`, `differences`, `warnings`, `together` (whether the rows are ranked together) and
    `rows`. `sort`, `names` and `top` are about the rows; where they are not ranked together, `top`
    is so many of each run. Raises UserError for a column that there is not."""
    rows = ordered(found.rows, sort, found.objective, Merged)
    wanted = picks(names, rows, found.objective, Merged)
    shown = _first(rows, top, apart=sort is None and not found.together)
    if form == "csv":
        whole = {"run": [row.run for row in shown], **flat_columns(shown)}
        return csv_of(table_of(shown, wanted) if wanted else whole)
    if form == "json":
        body = picked_json(shown, wanted) if wanted else None
        return json.dumps(_plain(found, shown, body), allow_nan=False, indent=1) + "\n"
    left = len(rows) - len(shown)
    foot = [f"... and {left:,} more rows"] if left else []
    foot += [
        f"{name}: {one_line(trouble, 300)}"
        for name, entry in zip(found.names, found.entries, strict=True)
        for trouble in entry.troubles
    ]
    parts: list[str | Sheet] = [", ".join(found.names), *_warned(found), "What differs:"]
    parts += [_differing(found)] if found.differences else ["nothing in their settings"]
    parts += ["What came out, and what it cost:", sheet(found.entries, _results(found))]
    parts += _titles(found, shown)
    parts += [rows_sheet(shown, _columns(found, shown, wanted))]
    return _laid_out([*parts, *foot], form, width)


def _first(rows: Sequence[Merged], top: int | None, apart: bool) -> list[Merged]:
    """The first `top` rows; of each run, where the runs stand `apart`."""
    if top is None:
        return list(rows)
    if not apart:
        return list(rows[:top])
    names = dict.fromkeys(row.run for row in rows)
    return [row for name in names for row in [it for it in rows if it.run == name][:top]]


def _columns(found: Comparison, shown: Sequence[Merged], wanted: Sequence[Pick]) -> list[Column]:
    heading = replace(found.views[0].heading, objective=found.objective)
    abouts = {n: view.heading for n, view in zip(found.names, found.views, strict=True)}
    metrics = {n: view.objective for n, view in zip(found.names, found.views, strict=True)}

    def told(row: Row) -> str:
        return status(row, abouts[_run(row)])

    usual = chosen(shown, heading, wanted)
    usual = [replace(it, text=told) if it.name == "status" else it for it in usual]
    if not wanted:
        usual.insert(1, Column("run", False, _run))
        if found.mixed:
            usual.insert(4, Column("metric", False, lambda row: metrics[_run(row)]))
    return usual


def _titles(found: Comparison, shown: Sequence[Merged]) -> Iterator[str]:
    """What must be known of the rows for them to be read rightly."""
    tied = any(row.tied for row in shown)
    if not found.together:
        yield "All trials, each run's in an order of their own, as their scores do not compare:"
        if tied:
            yield "tied: with the leader of their own run"
        return
    yield "All trials:"
    if tied and (first := next((row for row in found.rows if row.rank == 1), None)) is not None:
        yield (
            f"tied: with {first.trial} of {first.run}; whether trials of another run can be told "
            "from it is not known"
        )
    single = [entry.run for entry in found.entries if entry.trial and entry.seeds == 1]
    if single and len(single) < len(found.entries):
        yield (
            f"{', '.join(single)}: scores of a single seed each; the best of them owes something "
            "to its luck, and a mean over seeds does not"
        )


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


def _results(found: Comparison) -> list[Any]:
    known = {column.field: column for column in usual(found.entries)}
    metric = ("objective",) if found.mixed else ()
    spread = ("sd",) if "sd" in known else ()
    first = ("run", "status", "trial", *metric, "score", "low", *spread, "final", "done")
    return [*map(known.get, first), *COST, known["seconds"], known["device"]]


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
        "together": found.together,
        "rows": rows,
    }
    return finite(told)
