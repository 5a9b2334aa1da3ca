"""Where rows come from: the Hub, GLUE's original files in a folder, or the demo's grammar.

Every source gives the same table. Knows nothing of models, splits for selection or training.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from tuner import tables
from tuner.demo import demo_rows
from tuner.errors import UserError, suggestion
from tuner.places import Place
from tuner.tasks import GlueFiles, Task

Split = Literal["train", "validation", "test"]

LABEL = "label"
INDEX = "index"

_INDEX_COLUMNS = ("index", "id")
_UNLABELLED = ("", "-1")
"""What files write in a label column of rows whose label is not given."""


def read_split(task: Task, split: Split, data: str | None) -> pa.Table:
    """The rows of one split, from the folder `data` or, without one, from the Hub or the grammar.

    Columns: the task's text columns (string), `label` (int64 class index, or float64 for a
    regression; null where the row has none) and, where the source numbers its rows, `index`
    (int64). Raises UserError naming the path, the line or the data set at fault.
    """
    if data is not None:
        return _read_glue(task, split, Path(os.path.expanduser(data)))
    if task.hub is not None:
        return _read_hub(task, split, *task.hub)
    return _read_demo(task, split)


def _table(task: Task, texts: Sequence[Any], labels: Any, index: Any = None) -> pa.Table:
    columns = dict(zip(task.text_columns, (pa.array(t, pa.string()) for t in texts), strict=True))
    columns[LABEL] = pa.array(labels, pa.float64() if task.regression else pa.int64())
    if index is not None:
        columns[INDEX] = pa.array(index, pa.int64())
    return pa.table(columns)


def _read_demo(task: Task, split: Split) -> pa.Table:
    first, second, labels = zip(*demo_rows(split), strict=True)
    return _table(task, (first, second), labels, range(len(labels)))


# The Hub


def _read_hub(task: Task, split: Split, dataset: str, config: str) -> pa.Table:
    import datasets

    datasets.disable_progress_bars()
    name = {"train": task.train_split, "validation": task.validation_split}.get(
        split, task.test_split
    )
    try:
        rows = datasets.load_dataset(dataset, config, split=name)
    except Exception as error:
        # The library raises whatever its parts raise, from OSError to its own and its client's.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"cannot load {dataset} ({config}, {name}): {reason}; "
            "pass --data DIR to read GLUE's files from a folder"
        ) from error
    found = getattr(rows.features.get(task.label_column), "names", None)
    if found and tuple(found) != task.label_names:
        raise UserError(
            f"{dataset} ({config}) names its labels {', '.join(found)}, but the task {task.name} "
            f"has {', '.join(task.label_names)}; pass --data DIR to read GLUE's files from a folder"
        )
    missing = {*task.text_columns, task.label_column} - set(rows.column_names)
    if missing:
        raise UserError(f"{dataset} ({config}, {name}) lacks the columns {', '.join(missing)}")
    columns = {column: rows[column][:] for column in rows.column_names}
    labels = columns[task.label_column]
    if split == "test":
        labels = [None if label == -1 else label for label in labels]
    texts = [columns[column] for column in task.text_columns]
    return _table(task, texts, labels, columns.get("idx"))


# GLUE's original files


@dataclass(frozen=True)
class _Lines:
    """A file's lines below its header, split at tabs, each with its number in the file."""

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[int, list[str]], ...]

    def column(self, name: str) -> Iterable[tuple[int, str]]:
        place = self.header.index(name)
        return ((number, fields[place]) for number, fields in self.rows)

    def texts(self, name: str) -> list[str]:
        return [text for _, text in self.column(name)]


def _read_glue(task: Task, split: Split, data: Path) -> pa.Table:
    if task.glue is None:
        raise UserError(f"the task {task.name} has no files to read from {data}; leave --data out")
    path = _glue_path(task.glue, split, data)
    lines = _read_lines(path, task.glue, labelled=split != "test")
    labels = (
        _labels(task, task.glue, lines, blank=split == "test")
        if task.glue.label in lines.header
        else [None] * len(lines.rows)
    )
    index = next((name for name in _INDEX_COLUMNS if name in lines.header), None)
    return _table(
        task,
        [lines.texts(column) for column in task.glue.columns],
        labels,
        None if index is None else _numbers(lines, index),
    )


def _glue_path(files: GlueFiles, split: Split, data: Path) -> Path:
    """The split's file in `data`, which is GLUE's folder or the task's own in it."""
    name = {"train": files.train, "validation": files.validation}.get(split, files.test)
    if not data.is_dir():
        raise UserError(
            f"{data}: there is no such folder; --data names the folder that holds {files.folder}/"
        )
    path = data / files.folder / name
    if not (data / files.folder).is_dir() and (data / name).is_file():
        return data / name
    if not path.is_file():
        raise UserError(
            f"{path}: there is no such file; --data names the folder that holds {files.folder}/ "
            f"with {files.train}, {files.validation} and {files.test} in it"
        )
    return path


def _text_lines(path: Path) -> list[str]:
    """The file's lines, without empty ones at its end."""
    found = list(tables.lines(Place.of(path)))
    while len(found) > 1 and not found[-1]:
        found.pop()
    return found or [""]


def _read_lines(path: Path, files: GlueFiles, labelled: bool) -> _Lines:
    """The lines of a tab-separated file in which a quotation mark is a character like any other."""
    lines = _text_lines(path)
    header, needed = tuple(lines[0].split("\t")), [*files.columns, *[files.label] * labelled]
    start = 1
    if not set(needed) <= set(header):
        # CoLA's training and validation files begin with their first row.
        if not files.without_header or len(header) != len(files.without_header):
            missing = ", ".join(name for name in needed if name not in header)
            raise UserError(
                f"{path}:1: the header lacks the columns {missing}; it names {', '.join(header)}"
            )
        header, start = files.without_header, 0
    rows = tuple(enumerate((line.split("\t") for line in lines[start:]), start=start + 1))
    for number, fields in rows:
        if len(fields) != len(header):
            raise UserError(
                f"{path}:{number}: the line has {len(fields)} columns, but must have "
                f"{len(header)} ({', '.join(header)}); repair the line or take it out"
            )
    return _Lines(path, header, rows)


def _labels(task: Task, files: GlueFiles, lines: _Lines, blank: bool) -> list[int | float | None]:
    classes: dict[str, int] = {}
    for written in (files.labels, task.label_names):
        classes.update({value: place for place, value in enumerate(written)})

    def parse(number: int, value: str) -> int | float | None:
        value = value.strip()
        if blank and value in _UNLABELLED:
            return None
        if task.regression:
            return _float(lines.path, number, value)
        if value not in classes:
            raise UserError(
                f"{lines.path}:{number}: the label {value!r} is none of "
                f"{', '.join(files.labels)}{suggestion(value, classes)}"
            )
        return classes[value]

    return [parse(number, value) for number, value in lines.column(files.label)]


def _float(path: Path, number: int, value: str) -> float:
    try:
        parsed = float(value)
    except ValueError:
        parsed = math.nan
    if not math.isfinite(parsed):
        raise UserError(f"{path}:{number}: the label {value!r} must be a finite number")
    return parsed


def _numbers(lines: _Lines, column: str) -> list[int]:
    numbers = []
    for number, value in lines.column(column):
        try:
            numbers.append(int(value))
        except ValueError:
            raise UserError(
                f"{lines.path}:{number}: {column} is {value!r}, but must be a whole number"
            ) from None
    return numbers
