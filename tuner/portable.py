"""The exported model as ONNX, which runs without PyTorch, checked against PyTorch before it counts.

The layout is that of the Hub, `onnx/model.onnx` beside the model's config and tokenizer. Knows
nothing of runs; needs the extra `onnx`.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.disks import MEND, writing
from tuner.errors import TunerError, UserError
from tuner.swaps import beside

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import torch

    from tuner.tasks import Task

FOLDER = "onnx"
FILE = "model.onnx"
LOGITS = "logits"

ROWS = 200
"""Rows on which the two models are compared, at most."""

TOLERANCE = 1e-3
"""The largest difference between a logit of the one and of the other."""

_BATCH = 8
_CANDIDATES = 5000
_NEEDED = ("onnx", "onnxruntime", "onnxscript")
# A file of protobuf, which ONNX is, holds less than 2 GiB; weights beyond lie in one beside it.
_INSIDE = 3 << 29

Inputs = dict[str, "torch.Tensor"]


@dataclass(frozen=True)
class Comparison:
    """How far ONNX's logits are from PyTorch's: the largest difference, on how many rows, in
    batches of up to how many, of `shortest` to `longest` tokens."""

    difference: float
    rows: int
    batch: int
    shortest: int
    longest: int


def check_extra() -> None:
    """Raises UserError where the packages of the extra are missing; imports none of them."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise UserError(
            f"--onnx needs {', '.join(missing)}, which the extra brings: pip install 'tuner[onnx]'"
        )


def write_onnx(
    model: Path, task: Task, table: pa.Table, say: Callable[[str], None] = lambda text: None
) -> tuple[Path, Comparison]:
    """Write the exported model in the folder `model` as ONNX, too: `onnx/model.onnx` in it.

    Inputs are those that the tokenizer gives (int64 [batch, sequence], both of any size), the
    output `logits` is fp32 [batch, labels]. On up to ROWS rows of `table`, of all its lengths, both
    models are run. Everything is written beside and renamed. Raises TunerError, and leaves what was
    there, when a logit differs by more than TOLERANCE or the model cannot be exported.
    """
    check_extra()
    if not table.num_rows:
        raise UserError("there are no rows to compare the ONNX model on; name others with --data")
    before = model.stat().st_ino
    final = model / FOLDER
    with (
        writing(final, f"{MEND}, then export again"),
        _quietly(),
        beside(final, model) as fresh,
    ):
        say("loading the model")
        tokenizer, network = _read(model)
        batches = _wanted(network, _sampled(tokenizer, task, table))
        say(f"writing {final / FILE}")
        _export(network, _example(batches), fresh / FILE)
        rows = sum(len(batch["input_ids"]) for batch in batches)
        say(f"comparing its logits with PyTorch's on {rows} rows")
        found = _compare(network, fresh / FILE, batches)
        if not found.difference <= TOLERANCE:
            raise TunerError(
                f"the ONNX model's logits differ from PyTorch's by up to {found.difference:.2g}"
                f" on {found.rows} rows, and {TOLERANCE:g} is tolerated; nothing was kept of it"
            )
        if not model.exists() or model.stat().st_ino != before:
            raise TunerError(f"{model} was replaced by another model meanwhile; export again")
    return final / FILE, found


def _read(model: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model), trust_remote_code=False)
    network = AutoModelForSequenceClassification.from_pretrained(
        str(model), dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    return tokenizer, network.eval()


def _sampled(tokenizer: Any, task: Task, table: pa.Table) -> list[Inputs]:
    """Batches of rows of all lengths: half of them of like lengths, half of them mixed and padded,
    and one of a single row."""
    import numpy as np

    numbers = np.arange(table.num_rows)
    if len(numbers) > _CANDIDATES:
        numbers = np.sort(np.random.default_rng(0).permutation(numbers)[:_CANDIDATES])
    drawn = table.take(numbers)
    encoded = tokenizer(*(drawn[name].to_pylist() for name in task.text_columns), truncation=True)
    lengths = np.array([len(ids) for ids in encoded["input_ids"]])
    order = np.argsort(lengths, kind="stable")
    picked = order[np.linspace(0, len(order) - 1, min(ROWS, len(order))).round().astype(int)]
    # The longest row is in the mixed half, and the shortest of the other half is alone.
    mixed, alike = picked[::-2], picked[-2::-2][::-1]
    strides = -(-len(mixed) // _BATCH)
    groups = [mixed[start::strides] for start in range(strides)]
    groups += [alike[:1], *(alike[n : n + _BATCH] for n in range(1, len(alike), _BATCH))]
    return [
        dict(
            tokenizer.pad(
                {name: [values[row] for row in rows] for name, values in encoded.items()},
                return_tensors="pt",
            )
        )
        for rows in groups
        if len(rows)
    ]


def _wanted(network: Any, batches: Sequence[Inputs]) -> list[Inputs]:
    """Only what the network has a name for: it passes over the rest, as token types to DistilBERT,
    and ONNX would ask for it."""
    names = inspect.signature(network.forward).parameters
    return [{name: it for name, it in batch.items() if name in names} for batch in batches]


def _example(batches: Sequence[Inputs]) -> Inputs:
    """What the model is traced with: several rows, where there are several."""
    import torch

    batch = max(batches, key=lambda inputs: len(inputs["input_ids"]))
    if len(batch["input_ids"]) > 1:
        return batch
    # A size of one would be taken for the only one there is.
    return {name: torch.cat([values, values]) for name, values in batch.items()}


def _export(network: Any, example: Inputs, file: Path) -> None:
    import torch

    names = tuple(example)

    class Logits(torch.nn.Module):
        """The network with its inputs in a fixed order, and one output."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.network(**dict(zip(names, inputs, strict=True))).logits
            return logits

    size = sum(weight.numel() * weight.element_size() for weight in network.parameters())
    try:
        torch.onnx.export(
            Logits().eval(),
            tuple(example.values()),
            file,
            input_names=names,
            output_names=[LOGITS],
            dynamo=True,
            dynamic_shapes=(tuple({0: "batch", 1: "sequence"} for _ in names),),
            external_data=size > _INSIDE,
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        kind = network.config.model_type
        raise TunerError(f"a model of type {kind} cannot be exported as ONNX: {reason}") from error


def _compare(network: Any, file: Path, batches: Sequence[Inputs]) -> Comparison:
    import numpy as np
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    worst = 0.0
    with torch.inference_mode():
        for batch in batches:
            ours = network(**batch).logits.float().numpy()
            given = {name: values.numpy() for name, values in batch.items()}
            (theirs,) = session.run([LOGITS], given)
            worst = max(worst, _furthest(ours, theirs))
    sizes = [len(batch["input_ids"]) for batch in batches]
    lengths = np.concatenate([_lengths(batch) for batch in batches])
    return Comparison(worst, sum(sizes), max(sizes), int(lengths.min()), int(lengths.max()))


def _furthest(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> float:
    """The largest difference; infinite where it is none, or the shapes are not the same."""
    import numpy as np

    if ours.shape != theirs.shape:
        return float("inf")
    difference = float(np.abs(ours - theirs).max())
    return difference if np.isfinite(difference) else float("inf")


def _lengths(batch: Inputs) -> np.ndarray[Any, Any]:
    mask = batch.get("attention_mask")
    ids = batch["input_ids"]
    if mask is None:
        mask = ids.new_ones(ids.shape)
    found: np.ndarray[Any, Any] = mask.sum(dim=1).numpy()
    return found


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without what the exporter remarks on its own insides."""
    from tuner.models import quietly

    loud = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    before = [log.level for log in loud]
    for log in loud:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), quietly():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(loud, before, strict=True):
            log.setLevel(level)
