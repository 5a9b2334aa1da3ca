"""Hyperparameters beyond TrainingArguments, on every kind of encoder: lower rates for lower layers,
top layers started anew, the dropout before the classifier. Random models, nothing fetched."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, TrainerCallback

from tests.glue_files import write_rte
from tests.test_bench import CONFIGURATION, run, saying
from tests.toy import numbers, toy_materials, toy_weights
from tuner.arguments import training_arguments
from tuner.batches import GroupedBatches
from tuner.bench import Bench
from tuner.errors import UserError
from tuner.hyperparameters import cut_batch
from tuner.layers import rate_shares, refusal, stack
from tuner.models import Weights, build_model
from tuner.parameters import check_value, fields
from tuner.preparation import prepare, resolve
from tuner.progress import Silent
from tuner.settings import Settings
from tuner.training import SlotTrainer

WIDE: dict[str, Any] = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
BERT = {**WIDE, "num_hidden_layers": 4, "vocab_size": 50, "max_position_embeddings": 40}
KINDS: dict[str, dict[str, Any]] = {
    "bert": BERT,
    "roberta": BERT,
    "electra": {**BERT, "embedding_size": 8},
    "deberta-v2": {**BERT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "modernbert": {**BERT, "pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2},
    "distilbert": {"dim": 16, "n_heads": 2, "hidden_dim": 32, "n_layers": 4, "vocab_size": 50},
    "gpt2": {"n_embd": 16, "n_head": 2, "n_layer": 4, "vocab_size": 50, "n_positions": 40},
}
SHARED: dict[str, dict[str, Any]] = {
    "albert": {**BERT, "embedding_size": 8},
    "bart": {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "vocab_size": 50},
    "funnel": {"d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 32, "block_sizes": [2, 2]},
}


def network_of(kind: str) -> Any:
    torch.manual_seed(0)
    sizes = {**KINDS, **SHARED}[kind]
    return AutoModelForSequenceClassification.from_config(AutoConfig.for_model(kind, **sizes))


def weights_of(kind: str) -> Weights:
    """As `load_base` leaves them: with the encoder's weights and without the head's."""
    network = network_of(kind)
    inside = f"{network.base_model_prefix}."
    state = {n: t.numpy() for n, t in network.state_dict().items() if n.startswith(inside)}
    return Weights(json.dumps(network.config.to_dict()), state, 0, "right")


def built(weights: Weights, seed: int = 1, **shape: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return build_model(weights, **shape).state_dict()


@pytest.mark.parametrize("kind", KINDS)
def test_rates_fall_from_the_head_to_the_embeddings(kind: str) -> None:
    network = network_of(kind)
    found = stack(network)
    assert found is not None
    assert found.count == 4
    shares = rate_shares(network, 0.5)
    assert set(shares) == {name for name, _ in network.named_parameters()}
    seen = {}
    for name, share in shares.items():
        if (index := found.index(name)) is not None:
            seen.setdefault(index, set()).add(share)
        elif not name.startswith(f"{network.base_model_prefix}.") or "pooler" in name:
            assert share == 1.0, name
    assert seen == {0: {0.125}, 1: {0.25}, 2: {0.5}, 3: {1.0}}
    for name, module in network.named_modules():
        if isinstance(module, nn.Embedding):
            assert shares[f"{name}.weight"] == 0.0625, name
    assert set(rate_shares(network, 1.0).values()) == {1.0}


@pytest.mark.parametrize("kind", KINDS)
def test_the_top_layers_start_anew_and_nothing_else_changes(kind: str) -> None:
    weights = weights_of(kind)
    assert weights.state is not None
    found = stack(network_of(kind))
    assert found is not None
    anew = built(weights, reinit_layers=2)
    matrices = 0
    for name, before in weights.state.items():
        index = found.index(name)
        drawn = (index is not None and index >= 2) or "pooler" in name.split(".")
        if not drawn:
            assert np.array_equal(anew[name].numpy(), before), name
        elif before.ndim == 2:  # the others start at what they are here
            matrices += 1
            assert not np.array_equal(anew[name].numpy(), before), name
            assert 0 < anew[name].std() < 0.2
        else:
            assert torch.isfinite(anew[name]).all()
    assert matrices >= 4
    again = built(weights, reinit_layers=2)
    assert all(torch.equal(anew[name], again[name]) for name in anew)


@pytest.mark.parametrize(
    "kind", ["bert", "roberta", "electra", "distilbert", "deberta-v2", "albert"]
)
def test_the_dropout_before_the_classifier_is_set_alone(kind: str) -> None:
    weights = weights_of(kind)

    def rates(**shape: Any) -> dict[str, float]:
        modules = build_model(weights, **shape).named_modules()
        return {name: module.p for name, module in modules if isinstance(module, nn.Dropout)}

    before, after = rates(), rates(classifier_dropout=0.35)
    changed = {name for name in before if before[name] != after[name]}
    assert len(changed) == 1
    assert {after[name] for name in changed} == {0.35}
    plain, set_ = built(weights), built(weights, classifier_dropout=0.35)
    assert all(torch.equal(plain[name], set_[name]) for name in plain)


@pytest.mark.parametrize("kind", SHARED)
def test_an_encoder_without_layers_of_its_own_is_refused_with_the_reason(kind: str) -> None:
    network = network_of(kind)
    for name in ("layerwise_lr_decay", "reinit_layers"):
        assert "no single stack of layers" in str(refusal(network, name, 1))
    assert "gpt2 has no dropout" in str(refusal(network_of("gpt2"), "classifier_dropout", 0.1))
    assert "more than the model's 4" in str(refusal(network_of("bert"), "reinit_layers", 5))
    assert refusal(network_of("bert"), "reinit_layers", 4) is None
    assert refusal(network, "weight_decay", 0.1) is None


def test_groups_keep_hugging_faces_weight_decay_and_the_schedule_scales_them_all(
    tmp_path: Path,
) -> None:
    materials = toy_materials()
    batch = cut_batch(8, 1)
    configuration = {**CONFIGURATION, "weight_decay": 0.1, "warmup_steps": 2}

    def trainer(decay: float) -> SlotTrainer:
        arguments = training_arguments(
            configuration,
            batch,
            10,
            str(tmp_path),
            precision="fp32",
            gpus=0,
            unused_parameters=False,
        )
        made = SlotTrainer(
            args=arguments,
            model_init=lambda: build_model(toy_weights(2)),
            rows=materials.training_rows,
            padding=materials.padding,
            batches=GroupedBatches(materials.training_rows.lengths, batch, 7, 0),
            regression=False,
            callback=TrainerCallback(),
            keep=lambda: None,
            mark=lambda place: None,
            layer_decay=decay,
        )
        made.create_optimizer_and_scheduler(10)
        return made

    plain, spread = trainer(1.0), trainer(0.5)
    names = {id(weight): name for name, weight in spread.network.named_parameters()}
    decays = {
        names[id(w)]: g["weight_decay"] for g in spread.optimizer.param_groups for w in g["params"]
    }
    theirs = {id(weight): name for name, weight in plain.network.named_parameters()}
    assert len(plain.optimizer.param_groups) == 2
    for group in plain.optimizer.param_groups:
        assert {decays.pop(theirs[id(w)]) for w in group["params"]} == {group["weight_decay"]}
    assert not decays
    shares = rate_shares(spread.network, 0.5)
    assert set(shares.values()) == {0.5, 1.0}  # one layer
    for _ in range(6):
        for group in spread.optimizer.param_groups:
            ((share),) = {shares[names[id(weight)]] for weight in group["params"]}
            assert group["lr"] == pytest.approx(plain.optimizer.param_groups[0]["lr"] * share)
        for each in (plain, spread):
            each.optimizer.step()
            each.lr_scheduler.step()


OURS = {"layerwise_lr_decay": 0.7, "classifier_dropout": 0.3, "reinit_layers": 1}


def fresh() -> Bench:
    """A bench with a base model, and with dropout, so that the state of the generators counts."""
    return Bench(replace(toy_materials(), weights=weights_of("bert")))


@pytest.fixture(scope="module")
def bench() -> Bench:
    return fresh()


def test_what_is_left_out_changes_no_loss(bench: Bench) -> None:
    off = {"layerwise_lr_decay": 1.0, "reinit_layers": 0, "classifier_dropout": 0.1}
    assert numbers(run(bench, configuration=off)) == numbers(run(bench))


@pytest.mark.parametrize("name", OURS)
def test_each_changes_what_is_learnt_and_a_used_bench_repeats_it(bench: Bench, name: str) -> None:
    ours = {name: OURS[name]}
    first = numbers(run(fresh(), configuration=ours))
    plain = numbers(run(bench))
    assert first != plain
    assert numbers(run(bench, configuration=ours)) == first
    assert numbers(run(bench)) == plain


def test_a_trial_with_them_goes_on_from_a_checkpoint_bit_for_bit(
    bench: Bench, tmp_path: Path
) -> None:
    kept = str(tmp_path / "t0")
    whole = numbers(run(bench, configuration=OURS))
    options: dict[str, Any] = {"checkpoints": kept, "checkpoint_every": 0.0}
    with pytest.raises(KeyboardInterrupt):
        run(bench, saying("go"), configuration=OURS, **options)
    rest = numbers(run(bench, configuration=OURS, **options))
    assert rest == whole[-len(rest) :]
    assert len(rest) < len(whole)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("layerwise_lr_decay", 0, "must be above 0 and at most 1"),
        ("layerwise_lr_decay", 1.1, "must be above 0 and at most 1"),
        ("reinit_layers", 1.5, "must be a whole number"),
        ("reinit_layers", -1, "must be at least 0"),
        ("classifier_dropout", 1, "must be at least 0 and below 1"),
    ],
)
def test_bounds_are_checked_as_for_any_other(name: str, value: float, rule: str) -> None:
    for known in (None, fields()):
        with pytest.raises(UserError, match=f"{name}: .*{rule}"):
            check_value(name, value, known)
    assert check_value("reinit_layers", 2.0, fields()) == 2


def test_a_model_that_cannot_have_them_is_refused_before_the_search(tmp_path: Path) -> None:
    data = str(write_rte(tmp_path / "glue"))

    def notes(**ours: Any) -> tuple[str, ...]:
        settings, task = resolve(Settings(task="rte", model="tiny", data=data, set=ours))
        return prepare(settings, task, Silent()).warnings

    with pytest.raises(
        UserError, match="reinit_layers, which the model tiny cannot have: 3 layers"
    ):
        notes(reinit_layers=3)
    assert not any("reinit" in note for note in notes(layerwise_lr_decay=0.5))
    assert "reinit_layers changes nothing: tiny is trained from scratch" in notes(reinit_layers=1)
