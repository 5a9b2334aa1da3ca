"""What kind of model a config.json describes, how large it is, and which search space suits it.

The spaces and their sources lie in `search_spaces/`. Knows nothing of transformers or torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.settings import TINY

# Architectures call the same things by different names.
_WIDTHS = ("hidden_size", "dim", "d_model", "n_embd", "emb_dim")
_LAYERS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")

_BASE, _LARGE = 768, 1024
"""The widths of BERT base and BERT large."""

_FULL = 12
"""The layers of BERT base."""


@dataclass(frozen=True)
class Kind:
    """An architecture and its size; None: config.json does not tell."""

    architecture: str
    width: int | None = None
    layers: int | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Kind:
        """The kind of the model that `config`, the content of a config.json, describes."""
        return cls(
            str(config.get("model_type") or "unknown"),
            _first(config, _WIDTHS),
            _first(config, _LAYERS),
        )

    def __str__(self) -> str:
        known = ((self.width, "width {}"), (self.layers, "{} layers"))
        said = [words.format(number) for number, words in known if number is not None]
        return ", ".join([self.architecture, *said])


@dataclass(frozen=True)
class Choice:
    """The search space that `--space auto` takes, and why."""

    space: str
    why: str


def choose(kind: Kind) -> Choice:
    """The built-in search space for a model of `kind`."""
    width, layers = kind.width, kind.layers
    if kind.architecture == "electra":
        return Choice("electra", f"ELECTRA ({kind})")
    if width is None:
        return Choice("default", f"a model of unknown width ({kind})")
    if width < _BASE:
        return Choice("small-models", f"a compact model ({kind})")
    if width >= _LARGE:
        return Choice("roberta-large", f"a large model ({kind})")
    if layers is not None and layers < _FULL:
        return Choice("default", f"a shortened model of BERT's width ({kind})")
    return Choice("bert-base", f"a model of BERT base's size ({kind})")


def choose_here(model: str) -> Choice | None:
    """The choice for `tiny` or a folder, made without any heavy import; None where it takes more,
    as for a Hub id, or where the folder's config.json cannot be read."""
    if model == TINY:
        return Choice("demo", "the built-in tiny model")
    try:
        config = json.loads(Path(os.path.expanduser(model), "config.json").read_bytes())
    except (OSError, ValueError):
        return None
    return choose(Kind.of(config)) if isinstance(config, dict) else None


def _first(config: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    found = (config.get(name) for name in names)
    return next((n for n in found if isinstance(n, int) and not isinstance(n, bool)), None)
