"""Which search space a model is given: by the kind and the size in its config.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoConfig

from tests.glue_files import write_rte
from tuner.bases import read_config
from tuner.identity import describe
from tuner.kinds import Kind, choose, choose_here
from tuner.preparation import prepare, resolve
from tuner.progress import Silent
from tuner.resources import Layout
from tuner.runs import Run
from tuner.settings import Settings, read_run_file
from tuner.spaces import built_in_spaces

SIZES = {
    "bert": ("hidden_size", "num_hidden_layers"),
    "roberta": ("hidden_size", "num_hidden_layers"),
    "electra": ("hidden_size", "num_hidden_layers"),
    "albert": ("hidden_size", "num_hidden_layers"),
    "deberta-v2": ("hidden_size", "num_hidden_layers"),
    "modernbert": ("hidden_size", "num_hidden_layers"),
    "distilbert": ("dim", "n_layers"),
    "gpt2": ("n_embd", "n_layer"),
    "xlm": ("emb_dim", "n_layers"),
    "bart": ("d_model", "num_hidden_layers"),
}


@pytest.mark.parametrize(
    ("model_type", "width", "layers", "space"),
    [
        ("bert", 128, 2, "small-models"),  # BERT-Tiny
        ("bert", 384, 6, "small-models"),  # MiniLM
        ("deberta-v2", 384, 12, "small-models"),  # DeBERTa-v3-xsmall
        ("distilbert", 768, 6, "default"),
        ("roberta", 768, 6, "default"),  # DistilRoBERTa
        ("bert", 768, 12, "bert-base"),
        ("roberta", 768, 12, "bert-base"),
        ("albert", 768, 12, "bert-base"),
        ("modernbert", 768, 22, "bert-base"),
        ("gpt2", 768, 12, "bert-base"),
        ("roberta", 1024, 24, "roberta-large"),
        ("bert", 1024, 24, "roberta-large"),
        ("xlm", 2048, 12, "roberta-large"),
        ("bart", 1024, 12, "roberta-large"),
        ("electra", 256, 12, "electra"),
        ("electra", 768, 12, "electra"),
        ("electra", 1024, 24, "electra"),
    ],
)
def test_a_space_is_chosen_by_what_config_json_says(
    tmp_path: Path, model_type: str, width: int, layers: int, space: str
) -> None:
    names = dict(zip(SIZES[model_type], (width, layers), strict=True))
    config = AutoConfig.for_model(model_type, **names)
    config.save_pretrained(tmp_path)
    choice = choose_here(str(tmp_path))
    assert choice is not None
    assert choice.space == space
    # A Hub id's is read through transformers, to the same end.
    assert choose(Kind.of(config.to_dict())) == choice
    assert model_type in choice.why or model_type.upper() in choice.why
    assert str(width) in choice.why


def test_a_model_of_unknown_size_gets_the_widest_space() -> None:
    assert choose(Kind.of({"model_type": "canine", "hidden_size": None})).space == "default"
    assert choose(Kind.of({})).space == "default"


def test_every_choice_is_a_built_in_space() -> None:
    widths = (128, 768, 1024, None)
    kinds = [Kind(a, w, n) for a in ("bert", "electra") for w in widths for n in (6, 12, None)]
    assert {choose(kind).space for kind in kinds} <= {space.name for space in built_in_spaces()}


@pytest.mark.parametrize("content", [None, "", "[1]", "\x00"])
def test_what_cannot_be_read_here_is_left_to_whoever_loads_it(
    tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    assert choose_here(str(tmp_path)) is None
    assert choose_here("google/electra-small-discriminator") is None


def test_the_space_of_a_run_is_written_down_by_name_with_the_reason(tmp_path: Path) -> None:
    data = str(write_rte(tmp_path / "glue"))
    settings, task = resolve(Settings(task="rte", model="tiny", data=data))
    preparation = prepare(settings, task, Silent())
    assert preparation.space.name == preparation.settings.space == "demo"
    assert "the search space is demo, for the built-in tiny model" in preparation.warnings
    run = Run(tmp_path / "r")
    run.folder.mkdir()
    describe(run, preparation, Layout(slots=1, workers=1, cpus=1, gpus=0, threads=1))
    file = read_run_file(run)
    assert file.settings.space == "demo"
    assert file.facts["space_chosen_for"] == "the built-in tiny model"
    # Whoever goes on with the run, or repeats it, names the space: nothing is chosen again.
    named = prepare(*resolve(file.settings), Silent())
    assert named.choice is None
    assert named.space == preparation.space


def test_a_config_read_through_transformers_gives_the_same_choice(tmp_path: Path) -> None:
    config = {"model_type": "bert", "hidden_size": 384, "num_hidden_layers": 6}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()
    assert choose(Kind.of(read_config(str(tmp_path)))) == choose_here(str(tmp_path))
