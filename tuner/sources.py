"""A task's rows, split by split: the same table whatever they come from.

Knows nothing of models, nor of the rows that a search selects on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tuner.addresses import Data
from tuner.errors import Absent, UserError
from tuner.frames import Frame, Say
from tuner.labels import Labels, class_numbers, read_labels, scores
from tuner.origins import Source, open_source
from tuner.places import Place
from tuner.rules import SPLITS, TEST, TRAIN, VALIDATION, Rule, parse_rule, split_called
from tuner.splits import rows_of
from tuner.strata import Indices, strata
from tuner.tasks import Task

Split = Literal["train", "validation", "test"]
LABEL = "label"
INDEX = "index"

INDEX_COLUMNS = ("index", "idx", "id")
"""What data call the column that numbers their rows; the first of these that is there counts."""


def read_split(task: Task, split: Split, data: Data, *, exact: bool = False) -> pa.Table:
    """The rows of one split, from `data` or, without any, from the Hub or the grammar.

    Columns: the task's text columns (string), `label` (int64 class index, or float64 for a
    regression; null where the row has none) and, where the source numbers its rows, `index`
    (int64). A split is the rows that the task's rule for it means; of data that lack the part which
    that names, but have one called as the split, it is the whole of that one, unless `exact`.
    So it is of a share or a range of rows that are not those that the run had.
    Raises UserError naming the path, the line or the data set at fault, or that rows would be drawn
    from others than the run had; Absent where there are no such rows.
    """
    source = open_source(data, task)
    if exact and parse_rule(task.split(split)).base not in source.parts:
        raise _absent(task, source, split)
    return _taken(task, source, split, _recognised(task, source, split))


def file_of(task: Task, split: Split, data: Data) -> Place | None:
    """The one file that a split is all the rows of; None where there is no such file."""
    source = open_source(data, task)
    rule = rules_in(task, source.parts).get(split)
    files = source.files.get(str(rule.base), ()) if rule is not None and rule.whole else ()
    return files[0] if len(files) == 1 else None


def _absent(task: Task, source: Source, split: Split) -> Absent:
    there = ", ".join(source.parts)
    return Absent(
        f"{source.shown}: has no rows for {split}: there is no {task.split(split)!r}, but {there}",
        f"name a file: --data {split}=FILE",
    )


def take_split(task: Task, source: Source, split: Split, say: Say | None = None) -> pa.Table:
    """`read_split`, of a source that is open and known to be the run's."""
    return _taken(task, source, split, rules_in(task, source.parts), say)


def _taken(
    task: Task, source: Source, split: Split, rules: Mapping[str, Rule], say: Say | None = None
) -> pa.Table:
    if split not in rules:
        raise _absent(task, source, split)
    rule = rules[split]
    frame = source.frame(str(rule.base), say)
    column = _found(_label_columns(task), frame)
    if column is None and rule.share is not None and rule.base in _learnt_from(rules):
        raise UserError(
            f"{frame.place}: lacks the column {task.label_column}, by which {split}={rule} was "
            f"drawn: other rows would be, some that were trained on; restore it, or take all rows "
            f"with --input FILE or --data {split}=FILE"
        )
    rows = rows_for(split, rules, frame, column, task.regression, task.split_seed)
    return _table(task, frame, rows, column, split)


def rows_for(
    split: str,
    rules: Mapping[str, Rule],
    frame: Frame,
    column: str | None,
    regression: bool,
    seed: int,
) -> Indices:
    """The rows of a split in the frame of its part; `column` is that of the labels."""
    groups = None
    if rules[split].share is not None and column is not None:
        labels = read_labels(frame, column, np.arange(frame.rows.num_rows))
        groups = _groups(labels, regression)
    return rows_of(split, rules, frame.rows.num_rows, groups, seed)


def rules_in(task: Task, parts: Sequence[str]) -> dict[str, Rule]:
    """The task's rules for the splits that data of these parts have."""
    rules = {}
    for split in SPLITS:
        rule = parse_rule(task.split(split))
        base = rule.base or (TRAIN if TRAIN in parts else parts[0])
        if base in parts:
            rules[split] = dataclasses.replace(rule, base=base)
        elif called := [part for part in parts if split_called(part) == split]:
            rules[split] = Rule(called[0])
    return rules


# Whether rows are those that a run had


def marks(task: Task, source: Source, rules: Mapping[str, Rule]) -> tuple[str, ...]:
    """The marks of the parts whose rows a run shares out or numbers, to train and to validate."""
    partly = {rule.base for rule in rules.values() if not rule.whole}
    return tuple(
        mark(task, part, source.frame(part))
        for part in source.parts
        if part in partly and part in _learnt_from(rules)
    )


def mark(task: Task, part: str, frame: Frame) -> str:
    """The name of a part, its number of rows and the SHA-256 (hex) of its texts and labels in
    their order, whatever the form of the file: `train 1000 3f…`."""
    digest = hashlib.sha256()
    found = [_found(names, frame) for names in (*_text_columns(task), _label_columns(task))]
    columns = [frame.rows[name].to_pylist() for name in found if name is not None]
    for row in zip(*columns, strict=True):
        written = ["" if value is None else str(value) for value in row]
        digest.update(repr(written).encode() + b"\n")
    return f"{part} {frame.rows.num_rows} {digest.hexdigest()}"


def _recognised(task: Task, source: Source, split: Split) -> dict[str, Rule]:
    """The rules for data that may be others than the run's, whose rows must not be shared out."""
    rules = rules_in(task, source.parts)
    rule = rules.get(split)
    if rule is None or rule.whole:
        return rules
    had = next((each for each in task.drawn_from if each.rsplit(" ", 2)[0] == rule.base), None)
    if had is None:
        return rules
    frame = source.frame(str(rule.base))
    if mark(task, str(rule.base), frame) == had:
        return rules
    named = next((p for p in source.parts if p != rule.base and split_called(p) == split), None)
    if named is not None:
        return {**rules, split: Rule(named)}
    if _found(_label_columns(task), frame) is None and rule.share is not None:
        return rules  # which is refused with a reason of its own
    rows, before = frame.rows.num_rows, int(had.rsplit(" ", 2)[1])
    counted = f"{rows:,} rows, not {before:,}" if rows != before else "other texts or labels"
    raise UserError(
        f"{frame.place}: is not what the run drew {split}={rule} from ({counted}), so that rows it "
        f"was trained on could be among them; restore it, or take all rows of a file with "
        f"--input FILE or --data {split}=FILE"
    )


def _learnt_from(rules: Mapping[str, Rule]) -> set[str | None]:
    return {rule.base for split, rule in rules.items() if split in (TRAIN, VALIDATION)}


def _groups(labels: Labels, regression: bool) -> Indices:
    if not regression:
        return strata(labels.places, False)
    numbers = scores(labels, blank=True).to_numpy(zero_copy_only=False)
    return strata(np.nan_to_num(numbers), True)


# The table of a split


def _label_columns(task: Task) -> tuple[str, ...]:
    return (task.label_column, *([task.glue.label] if task.glue else []))


def _text_columns(task: Task) -> list[tuple[str, ...]]:
    own = task.glue.columns if task.glue else None
    return [(name, *([own[place]] if own else [])) for place, name in enumerate(task.text_columns)]


def _found(names: Sequence[str], frame: Frame) -> str | None:
    return next((name for name in names if name in frame.columns), None)


def _table(task: Task, frame: Frame, rows: Indices, column: str | None, split: str) -> pa.Table:
    columns = {}
    for names in _text_columns(task):
        name, found = names[0], _found(names, frame)
        if found is None:
            raise _lacks(frame, name)
        columns[name] = texts(frame, found, rows)
    if column is None and split != TEST:
        raise _lacks(frame, task.label_column)
    if split != TEST:
        _check_texts(frame, rows, columns)
    columns[LABEL] = _labels(task, frame, rows, column, split == TEST)
    index = _index(frame, rows, {*task.text_columns, column}, strict=task.glue is not None)
    if index is not None:
        columns[INDEX] = index
    return pa.table(columns)


def _lacks(frame: Frame, column: str) -> UserError:
    return UserError(f"{frame.place}: lacks the columns {column}; it has {_listed(frame.columns)}")


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(columns) or "none"


def texts(frame: Frame, column: str, rows: Indices) -> pa.ChunkedArray:
    """A column of texts; what is missing is empty. Raises UserError where it is none."""
    found, kind = frame.rows[column], frame.rows.schema.field(column).type
    if column in frame.mixed:
        at = frame.where(frame.mixed[column])
        raise UserError(f"{at}: {column} is {found[frame.mixed[column]]}, but must be text")
    if pa.types.is_null(kind):
        found = found.cast(pa.string())
    elif not pa.types.is_string(kind):
        raise UserError(f"{frame.place}: {column} holds {kind}, but a text column must hold text")
    taken = found if len(rows) == len(found) else found.take(pa.array(rows))
    return taken.fill_null("") if taken.null_count else taken


def _check_texts(frame: Frame, rows: Indices, columns: Mapping[str, pa.ChunkedArray]) -> None:
    # A pair with one empty side can still be learnt from, and real data has some.
    empty = [pc.equal(pc.utf8_trim_whitespace(each), "").to_numpy() for each in columns.values()]
    bare = np.flatnonzero(np.logical_and.reduce(empty))
    if len(bare):
        more = f", and so are {len(bare) - 1:,} more rows" if len(bare) > 1 else ""
        raise UserError(
            f"{frame.where(int(rows[bare[0]]))}: {' and '.join(columns)} is empty{more}; "
            "fill it in, or take the row out"
        )


def _labels(
    task: Task, frame: Frame, rows: Indices, column: str | None, blank: bool
) -> pa.Array | pa.ChunkedArray:
    if column is None:
        return pa.nulls(len(rows), pa.float64() if task.regression else pa.int64())
    labels = read_labels(frame, column, rows)
    if task.regression:
        return scores(labels, blank)
    carried = frame.names.get(column)
    if carried and not {*carried} <= {*task.label_names, *task.label_values}:
        raise UserError(
            f"{frame.place}: names its labels {', '.join(carried)}, but the task {task.name} "
            f"has {', '.join(task.label_names)}; pass --data DIR with data that fit the task"
        )
    written = (task.glue and task.glue.labels) or task.label_values or task.label_names
    classes = {
        name: number for names in (written, task.label_names) for number, name in enumerate(names)
    }
    return class_numbers(labels, classes, written, blank)


def _index(frame: Frame, rows: Indices, used: set[Any], strict: bool) -> pa.Array | None:
    name = next((n for n in INDEX_COLUMNS if n in frame.columns and n not in used), None)
    if name is None:
        return None
    found = frame.rows[name].take(pa.array(rows)).combine_chunks()
    if pa.types.is_integer(found.type):
        return found.cast(pa.int64())
    try:
        return pa.array([int(value) for value in found.to_pylist()], pa.int64())
    except (TypeError, ValueError, OverflowError):
        if not strict:
            return None
    for row, value in zip(rows, found.to_pylist(), strict=True):
        if not re.fullmatch(r"\s*[-+]?\d{1,18}\s*", str(value)):
            raise UserError(
                f"{frame.where(int(row))}: {name} is {value!r}, but must be a whole number"
            )
    return None
