"""The base model: read once on the driver as plain arrays, with the tokenizer that goes with it.

Knows nothing of trials, Ray or where the arrays travel. Only safetensors are read, and no code that
comes with a model is ever run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any, cast

import torch
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from tuner.errors import UserError
from tuner.models import Weights, quietly, sequence_classifier, set_labels
from tuner.settings import DEFAULT_MODEL, TINY
from tuner.tasks import Task
from tuner.tiny import MAX_LENGTH, tiny_config, train_tokenizer

UNLIMITED = 1_000_000
"""A tokenizer that knows no limit says a number beyond this one."""

USUAL_LIMIT = 512
"""The limit of a model that states none."""


@dataclass(frozen=True)
class Base:
    """A base model with its tokenizer.

    `model_limit` is the longest input in tokens; `name` is fit to be shown: "tiny", a Hub id, or
    the name of a folder; `hub_id` is the Hub id where it is one.
    """

    weights: Weights
    tokenizer: PreTrainedTokenizerFast
    model_limit: int
    name: str
    hub_id: str | None = None


def load_base(model: str, task: Task, training_texts: Callable[[], Iterable[str]]) -> Base:
    """Read the base model `model`: "tiny", a folder, or a Hub id (its local cache will do).

    `training_texts` is called for `tiny` only, whose vocabulary is learnt from them. A tokenizer
    without a pad token gets one, and the embeddings a row for it.
    Raises UserError when there is no such model, when it holds no safetensors, when its tokenizer
    has no fast form or when it cannot classify sequences.
    """
    if model == TINY:
        return _tiny_base(task, training_texts())

    folder = _folder(model)
    source = str(folder) if folder else model
    with quietly():
        config = _read_config(source, model)
        tokenizer = _read_tokenizer(source, model)
        set_labels(config, task)
        network, fresh = _read_network(source, model, config)
        _add_padding(network, tokenizer)
    state = {
        name: (tensor.float() if tensor.is_floating_point() else tensor).numpy()
        for name, tensor in network.state_dict().items()
        if name not in fresh
    }
    weights = Weights(_dump(network.config), state, tokenizer.pad_token_id, tokenizer.padding_side)
    limit = _limit(network, tokenizer)
    name = folder.resolve().name if folder else model
    return Base(weights, tokenizer, limit, name, None if folder else model)


@dataclass(frozen=True)
class Reader:
    """How a base model reads: its tokenizer, its longest input in tokens, its name as in `Base`."""

    tokenizer: PreTrainedTokenizerFast
    model_limit: int
    name: str


def load_reader(model: str, task: Task, training_texts: Callable[[], Iterable[str]]) -> Reader:
    """The tokenizer and the limit of `load_base`, without the weights being read or fetched.

    Raises UserError as `load_base` does.
    """
    if model == TINY:
        return Reader(train_tokenizer(training_texts()), MAX_LENGTH, TINY)
    folder = _folder(model)
    source = str(folder) if folder else model
    with quietly():
        config = _read_config(source, model)
        tokenizer = _read_tokenizer(source, model)
        with torch.device("meta"):
            network = sequence_classifier(config, model)(config)
    name = folder.resolve().name if folder else model
    return Reader(tokenizer, _limit(network, tokenizer), name)


def read_config(model: str) -> dict[str, Any]:
    """The configuration of a model in a folder or on the Hub, as plain data. Raises UserError."""
    folder = _folder(model)
    with quietly():
        config = _read_config(str(folder) if folder else model, model)
    values: dict[str, Any] = config.to_dict()
    return values


def _tiny_base(task: Task, texts: Iterable[str]) -> Base:
    tokenizer = train_tokenizer(texts)
    config = tiny_config(len(tokenizer), tokenizer.pad_token_id)
    set_labels(config, task)
    weights = Weights(_dump(config), None, tokenizer.pad_token_id, tokenizer.padding_side)
    return Base(weights, tokenizer, config.max_position_embeddings, TINY)


def _dump(config: PreTrainedConfig) -> str:
    config.dtype = torch.float32
    values = config.to_dict()
    values.pop("_name_or_path", None)
    return json.dumps(values)


def _folder(model: str) -> Path | None:
    """The folder that `model` names; None when it reads like a Hub id."""
    path = Path(os.path.expanduser(model))
    try:
        if model and path.is_dir():
            _check_folder(path, model)
            return path
        if path.is_file():
            raise UserError(f"model {model!r} is a file; pass the folder that config.json lies in")
        validate_repo_id(model)
    except (OSError, ValueError) as error:  # too long for a file's name; not a Hub id either
        raise UserError(
            f"model {shorten(model, 80)!r}: there is no such folder; pass one that holds "
            f"config.json and model.safetensors, a Hub id such as {DEFAULT_MODEL}, or 'tiny'"
        ) from error
    return None


def _check_folder(folder: Path, model: str) -> None:
    if not (folder / "config.json").is_file():
        raise UserError(
            f"model {model!r} is not a model's folder: it has no config.json; pass a folder that "
            "save_pretrained wrote"
        )
    if any(folder.glob("*.safetensors")):
        return
    if pickles := sorted(p.name for p in folder.glob("*.bin")):
        raise UserError(_only_pickles(model, pickles[0]))
    raise UserError(f"model {model!r} has no weights: no model.safetensors lies in that folder")


def _only_pickles(model: str, file: str) -> str:
    convert = (
        "from transformers import AutoModel; "
        f"AutoModel.from_pretrained({model!r}).save_pretrained('converted')"
    )
    return (
        f"model {model!r} keeps its weights as a pickle ({file}), which could run any code and "
        f'is not read; convert it where you trust it: python -c "{convert}", then pass '
        "--model converted"
    )


def _read_config(source: str, model: str) -> PreTrainedConfig:
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(model, error) from error
    sequence_classifier(config, model)
    return config


def _read_tokenizer(source: str, model: str) -> PreTrainedTokenizerFast:
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError, AttributeError, TypeError) as error:
        raise _unreadable(model, error, "its tokenizer") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UserError(
            f"model {model!r}: its tokenizer {type(tokenizer).__name__} has no fast form, which is "
            "needed; pick a model whose folder has a tokenizer.json"
        )
    return tokenizer


def _unreadable(model: str, error: Exception, what: str = "it") -> UserError:
    reason = " ".join(str(error).split("\n")[0].split()) or type(error).__name__
    way_out = "" if Path(model).is_dir() else "; check the name, or pass a folder: --model DIR"
    return UserError(f"model {model!r}: {what} cannot be read: {reason}{way_out}")


def _read_network(
    source: str, model: str, config: PreTrainedConfig
) -> tuple[PreTrainedModel, set[str]]:
    """The model with the base's weights, and the names of the tensors that the base lacks."""
    cls = sequence_classifier(config, model)
    try:
        loaded: Any = cls.from_pretrained(
            source,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        if "safetensors" in str(error):
            raise UserError(_only_pickles(model, "pytorch_model.bin")) from error
        raise _unreadable(model, error) from error
    network: PreTrainedModel = loaded[0]
    report: dict[str, Any] = loaded[1]
    missing = set(report["missing_keys"]) | {key[0] for key in report["mismatched_keys"]}
    inner = f"{network.base_model_prefix}."
    lacking = sorted(key for key in missing if key.startswith(inner) and "pooler" not in key)
    if lacking:
        raise UserError(
            f"model {model!r}: its weights do not fit its config.json: {len(lacking)} tensors of "
            f"the {config.model_type} encoder are missing or misshapen, the first {lacking[0]!r}"
        )
    return network, missing


def _add_padding(network: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Give the tokenizer a pad token where it has none, and the embeddings a row for it."""
    if tokenizer.pad_token_id is None:
        tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    rows = _embeddings(network).num_embeddings
    if len(tokenizer) > rows:
        # New rows start at zero: rows drawn at random would depend on what ran before.
        network.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        with torch.no_grad():
            _embeddings(network).weight[rows:] = 0.0
    network.config.pad_token_id = tokenizer.pad_token_id


def _embeddings(network: PreTrainedModel) -> torch.nn.Embedding:
    return cast(torch.nn.Embedding, network.get_input_embeddings())


def _limit(network: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> int:
    """The most tokens that both can take."""
    limit = min(_positions(network), tokenizer.model_max_length)
    return limit if limit < UNLIMITED else USUAL_LIMIT


def _positions(network: PreTrainedModel) -> int:
    """The most positions that the network can tell apart."""
    for name, module in network.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            # RoBERTa and its kin count positions from after the padding index.
            offset = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - offset
    stated = getattr(network.config, "max_position_embeddings", None)
    return stated if isinstance(stated, int) and stated > 0 else UNLIMITED
