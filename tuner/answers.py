"""What a model's logits say in a task's own words, and the files that is written to.

Knows nothing of models. A row whose logits are not numbers could not be read: its answer is empty.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tuner.documents import write_bytes, write_text
from tuner.errors import UserError
from tuner.tasks import Task

Logits = npt.NDArray[np.float32]
Index = Sequence[int | str | None]
"""What the rows are called; None where a row's name could not be read."""

SUFFIXES = (".tsv", ".csv", ".jsonl", ".parquet")


def probabilities(task: Task, logits: Logits) -> Logits:
    """Softmax over the labels [rows, labels]; of a regression the scores themselves."""
    if task.regression:
        return logits
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), np.float32)


def predictions(task: Task, logits: Logits) -> list[str]:
    """What GLUE's server wants to see for each row: a label as the task's own files write it, or,
    for STS-B, a number from 0 to 5 with three decimals. "" for a row that could not be read."""
    read: list[bool] = np.asarray(np.isfinite(logits).all(axis=1)).tolist()
    if task.regression:
        scores, form = logits[:, 0], ".6g"
        if task.label_range is not None:
            scores, form = np.clip(scores, *task.label_range) + 0.0, ".3f"  # and -0.0 is 0.0
        return [format(score, form) if ok else "" for score, ok in zip(scores, read, strict=True)]
    labels = (task.glue and task.glue.labels) or task.label_names
    best = logits.argmax(axis=1)
    return [labels[number] if ok else "" for number, ok in zip(best, read, strict=True)]


def write_submission(path: Path, task: Task, logits: Logits, index: Index) -> None:
    """Write `index` and `prediction`, a line a row. The suffix of `path` decides the form:
    .tsv (GLUE's), .csv, .jsonl or .parquet. Raises UserError for another suffix."""
    _write(path, {"index": index, "prediction": predictions(task, logits)})


def write_probabilities(path: Path, task: Task, logits: Logits, index: Index) -> None:
    """Write `index`, `prediction` and a column a label with its probability (of a regression the
    score as it is); the probabilities of a row that could not be read are empty."""
    from tuner.models import SCORE

    columns: dict[str, Sequence[Any]] = {"index": index, "prediction": predictions(task, logits)}
    shares = np.round(probabilities(task, logits).astype(np.float64), 6)
    for place, name in enumerate(task.label_names or (SCORE,)):
        column = shares[:, place].tolist()
        # A label may be called like one of the first two columns.
        columns[name if name not in columns else f"probability of {name}"] = [
            None if value != value else value for value in column
        ]
    _write(path, columns)


def check_output(path: Path, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Raises UserError when nothing could be written to `path`: before any work is done."""
    if path.suffix.lower() not in suffixes:
        raise UserError(
            f"--output {path}: the suffix {path.suffix!r} names no form; use {', '.join(suffixes)}"
        )
    if path.is_dir():
        raise UserError(f"--output {path} is a folder; pass the name of a file")
    nearest = next((parent for parent in path.absolute().parents if parent.exists()), path.parent)
    if not nearest.is_dir():
        raise UserError(f"--output {path}: {nearest} is a file; pass a path in a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"--output {path}: {nearest} cannot be written; choose another folder")


def _write(path: Path, columns: dict[str, Sequence[Any]]) -> None:
    check_output(path)
    form = path.suffix.lower()
    if form == ".parquet":
        sink = io.BytesIO()
        pq.write_table(pa.table({name: pa.array(column) for name, column in columns.items()}), sink)
        write_bytes(path, sink.getvalue())
        return
    rows = zip(*columns.values(), strict=True)
    if form == ".jsonl":
        lines = (
            json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) for row in rows
        )
        write_text(path, "".join(f"{line}\n" for line in lines))
    elif form == ".tsv":
        write_text(path, tsv([*columns], rows))
    else:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        write_text(path, text.getvalue())


def tsv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A tab-separated file as GLUE has them: unquoted. A tab or a line's end in a value becomes a
    space, as there is no way to write it."""
    lines = (["" if value is None else str(value) for value in row] for row in (header, *rows))
    return "".join("\t".join(field.translate(_SPACES) for field in line) + "\n" for line in lines)


_SPACES = str.maketrans("\t\r\n", "   ")
