"""The demo: the same rows everywhere, no pair twice, and solved only by a model that compares."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch

from tuner.bases import load_base
from tuner.data import prepare_data
from tuner.demo import Split, demo_rows
from tuner.models import build_model
from tuner.progress import Silent
from tuner.sources import read_split
from tuner.tasks import find_task

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@pytest.mark.parametrize(("split", "rows"), [("train", 4000), ("validation", 400), ("test", 400)])
def test_half_of_a_split_has_either_label(split: Split, rows: int) -> None:
    labels = [label for _, _, label in demo_rows(split)]
    assert len(labels) == rows
    assert sum(labels) == rows / 2


def test_no_pair_of_sentences_occurs_twice() -> None:
    pairs = [row[:2] for split in SPLITS for row in demo_rows(split)]
    assert len(set(pairs)) == len(pairs) == 4800


def test_the_label_says_whether_the_colours_agree() -> None:
    for first, second, label in demo_rows("train"):
        assert (second.split()[-1] == first.split()[3]) == bool(label)


def test_the_rows_are_the_same_in_every_process() -> None:
    command = "from tuner.demo import demo_rows as r; import hashlib; "
    command += "print(hashlib.sha256(repr((r('test'), r('train'))).encode()).hexdigest())"
    found = {
        subprocess.run(
            [sys.executable, "-c", command],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_a_change_to_the_rows_leaves_no_trace() -> None:
    demo_rows("test").clear()
    assert len(demo_rows("test")) == 400


def bag_of_words_accuracy() -> float:
    """Logistic regression over the word counts of either sentence, at its best regularisation."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    train, rest = demo_rows("train"), demo_rows("validation") + demo_rows("test")
    counters = [CountVectorizer().fit([row[side] for row in train]) for side in (0, 1)]

    def counts(rows: list[tuple[str, str, int]]) -> object:
        return hstack(
            [c.transform([row[side] for row in rows]) for side, c in enumerate(counters)]
        ).tocsr()

    return max(
        LogisticRegression(C=strength, max_iter=1000)
        .fit(counts(train), [row[2] for row in train])
        .score(counts(rest), [row[2] for row in rest])
        for strength in (0.01, 0.1, 1, 10)
    )


def tiny_model_accuracy(epochs: int, rate: float, batch: int) -> float:
    """What the built-in model reaches on the validation rows, trained by a plain loop."""
    task = find_task("demo")
    splits = {split: read_split(task, split, None) for split in ("train", "validation")}
    texts = [t for column in task.text_columns for t in splits["train"][column].to_pylist()]
    base = load_base("tiny", task, lambda: texts)
    data = prepare_data(
        task,
        splits,
        base.tokenizer,
        model_limit=base.model_limit,
        fraction=1.0,
        select_on="holdout",
        max_length=None,
        seed=0,
        progress=Silent(),
    )

    def padded(table: pa.Table, column: str) -> torch.Tensor:
        rows = [torch.tensor(row) for row in table[column].to_pylist()]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=0)

    def inputs(table: pa.Table) -> dict[str, torch.Tensor]:
        ids = padded(table, "input_ids")
        lengths = torch.tensor([len(row) for row in table["input_ids"].to_pylist()])
        return {
            "input_ids": ids,
            "token_type_ids": padded(table, "token_type_ids"),
            "attention_mask": (torch.arange(ids.shape[1]) < lengths[:, None]).long(),
            "labels": torch.tensor(table["labels"].to_pylist()),
        }

    train, validation = inputs(data.full_train), inputs(data.validation)
    torch.manual_seed(1)
    model = build_model(base.weights)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    steps = epochs * -(-4000 // batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(4000).split(batch):
            model(**{name: tensor[rows] for name, tensor in train.items()}).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        predictions = model(**validation).logits.argmax(-1)
    return float(np.mean(predictions.numpy() == validation["labels"].numpy()))


def test_the_tiny_model_solves_what_a_bag_of_words_cannot() -> None:
    assert bag_of_words_accuracy() <= 0.65
    assert tiny_model_accuracy(epochs=4, rate=1e-3, batch=32) >= 0.95
