"""What a model in training scores: its logits for the selection rows, gathered from all ranks.

Knows nothing of schedules, reports or checkpoints.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tuner.batches import Numbers, Rows, scoring_batches
from tuner.losses import row_losses
from tuner.materials import Materials
from tuner.metrics import score
from tuner.ranks import Ranks
from tuner.stores import write_file
from tuner.training import SlotTrainer

SCORING_TOKENS = {"cpu": 8192, "gpu": 65536}
SCORING_ROWS = 256
"""Padded tokens and rows in a scoring batch, at most: constants, so that a score does not depend on
the trial's batch or on the number of workers."""


@dataclass(frozen=True)
class Scored:
    """Logits (float32 [rows, labels]) for the selection rows, their mean loss, and the logits and
    labels of the training rows that were scored beside them (None: none were)."""

    logits: Numbers
    loss: float
    training: tuple[Numbers, Numbers] | None = None

    @property
    def finite(self) -> bool:
        """Whether the model still computes numbers."""
        return bool(np.isfinite(self.loss) and np.isfinite(self.logits).all())


class Scorer:
    """Scores on every rank together; each rank takes a part of the batches.

    `training_rows` training rows, evenly spaced over the split, are scored beside the selection
    rows.
    """

    def __init__(self, materials: Materials, ranks: Ranks, training_rows: int = 0) -> None:
        self._materials = materials
        self._ranks = ranks
        self._count = min(training_rows, len(materials.training_rows))

    @cached_property
    def _sample(self) -> Numbers:
        last = len(self._materials.training_rows) - 1
        return np.linspace(0, last, self._count).round().astype(np.int64)

    def score(self, trainer: SlotTrainer, halvings: int) -> Scored:
        """The scores of the model as it is; `halvings` as in `Report`."""
        rows = self._materials.selection_rows
        logits = self._logits(trainer, rows, np.arange(len(rows)), halvings)
        losses = row_losses(
            torch.from_numpy(logits).double(),
            torch.from_numpy(np.array(rows.labels)),
            self._materials.regression,
        )
        training = None
        if self._count:
            rows = self._materials.training_rows
            found = self._logits(trainer, rows, self._sample, halvings)
            training = found, rows.labels[self._sample]
        return Scored(logits, float(losses.mean()), training)

    def _logits(self, trainer: SlotTrainer, rows: Rows, which: Numbers, halvings: int) -> Numbers:
        tokens = SCORING_TOKENS["gpu" if self._materials.gpus else "cpu"] >> halvings
        batches = scoring_batches(rows, max(1, tokens), max(1, SCORING_ROWS >> halvings), which)
        ranks = self._ranks
        mine = trainer.logits(rows, batches[ranks.index :: ranks.size])
        shares = ranks.exchange("logits", mine)
        logits = np.zeros((len(rows), mine.shape[1]), np.float32)
        for rank, share in enumerate(shares):
            theirs = batches[rank :: ranks.size]
            if theirs:
                logits[np.concatenate(theirs)] = share
        return logits[which]

    def metrics(self, scored: Scored) -> dict[str, float]:
        """The task's metrics on the selection rows."""
        labels = self._materials.selection_rows.labels
        return score(self._materials.metrics, scored.logits, labels)

    def training_metrics(self, scored: Scored) -> dict[str, float]:
        """The same on the training rows that were scored; none where none were, or where the model
        computes no numbers for them."""
        if scored.training is None or not np.isfinite(scored.training[0]).all():
            return {}
        return score(self._materials.metrics, *scored.training)

    def write_predictions(self, file: str, scored: Scored) -> None:
        """Parquet: row (its number in the split), logits, label."""
        rows = self._materials.selection_rows
        table = pa.table(
            {
                "row": rows.ids,
                "logits": pa.array(list(scored.logits), pa.list_(pa.float32())),
                "label": rows.labels,
            }
        )
        parquet = io.BytesIO()
        pq.write_table(table, parquet)
        write_file(file, parquet.getvalue())
