"""Rows are split by class from the seed alone, tokenised once, and cut where training rows say."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from transformers import PreTrainedTokenizerFast

from tuner.bases import load_base
from tuner.data import Prepared, choose_rows, fingerprint, prepare_data
from tuner.errors import UserError
from tuner.progress import Silent
from tuner.tasks import Task, find_task

RTE, COLA, STSB, MNLI = map(find_task, ("rte", "cola", "stsb", "mnli"))

WORDS = [f"word{number}" for number in range(40)]


def split_of(task: Task, rows: int, seed: int) -> pa.Table:
    """Rows of 1 to 12 random words a text; the first class is a quarter of the last."""
    rng = random.Random(seed)

    def text() -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(1, 12)))

    columns: dict[str, Any] = {
        column: pa.array([text() for _ in range(rows)]) for column in task.text_columns
    }
    weights = [1] + [4] * (task.num_labels - 1)
    columns["label"] = (
        pa.array([rng.uniform(0, 5) for _ in range(rows)])
        if task.regression
        else pa.array(rng.choices(range(task.num_labels), weights, k=rows))
    )
    return pa.table(columns)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return load_base("tiny", RTE, lambda: WORDS).tokenizer


@pytest.fixture(scope="module")
def splits() -> dict[str, pa.Table]:
    return {"train": split_of(RTE, 400, 1), "validation": split_of(RTE, 50, 2)}


def prepared(
    tokenizer: PreTrainedTokenizerFast,
    splits: dict[str, pa.Table],
    task: Task = RTE,
    **changes: Any,
) -> Prepared:
    settings: dict[str, Any] = {
        "model_limit": 128,
        "fraction": 1.0,
        "select_on": "holdout",
        "max_length": None,
        "seed": 0,
        "progress": Silent(),
    }
    return prepare_data(task, splits, tokenizer, **{**settings, **changes})


def row_set(table: pa.Table) -> set[int]:
    return set(table["row"].to_pylist())


def test_a_search_on_everything_trains_on_what_is_not_held_out(
    tokenizer: PreTrainedTokenizerFast, splits: dict[str, pa.Table]
) -> None:
    data = prepared(tokenizer, splits)
    assert data.selection.num_rows == 50
    assert row_set(data.train) | row_set(data.selection) == set(range(400))
    assert not row_set(data.train) & row_set(data.selection)
    assert data.full_train["row"].to_pylist() == list(range(400))
    assert data.validation["row"].to_pylist() == list(range(50))


def test_at_most_a_fifth_of_the_training_rows_is_held_out(
    tokenizer: PreTrainedTokenizerFast, splits: dict[str, pa.Table]
) -> None:
    data = prepared(tokenizer, {**splits, "validation": split_of(RTE, 300, 3)})
    assert (data.train.num_rows, data.selection.num_rows) == (320, 80)


def test_a_tenth_is_selected_on_the_same_other_rows(
    tokenizer: PreTrainedTokenizerFast, splits: dict[str, pa.Table]
) -> None:
    whole, tenth = prepared(tokenizer, splits), prepared(tokenizer, splits, fraction=0.1)
    assert tenth.train.num_rows == 40
    assert row_set(tenth.train) <= row_set(whole.train)
    assert tenth.selection.equals(whole.selection)
    assert tenth.full_train.equals(whole.full_train)


@pytest.mark.parametrize(("fraction", "rows"), [(1.0, 400), (0.25, 100)])
def test_selecting_on_validation_holds_nothing_out(
    tokenizer: PreTrainedTokenizerFast, splits: dict[str, pa.Table], fraction: float, rows: int
) -> None:
    data = prepared(tokenizer, splits, select_on="validation", fraction=fraction)
    assert data.selected_on == "validation"
    assert data.train.num_rows == rows
    assert data.selection.equals(data.validation)


def test_nothing_of_an_honest_search_depends_on_the_validation_rows(
    tokenizer: PreTrainedTokenizerFast, splits: dict[str, pa.Table]
) -> None:
    long = ["much " * 100] * 50
    other = pa.table({"sentence1": long, "sentence2": long, "label": [1] * 50})
    one = prepared(tokenizer, splits, fraction=0.5)
    two = prepared(tokenizer, {**splits, "validation": other}, fraction=0.5)
    for name in ("train", "selection", "full_train"):
        assert getattr(one, name).equals(getattr(two, name))
    assert (one.max_length, one.notes) == (two.max_length, two.notes)
    assert one.majority["selection"] == two.majority["selection"]
    assert one.fingerprints["train"] == two.fingerprints["train"]
    assert one.fingerprints["validation"] != two.fingerprints["validation"]


def test_the_seed_alone_decides_which_rows_are_drawn(
    tokenizer: PreTrainedTokenizerFast, splits: dict[str, pa.Table]
) -> None:
    first, again = (prepared(tokenizer, splits, seed=5, fraction=0.3) for _ in range(2))
    other = prepared(tokenizer, splits, seed=6, fraction=0.3)
    assert first.train.equals(again.train)
    assert first.selection.equals(again.selection)
    assert row_set(first.selection) != row_set(other.selection)
    assert row_set(first.train) != row_set(other.train)


def choices(labels: list[int], **changes: Any) -> tuple[np.ndarray, np.ndarray]:
    settings: dict[str, Any] = {"validation_rows": 10, "fraction": 1.0, "seed": 0}
    train, selection = choose_rows(
        MNLI, pa.chunked_array([labels]), select_on="holdout", **{**settings, **changes}
    )
    assert selection is not None
    return np.array(labels)[train], np.array(labels)[selection]


def test_both_parts_have_the_classes_in_proportion() -> None:
    train, selection = choices([0] * 100 + [1] * 200 + [2] * 700, validation_rows=100)
    assert np.bincount(selection).tolist() == [10, 20, 70]
    assert np.bincount(train).tolist() == [90, 180, 630]
    train, _ = choices([0] * 100 + [1] * 200 + [2] * 700, validation_rows=100, fraction=0.1)
    assert np.bincount(train).tolist() == [10, 20, 70]


@pytest.mark.parametrize("seed", range(3))
def test_a_rare_class_is_in_both_parts_where_it_can_be(seed: int) -> None:
    train, selection = choices([0] * 97 + [1] * 2 + [2], seed=seed)
    assert np.bincount(selection, minlength=3).tolist() == [9, 1, 0]
    assert np.bincount(train, minlength=3).tolist() == [88, 1, 1]
    train, _ = choices([0] * 97 + [1] * 2 + [2], seed=seed, fraction=0.03)
    assert np.bincount(train, minlength=3).tolist() == [1, 1, 1]


def test_a_regressions_labels_are_spread_alike_over_both_parts() -> None:
    labels = np.concatenate([np.linspace(0, 1, 900), np.linspace(4, 5, 100)])
    train, selection = choose_rows(STSB, pa.chunked_array([labels]), 100, 0.1, "holdout", 0)
    assert selection is not None
    assert len(train) == len(selection) == 100
    for part in (train, selection):
        assert np.sum(labels[part] > 2) == 10


def test_a_fraction_that_leaves_too_few_rows_is_an_error(
    tokenizer: PreTrainedTokenizerFast, splits: dict[str, pa.Table]
) -> None:
    with pytest.raises(UserError, match=r"a fraction of 0.001 leaves 0 of 400 .*larger --fraction"):
        prepared(tokenizer, splits, fraction=0.001)
    with pytest.raises(
        UserError, match=r"4 rows, too few to hold some out.*--select-on validation"
    ):
        prepared(tokenizer, {**splits, "train": splits["train"].slice(0, 4)})


def texts(task: Task, table: pa.Table, rows: list[int]) -> Iterator[tuple[str, ...]]:
    return zip(*(table[column].take(rows).to_pylist() for column in task.text_columns), strict=True)


@pytest.mark.parametrize("task", [RTE, COLA, STSB], ids=lambda task: task.name)
@pytest.mark.parametrize("max_length", [None, 9])
def test_every_row_is_what_the_tokenizer_makes_of_it(
    tokenizer: PreTrainedTokenizerFast, task: Task, max_length: int | None
) -> None:
    splits = {"train": split_of(task, 120, 4), "validation": split_of(task, 30, 5)}
    data = prepared(tokenizer, splits, task, max_length=max_length)
    assert data.full_train["row"].to_pylist() == list(range(120))
    for table, split in (
        (data.train, "train"),
        (data.selection, "train"),
        (data.full_train, "train"),
        (data.validation, "validation"),
    ):
        rows = table["row"].to_pylist()
        expected = [
            tokenizer(*pair, truncation=True, max_length=data.max_length)
            for pair in texts(task, splits[split], rows)
        ]
        for column in ("input_ids", "token_type_ids"):
            assert table[column].to_pylist() == [row[column] for row in expected]
            assert table.schema.field(column).type == pa.list_(pa.int32())
        kind = pa.float32() if task.regression else pa.int64()
        assert table["labels"].equals(splits[split]["label"].take(rows).cast(kind))


def test_a_tokenizer_without_token_types_gives_none(
    tokenizer: PreTrainedTokenizerFast, splits: dict[str, pa.Table]
) -> None:
    plain = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        pad_token=tokenizer.pad_token,
        model_input_names=["input_ids", "attention_mask"],
    )
    data = prepared(plain, splits)
    assert data.train.column_names == ["input_ids", "labels", "row"]


def longest(table: pa.Table) -> int:
    return max(map(len, table["input_ids"].to_pylist()))


def lengthy(tokens: int, rows: int) -> list[str]:
    """Texts of so many tokens each, the two special ones included."""
    return [" ".join(["word1"] * (tokens - 2))] * rows


def cola_splits(*lengths: tuple[int, int]) -> dict[str, pa.Table]:
    sentences = [text for tokens, rows in lengths for text in lengthy(tokens, rows)]
    labels = [number % 2 for number in range(len(sentences))]
    train = pa.table({"sentence": sentences, "label": labels})
    return {"train": train, "validation": train.slice(0, 20)}


def test_by_default_one_row_in_two_hundred_is_cut_at_most(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    data = prepared(tokenizer, cola_splits((10, 980), (30, 16), (90, 4)), COLA)
    assert data.max_length == longest(data.full_train) == 30
    (note,) = data.notes
    assert "cut at 30 tokens (99.5 % of" in note
    assert "0.4 % of the training rows are cut" in note


@pytest.mark.parametrize(
    ("lengths", "limit", "asked", "length", "note"),
    [
        ([(3, 100)], 128, None, 8, "no training row is cut"),
        ([(40, 100)], 16, None, 16, "(the model's limit); 100 % of"),
        ([(10, 90), (40, 10)], 128, 12, 12, "(as asked); 10 % of"),
    ],
)
def test_the_length_keeps_to_its_bounds_and_is_said_aloud(
    tokenizer: PreTrainedTokenizerFast,
    lengths: list[tuple[int, int]],
    limit: int,
    asked: int | None,
    length: int,
    note: str,
) -> None:
    data = prepared(tokenizer, cola_splits(*lengths), COLA, model_limit=limit, max_length=asked)
    assert data.max_length == length
    assert longest(data.full_train) <= length
    assert note in data.notes[0]


@pytest.mark.parametrize("max_length", [4, 200])
def test_a_length_that_cannot_be_is_an_error(
    tokenizer: PreTrainedTokenizerFast, splits: dict[str, pa.Table], max_length: int
) -> None:
    with pytest.raises(UserError, match=f"max_length is {max_length}, but must .* 8 and the 128"):
        prepared(tokenizer, splits, max_length=max_length)


def test_a_fingerprint_is_of_texts_and_labels_and_nothing_else() -> None:
    table = split_of(RTE, 20, 7)
    chunks = pa.concat_tables([table.slice(0, 7), table.slice(7)])
    numbered = table.append_column("index", pa.array(range(20)))
    labels = table["label"].to_pylist()
    changed = table.set_column(2, "label", pa.array([1 - labels[0], *labels[1:]]))
    assert fingerprint(RTE, table) == fingerprint(RTE, chunks) == fingerprint(RTE, numbered)
    assert len({fingerprint(RTE, t) for t in (table, changed, table.slice(0, 19))}) == 3


def test_the_majority_is_the_training_rows_own(tokenizer: PreTrainedTokenizerFast) -> None:
    train = cola_splits((10, 100))["train"].set_column(1, "label", pa.array([1] * 70 + [0] * 30))
    validation = train.slice(0, 10).set_column(1, "label", pa.array([1] * 4 + [0] * 6))
    task = find_task("sst2")
    data = prepared(tokenizer, {"train": train, "validation": validation}, task)
    assert data.majority["selection"] == {"accuracy": 0.7}
    assert data.majority["validation"] == {"accuracy": 0.4}


def test_the_mean_of_a_regression_correlates_with_nothing(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    splits = {"train": split_of(STSB, 60, 1), "validation": split_of(STSB, 20, 2)}
    data = prepared(tokenizer, splits, STSB)
    assert data.majority["selection"] == {"pearson": 0.0, "spearman": 0.0}
