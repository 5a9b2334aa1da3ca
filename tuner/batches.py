"""Batches of rows of similar length: the same global batches, in the same order, on any number of
workers. Knows token counts and row numbers; nothing of models, trials or processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch.utils.data import BatchSampler, Dataset

from tuner.hyperparameters import Batch

Numbers = npt.NDArray[Any]

MULTIPLE = 8
"""Batches are padded to a multiple of this: matrix units work in tiles of eight."""

MEGABATCH = 50
"""Rows are sorted by length within so many batches, as Hugging Face's LengthGroupedSampler does."""


@dataclass(frozen=True)
class Rows:
    """A tokenised table as flat arrays, without a copy where the table has one chunk.

    `tokens` are all rows' token ids end to end, row i at `starts[i]:starts[i + 1]`; `types` the
    token type ids in the same layout, where the table has them; `labels` one a row; `ids` the rows'
    numbers in their split. Batches are padded to a multiple of `multiple` tokens.
    """

    tokens: Numbers
    starts: Numbers
    types: Numbers | None
    labels: Numbers
    ids: Numbers
    multiple: int = MULTIPLE

    @classmethod
    def of(cls, table: pa.Table) -> Rows:
        """The rows of a table: columns input_ids, labels, row and perhaps token_type_ids."""

        def column(name: str) -> Any:
            return table.column(name).combine_chunks()

        def flat(lists: Any) -> Numbers:
            values: Numbers = lists.values.to_numpy(zero_copy_only=False)
            return values

        tokens = column("input_ids")
        typed = "token_type_ids" in table.column_names
        return cls(
            tokens=flat(tokens),
            starts=tokens.offsets.to_numpy().astype(np.int64),
            # Both columns come from one tokeniser call; only when their slices differ are the type
            # ids laid out anew.
            types=_aligned(column("token_type_ids"), tokens) if typed else None,
            labels=column("labels").to_numpy(zero_copy_only=False),
            ids=column("row").to_numpy(zero_copy_only=False),
        )

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def lengths(self) -> Numbers:
        """Tokens in each row."""
        return np.diff(self.starts)

    @cached_property
    def longest(self) -> int:
        """Tokens in the longest row."""
        return int(self.lengths.max())

    def width(self, longest: int) -> int:
        """What a batch is padded to: a multiple, but never above the longest row of all.

        A model's positions may end right after the longest row.
        """
        return min(-(-longest // self.multiple) * self.multiple, self.longest)


def _aligned(types: Any, tokens: Any) -> Numbers:
    values: Numbers = types.values.to_numpy(zero_copy_only=False)
    if types.offsets.equals(tokens.offsets):
        return values
    laid_out = np.zeros(len(tokens.values), values.dtype)
    first, last = tokens.offsets[0].as_py(), tokens.offsets[-1].as_py()
    laid_out[first:last] = types.flatten().to_numpy(zero_copy_only=False)
    return laid_out


@dataclass(frozen=True)
class Padding:
    """The token that fills a batch up, and the side ("right" or "left") it is added on."""

    token: int
    side: str


def padded(rows: Rows, which: Numbers, padding: Padding) -> dict[str, torch.Tensor]:
    """The inputs of a model for the rows `which`: input_ids, attention_mask and perhaps
    token_type_ids, int64, [len(which), width]."""
    lengths = rows.lengths[which][:, None]
    width = rows.width(int(lengths.max()))
    places = np.arange(width)[None, :]
    if padding.side == "left":
        places = places - (width - lengths)
    mask = (places >= 0) & (places < lengths)
    sources = (rows.starts[which][:, None] + places)[mask]
    inputs = np.full(mask.shape, padding.token, np.int64)
    inputs[mask] = rows.tokens[sources]
    batch = {
        "input_ids": torch.from_numpy(inputs),
        "attention_mask": torch.from_numpy(mask.astype(np.int64)),
    }
    if rows.types is not None:
        types = np.zeros(mask.shape, np.int64)
        types[mask] = rows.types[sources]
        batch["token_type_ids"] = torch.from_numpy(types)
    return batch


@dataclass(frozen=True)
class Part:
    """One worker's share of a pass: its rows (perhaps none), and how many rows the whole global
    batch has. `spare` is a row to run with weight 0 when the share is empty."""

    rows: Numbers
    whole: int
    spare: int


class Feed(Dataset[Any]):
    """Rows as a data set whose index is a `Part`: it answers with a padded micro-batch.

    Beside the model's inputs a micro-batch has `labels` [rows] and `weights` [rows], float32: one
    over the rows of the whole global batch, 0 for a spare row.
    """

    def __init__(self, rows: Rows, padding: Padding) -> None:
        self.rows = rows
        self.padding = padding

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: Part) -> dict[str, torch.Tensor]:
        which, weight = part.rows, 1.0 / part.whole
        if not len(which):
            which, weight = np.array([part.spare]), 0.0
        batch = padded(self.rows, which, self.padding)
        batch["labels"] = torch.from_numpy(self.rows.labels[which])
        batch["weights"] = torch.full((len(which),), weight)
        return batch

    def __getitems__(self, part: Part) -> dict[str, torch.Tensor]:
        return self[part]


class GroupedBatches(BatchSampler):
    """The passes of one worker over one epoch after another.

    An epoch's global batches follow from the lengths, the effective batch size, the seed and the
    epoch alone. Every row comes once; the rows that fill no whole batch are a random draw and come
    last; a batch with the longest row comes first, so that too little memory shows at once. A
    global batch is dealt out to the workers like cards, longest rows first, and each hand is cut
    into `batch.accumulation` passes; the passes of a short batch may be empty.
    """

    def __init__(self, lengths: Numbers, batch: Batch, seed: int, worker: int = 0) -> None:
        self.lengths = lengths
        self.batch = batch
        self.seed = seed
        self.worker = worker
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Take up the batches of epoch `epoch`, counted from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Passes of one worker in an epoch."""
        return -(-len(self.lengths) // self.batch.effective) * self.batch.accumulation

    def __iter__(self) -> Iterator[Any]:
        for rows in self.global_batches():
            yield from self.parts(rows)

    def global_batches(self) -> list[Numbers]:
        """The epoch's global batches: row numbers, longest first within a batch."""
        random = np.random.default_rng([self.seed, self.epoch])
        order = random.permutation(len(self.lengths))
        size = self.batch.effective
        whole = len(order) // size * size
        batches = self._grouped(order[:whole])
        batches = [batches[place] for place in random.permutation(len(batches))]
        if batches:
            longest = int(np.argmax([self.lengths[batch[0]] for batch in batches]))
            batches[0], batches[longest] = batches[longest], batches[0]
        if whole < len(order):
            batches.append(self._longest_first(order[whole:]))
        return batches

    def _grouped(self, order: Numbers) -> list[Numbers]:
        size = self.batch.effective
        mega = size * max(1, min(len(order) // (size * 4), MEGABATCH))
        sorted_rows = [
            self._longest_first(order[start : start + mega]) for start in range(0, len(order), mega)
        ]
        return [
            rows[start : start + size]
            for rows in sorted_rows
            for start in range(0, len(rows), size)
        ]

    def _longest_first(self, rows: Numbers) -> Numbers:
        return rows[np.argsort(-self.lengths[rows], kind="stable")]

    def parts(self, rows: Numbers) -> list[Part]:
        """This worker's passes over one global batch."""
        hand = rows[self.worker :: self.batch.workers]
        return [
            Part(share, len(rows), int(rows[-1]))
            for share in np.array_split(hand, self.batch.accumulation)
        ]


def scoring_batches(
    rows: Rows, most_tokens: int, most_rows: int, which: Numbers | None = None
) -> list[Numbers]:
    """Batches to score all rows with, or those in `which`: longest rows first, at most `most_rows`
    rows and, where more than one row, `most_tokens` padded tokens each."""
    order = np.argsort(-rows.lengths, kind="stable")
    if which is not None and len(which) < len(order):
        order = order[np.isin(order, which)]
    batches = []
    start = 0
    while start < len(order):
        width = rows.width(int(rows.lengths[order[start]]))
        size = max(1, min(most_rows, most_tokens // max(1, width)))
        batches.append(order[start : start + size])
        start += size
    return batches
