"""The model of a trial: built afresh from the base model's arrays, for a task.

Knows nothing of trials, Ray, where the arrays come from or where they travel.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging as transformers_logging

from tuner import layers
from tuner.errors import UserError
from tuner.settings import DEFAULT_MODEL
from tuner.tasks import Task

SCORE = "score"
"""The name of a regression's one output."""


@dataclass(frozen=True)
class Weights:
    """All that is needed to build the model of a trial; goes through Ray's object store.

    `config` is the model's configuration as JSON, with the task's labels. `state` holds the base
    model's tensors under their names, floating ones in fp32, without those of the head that are yet
    to be initialised; None means that the whole model is.
    """

    config: str
    state: dict[str, np.ndarray[Any, Any]] | None
    pad_token_id: int
    padding_side: str

    @property
    def fingerprint(self) -> str | None:
        """SHA-256 of the base model's tensors; None when it has none of its own."""
        if self.state is None:
            return None
        digest = hashlib.sha256()
        for name in sorted(self.state):
            array = self.state[name]
            digest.update(f"{name}:{array.dtype}:{array.shape};".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def build_model(
    weights: Weights,
    dropout: float | None = None,
    *,
    reinit_layers: int = 0,
    classifier_dropout: float | None = None,
) -> PreTrainedModel:
    """A fresh model on the CPU, in fp32, ready to be trained.

    Called after seeding: what the base model lacks (the head; everything for `tiny`) is drawn from
    torch's global generator, so equal states of it give equal models, bit for bit. The arrays of
    `weights` are copied: they may be read-only, and shared. `dropout` replaces every dropout rate,
    `classifier_dropout` the one before the classifier. The weights of the top `reinit_layers`
    layers are drawn anew, too (`layers.drop_top`).
    """
    values = json.loads(weights.config)
    config = CONFIG_MAPPING[values["model_type"]].from_dict(values)
    if dropout is not None:
        _set_dropout(config, dropout)
    cls = sequence_classifier(config)
    if weights.state is None:
        network: PreTrainedModel = cls(config)
    else:
        state = {name: torch.tensor(array) for name, array in weights.state.items()}
        if reinit_layers:
            state = layers.drop_top(blank_model(weights), state, reinit_layers)
        with quietly():
            network = cls.from_pretrained(
                None, config=config, state_dict=state, dtype=torch.float32
            )
    if classifier_dropout is not None:
        for module in layers.head_dropouts(network):
            module.p = classifier_dropout
    network.train()
    return network


def blank_model(weights: Weights) -> PreTrainedModel:
    """The model's structure, without memory for its weights."""
    values = json.loads(weights.config)
    config = CONFIG_MAPPING[values["model_type"]].from_dict(values)
    with torch.device("meta"):
        return sequence_classifier(config)(config)


def label_maps(task: Task) -> tuple[dict[int, str], dict[str, int]]:
    """`id2label` and `label2id` of a task's model."""
    names = task.label_names or (SCORE,)
    return dict(enumerate(names)), {name: i for i, name in enumerate(names)}


def set_labels(config: PreTrainedConfig, task: Task) -> None:
    """Have a configuration ask for the task's labels."""
    id2label, label2id = label_maps(task)
    config.num_labels = len(id2label)
    config.id2label, config.label2id = id2label, label2id
    config.problem_type = "regression" if task.regression else "single_label_classification"


def _set_dropout(config: PreTrainedConfig, rate: float) -> None:
    # Names differ: hidden_dropout_prob, attention_dropout, classifier_dropout, embd_pdrop, …
    for name, value in config.to_dict().items():
        named = "dropout" in name or name.endswith("pdrop") or name.endswith("drop_out")
        if named and (value is None or isinstance(value, float)):
            setattr(config, name, rate)


def sequence_classifier(
    config: PreTrainedConfig, model: str | None = None
) -> type[PreTrainedModel]:
    """The class that classifies sequences with such a configuration; `model` is what errors call
    it. Raises UserError where transformers has none."""
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise UserError(
            f"model {model or config.name_or_path!r}: transformers has no sequence classifier of "
            f"type {config.model_type!r}; pass an encoder such as {DEFAULT_MODEL}"
        )
    return cast(type[PreTrainedModel], MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)])


@contextmanager
def quietly() -> Iterator[None]:
    """Without transformers' progress bars and its report on tensors that a new head lacks."""
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
