"""What all trials of a slot share: base weights, tokenised rows, and how to train on this hardware.

Knows nothing of single trials. It travels through Ray's object store; the tables are read from
there without a copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from tuner.batches import Padding, Rows
from tuner.models import Weights

CPU_TOKENS = 8192
"""Padded tokens in a pass on a CPU, at most: larger passes gain no speed there, only memory."""


@dataclass(frozen=True)
class Materials:
    """`train` and `selection` are tokenised tables: input_ids, labels, row, perhaps token_type_ids.

    `metrics` are the task's, under their plain names. `precision` is "fp32", "bf16", "fp16" or
    "auto": bf16 on a GPU that has it.
    `threads` are torch's in each worker, `gpus` the GPUs a worker has (0: it trains on the CPU).
    `most_tokens` bounds rows times longest row in a pass; None leaves it to the hardware: 8192 on a
    CPU, no bound on a GPU.
    """

    weights: Weights
    train: pa.Table
    selection: pa.Table
    metrics: tuple[str, ...]
    regression: bool
    precision: str = "fp32"
    threads: int = 1
    gpus: float = 0.0
    most_tokens: int | None = None

    @cached_property
    def training_rows(self) -> Rows:
        return Rows.of(self.train)

    @cached_property
    def selection_rows(self) -> Rows:
        return Rows.of(self.selection)

    @property
    def padding(self) -> Padding:
        return Padding(self.weights.pad_token_id, self.weights.padding_side)

    @property
    def most_rows(self) -> int | None:
        """Rows a worker takes in a pass, at most; None: no bound."""
        tokens = self.most_tokens or (None if self.gpus else CPU_TOKENS)
        return max(1, tokens // self.training_rows.longest) if tokens else None
