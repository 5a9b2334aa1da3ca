"""Rows to predict from a user's own file: TSV, CSV or JSON lines, told apart by the suffix.

Knows nothing of models, and nothing of labels: a column of them is passed over.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tuner.errors import UserError, suggestion
from tuner.sources import INDEX, text_lines
from tuner.tasks import Task

INDEX_COLUMNS = ("index", "idx", "id")
"""What files call the column that numbers their rows; the first of these that is there counts."""


@dataclass(frozen=True)
class _Line:
    """A row of the file, and the number of the line that it begins on."""

    number: int
    values: Mapping[str, Any]


def read_input(path: Path, task: Task) -> pa.Table:
    """The rows of `path` in their order: the task's text columns and, where the file numbers its
    rows, `index` (int64, or string where a row's is no whole number).

    Columns are found by the task's names for them, or by those of GLUE's own files; others are
    passed over, and so are blank lines. TSV files are unquoted, as GLUE's are.
    Raises UserError naming the file, and the line, that cannot be used.
    """
    readers: dict[str, Callable[[Path], Iterator[_Line]]] = {
        ".tsv": _tsv_rows,
        ".csv": _csv_rows,
        ".jsonl": _json_rows,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UserError(
            f"--input {path}: the suffix {path.suffix!r} names no form; use {', '.join(readers)}"
        )
    lines = list(reader(path))
    if not lines:
        raise UserError(f"{path}: has no rows below its header; there is nothing to predict")
    columns: dict[str, Any] = {}
    for place, name in enumerate(task.text_columns):
        names = (name, *([task.glue.columns[place]] if task.glue else []))
        columns[name] = pa.array([_text(path, line, names) for line in lines], pa.string())
    if (index := _index(lines)) is not None:
        columns[INDEX] = index
    return pa.table(columns)


def row_index(table: pa.Table) -> list[int | str]:
    """What the rows of `table` are called in a file of predictions: their `index`, or 0, 1, 2, …"""
    if INDEX in table.column_names:
        index: list[int | str] = table[INDEX].to_pylist()
        return index
    return list(range(table.num_rows))


def _text(path: Path, line: _Line, names: Sequence[str]) -> str:
    name = next((name for name in names if name in line.values), None)
    if name is None:
        there = ", ".join(map(str, line.values))
        raise UserError(
            f"{path}:{line.number}: there is no column {names[0]!r}, but {there}"
            f"{suggestion(names[0], map(str, line.values))}"
        )
    text = line.values[name]
    if not isinstance(text, str):
        raise UserError(f"{path}:{line.number}: {name} is {json.dumps(text)}, but must be text")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise UserError(f"{path}:{line.number}: {name} holds half a character; repair the text")
    if not text.strip():
        raise UserError(f"{path}:{line.number}: {name} is empty; fill it in, or take the row out")
    return text


def _index(lines: Sequence[_Line]) -> pa.Array | None:
    name = next((name for name in INDEX_COLUMNS if name in lines[0].values), None)
    if name is None:
        return None
    values = [str(line.values.get(name, "")).strip() for line in lines]
    try:
        return pa.array([int(value) for value in values], pa.int64())
    except (ValueError, OverflowError):
        return pa.array(values, pa.string())


def _tsv_rows(path: Path) -> Iterator[_Line]:
    numbered = ((number, line.split("\t")) for number, line in enumerate(text_lines(path), 1))
    yield from _rows(path, numbered)


def _csv_rows(path: Path) -> Iterator[_Line]:
    yield from _rows(path, _csv_fields(path))


def _csv_fields(path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader((f"{line}\n" for line in text_lines(path)), strict=True)
    begins = 1
    try:
        for fields in reader:
            yield begins, fields
            begins = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{path}:{begins}: cannot be read as CSV: {error}; check the row's quotation marks"
        ) from error


def _rows(path: Path, numbered: Iterator[tuple[int, list[str]]]) -> Iterator[_Line]:
    """Rows by the names of a header, which the first row is."""
    _, header = next(numbered, (1, [""]))
    if not any(name.strip() for name in header):
        raise UserError(f"{path}:1: is blank; the first line must name the columns")
    header = [name.strip() for name in header]
    for place, name in enumerate(header):
        if name in header[:place]:
            raise UserError(f"{path}:1: the header names {name!r} twice; rename one of them")
    for number, fields in numbered:
        if not any(field.strip() for field in fields):
            continue
        if len(fields) != len(header):
            raise UserError(
                f"{path}:{number}: the line has {len(fields)} columns, but must have "
                f"{len(header)} ({', '.join(header)}); repair the line or take it out"
            )
        yield _Line(number, dict(zip(header, fields, strict=True)))


def _json_rows(path: Path) -> Iterator[_Line]:
    for number, line in enumerate(text_lines(path), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}:{number}: is not JSON: {error}; repair the line") from error
        if not isinstance(values, dict):
            raise UserError(
                f'{path}:{number}: must be an object such as {{"sentence": "…"}}, one a line'
            )
        yield _Line(number, values)
