"""The layers of a classifier's encoder, found by its structure, and what may be done to them: start
the top ones anew, give lower ones smaller learning rates, set the dropout before the classifier.

Knows transformers' conventions, and no architecture by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn, optim
from transformers import PreTrainedModel

from tuner.hyperparameters import CLASSIFIER_DROPOUT, LAYER_DECAY, REINIT_LAYERS


@dataclass(frozen=True)
class Stack:
    """An encoder's layers: layer i's weights are called `name`.i and so on, 0 at the bottom."""

    name: str
    count: int

    def index(self, weight: str) -> int | None:
        """The number of the layer that a weight of that name belongs to; None: to no layer."""
        if not weight.startswith(f"{self.name}."):
            return None
        return int(weight[len(self.name) + 1 :].partition(".")[0])


def stack(network: PreTrainedModel) -> Stack | None:
    """The network's one list of as many layers as its configuration counts.

    None where there is no such list (ALBERT shares one layer's weights, Funnel has blocks), or more
    than one (an encoder and a decoder).
    """
    count = getattr(network.config, "num_hidden_layers", None)
    lists = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.ModuleList)
        and len(module) == count
        and len({type(layer) for layer in module}) == 1
    ]
    outer = [name for name in lists if not any(name.startswith(f"{other}.") for other in lists)]
    return Stack(outer[0], int(count or 0)) if len(outer) == 1 else None


def head_dropouts(network: PreTrainedModel) -> list[nn.Dropout]:
    """The dropout that the classifier's input goes through, outside the encoder and any pooler.

    Lan et al. 2020, "ALBERT" (arXiv:1909.11942), table 14: "classifier DR", 0 or 0.1 by task.
    """
    encoder = f"{network.base_model_prefix}."
    return [
        module
        for name, module in network.named_modules()
        if isinstance(module, nn.Dropout)
        and not name.startswith(encoder)
        and "pooler" not in name.split(".")
    ]


def refusal(network: PreTrainedModel, name: str, most: float) -> str | None:
    """Why the hyperparameter `name` cannot go up to `most` for this network; None where it can."""
    kind = network.config.model_type
    if name == CLASSIFIER_DROPOUT:
        return None if head_dropouts(network) else f"{kind} has no dropout before its classifier"
    if name not in (LAYER_DECAY, REINIT_LAYERS):
        return None
    found = stack(network)
    if found is None:
        return f"{kind} has no single stack of layers with weights of their own"
    if name == REINIT_LAYERS and most > found.count:
        return f"{most:g} layers are more than the model's {found.count}"
    return None


def drop_top(network: PreTrainedModel, state: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """`state` without the weights of the top `layers` layers and of the encoder's pooler, which
    transformers then draws anew, as it does a head's.

    Zhang et al. 2021, "Revisiting Few-sample BERT Fine-tuning" (arXiv:2006.05987), section 5: the
    pooler and the top one to six layers of BERT large, for small data sets.
    """
    found = stack(network)
    if found is None:
        raise ValueError(refusal(network, REINIT_LAYERS, layers))
    first = found.count - layers

    def stays(weight: str) -> bool:
        index = found.index(weight)
        return "pooler" not in weight.split(".") if index is None else index < first

    return {weight: value for weight, value in state.items() if stays(weight)}


def rate_shares(network: PreTrainedModel, decay: float) -> dict[str, float]:
    """The share of the learning rate that each weight gets, by its name.

    All of it for the head and the top layer, `decay` times that of the layer above for each layer
    below, and once more for the embeddings: every embedding table, and what the encoder has before
    its layers. Howard & Ruder 2018, "Universal Language Model Fine-tuning" (arXiv:1801.06146),
    section 3.2; Clark et al. 2020, "ELECTRA" (arXiv:2003.10555), table 7, whose code gives the top
    layer `decay` squared; Zhang et al. 2021 (arXiv:2006.05987), section 2.
    """
    found = stack(network)
    if found is None:
        raise ValueError(refusal(network, LAYER_DECAY, decay))
    encoder = f"{network.base_model_prefix}."
    tables = {
        f"{name}.weight"
        for name, module in network.named_modules()
        if isinstance(module, nn.Embedding)
    }
    shares: dict[str, float] = {}
    below = True
    for name, _ in network.named_parameters():
        index = found.index(name)
        below = below and index is None
        if index is not None:
            shares[name] = decay ** (found.count - 1 - index)
        else:
            lowest = name in tables or (below and name.startswith(encoder))
            shares[name] = decay**found.count if lowest else 1.0
    return shares


def spread_rates(optimizer: optim.Optimizer, network: PreTrainedModel, decay: float) -> None:
    """Split the groups of a fresh optimizer so that each weight has its share of the group's rate.

    Whatever else distinguishes the groups, such as weight decay, stays as it is.
    """
    shares = rate_shares(network, decay)
    by_weight = {id(weight): shares[name] for name, weight in network.named_parameters()}
    groups: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        parts: dict[float, list[nn.Parameter]] = {}
        for weight in group["params"]:
            parts.setdefault(by_weight[id(weight)], []).append(weight)
        groups += [
            {**group, "params": weights, "lr": group["lr"] * share}
            for share, weights in sorted(parts.items())
        ]
    optimizer.param_groups[:] = groups
