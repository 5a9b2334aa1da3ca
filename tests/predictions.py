"""Predictions for tests of comparisons: files as the slots write them, beside small journals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.journals import Told


def write_predictions(
    folder: Path, trial: str, logits: np.ndarray, labels: np.ndarray, ids: np.ndarray | None = None
) -> Path:
    """A trial's file, in the form of `tuner.scoring`; `ids` are 0, 1, … where none are given."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "row": np.arange(len(labels)) if ids is None else ids,
            "logits": pa.array(list(logits.astype(np.float32)), pa.list_(pa.float32())),
            "label": labels,
        }
    )
    file = folder / f"{trial}.parquet"
    pq.write_table(table, file)
    return file


def right_on(right: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Logits of two classes that are right on the rows where `right` says so."""
    answers = np.where(right, labels, 1 - labels)
    return np.eye(2, dtype=np.float32)[answers] * 4 - 2


def told(right: np.ndarray, **changes: object) -> Told:
    """A finished trial whose accuracy is what `right` comes to."""
    return Told(values=(0.5, 0.5, float(right.mean())), **changes)  # type: ignore[arg-type]
