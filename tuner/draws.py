"""The objective of finished trials on the same resamples of the selection rows, for comparisons.

Takes what trials stored of their predictions; knows nothing of runs, rankings or seeds.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tuner.intervals import RESAMPLES, Array, resampled_together

_SEED = 0
"""The resamples are the same at every reading, and so is what is said of a run."""


@dataclass(frozen=True)
class Predictions:
    """A trial's logits (float32 [rows, labels]) for selection rows, which `ids` number, and their
    labels ([rows])."""

    ids: Array
    logits: Array
    labels: Array

    @property
    def rows(self) -> str:
        """What tells these rows and labels from others."""
        parts = (self.ids.astype(np.int64), self.labels.astype(np.float64))
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()[:16]


def read_predictions(content: bytes) -> Predictions | None:
    """The predictions in a Parquet file (`row`, `logits`, `label`); None for a damaged one, and for
    one with anything else in it."""
    try:
        file = pq.ParquetFile(io.BytesIO(content))
        table = file.read(["row", "logits", "label"], use_threads=False)
        lists = table.column("logits").combine_chunks()
        flat = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
        logits = flat.reshape(table.num_rows, -1) if table.num_rows else flat
        offsets = np.diff(lists.offsets.to_numpy())
        ids, labels = table.column("row").to_numpy(), table.column("label").to_numpy()
    except (pa.ArrowException, OSError, ArithmeticError, *_ODD):
        return None
    if not len(ids) or not (offsets == offsets[0]).all() or ids.dtype.kind not in "iu":
        return None
    return Predictions(ids, logits, labels) if labels.dtype.kind in "iuf" else None


_ODD = (AttributeError, LookupError, TypeError, ValueError)
"""What comes of columns of other types, nested ones, and lists of unequal lengths."""


class Draws:
    """The objective of trials, by their names, on each of `resamples` resamples of their rows.

    Trials with the same rows and labels have the same resamples, so that what differs between two
    of them is the trials, not the draw.
    """

    def __init__(self, objective: str, resamples: int = RESAMPLES) -> None:
        self._objective = objective
        self._resamples = resamples
        self._values: dict[str, Array] = {}
        self._rows: dict[str, str] = {}
        self._many: dict[str, int] = {}

    def take(self, predictions: Mapping[str, Predictions]) -> None:
        """Draw for trials; those whose logits do not fit the objective are passed over."""
        groups: dict[tuple[str, int], dict[str, Predictions]] = {}
        for name, said in predictions.items():
            groups.setdefault((said.rows, said.logits.shape[1]), {})[name] = said
        for (rows, _), group in groups.items():
            labels = next(iter(group.values())).labels
            try:
                found = resampled_together(
                    self._objective,
                    {name: said.logits for name, said in group.items()},
                    labels,
                    resamples=self._resamples,
                    seed=_SEED,
                )
            except _ODD:
                continue
            for name, values in found.items():
                if not np.isfinite(values).all():
                    continue
                # Hundreds of trials are kept; equal scores stay equal.
                self._values[name] = values.astype(np.float32)
                self._rows[name] = rows
                self._many[name] = len(labels)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def of(self, name: str) -> Array:
        """A trial's values, float32 [resamples]. Raises KeyError for one that was not taken."""
        return self._values[name]

    def rows(self, name: str) -> int:
        """How many rows a trial was scored on. Raises KeyError as `of` does."""
        return self._many[name]

    def mean(self, names: Iterable[str]) -> Array | None:
        """The mean of the trials' values, float64 [resamples]; None where one is missing or they
        are not of the same rows."""
        given = list(names)
        if not given or any(name not in self for name in given) or not self.paired(*given):
            return None
        return np.asarray(np.mean([self._values[n] for n in given], axis=0, dtype=np.float64))

    def noise(self, number: int) -> Array:
        """A standard normal number for each resample, of the trial `number`: float32."""
        generator = np.random.default_rng([_SEED, number])
        return generator.standard_normal(self._resamples, np.float32)

    def paired(self, *names: str) -> bool:
        """Whether the trials scored the same rows with the same labels."""
        return len({self._rows.get(name) for name in names}) == 1
