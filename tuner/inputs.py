"""Rows to predict from a user's own file, in one of the forms of `tables`.

Knows nothing of models, and nothing of labels: a column of them is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tuner.errors import UserError, suggestion
from tuner.places import Place
from tuner.sources import INDEX
from tuner.tables import FORMS, Row, form_of, read_rows, sound
from tuner.tasks import Task

INDEX_COLUMNS = ("index", "idx", "id")
"""What files call the column that numbers their rows; the first of these that is there counts."""


def read_input(path: str | Path, task: Task) -> pa.Table:
    """The rows of `path` in their order: the task's text columns and, where the file numbers its
    rows, `index` (int64, or string where a row's is no whole number).

    Columns are found by the task's names for them, or by those of GLUE's own files; others are
    passed over, and so are blank lines.
    Raises UserError naming the file, and the line, that cannot be used.
    """
    place = Place.of(path)
    if form_of(place.name) is None:
        suffix = Path(place.name).suffix
        raise UserError(f"--input {place}: the suffix {suffix!r} names no form; use {FORMS}")
    rows = [sound(row) for row in read_rows(place)]
    if not rows:
        raise UserError(f"{place}: has no rows below its header; there is nothing to predict")
    columns: dict[str, Any] = {}
    for number, name in enumerate(task.text_columns):
        names = (name, *([task.glue.columns[number]] if task.glue else []))
        columns[name] = pa.array([_text(row, names) for row in rows], pa.string())
    if (index := _index(rows)) is not None:
        columns[INDEX] = index
    return pa.table(columns)


def row_index(table: pa.Table) -> list[int | str]:
    """What the rows of `table` are called in a file of predictions: their `index`, or 0, 1, 2, …"""
    if INDEX in table.column_names:
        index: list[int | str] = table[INDEX].to_pylist()
        return index
    return list(range(table.num_rows))


def _text(row: Row, names: Sequence[str]) -> str:
    name = next((name for name in names if name in row.values), None)
    if name is None:
        there = ", ".join(map(str, row.values))
        raise UserError(
            f"{row.where}: there is no column {names[0]!r}, but {there}"
            f"{suggestion(names[0], map(str, row.values))}"
        )
    text = row.values[name]
    if not isinstance(text, str):
        raise UserError(f"{row.where}: {name} is {json.dumps(text)}, but must be text")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise UserError(f"{row.where}: {name} holds half a character; repair the text")
    if not text.strip():
        raise UserError(f"{row.where}: {name} is empty; fill it in, or take the row out")
    return text


def _index(rows: Sequence[Row]) -> pa.Array | None:
    name = next((name for name in INDEX_COLUMNS if name in rows[0].values), None)
    if name is None:
        return None
    values = [str(row.values.get(name, "")).strip() for row in rows]
    try:
        return pa.array([int(value) for value in values], pa.int64())
    except (ValueError, OverflowError):
        return pa.array(values, pa.string())
