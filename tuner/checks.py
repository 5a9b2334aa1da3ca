"""What can be wrong with a task's rows, found before anything is trained on them.

Knows nothing of tokenizers or models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tuner.errors import UserError
from tuner.sources import LABEL
from tuner.tasks import Task

TRAIN = "train"
VALIDATION = "validation"


def check_rows(task: Task, splits: Mapping[str, pa.Table]) -> list[str]:
    """What is odd about the rows, one line each, for the user to read.

    `splits` must hold `train` and `validation`, both labelled; others may lack labels. Raises
    UserError where nothing sensible can be trained or scored: a split missing or empty, a row
    without any text or label, a label that the task does not have, one class only. Row numbers
    in messages count from 0.
    """
    warnings: list[str] = []
    for split in (TRAIN, VALIDATION):
        if split not in splits or not splits[split].num_rows:
            raise UserError(f"the {split} split of {task.name} has no rows; it needs some")
    for split, rows in splits.items():
        warnings += _check_texts(task, split, rows)
        _check_labels(task, split, rows)
    warnings += _check_classes(task, splits)
    warnings += _check_overlap(task, splits)
    return warnings


def _check_texts(task: Task, split: str, rows: pa.Table) -> list[str]:
    empty = [_is_empty(rows[column]) for column in task.text_columns]
    bare = np.flatnonzero(np.logical_and.reduce(empty))
    if len(bare) and split in (TRAIN, VALIDATION):
        raise UserError(
            f"{_rows(len(bare))} of the {split} split of {task.name} have no text "
            f"(the first is row {bare[0]}); take them out"
        )
    # A pair with one empty side can still be learnt from, and real data has some.
    return [
        f"{_rows(int(is_empty.sum()))} of the {split} split have an empty {column}"
        for column, is_empty in zip(task.text_columns, empty, strict=True)
        if is_empty.any()
    ]


def _is_empty(texts: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    trimmed = pc.utf8_trim_whitespace(texts)
    return np.asarray(pc.fill_null(pc.equal(trimmed, ""), True))


def _check_labels(task: Task, split: str, rows: pa.Table) -> None:
    labels = rows[LABEL]
    if labels.null_count and split in (TRAIN, VALIDATION):
        first = int(np.flatnonzero(np.asarray(labels.is_null()))[0])
        raise UserError(
            f"{_rows(labels.null_count)} of the {split} split of {task.name} have no label "
            f"(the first is row {first}); label them or take them out"
        )
    low, high = (
        (0, task.num_labels - 1) if not task.regression else task.label_range or (None, None)
    )
    values = labels.to_numpy()
    known = np.asarray(labels.is_valid())
    wrong = known & ~np.isfinite(values.astype(np.float64))
    if low is not None and high is not None:
        wrong |= known & ((values < low) | (values > high))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        rule = f"lie between {low} and {high}" if low is not None else "be finite"
        raise UserError(
            f"row {row} of the {split} split of {task.name} has the label {values[row]:g}, "
            f"but labels must {rule}"
        )


def _check_classes(task: Task, splits: Mapping[str, pa.Table]) -> list[str]:
    found = {split: set(splits[split][LABEL].unique().to_pylist()) for split in (TRAIN, VALIDATION)}
    if len(found[TRAIN]) == 1:
        only = _label(task, next(iter(found[TRAIN])))
        raise UserError(
            f"every row of the train split of {task.name} has the label {only}; "
            "there is nothing to learn without a second one"
        )
    warnings = []
    if len(found[VALIDATION]) == 1:
        only = _label(task, next(iter(found[VALIDATION])))
        warnings.append(f"every row of the validation split has the label {only}")
    for split, labels in found.items():
        absent = [name for place, name in enumerate(task.label_names) if place not in labels]
        if absent and len(labels) > 1:
            warnings.append(f"the {split} split has no row with the label {', '.join(absent)}")
    return warnings


def _check_overlap(task: Task, splits: Mapping[str, pa.Table]) -> list[str]:
    trained = set(_texts(task, splits[TRAIN]))
    count = sum(texts in trained for texts in _texts(task, splits[VALIDATION]))
    if not count:
        return []
    total = splits[VALIDATION].num_rows
    return [f"{count:,} of {total:,} validation rows are in the train split too, word for word"]


def _texts(task: Task, rows: pa.Table) -> Iterator[tuple[str, ...]]:
    return zip(*(rows[column].to_pylist() for column in task.text_columns), strict=True)


def _label(task: Task, value: int | float) -> str:
    return f"{value:g}" if task.regression else task.label_names[int(value)]


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"
