"""What a trial is made of: its configuration under Hugging Face's names, its batch and its rungs.

Pure arithmetic; knows nothing of torch, Ray or files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tuner.errors import UserError

Value = bool | int | float | str
Configuration = Mapping[str, Value]
"""A trial's hyperparameters: `TrainingArguments` names to values. `per_device_train_batch_size` is
the effective batch size, on any number of workers."""

EPOCHS = "num_train_epochs"
BATCH = "per_device_train_batch_size"
SMOOTHING = "label_smoothing_factor"
SEED = "seed"
LEARNING_RATE = "learning_rate"

LAYER_DECAY = "layerwise_lr_decay"
REINIT_LAYERS = "reinit_layers"
CLASSIFIER_DROPOUT = "classifier_dropout"
OUR_OWN: dict[str, type] = {LAYER_DECAY: float, REINIT_LAYERS: int, CLASSIFIER_DROPOUT: float}
"""Hyperparameters that `TrainingArguments` does not have, with their types; see `layers`. Each does
nothing where it is left out."""

REDUCTION = 3
"""ASHA's reduction factor: a rung lets a third through, and the next takes three times as long."""

SHORT: dict[str, str] = {
    LEARNING_RATE: "lr",
    EPOCHS: "epochs",
    BATCH: "batch",
    SEED: "seed",
    "weight_decay": "decay",
    "warmup_ratio": "warmup",
    "lr_scheduler_type": "schedule",
    "label_smoothing_factor": "smoothing",
    "max_grad_norm": "clip",
    LAYER_DECAY: "layer decay",
    REINIT_LAYERS: "reinit",
    CLASSIFIER_DROPOUT: "dropout",
}
"""How hyperparameters are called where room is short."""

DEFAULTS: dict[str, Value] = {LEARNING_RATE: 5e-5, EPOCHS: 3, SEED: 42, BATCH: 16}
"""What a search space that says nothing about one of these four gets."""


@dataclass(frozen=True)
class Batch:
    """How an effective batch is cut: `micro` rows a worker a pass, `accumulation` passes a step."""

    effective: int
    workers: int
    micro: int
    accumulation: int


def cut_batch(effective: int, workers: int, most: int | None = None) -> Batch:
    """Cut `effective` rows over `workers`, at most `most` rows a worker a pass.

    Every worker gets ceil(effective / workers) rows at most, in as few passes as `most` allows.
    Raises UserError when there are more workers than rows in a batch.
    """
    if effective < workers:
        raise UserError(
            f"an effective batch of {effective} rows cannot be shared by {workers} workers; "
            f"ask for at most {effective} workers or a batch of at least {workers}"
        )
    share = math.ceil(effective / workers)
    accumulation = math.ceil(share / most) if most else 1
    return Batch(effective, workers, math.ceil(share / accumulation), accumulation)


def total_steps(rows: int, effective: int, epochs: float) -> int:
    """Optimizer steps of a schedule: each epoch ends with the batch that does not divide."""
    return max(1, math.ceil(epochs * math.ceil(rows / effective)))


@dataclass(frozen=True)
class Rung:
    """A point of a trial's schedule where it reports: `level` is 3^k for ASHA and Optuna, or the
    number of the epoch that ends there."""

    level: int
    step: int


def rungs(steps: int, count: int) -> tuple[Rung, ...]:
    """The rungs of a schedule of `steps` optimizer steps, the last at its end.

    Rung k of `count` lies at ceil(steps * 3^k / 3^(count-1)); rungs that coincide are one, which
    keeps the highest level.
    """
    top = REDUCTION ** (count - 1)
    steps_of = {k: -(-steps * REDUCTION**k // top) for k in range(count)}
    last = {step: REDUCTION**k for k, step in steps_of.items()}
    return tuple(Rung(level, step) for step, level in sorted(last.items()))


def epoch_ends(steps: int, epoch: int) -> tuple[Rung, ...]:
    """The ends of the epochs of `epoch` optimizer steps in a schedule of `steps`, numbered from 1;
    the last at the schedule's end, also where that is within an epoch."""
    count = math.ceil(steps / epoch)
    return tuple(Rung(number, min(number * epoch, steps)) for number in range(1, count + 1))
