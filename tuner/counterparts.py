"""The other validation split of a task that has two: MNLI's matched and mismatched genres.

A retrained model is scored on it when everything else is done; nothing is chosen by it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.addresses import Data
from tuner.errors import UserError
from tuner.evaluation import check_labelled
from tuner.metrics import score
from tuner.predict import read_classifier
from tuner.progress import Watcher
from tuner.sources import LABEL, read_split
from tuner.tasks import Task, find_task


@dataclass(frozen=True)
class Scored:
    """The task's metrics on so many rows of another split."""

    rows: int
    metrics: Mapping[str, float]


def score_counterparts(
    task: Task,
    data: Data,
    folder: Path,
    tokenizer: Any,
    max_length: int,
    watcher: Watcher,
) -> dict[str, Scored]:
    """The scores of the model in `folder` on the validation splits of the task's counterparts, by
    the splits' names. One that is not at hand is noted and left out."""
    found: dict[str, Scored] = {}
    for name in task.counterparts:
        other = find_task(name)
        split = other.validation_split
        watcher.stage(f"scoring {split}")
        try:
            table = read_split(other, "validation", data, exact=True)
            check_labelled(other, table, split)
        except UserError as error:
            watcher.note(f"{split} is not scored: {error}")
            continue
        began, done = time.monotonic(), 0

        def advance(rows: int, total: int = table.num_rows, began: float = began) -> None:
            nonlocal done
            done += rows
            left = (time.monotonic() - began) / max(1, done) * (total - done)
            watcher.tick(done, total, left)

        model = read_classifier(folder, tokenizer, max_length)
        logits = model.logits(other, table, advance=advance)
        metrics = score(task.metrics, logits, table[LABEL].to_numpy())
        found[split] = Scored(table.num_rows, metrics)
    return found
