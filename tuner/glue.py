"""GLUE's original files: a folder a task of tab-separated, unquoted files, CoLA's without a header.

Knows the files, not what becomes of their rows.
"""

from __future__ import annotations

from array import array

import pyarrow as pa

from tuner.errors import Absent, UserError
from tuner.frames import Frame, Part
from tuner.places import Place
from tuner.tables import form_of, lines
from tuner.tasks import TASKS, GlueFiles, Task


def holds(files: GlueFiles, folder: Place) -> bool:
    """Whether `folder` is GLUE's, with the task's in it, or the task's own."""
    return folder.child(files.folder).is_folder() or any(
        folder.child(name).is_file() for name in _names(files)
    )


def task_in(folder: Place) -> Task | None:
    """The task whose folder of GLUE's files this is, by its name and its training file."""
    for task in TASKS.values():
        files = task.glue
        if files and folder.name == files.folder and folder.child(files.train).is_file():
            return task
    return None


def path_of(files: GlueFiles, split: str, folder: Place) -> Place:
    """The split's file in `folder`. Raises Absent where there is none."""
    name = {"train": files.train, "validation": files.validation}.get(split, files.test)
    inner = folder.child(files.folder)
    if not inner.is_folder() and folder.child(name).is_file():
        return folder.child(name)
    file = inner.child(name)
    if not file.is_file():
        raise Absent(
            f"{file}: there is no such file",
            f"--data names the folder that holds {files.folder}/ with {', '.join(_names(files))} "
            "in it",
        )
    return file


def headless(task: Task | None, place: Place) -> tuple[str, ...]:
    """The columns of a file that begins with its first row, as CoLA's do; empty for any other.

    It is known by its first line: a label where GLUE's files have one, and no column's name.
    """
    files = task.glue if task is not None else None
    if files is None or not files.without_header or form_of(place.name) != ".tsv":
        return ()
    header = files.without_header
    fields = next(lines(place), "").split("\t")
    found = len(fields) == len(header) and fields[header.index(files.label)] in (files.labels or ())
    return header if found and not {*header} & {*fields} else ()


def read_glue(files: GlueFiles, place: Place, labelled: bool) -> Frame:
    """The rows of one of GLUE's files, all of them text.

    Raises UserError for a line that does not fit, and where a column of the task is missing.
    """
    found = list(lines(place)) or [""]
    while len(found) > 1 and not found[-1]:
        found.pop()
    header, needed = tuple(found[0].split("\t")), [*files.columns, *[files.label] * labelled]
    start = 1
    if not set(needed) <= set(header):
        # CoLA's training and validation files begin with their first row.
        if not files.without_header or len(header) != len(files.without_header):
            missing = ", ".join(name for name in needed if name not in header)
            raise UserError(
                f"{place}:1: the header lacks the columns {missing}; it names {', '.join(header)}"
            )
        header, start = files.without_header, 0
    rows = [line.split("\t") for line in found[start:]]
    for number, fields in enumerate(rows, start + 1):
        if len(fields) != len(header):
            raise UserError(
                f"{place}:{number}: the line has {len(fields)} columns, but must have "
                f"{len(header)} ({', '.join(header)}); repair the line or take it out"
            )
    columns = list(zip(*rows, strict=True)) or [() for _ in header]
    table = pa.table(
        [pa.array(column, pa.string()) for column in columns], names=[*map(str, header)]
    )
    numbers = array("q", range(start + 1, start + 1 + len(rows)))
    return Frame(table, (Part(str(place), len(rows), numbers),))


def _names(files: GlueFiles) -> tuple[str, ...]:
    return files.train, files.validation, files.test
