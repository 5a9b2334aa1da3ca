"""What is wrong with rows is found before training: an error where nothing can be learnt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from tuner.checks import check_rows
from tuner.errors import UserError
from tuner.sources import read_split
from tuner.tasks import Task, find_task

SST2, RTE, STSB, MNLI = map(find_task, ("sst2", "rte", "stsb", "mnli"))


def rows(task: Task, *given: tuple[object, ...]) -> pa.Table:
    """A split of rows: texts, then the label."""
    columns: Sequence[Sequence[object]] = list(zip(*given, strict=True)) or [
        () for _ in (*task.text_columns, "label")
    ]
    types = [
        *[pa.string()] * len(task.text_columns),
        pa.float64() if task.regression else pa.int64(),
    ]
    names = (*task.text_columns, "label")
    return pa.table({n: pa.array(c, t) for n, c, t in zip(names, columns, types, strict=True)})


GOOD = rows(SST2, ("fine", 1), ("poor", 0))
OTHER = rows(SST2, ("great", 1), ("bad", 0))


def test_rows_without_fault_are_passed_in_silence() -> None:
    unlabelled = rows(SST2, ("so so", None))
    assert check_rows(SST2, {"train": GOOD, "validation": OTHER, "test": unlabelled}) == []


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_that_is_missing_or_empty_is_an_error(split: str) -> None:
    splits = {"train": GOOD, "validation": OTHER}
    message = f"the {split} split of sst2 has no rows"
    with pytest.raises(UserError, match=message):
        check_rows(SST2, {**splits, split: rows(SST2)})
    del splits[split]
    with pytest.raises(UserError, match=message):
        check_rows(SST2, splits)


@pytest.mark.parametrize("empty", ["", " \t ", None])
def test_a_row_without_any_text_is_an_error(empty: str | None) -> None:
    bad = rows(SST2, ("fine", 1), (empty, 0), (empty, 1))
    with pytest.raises(UserError, match=r"2 rows of the train split of sst2 have no text.*row 1"):
        check_rows(SST2, {"train": bad, "validation": OTHER})
    assert check_rows(SST2, {"train": GOOD, "validation": OTHER, "test": bad}) == [
        "2 rows of the test split have an empty sentence"
    ]


def test_a_pair_with_one_empty_side_is_a_warning() -> None:
    train = rows(RTE, ("a", "b", 0), ("c", "", 1))
    validation = rows(RTE, ("d", "e", 0), ("f", "g", 1))
    assert check_rows(RTE, {"train": train, "validation": validation}) == [
        "1 row of the train split have an empty sentence2"
    ]
    with pytest.raises(UserError, match="1 row of the validation split of rte"):
        check_rows(RTE, {"train": train, "validation": rows(RTE, ("", " ", 0), ("f", "g", 1))})


@pytest.mark.parametrize("label", [-1, 2])
def test_an_unknown_label_is_an_error(label: int) -> None:
    bad = rows(SST2, ("fine", 1), ("poor", 0), ("odd", label))
    expected = (
        f"row 2 of the validation split of sst2 has the label {label}, but .* between 0 and 1"
    )
    with pytest.raises(UserError, match=expected):
        check_rows(SST2, {"train": GOOD, "validation": bad})


@pytest.mark.parametrize("label", [5.1, -0.1, float("nan"), float("inf")])
def test_a_score_outside_the_tasks_range_is_an_error(label: float) -> None:
    good = rows(STSB, ("a", "b", 0.0), ("c", "d", 5.0))
    bad = rows(STSB, ("e", "f", 2.5), ("g", "h", label))
    with pytest.raises(
        UserError, match=re.escape("row 1 of the train split of stsb has the label")
    ):
        check_rows(STSB, {"train": bad, "validation": good})


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_row_without_a_label_is_an_error(split: str) -> None:
    bad = rows(SST2, ("fine", 1), ("poor", 0), ("odd", None))
    with pytest.raises(UserError, match=f"1 row of the {split} split of sst2 .* no label.*row 2"):
        check_rows(SST2, {"train": GOOD, "validation": OTHER, split: bad})


def test_one_class_only_is_an_error_in_training_and_a_warning_in_validation() -> None:
    one = rows(SST2, ("nice", 1), ("lovely", 1))
    with pytest.raises(UserError, match=r"every row of the train split of sst2 .* positive"):
        check_rows(SST2, {"train": one, "validation": OTHER})
    assert check_rows(SST2, {"train": GOOD, "validation": one}) == [
        "every row of the validation split has the label positive"
    ]


def test_one_score_only_is_an_error_too() -> None:
    one = rows(STSB, ("a", "b", 2.5), ("c", "d", 2.5))
    two = rows(STSB, ("e", "f", 2.5), ("g", "h", 3.0))
    with pytest.raises(UserError, match=r"has the label 2.5; there is nothing to learn"):
        check_rows(STSB, {"train": one, "validation": two})


def test_a_class_without_rows_is_a_warning() -> None:
    two = rows(MNLI, ("a", "b", 0), ("c", "d", 2))
    three = rows(MNLI, ("e", "f", 0), ("g", "h", 1), ("i", "j", 2))
    assert check_rows(MNLI, {"train": two, "validation": three}) == [
        "the train split has no row with the label neutral"
    ]


def test_rows_shared_by_training_and_validation_are_counted() -> None:
    shared = rows(SST2, ("fine", 0), ("fine", 1), ("new", 0))
    assert check_rows(SST2, {"train": GOOD, "validation": shared}) == [
        "2 of 3 validation rows are in the train split too, word for word"
    ]
    train = rows(RTE, ("a", "b", 0), ("c", "d", 1))
    swapped = rows(RTE, ("b", "a", 0), ("a", "d", 1))
    assert check_rows(RTE, {"train": train, "validation": swapped}) == []


def test_cola_has_rows_in_both_splits(glue: Path) -> None:
    task = find_task("cola")
    splits = {name: read_split(task, name, str(glue)) for name in ("train", "validation")}
    assert check_rows(task, splits) == [
        "16 of 1,043 validation rows are in the train split too, word for word"
    ]
