"""Rows from a user's own file, to be predicted or scored, in one of the forms of `tables`.

Knows nothing of models.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tuner.errors import UserError, suggestion
from tuner.glue import headless
from tuner.places import Place
from tuner.rules import TEST
from tuner.sources import INDEX, INDEX_COLUMNS, read_split
from tuner.tables import FORMS, Row, form_of, read_rows, sound
from tuner.tasks import Task

_CHUNK = 10_000
"""So many rows are held as Python's strings at a time."""


def read_input(path: str | Path, task: Task, bad: Callable[[str], None] | None = None) -> pa.Table:
    """The rows of `path` in their order: the task's text columns and, where the file numbers its
    rows, `index` (int64, or string where a row's is no whole number).

    Columns are found by the task's names for them, or by those of GLUE's own files; others are
    passed over, and so are blank lines. With `bad`, a row that cannot be used is told to it
    (`file:line: why`), and its texts are null.
    Raises UserError naming the file, and the line, that cannot be used.
    """
    place = _place(path)
    glue = task.glue.columns if task.glue else task.text_columns
    columns = list(zip(task.text_columns, glue, strict=True))
    schema = pa.schema([(name, pa.string()) for name in task.text_columns])
    chunks: list[pa.RecordBatch] = []
    texts: list[list[str | None]] = [[] for _ in columns]
    index: list[str | None] = []
    numbered: str | None = None
    usable = 0
    for row in read_rows(place, headless(task, place)):
        if not usable:
            numbered = next((name for name in INDEX_COLUMNS if name in row.values), None)
        name = None if numbered is None else row.values.get(numbered)
        index.append(None if name is None else str(name).strip())
        found: list[str | None] = [None for _ in columns]
        try:
            found = list(_texts(sound(row), columns))
            usable += 1
        except UserError as error:
            if bad is None:
                raise
            bad(str(error))
        for column, text in zip(texts, found, strict=True):
            column.append(text)
        if len(texts[0]) == _CHUNK:
            chunks.append(pa.record_batch(texts, schema=schema))
            texts = [[] for _ in columns]
    if not usable:
        why = "none of its rows can be read" if index else "has no rows below its header"
        raise UserError(f"{place}: {why}; there is nothing to predict")
    table = pa.Table.from_batches([*chunks, pa.record_batch(texts, schema=schema)])
    return table if numbered is None else table.append_column(INDEX, _numbers(index))


def without_texts(rows: pa.Table, task: Task, split: str, bad: Callable[[str], None]) -> pa.Table:
    """The `rows` of a split, the texts of those that have none as null: each is told to `bad`."""
    blank = np.logical_and.reduce(
        [pc.equal(pc.utf8_trim_whitespace(rows[name]), "") for name in task.text_columns]
    )
    names = " and ".join(task.text_columns)
    for row in np.flatnonzero(blank):
        bad(f"row {row} of the {split} split: {names} is empty")
    for name in task.text_columns:
        place = rows.column_names.index(name)
        texts = pc.if_else(pa.array(blank), pa.scalar(None, pa.string()), rows[name])
        rows = rows.set_column(place, name, texts)
    return rows


def read_labelled(path: str | Path, task: Task) -> pa.Table:
    """The rows of `path` and their labels, in the form of `sources.read_split`: a label is null
    where a row has none. Raises UserError naming the file, and the line, that cannot be used."""
    place = _place(path)
    return read_split(dataclasses.replace(task, test_split=TEST), "test", {TEST: str(place)})


def row_index(table: pa.Table) -> list[int | str | None]:
    """What the rows of `table` are called in a file of predictions: their `index` (None where it
    could not be read) or, where the file does not number them, 0, 1, 2, …"""
    if INDEX in table.column_names:
        index: list[int | str | None] = table[INDEX].to_pylist()
        return index
    return list(range(table.num_rows))


def _place(path: str | Path) -> Place:
    place = Place.of(path)
    if form_of(place.name) is None:
        suffix = Path(place.name).suffix
        raise UserError(f"--input {place}: the suffix {suffix!r} names no form; use {FORMS}")
    return place


def _numbers(index: Sequence[str | None]) -> pa.Array:
    try:
        return pa.array([None if name is None else int(name) for name in index], pa.int64())
    except (ValueError, OverflowError):
        return pa.array(index, pa.string())


def _texts(row: Row, columns: Sequence[Sequence[str]]) -> list[str]:
    """A row's texts. As in training, one side of a pair may be empty, but not all that there is."""
    texts = [_text(row, names, paired=len(columns) > 1) for names in columns]
    if not any(text.strip() for text in texts):
        names = " and ".join(next(n for n in names if n in row.values) for names in columns)
        raise UserError(f"{row.where}: {names} is empty; fill it in, or take the row out")
    return texts


def _text(row: Row, names: Sequence[str], paired: bool) -> str:
    name = next((name for name in names if name in row.values), None)
    if name is None:
        there = ", ".join(map(str, row.values))
        raise UserError(
            f"{row.where}: there is no column {names[0]!r}, but {there}"
            f"{suggestion(names[0], map(str, row.values))}"
        )
    text = row.values[name]
    if text is None and paired:
        return ""
    if not isinstance(text, str):
        shown = json.dumps(text, default=str)
        raise UserError(f"{row.where}: {name} is {shown}, but must be text")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise UserError(f"{row.where}: {name} holds half a character; repair the text")
    return text
