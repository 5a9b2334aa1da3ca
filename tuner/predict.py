"""An exported model at work: its logits for a table of texts, batch by batch.

A plain torch loop on the best device there is; knows nothing of Ray or of how the model was found.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tuner.collection import collection_paused
from tuner.errors import UserError
from tuner.tasks import Task, find_task

if TYPE_CHECKING:
    import torch

    from tuner.batches import Rows

TOKENS = 16_384
"""The most tokens in a batch, padding included."""

CHUNK = 8_192
"""So many rows are tokenised at a time and then run in the order of their lengths."""

Logits = npt.NDArray[np.float32]


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
    """The logits of the model in `folder`: `read_classifier` and `Classifier.logits` in one."""
    return read_classifier(folder).logits(task, table, batch_size=batch_size)


@dataclass(frozen=True)
class Classifier:
    """A model in fp32 on its device, with the tokenizer that reads texts for it.

    Texts are cut at `max_length` tokens or, where that is None, at the tokenizer's own limit.
    """

    network: Any
    tokenizer: Any
    device: torch.device
    max_length: int | None = None

    def logits(
        self,
        task: Task,
        table: pa.Table,
        *,
        batch_size: int = 64,
        advance: Callable[[int], None] = lambda rows: None,
    ) -> Logits:
        """The logits [rows, labels] (of a regression [rows, 1]), in fp32, for each row of `table`.

        `table` holds the task's text columns. Rows of like length are run together, and come back
        in the order they were given. A row with a text that is null is not run, and its logits are
        NaN. `advance` hears how many rows a batch had. Raises UserError when the model has another
        number of labels than the task.
        """
        if self.network.config.num_labels != task.num_labels:
            raise UserError(
                f"{self.network.config.name_or_path}: the model has "
                f"{self.network.config.num_labels} labels, but the task {task.name} has "
                f"{task.num_labels}; pass the best/ that tuner wrote for the task"
            )
        import torch

        from tuner.batches import Padding, padded
        from tuner.models import quietly

        logits = np.full((table.num_rows, self.network.config.num_labels), np.nan, np.float32)
        there = np.logical_and.reduce(
            [np.asarray(pc.is_valid(table[column])) for column in task.text_columns]
        )
        numbers = np.flatnonzero(there)
        advance(table.num_rows - len(numbers))
        padding = Padding(self.tokenizer.pad_token_id, self.tokenizer.padding_side)
        with quietly(), torch.inference_mode():
            for start in range(0, len(numbers), CHUNK):
                chunk = numbers[start : start + CHUNK]
                rows = self._encode(task, table.take(chunk))
                for batch in _mixed(rows, batch_size):
                    inputs = padded(rows, batch, padding)
                    inputs = {name: tensor.to(self.device) for name, tensor in inputs.items()}
                    logits[chunk[batch]] = self.network(**inputs).logits.float().cpu().numpy()
                    advance(len(batch))
        return logits

    def _encode(self, task: Task, table: pa.Table) -> Rows:
        from tuner.batches import MULTIPLE, Rows

        texts = [table[column].to_pylist() for column in task.text_columns]
        encoded = self.tokenizer(
            *texts,
            truncation=True,
            max_length=self.max_length,
            return_attention_mask=False,
            verbose=False,
        )
        lengths = [len(tokens) for tokens in encoded["input_ids"]]
        starts = np.concatenate([[0], np.cumsum(lengths)])

        def flat(lists: list[list[int]]) -> npt.NDArray[np.int64]:
            return np.fromiter(itertools.chain.from_iterable(lists), np.int64, int(starts[-1]))

        types = encoded.get("token_type_ids")
        return Rows(
            tokens=flat(encoded["input_ids"]),
            starts=starts,
            types=None if types is None else flat(types),
            labels=np.zeros(len(lengths)),
            ids=np.arange(len(lengths)),
            # Matrix units work in tiles; a CPU computes every column of padding for nothing.
            multiple=MULTIPLE if self.device.type == "cuda" else 1,
        )


def read_classifier(
    folder: Path, tokenizer: Any = None, max_length: int | None = None
) -> Classifier:
    """The model in `folder`, on the best device, with its own tokenizer unless one is given.

    Raises UserError when the folder has no safetensors, or holds files that cannot be read.
    """
    if not any(folder.glob("*.safetensors")):
        raise UserError(f"{folder}: has no weights (model.safetensors); pass a run, or its best/")
    # Not at the top: what is wrong with the input is said before seconds of imports.
    with collection_paused():
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        from tuner.models import quietly

    try:
        with quietly():
            if tokenizer is None:
                tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
            network = AutoModelForSequenceClassification.from_pretrained(
                str(folder), dtype=torch.float32, use_safetensors=True, trust_remote_code=False
            )
    except (SafetensorError, ValueError, OSError, RuntimeError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
        raise UserError(
            f"{folder}: the model cannot be loaded: {reason}; copy the folder again as tuner wrote "
            "it, or pass another run"
        ) from error
    device = best_device()
    return Classifier(network.to(device).eval(), tokenizer, device, max_length)


def best_device() -> torch.device:
    """A GPU where there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _mixed(rows: Rows, batch_size: int) -> list[npt.NDArray[np.int64]]:
    """Batches of rows of like length, the longest first, the others mixed: their pace tells the
    time that is left."""
    from tuner.batches import scoring_batches

    longest, *others = scoring_batches(rows, TOKENS, batch_size)
    order = np.random.default_rng(0).permutation(len(others))
    return [longest, *(others[place] for place in order)]
