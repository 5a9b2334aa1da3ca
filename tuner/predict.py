"""Predictions of an exported model, and the files they are written to.

A plain torch loop on the best device there is; knows nothing of Ray or of how the model was found.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tuner.documents import write_text
from tuner.errors import UserError
from tuner.tasks import Task, find_task

if TYPE_CHECKING:
    import torch

TOKENS = 16_384
"""The most tokens in a batch, padding included."""

Logits = np.ndarray[Any, np.dtype[np.float32]]
SUFFIXES = (".tsv", ".csv", ".jsonl")


def task_of(folder: Path) -> Task:
    """The task of the exported model in `folder`, as its config.json says.

    Raises UserError when the folder is no model's, or was not exported by tuner.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        said = config["tuner"]
        name = said["task"]
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder}: no model lies there (config.json cannot be read); pass a run, or its best/"
        ) from error
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{folder}: config.json does not name the model's task; pass the best/ that tuner wrote"
        ) from error
    if "label_names" not in said:  # of a version that knew no tasks but its own
        return find_task(name)
    try:
        return Task.read({**said, "name": name})
    except UserError as error:
        raise UserError(
            f"{folder}: config.json: {error}; pass the best/ that tuner wrote"
        ) from error


def predict(folder: Path, task: Task, table: pa.Table, batch_size: int = 64) -> Logits:
    """The logits [rows, labels] (of a regression [rows, 1]), in fp32, for each row of `table`.

    `table` holds the task's text columns; texts are cut at the limit the tokenizer was saved with.
    Rows of like length are run together, and come back in the order they were given.
    Raises UserError when the folder has no safetensors.
    """
    if not any(folder.glob("*.safetensors")):
        raise UserError(f"{folder}: has no weights (model.safetensors); pass a run, or its best/")
    # Not at the top: what is wrong with the input is said before seconds of imports.
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from tuner.models import quietly

    with quietly():
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
        model = AutoModelForSequenceClassification.from_pretrained(
            str(folder), dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
        device = best_device()
        model.to(device).eval()
        logits = np.zeros((table.num_rows, model.config.num_labels), np.float32)
        if not table.num_rows:
            return logits
        texts = [table[column].to_pylist() for column in task.text_columns]
        encoded = tokenizer(*texts, truncation=True, return_attention_mask=False)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        with torch.inference_mode():
            for rows in batches_by_length(lengths, batch_size):
                features = {name: [values[row] for row in rows] for name, values in encoded.items()}
                batch = tokenizer.pad(features, return_tensors="pt").to(device)
                logits[rows] = model(**batch).logits.float().cpu().numpy()
    return logits


def best_device() -> torch.device:
    """A GPU where there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def batches_by_length(lengths: Sequence[int], batch_size: int) -> Iterable[list[int]]:
    """Row numbers, longest first; at most `batch_size` rows, `TOKENS` padded tokens a batch."""
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    while order:
        size = max(1, min(batch_size, TOKENS // max(1, lengths[order[0]])))
        yield order[:size]
        order = order[size:]


def probabilities(task: Task, logits: Logits) -> Logits:
    """Softmax over the labels [rows, labels]; of a regression the scores themselves."""
    if task.regression:
        return logits
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), np.float32)


def predictions(task: Task, logits: Logits) -> list[str]:
    """What GLUE's server wants to see for each row: a label as the task's own files write it, or,
    for STS-B, a number from 0 to 5 with three decimals."""
    if task.regression:
        scores = (
            logits[:, 0] if task.label_range is None else np.clip(logits[:, 0], *task.label_range)
        )
        return [f"{score:.3f}" for score in scores + 0.0]
    labels = (task.glue and task.glue.labels) or task.label_names
    return [labels[number] for number in logits.argmax(axis=1)]


def write_submission(path: Path, task: Task, logits: Logits, index: Sequence[int | str]) -> None:
    """Write `index` and `prediction`, a line a row. The suffix of `path` decides the form:
    .tsv (GLUE's), .csv or .jsonl. Raises UserError for another suffix."""
    rows = zip(index, predictions(task, logits), strict=True)
    _write(path, ("index", "prediction"), rows)


def write_probabilities(path: Path, task: Task, logits: Logits, index: Sequence[int | str]) -> None:
    """Write `index` and a column a label with its probability (of a regression the score)."""
    from tuner.models import SCORE

    columns = task.label_names or (SCORE,)
    values = ([round(float(value), 6) for value in row] for row in probabilities(task, logits))
    rows = ((number, *row) for number, row in zip(index, values, strict=True))
    _write(path, ("index", *columns), rows)


def check_output(path: Path) -> None:
    """Raises UserError when nothing could be written to `path`: before any work is done."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(
            f"--output {path}: the suffix {path.suffix!r} names no form; use {', '.join(SUFFIXES)}"
        )
    if path.is_dir():
        raise UserError(f"--output {path} is a folder; pass the name of a file")
    nearest = next((parent for parent in path.absolute().parents if parent.exists()), path.parent)
    if not nearest.is_dir():
        raise UserError(f"--output {path}: {nearest} is a file; pass a path in a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"--output {path}: {nearest} cannot be written; choose another folder")


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    check_output(path)
    if path.suffix.lower() == ".jsonl":
        lines = (
            json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) for row in rows
        )
        write_text(path, "".join(f"{line}\n" for line in lines))
        return
    if path.suffix.lower() == ".tsv":  # GLUE's form: unquoted
        lines = ("\t".join(map(str, row)) for row in (columns, *rows))
        write_text(path, "".join(f"{line}\n" for line in lines))
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(path, text.getvalue())
