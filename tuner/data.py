"""From a task's raw rows to what trials train on: split for an honest selection, tokenised once.

Nothing that a search sees (its rows, the length at which texts are cut) comes from the validation
rows unless it is told to select on them. Knows nothing of Tune or of models.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

from tuner.cache import TokenCache, cached_tokens
from tuner.checks import TRAIN, VALIDATION
from tuner.errors import UserError
from tuner.metrics import score
from tuner.sources import LABEL
from tuner.strata import Indices, draw, strata
from tuner.tasks import Task
from tuner.tokens import PERCENTILE, SHORTEST, Length, Progress, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SelectOn = Literal["holdout", "validation"]

MOST_HELD_OUT = 0.2
"""The largest share of the training rows that is held out for selection."""


@dataclass(frozen=True)
class Prepared:
    """Tokenised tables, and what was decided on the way.

    Columns of each table: `input_ids` (list of int32) and, where the tokenizer makes them,
    `token_type_ids`, neither padded; `labels` (int64 class, or float32 for a regression); `row`
    (int64, the row's place in its split).

    `train` and `selection` are the search's, `full_train` and `validation` the retraining's.
    `notes` are to be said aloud. `fingerprints`: a SHA-256 for every raw split. `majority` holds
    the task's metrics on "selection" and on "validation" when the answer is always the training
    rows' most frequent class, or their mean.
    """

    train: pa.Table
    selection: pa.Table
    full_train: pa.Table
    validation: pa.Table
    max_length: int
    selected_on: SelectOn
    notes: tuple[str, ...]
    fingerprints: Mapping[str, str]
    majority: Mapping[str, Mapping[str, float]]


def prepare_data(
    task: Task,
    splits: Mapping[str, pa.Table],
    tokenizer: PreTrainedTokenizerFast,
    *,
    model_limit: int,
    fraction: float,
    select_on: SelectOn,
    max_length: int | None,
    seed: int,
    progress: Progress,
    cache: TokenCache | None = None,
) -> Prepared:
    """Tokenise `train` and `validation` of `splits` (checked already) and split them for a search.

    `select_on="holdout"`: as many training rows as there are validation rows, but at most a fifth
    of them, are held out by class for selection; the same ones whatever `fraction` is. The search
    trains on `fraction` of the training split, drawn by class from the other rows.
    `select_on="validation"`: it trains on `fraction` of all training rows.
    `max_length` None: the 99.5th percentile of the training rows' lengths, or `model_limit` tokens.
    Everything drawn depends on `seed` alone. Tokens that `cache` has are taken from it, and those
    that it lacks are put there. Raises UserError where a length or a fraction leaves nothing to
    work with.
    """
    check_length(max_length, model_limit)
    train_rows, selection_rows = choose_rows(
        task, splits[TRAIN][LABEL], splits[VALIDATION].num_rows, fraction, select_on, seed
    )
    marks = {name: fingerprint(task, rows) for name, rows in splits.items()}

    def tokens(split: str, length: Length) -> Tokens:
        return cached_tokens(
            {column: splits[split][column] for column in task.text_columns},
            marks[split],
            tokenizer,
            length,
            cache,
            split,
            progress,
        )

    whole = tokens(TRAIN, Length(max_length or model_limit, fitted=max_length is None))
    full_train = _completed(task, whole, splits[TRAIN])
    shown = tokens(VALIDATION, Length(whole.limit))
    validation = _completed(task, shown, splits[VALIDATION])
    train = full_train.take(train_rows).combine_chunks()
    selection = validation if selection_rows is None else full_train.take(selection_rows)
    selection = selection.combine_chunks()
    return Prepared(
        train=train,
        selection=selection,
        full_train=full_train,
        validation=validation,
        max_length=whole.limit,
        selected_on=select_on,
        notes=(_said(whole, model_limit, max_length),),
        fingerprints=marks,
        majority={
            "selection": _majority(task, train, selection),
            "validation": _majority(task, full_train, validation),
        },
    )


def check_length(max_length: int | None, model_limit: int) -> None:
    """Raise UserError for a length that is asked for and that the model cannot read."""
    if max_length is not None and not SHORTEST <= max_length <= model_limit:
        raise UserError(
            f"max_length is {max_length}, but must lie between {SHORTEST} and the {model_limit} "
            "tokens that the model can read; leave it out to have it chosen"
        )


def fingerprint(task: Task, rows: pa.Table) -> str:
    """SHA-256 (hex) of a raw split: its texts and labels in their order, whatever the source."""
    digest = hashlib.sha256()
    columns = [rows[column].to_pylist() for column in (*task.text_columns, LABEL)]
    for row in zip(*columns, strict=True):
        digest.update(json.dumps(row).encode() + b"\n")
    return digest.hexdigest()


# Which rows


def choose_rows(
    task: Task,
    labels: pa.ChunkedArray,
    validation_rows: int,
    fraction: float,
    select_on: SelectOn,
    seed: int,
) -> tuple[Indices, Indices | None]:
    """The training rows to train on and those to select on (None: the validation rows), sorted.

    Every class is in both where it has two rows or more; a class of one row stays in training.
    """
    rng = np.random.default_rng(seed)
    groups = strata(labels.to_numpy(), task.regression)
    rest, held_out = np.arange(len(groups)), None
    if select_on == "holdout":
        size = min(validation_rows, int(len(groups) * MOST_HELD_OUT))
        if size < 1:
            raise UserError(
                f"the training split has {len(groups)} rows, too few to hold some out for "
                "selection; pass --select-on validation"
            )
        held_out = draw(groups, size, rng, spare=1)
        rest = np.setdiff1d(rest, held_out)
    size = min(round(len(groups) * fraction), len(rest))
    least = 2 if task.regression else len(np.unique(groups))
    if size < least:
        raise UserError(
            f"a fraction of {fraction:g} leaves {size} of {len(groups)} training rows, but there "
            f"must be {least} or more; pass a larger --fraction"
        )
    return rest[draw(groups[rest], size, rng, spare=0)], held_out


# Tokens


def _completed(task: Task, tokens: Tokens, rows: pa.Table) -> pa.Table:
    """The tokens with their rows' labels and numbers."""
    labels = rows[LABEL].cast(pa.float32() if task.regression else pa.int64()).combine_chunks()
    table = tokens.table.append_column("labels", labels)
    return table.append_column("row", pa.array(np.arange(rows.num_rows)))


def _said(tokens: Tokens, model_limit: int, asked: int | None) -> str:
    """What to say about where texts are cut."""
    if asked:
        reason = "as asked"
    elif tokens.limit == model_limit:
        reason = "the model's limit"
    else:
        reason = f"{PERCENTILE:g} % of the training rows are no longer"
    share = 100 * tokens.cut / tokens.table.num_rows
    cut = f"{round(share, 2):g} % of the training rows are" if share else "no training row is"
    return f"texts are cut at {tokens.limit} tokens ({reason}); {cut} cut"


def _majority(task: Task, train: pa.Table, rows: pa.Table) -> dict[str, float]:
    labels = train["labels"].to_numpy()
    answer = np.zeros((1, task.num_labels))
    if task.regression:
        answer[0, 0] = labels.mean(dtype=np.float64)
    else:
        answer[0, np.bincount(labels).argmax()] = 1
    return score(task.metrics, answer.repeat(rows.num_rows, axis=0), rows["labels"].to_numpy())
