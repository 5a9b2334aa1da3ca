"""Toy materials for tests of training: a one-layer model without dropout and rows of random tokens
whose label the second token tells."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from tuner.bench import Materials
from tuner.mailbox import Report, Word
from tuner.models import Weights
from tuner.tiny import tiny_config

VOCABULARY = 40


def toy_weights(labels: int, dropout: float = 0.0) -> Weights:
    config = tiny_config(VOCABULARY, 0).to_dict()
    config.update(
        num_hidden_layers=1,
        hidden_size=32,
        intermediate_size=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        num_labels=labels,
        id2label={str(i): f"L{i}" for i in range(labels)},
        label2id={f"L{i}": i for i in range(labels)},
        problem_type="regression" if labels == 1 else "single_label_classification",
    )
    return Weights(json.dumps(config), None, 0, "right")


def toy_table(rows: int, regression: bool, seed: int, longest: int = 12) -> pa.Table:
    random = np.random.default_rng(seed)
    sizes = random.integers(3, longest + 1, rows)
    tokens = [random.integers(5, VOCABULARY, size).astype(np.int32) for size in sizes]
    signal = np.array([row[1] % 2 for row in tokens])
    labels = (signal + random.normal(0, 0.1, rows)).astype(np.float32) if regression else signal
    return pa.table(
        {
            "input_ids": pa.array(tokens, pa.list_(pa.int32())),
            "labels": labels,
            "row": np.arange(rows),
        }
    )


def toy_materials(rows: int = 120, regression: bool = False, **changes: Any) -> Materials:
    dropout = changes.pop("dropout", 0.0)
    return Materials(
        weights=toy_weights(1 if regression else 2, dropout),
        train=toy_table(rows, regression, seed=1),
        selection=toy_table(60, regression, seed=2),
        metrics=("pearson",) if regression else ("accuracy",),
        regression=regression,
        **changes,
    )


def go() -> Word:
    return "go"


def numbers(reports: list[Report]) -> list[tuple[Any, ...]]:
    """What must repeat bit for bit in a trial's reports: everything but its times."""
    return [
        (r.kind, r.level, r.step, r.total_steps, r.metrics, repr(r.loss), repr(r.train_loss))
        for r in reports
    ]
