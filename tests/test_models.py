"""Base models: the built-in tiny one, folders of checkpoints, and the models built from them."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    ByT5Tokenizer,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2Model,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    ViTConfig,
)

from tuner.bases import Base, load_base
from tuner.demo import demo_rows
from tuner.errors import UserError
from tuner.models import Weights, build_model
from tuner.tasks import find_task
from tuner.tiny import VOCABULARY, train_tokenizer

RTE = find_task("rte")
STSB = find_task("stsb")


def texts() -> list[str]:
    return [text for row in demo_rows("train")[:500] for text in row[:2]]


def no_texts() -> list[str]:
    raise AssertionError("only the tiny model learns its vocabulary from the texts")


@pytest.fixture(scope="module")
def tiny() -> Base:
    return load_base("tiny", RTE, texts)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Saves a model, a tokenizer or both to a folder of its own."""

    def to_folder(model: PreTrainedModel, tokenizer: Any) -> Path:
        folder = tmp_path / "checkpoint"
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return to_folder


def small_bert(cls: type[PreTrainedModel] = BertModel, **settings: Any) -> PreTrainedModel:
    torch.manual_seed(7)
    shape = {
        "vocab_size": 300,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 40,
    }
    return cls(BertConfig(**shape | settings))


def word_tokenizer(**special: str) -> PreTrainedTokenizerFast:
    words = ["<unk>", "the", "key", "is", "red", "blue", *special.values()]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(words))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", **special)


def built(weights: Weights, seed: int, dropout: float | None = None) -> PreTrainedModel:
    torch.manual_seed(seed)
    return build_model(weights, dropout)


def same(first: PreTrainedModel, second: PreTrainedModel) -> bool:
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_the_tiny_vocabulary_is_the_same_in_every_process_and_for_every_order_of_the_texts() -> (
    None
):
    script = (
        "import random; from tuner.demo import demo_rows; from tuner.tiny import train_tokenizer\n"
        "rows = [text for row in demo_rows('train')[:500] for text in row[:2]]\n"
        "random.Random(1).shuffle(rows)\n"
        "import json; print(json.dumps(train_tokenizer(rows).get_vocab()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert json.loads(done.stdout) == train_tokenizer(texts()).get_vocab()


def test_ties_between_pieces_do_not_change_the_vocabulary_from_one_training_to_the_next() -> None:
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefgh", k=6)) for _ in range(4000)]
    vocabularies = [train_tokenizer([*words, *words]).get_vocab() for _ in range(4)]
    assert len(vocabularies[0]) == VOCABULARY
    assert all(vocabulary == vocabularies[0] for vocabulary in vocabularies)


def test_the_tiny_tokenizer_lower_cases_and_pairs_sentences_as_bert_does(tiny: Base) -> None:
    encoded = tiny.tokenizer("The KEY", "is red")
    tokens = tiny.tokenizer.convert_ids_to_tokens(encoded["input_ids"])
    assert tokens == ["[CLS]", "the", "key", "[SEP]", "is", "red", "[SEP]"]
    assert encoded["token_type_ids"] == [0, 0, 0, 0, 1, 1, 1]
    assert tiny.model_limit == tiny.tokenizer.model_max_length == 128


@pytest.mark.parametrize("name", ["tiny", "minilm"])
def test_equal_seeds_build_equal_models_and_other_seeds_other_heads(
    name: str, request: pytest.FixtureRequest, tiny: Base
) -> None:
    base = tiny
    if name == "minilm":
        base = load_base(str(request.getfixturevalue("minilm")), RTE, no_texts)
    first, other = built(base.weights, 3), built(base.weights, 4)
    assert same(first, built(base.weights, 3))
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    assert first.training
    if name == "minilm":
        assert torch.equal(first.bert.pooler.dense.weight, other.bert.pooler.dense.weight), (
            "only the head is new"
        )


def test_a_build_draws_the_head_alone_from_the_generator(minilm: Path) -> None:
    """Nothing but the head is drawn, and it is drawn first."""
    base = load_base(str(minilm), RTE, no_texts)
    torch.manual_seed(5)
    head = torch.empty(2, 384).normal_(std=0.02)
    assert torch.equal(built(base.weights, 5).classifier.weight, head)


def test_training_a_built_model_leaves_the_shared_arrays_alone(save: Callable[..., Path]) -> None:
    base = load_base(str(save(small_bert(), word_tokenizer(pad_token="<pad>"))), RTE, no_texts)
    assert base.weights.state is not None
    before = {name: array.copy() for name, array in base.weights.state.items()}
    for array in base.weights.state.values():
        array.flags.writeable = False  # as Ray's object store hands them out
    model = built(base.weights, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1.0
    assert all(np.array_equal(before[name], array) for name, array in base.weights.state.items())
    assert all(array.dtype == np.float32 for array in before.values())


def test_labels_and_problem_type_come_from_the_task(tiny: Base) -> None:
    config = built(tiny.weights, 0).config
    assert config.id2label == dict(enumerate(RTE.label_names))
    assert config.label2id == {label: number for number, label in enumerate(RTE.label_names)}
    assert config.problem_type == "single_label_classification"
    regression = built(load_base("tiny", STSB, texts).weights, 0).config
    assert (regression.num_labels, regression.problem_type) == (1, "regression")


def test_loading_and_building_say_nothing(
    minilm: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    built(load_base(str(minilm), RTE, no_texts).weights, 0)
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_dropout_can_be_turned_off_everywhere(minilm: Path) -> None:
    weights = load_base(str(minilm), RTE, no_texts).weights

    def rates(model: PreTrainedModel) -> set[float]:
        return {part.p for part in model.modules() if isinstance(part, torch.nn.Dropout)}

    assert rates(built(weights, 0)) == {0.1}
    quiet = built(weights, 0, dropout=0.0)
    assert rates(quiet) == {0.0}
    assert quiet.config.attention_probs_dropout_prob == 0.0


def test_a_tokenizer_without_a_pad_token_gets_one_and_the_embeddings_a_row(
    save: Callable[..., Path],
) -> None:
    torch.manual_seed(7)
    tokenizer = word_tokenizer(eos_token="<eos>")
    words = len(tokenizer)
    network = GPT2Model(
        GPT2Config(
            vocab_size=words, n_embd=16, n_layer=1, n_head=2, n_positions=24, pad_token_id=None
        )
    )
    base = load_base(str(save(network, tokenizer)), RTE, no_texts)
    assert base.tokenizer.pad_token_id == base.weights.pad_token_id == words
    assert base.model_limit == 24
    model = built(base.weights, 0).eval()
    assert isinstance(model, GPT2ForSequenceClassification)
    assert model.transformer.wte.num_embeddings == words + 1
    assert model.config.pad_token_id == words

    alone = base.tokenizer(["the key is red"], return_tensors="pt", padding=True)
    padded = base.tokenizer(["the key is red", "red " * 9], return_tensors="pt", padding=True)
    with torch.no_grad():
        logits = model(**alone).logits[0]
        torch.testing.assert_close(model(**padded).logits[0], logits)


def test_a_head_that_fits_the_task_is_kept_and_one_of_another_shape_is_new(
    save: Callable[..., Path],
) -> None:
    trained = small_bert(BertForSequenceClassification, num_labels=2)
    folder = str(save(trained, word_tokenizer(pad_token="<pad>")))
    kept = built(load_base(folder, RTE, no_texts).weights, 0)
    assert torch.equal(kept.classifier.weight, trained.classifier.weight)
    mnli = built(load_base(folder, find_task("mnli"), no_texts).weights, 0)
    assert mnli.classifier.weight.shape == (3, 16)
    assert torch.equal(
        mnli.bert.encoder.layer[0].output.dense.weight,
        trained.bert.encoder.layer[0].output.dense.weight,
    )


def test_half_precision_checkpoints_are_built_in_fp32(save: Callable[..., Path]) -> None:
    folder = save(small_bert().to(torch.bfloat16), word_tokenizer(pad_token="<pad>"))
    base = load_base(str(folder), RTE, no_texts)
    assert {parameter.dtype for parameter in built(base.weights, 0).parameters()} == {torch.float32}


def test_the_limit_of_a_model_that_counts_positions_after_its_padding(
    save: Callable[..., Path],
) -> None:
    config = RobertaConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=34,
        pad_token_id=1,
    )
    tokenizer = word_tokenizer(pad_token="the")  # id 1, as RoBERTa's
    base = load_base(str(save(RobertaModel(config), tokenizer)), RTE, no_texts)
    assert base.model_limit == 32
    longest = base.tokenizer(["red " * 32], return_tensors="pt", return_token_type_ids=False)
    assert built(base.weights, 0)(**longest).logits.shape == (1, 2)


def test_a_folder_is_shown_by_its_name_and_is_no_hub_id(save: Callable[..., Path]) -> None:
    base = load_base(str(save(small_bert(), word_tokenizer(pad_token="<pad>"))), RTE, no_texts)
    assert (base.name, base.hub_id) == ("checkpoint", None)
    assert str(Path.cwd()) not in base.weights.config
    assert "checkpoint" not in base.weights.config


def test_a_checkpoint_kept_as_a_pickle_is_refused_with_the_way_to_convert_it(
    save: Callable[..., Path],
) -> None:
    model = small_bert()
    folder = save(model, word_tokenizer(pad_token="<pad>"))
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pickle \(pytorch_model.bin\).*save_pretrained"):
        load_base(str(folder), RTE, no_texts)


def test_a_tokenizer_that_has_no_fast_form_is_refused_by_name(save: Callable[..., Path]) -> None:
    folder = save(small_bert(), ByT5Tokenizer())
    with pytest.raises(UserError, match="ByT5Tokenizer has no fast form"):
        load_base(str(folder), RTE, no_texts)


def test_weights_that_do_not_fit_the_configuration_are_refused(save: Callable[..., Path]) -> None:
    folder = save(small_bert(), word_tokenizer(pad_token="<pad>"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    with pytest.raises(UserError, match=r"do not fit its config\.json: 16 tensors"):
        load_base(str(folder), RTE, no_texts)


def test_code_that_comes_with_a_model_is_never_run(save: Callable[..., Path]) -> None:
    folder = save(small_bert(), word_tokenizer(pad_token="<pad>"))
    config = json.loads((folder / "config.json").read_text())
    own = {"model_type": "own", "auto_map": {"AutoConfig": "code.Own"}}
    (folder / "config.json").write_text(json.dumps(config | own))
    (folder / "code.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    with pytest.raises(UserError, match="cannot be read"):
        load_base(str(folder), RTE, no_texts)
    assert not (folder / "ran").exists()


def test_a_model_that_cannot_classify_sequences_is_refused(save: Callable[..., Path]) -> None:
    folder = save(small_bert(), word_tokenizer(pad_token="<pad>"))
    ViTConfig().save_pretrained(folder)
    with pytest.raises(UserError, match="no sequence classifier of type 'vit'"):
        load_base(str(folder), RTE, no_texts)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("./nowhere", "there is no such folder"),
        ("/nowhere/at/all", "there is no such folder"),
        ("a/b/c", "there is no such folder"),
        ("", "there is no such folder"),
        ("x" * 3000, "there is no such folder"),
        ("nobody/has-this-model", "pass a folder: --model DIR"),
    ],
)
def test_a_model_that_is_nowhere_is_the_users_error(model: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        load_base(model, RTE, no_texts)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_folder_without_a_model_and_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"it has no config\.json"):
        load_base(str(tmp_path), RTE, no_texts)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="no weights"):
        load_base(str(tmp_path), RTE, no_texts)
    with pytest.raises(UserError, match="is a file"):
        load_base(str(tmp_path / "config.json"), RTE, no_texts)
