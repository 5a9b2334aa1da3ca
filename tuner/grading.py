"""The final model's evaluation, from the logits that its training left behind: no row is run twice.

Whatever is wrong with them costs the evaluation, never the model. Knows files, rows and metrics;
nothing of how the model was trained.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tuner.errors import TunerError
from tuner.evaluation import Evaluation, evaluate
from tuner.inputs import row_index
from tuner.metrics import score
from tuner.sources import LABEL
from tuner.stores import is_uri, open_store
from tuner.tasks import Task

LOGITS = ".final.parquet"
"""Where in the run a retraining leaves its logits on the validation rows, until they are read."""


def final_evaluation(
    task: Task, rows: pa.Table | None, metrics: Mapping[str, float], places: Sequence[str]
) -> Evaluation | None:
    """The evaluation of the model that scored `metrics` on the validation `rows` (with texts and
    labels), from the first of `places` (Parquet files, or URIs of some) that holds its logits.

    None when none does: where the logits do not give the very metrics, they are another model's.
    """
    if rows is None:
        return None
    for place in places:
        with contextlib.suppress(OSError, TunerError, pa.ArrowException, KeyError, ValueError):
            table = pq.read_table(io.BytesIO(_content(place)))
            logits = np.asarray(table["logits"].to_pylist(), np.float32)
            order = table["row"].to_numpy()
            if not np.array_equal(order, np.arange(rows.num_rows)):
                continue
            found = score(task.metrics, logits, rows[LABEL].to_numpy())
            if all(math.isclose(found[name], metrics[name], abs_tol=1e-6) for name in found):
                return evaluate(task, rows, logits, row_index(rows), "validation")
    return None


def forget(place: str) -> None:
    """Remove the logits at `place`; there may be none."""
    with contextlib.suppress(OSError, TunerError):
        if is_uri(place):
            above, _, name = place.rpartition("/")
            open_store(above).remove(name)
        else:
            Path(place).unlink(missing_ok=True)


def _content(place: str) -> bytes:
    if not is_uri(place):
        return Path(place).read_bytes()
    above, _, name = place.rpartition("/")
    found = open_store(above).read(name)
    if found is None:
        raise FileNotFoundError(place)
    return found
