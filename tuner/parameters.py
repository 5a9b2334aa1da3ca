"""Which of Hugging Face's `TrainingArguments` a trial may set, of what type, within what bounds;
and the few hyperparameters of our own beside them.

The types come from the installed transformers, imported only when they are asked for. Knows
nothing of search spaces.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass

from tuner.collection import collection_paused
from tuner.errors import UserError, suggestion
from tuner.hyperparameters import (
    BATCH,
    CLASSIFIER_DROPOUT,
    EPOCHS,
    LAYER_DECAY,
    LEARNING_RATE,
    OUR_OWN,
    REINIT_LAYERS,
    SEED,
    Value,
)

Fields = Mapping[str, type]
"""Names that a trial may set to their types: bool, int, float, str, or an Enum of the names."""

WHOLE = frozenset({BATCH, SEED, REINIT_LAYERS})
"""The fields that take whole numbers only, whatever the version of transformers."""


@dataclass(frozen=True)
class Bounds:
    """What numbers a field takes, and the same in words."""

    rule: str
    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    """Whether `low` itself is out."""
    below: bool = False
    """Whether `high` itself is out."""

    def hold(self, value: float) -> bool:
        low = value > self.low if self.above else value >= self.low
        high = value < self.high if self.below else value <= self.high
        return low and high and math.isfinite(value)


_POSITIVE = Bounds("must be above 0", low=0, above=True)
_NATURAL = Bounds("must be at least 0", low=0)
_SHARE = Bounds("must be at least 0 and below 1", low=0, high=1, below=True)
_BOUNDS: dict[str, Bounds] = {
    LEARNING_RATE: _POSITIVE,
    EPOCHS: _POSITIVE,
    BATCH: Bounds("must be at least 1", low=1),
    SEED: Bounds("must be from 0 to 2^32 - 1", low=0, high=2**32 - 1),
    "weight_decay": _NATURAL,
    "warmup_steps": _NATURAL,
    "warmup_ratio": Bounds("must be from 0 to 1", low=0, high=1),
    "adam_beta1": _SHARE,
    "adam_beta2": _SHARE,
    "adam_epsilon": _POSITIVE,
    "max_grad_norm": _NATURAL,
    "label_smoothing_factor": _SHARE,
    "neftune_noise_alpha": _POSITIVE,
    LAYER_DECAY: Bounds("must be above 0 and at most 1", low=0, high=1, above=True),
    REINIT_LAYERS: _NATURAL,
    CLASSIFIER_DROPOUT: _SHARE,
}
_ALLOWED = (
    *_BOUNDS,
    "lr_scheduler_type",
    "lr_scheduler_kwargs",
    "optim",
    "optim_args",
    "gradient_checkpointing",
    "activation_checkpointing",
)
_ANY = Bounds("must be a finite number")

_SCORING = "trials are scored at their rungs; see --rungs and --objective"
_KEEPING = "a run keeps its own checkpoints; see --checkpoint-every"
_RECORDS = "a run keeps its own records"
_PLACES = "slots and workers are laid out by --slots, --workers-per-trial and --gpus-per-worker"
_BATCHES = "batches are grouped by length by a sampler of our own"
_SAME = "it must be the same for every trial of a slot"
_REASONS: dict[str, str] = {
    "auto_find_batch_size": f"the batch is cut to fit; set {BATCH}, the effective batch size",
    "gradient_accumulation_steps": f"the batch is cut to fit; set {BATCH}, the effective size",
    "max_steps": f"a schedule is given in epochs; set {EPOCHS}",
    "data_seed": f"one seed orders the data and starts the model; set {SEED}",
    "output_dir": "a run has its own folder; see --storage and --name",
    "run_name": "a run is named by --name",
    "project": _RECORDS,
    "report_to": _RECORDS,
    "disable_tqdm": _RECORDS,
    "include_num_input_tokens_seen": _RECORDS,
    "skip_memory_metrics": _RECORDS,
    "debug": _RECORDS,
    "per_device_eval_batch_size": _SCORING,
    "batch_eval_metrics": _SCORING,
    "prediction_loss_only": _SCORING,
    "include_for_metrics": _SCORING,
    "metric_for_best_model": _SCORING,
    "greater_is_better": _SCORING,
    "load_best_model_at_end": _SCORING,
    "label_names": _SCORING,
    "enable_jit_checkpoint": _KEEPING,
    "resume_from_checkpoint": _KEEPING,
    "ignore_data_skip": _KEEPING,
    "restore_callback_states_from_checkpoint": _KEEPING,
    "push_to_hub": "the exported model is yours to push",
    "fp16": "the precision is set by --precision",
    "tf32": _SAME,
    "use_cpu": _PLACES,
    "local_rank": _PLACES,
    "deepspeed": _PLACES,
    "accelerator_config": _PLACES,
    "parallelism_config": _PLACES,
    "average_tokens_across_devices": _PLACES,
    "full_determinism": _SAME,
    "use_liger_kernel": _SAME,
    "liger_kernel_config": _SAME,
    "remove_unused_columns": _BATCHES,
    "group_by_length": _BATCHES,
    "train_sampling_strategy": _BATCHES,
    "length_column_name": _BATCHES,
}
_REASONS_BY_START: dict[str, str] = {
    "eval_": _SCORING,
    "save_": _KEEPING,
    "log_": _RECORDS,
    "logging_": _RECORDS,
    "trackio_": _RECORDS,
    "hub_": "the exported model is yours to push",
    "fp16_": "the precision is set by --precision",
    "bf16": "the precision is set by --precision",
    "ddp_": _PLACES,
    "fsdp": _PLACES,
    "dataloader_": _BATCHES,
    "do_": "a run searches, trains and scores by itself",
    "torch_": _SAME,
}
_UNFIT: dict[tuple[str, str], str] = {
    ("lr_scheduler_type", "reduce_lr_on_plateau"): "it needs evaluations between the rungs",
    ("lr_scheduler_type", "greedy"): "it needs evaluations between the rungs",
}
_SHORT = {
    "lr": LEARNING_RATE,
    "epochs": EPOCHS,
    "batch_size": BATCH,
    "warmup": "warmup_steps",
    "llrd": LAYER_DECAY,
    "layerwise_lr_decay_power": LAYER_DECAY,
}
"""What people call them."""


def refusal(name: str) -> str | None:
    """Why a trial may not set `name`, for the fields that a run takes care of itself."""
    if name in _REASONS:
        return _REASONS[name]
    return next((why for start, why in _REASONS_BY_START.items() if name.startswith(start)), None)


def fields() -> dict[str, type]:
    """What a trial may set, with its type, as the installed transformers has it.

    Imports transformers, which takes seconds.
    """
    with collection_paused():
        from transformers import TrainingArguments

    hints = typing.get_type_hints(TrainingArguments)
    found: dict[str, type] = {}
    for field in dataclasses.fields(TrainingArguments):
        kind = _scalar(hints[field.name]) if field.name in _ALLOWED else None
        if kind is not None:
            found[field.name] = kind
    return found | OUR_OWN


def _scalar(hint: object) -> type | None:
    """The single type that a field's annotation stands for: of a union, the most telling one."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    members = typing.get_args(hint) if union else (hint,)
    kinds = [member for member in members if isinstance(member, type)]
    for kind in kinds:
        if issubclass(kind, enum.Enum):
            return kind
    return next((kind for kind in (bool, int, float, str) if kind in kinds), None)


def check_name(name: str, known: Fields | None = None) -> None:
    """Raises UserError when a trial may not set `name`; `known` None: only what is surely wrong."""
    why = refusal(name)
    if why:
        raise UserError(f"{name}: cannot be set per trial: {why}")
    if known is None or name in known:
        return
    if name == "warmup_ratio" and "warmup_steps" in known:
        raise UserError(
            "warmup_ratio: the installed transformers has it no more; use warmup_steps, "
            "which below 1 is a share of the schedule (warmup_steps: 0.06)"
        )
    near = suggestion(_SHORT.get(name, name), known) or f"; there are {', '.join(sorted(known))}"
    raise UserError(f"{name}: is no hyperparameter of a trial{near}")


def check_value(name: str, value: object, known: Fields | None = None) -> Value:
    """`value` as the field takes it: `16.0` becomes 16 where whole numbers are asked for.

    Checks bounds always, the name and the type when `known` is given (see `fields`). Raises
    UserError, which begins with the name.
    """
    check_name(name, known)
    if not isinstance(value, bool | int | float | str):
        raise UserError(f"{name}: {value!r} must be one number, truth value or text")
    kind = known[name] if known is not None else _kind_without_fields(name)
    if kind is None:
        return value
    if issubclass(kind, enum.Enum):
        return _one_of(name, value, kind)
    if kind is bool:
        if not isinstance(value, bool):
            raise UserError(f"{name}: {value!r} must be true or false")
        return value
    if kind is str:
        return _words(name, value)
    return _number(name, value, whole=kind is int)


def _kind_without_fields(name: str) -> type | None:
    return int if name in WHOLE else float if name in _BOUNDS else None


def _number(name: str, value: Value, whole: bool) -> int | float:
    if isinstance(value, bool | str):
        raise UserError(f"{name}: {value!r} must be a {'whole ' if whole else ''}number")
    if whole and isinstance(value, float):
        if not value.is_integer():
            raise UserError(f"{name}: {value} must be a whole number")
        value = int(value)
    for bounds in (_ANY, _BOUNDS.get(name, _ANY)):
        if not bounds.hold(value):
            raise UserError(f"{name}: {value} {bounds.rule}")
    return value


def _one_of(name: str, value: Value, kind: type[enum.Enum]) -> str:
    if (name, value) in _UNFIT:
        raise UserError(f"{name}: {value!r} cannot be used: {_UNFIT[name, str(value)]}")
    names = [str(member.value) for member in kind]
    names = [each for each in names if (name, each) not in _UNFIT]
    if value not in names:
        near = suggestion(str(value), names) or f"; use one of {', '.join(names)}"
        raise UserError(f"{name}: there is no {value!r}{near}")
    return str(value)


def _words(name: str, value: Value) -> str:
    if not isinstance(value, str) or not value:
        raise UserError(f"{name}: {value!r} must be text; put it in quotes")
    if name.endswith("_kwargs"):
        try:
            inner = json.loads(value)
        except ValueError:
            inner = None
        if not isinstance(inner, dict):
            raise UserError(f"{name}: {value!r} must be JSON, such as '{{\"num_cycles\": 2}}'")
    return value
