"""The exported model: it works where transformers is, and its card and scores say what is so."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from tuner.bases import Base, load_base
from tuner.cards import NOTHING, CardFacts
from tuner.counterparts import Scored
from tuner.demo import demo_rows
from tuner.export import export_model, tell_again
from tuner.metrics import score
from tuner.models import build_model
from tuner.predict import predict, task_of
from tuner.runs import Run
from tuner.shortfall import Shortfall
from tuner.tasks import TASKS, Task, find_task

DEMO = find_task("demo")
FACTS = CardFacts(
    base_model="tiny",
    hub_id=None,
    finished=3,
    stopped=8,
    failed=1,
    seconds=754.2,
    space="demo",
    objective="accuracy",
    direction="max",
    selected_on="holdout",
    train_rows=3600,
    selection_rows=400,
    full_train_rows=4000,
    winner="t007",
    winner_score=0.98125,
    majority={"accuracy": 0.5025},
    seed=11,
    versions={"tuner": "0.1.0", "transformers": transformers.__version__},
)
BEST = {"learning_rate": 0.001, "num_train_epochs": 6, "seed": 5, "per_device_train_batch_size": 32}
LIMIT = 12
"""Tokens; short enough to cut some of the rows below."""


def table(task: Task, rows: int = 60) -> pa.Table:
    """Rows of the demo for any task, with labels in its range."""
    drawn = demo_rows("validation")[:rows]
    texts = {name: [row[n] for row in drawn] for n, name in enumerate(task.text_columns)}
    return pa.table({**texts, "label": [row[2] % task.num_labels for row in drawn]})


def trained(base: Base, folder: Path) -> Path:
    """What the train loop leaves: config.json and safetensors. The weights are as drawn, the bias
    such that every label is predicted for some rows."""
    torch.manual_seed(0)
    model = build_model(base.weights).eval()
    sentences = [list(column) for column in zip(*demo_rows("validation")[:60], strict=True)][:2]
    encoded = base.tokenizer(
        *sentences, truncation=True, max_length=LIMIT, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        model.classifier.weight *= 20
        model.classifier.bias -= model(**encoded).logits.median(dim=0).values
    model.save_pretrained(folder)
    return folder


def texts() -> list[str]:
    return [text for row in demo_rows("train")[:500] for text in row[:2]]


def export(
    folder: Path,
    task: Task = DEMO,
    facts: CardFacts = FACTS,
    metrics: Mapping[str, float] | None = None,
    more: Mapping[str, Scored] = NOTHING,
) -> Path:
    base = load_base("tiny", task, texts)
    base.tokenizer(["a b", "c"], truncation=True, max_length=3, padding=True)  # leaves its traces
    return export_model(
        trained(base, folder / "trained"),
        Run(folder / "demo-run"),
        task,
        base.tokenizer,
        metrics=metrics or dict.fromkeys(task.metrics, 0.75),
        more=more,
        rows=60,
        split="validation",
        hyperparameters=BEST,
        card=facts,
        max_length=LIMIT,
    )


def test_a_model_that_stays_tells_of_the_search_as_it_is_now(tmp_path: Path) -> None:
    best = export(tmp_path)
    scores = json.loads((best / "metrics.json").read_text())
    before = (best / "model.safetensors").stat()
    facts = dataclasses.replace(FACTS, finished=7, winner_score=0.91, winner_seeds=3)
    short = Shortfall("accuracy", "t007", 0.9, 0.75, 0.1)
    run = Run(tmp_path / "demo-run")
    tell_again(run, DEMO, scores, card=facts, max_length=LIMIT, shortfall=short)
    card = (best / "README.md").read_text()
    assert "the mean over 3 seeds" in card
    assert "0.9100" in card
    told = json.loads((best / "metrics.json").read_text())
    assert told == {**scores, "shortfall": short.plain()}
    tell_again(run, DEMO, told, card=FACTS, max_length=LIMIT)
    assert json.loads((best / "metrics.json").read_text()) == scores
    assert (best / "README.md").read_text() != card
    after = (best / "model.safetensors").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.fixture(scope="module")
def best(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("export"))


def test_the_folder_holds_a_model_that_transformers_loads_as_it_is(best: Path) -> None:
    assert {path.name for path in best.iterdir()} == {
        "README.md",
        "config.json",
        "metrics.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    config = AutoConfig.from_pretrained(best)
    assert config.id2label == {0: "different", 1: "same"}
    assert config.label2id == {"different": 0, "same": 1}
    assert config.problem_type == "single_label_classification"
    assert (config.tuner["task"], config.tuner["max_length"]) == ("demo", LIMIT)
    assert config.tuner["text_columns"] == ["sentence1", "sentence2"]
    assert config.tuner["label_names"] == ["different", "same"]
    original = load_file(best.parents[1] / "trained" / "model.safetensors")
    loaded = AutoModelForSequenceClassification.from_pretrained(best).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in original.items())


def test_the_tokenizer_cuts_at_the_runs_length_and_keeps_nothing_of_its_last_call(
    best: Path,
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(best)
    assert tokenizer.model_max_length == LIMIT
    assert len(tokenizer("the key " * 30, truncation=True)["input_ids"]) == LIMIT
    saved = json.loads((best / "tokenizer.json").read_text())
    assert saved["truncation"] is None
    assert saved["padding"] is None


def test_the_pipeline_gives_our_own_predictions_and_their_score(best: Path) -> None:
    rows = table(DEMO)
    classify = transformers.pipeline("text-classification", model=str(best), device="cpu")
    pairs = zip(*(rows[name].to_pylist() for name in DEMO.text_columns), strict=True)
    inputs = [{"text": first, "text_pair": second} for first, second in pairs]
    assert any(len(classify.tokenizer(**pair)["input_ids"]) > LIMIT for pair in inputs)

    logits = predict(best, DEMO, rows)
    for pair, ours in zip(inputs[:10], logits, strict=False):
        said = classify(pair, truncation=True, top_k=None, function_to_apply="none")
        assert {label["label"] for label in said} == set(DEMO.label_names)
        theirs = {label["label"]: label["score"] for label in said}
        expected = dict(zip(DEMO.label_names, ours.tolist(), strict=True))
        assert theirs == pytest.approx(expected, abs=1e-4)

    said = [classify(pair, truncation=True)["label"] for pair in inputs]
    assert set(said) == set(DEMO.label_names)
    labels = rows["label"].to_numpy()
    right = [DEMO.label_names[label] == name for label, name in zip(labels, said, strict=True)]
    assert score(DEMO.metrics, logits, labels)["accuracy"] == pytest.approx(np.mean(right))


def test_a_regressions_pipeline_gives_the_score_itself(tmp_path: Path) -> None:
    stsb = find_task("stsb")
    facts = dataclasses.replace(FACTS, objective="pearson", majority={"pearson": 0.0})
    best = export(tmp_path, stsb, facts)
    rows = table(stsb, 5)
    rate = transformers.pipeline("text-classification", model=str(best), device="cpu")
    pairs = zip(*(rows[name].to_pylist() for name in stsb.text_columns), strict=True)
    said = [rate({"text": first, "text_pair": second}, truncation=True) for first, second in pairs]
    ours = predict(best, stsb, rows)[:, 0]
    np.testing.assert_allclose([row["score"] for row in said], ours, atol=1e-4)
    assert {s["label"] for s in said} == {"score"}
    card = ModelCard.load(best / "README.md")
    assert [r.metric_type for r in card.data.eval_results] == ["pearsonr", "spearmanr"]


def test_the_scores_are_kept_in_full(best: Path) -> None:
    assert json.loads((best / "metrics.json").read_text()) == {
        "task": "demo",
        "split": "validation",
        "rows": 60,
        "metrics": {"accuracy": 0.75},
        "hyperparameters": BEST,
        "selected_on": "holdout",
        "shortfall": None,
    }


def test_the_scores_on_further_splits_stand_beside_the_others(tmp_path: Path) -> None:
    more = {"validation_mismatched": Scored(50, {"accuracy": 0.625})}
    best = export(tmp_path, find_task("mnli"), more=more)
    said = json.loads((best / "metrics.json").read_text())
    assert said["more"] == {"validation_mismatched": {"rows": 50, "metrics": {"accuracy": 0.625}}}
    card = ModelCard.load(best / "README.md")
    assert [(r.dataset_split, r.metric_value) for r in card.data.eval_results] == [
        ("validation_matched", 0.75),
        ("validation_mismatched", 0.625),
    ]
    assert "On the 50 rows of validation_mismatched: Accuracy 0.6250." in str(card)


def test_the_model_names_its_task(best: Path) -> None:
    assert task_of(best) == DEMO


@pytest.mark.parametrize("name", TASKS)
def test_every_tasks_card_has_a_model_index_that_reads_back(name: str, tmp_path: Path) -> None:
    task = find_task(name)
    metrics = {metric: 0.1 + number / 3 for number, metric in enumerate(task.metrics)}
    facts = dataclasses.replace(FACTS, objective=task.objective, majority={})
    card = ModelCard.load(export(tmp_path, task, facts, metrics) / "README.md")
    results = card.data.eval_results
    assert [result.metric_value for result in results] == list(metrics.values())
    assert {result.task_type for result in results} == {"text-classification"}
    assert {result.dataset_split for result in results} == {task.validation_split}
    assert (results[0].dataset_type, results[0].dataset_config) == (task.hub or ("demo", None))
    assert ModelCard(str(card)).data.to_dict() == card.data.to_dict()
    assert card.data.pipeline_tag == "text-classification"


def test_the_card_tells_the_search(best: Path) -> None:
    card = (best / "README.md").read_text()
    for said in (
        "a search of 12 trials",
        "| trials | 3 finished, 8 stopped early, 1 failed |",
        "| time | 13 min in all |",
        "| Accuracy (objective) | 0.7500 | 0.5025 |",
        "| winner | `t007` with 0.9812 on these rows |",
        "| the retrained model | 0.7500 on the validation split |",
        "400 rows of the training split",
        "all 4000 training rows",
        "| `learning_rate` | 0.001 |",
        "`different`, `same`",
        f"transformers {transformers.__version__}",
    ):
        assert said in card
    assert "optimistic" not in card


def test_the_card_owns_up_to_a_selection_on_the_validation_rows(tmp_path: Path) -> None:
    card = export(tmp_path, facts=dataclasses.replace(FACTS, selected_on="validation"))
    text = (card / "README.md").read_text()
    assert "chosen on these same validation rows, so the numbers are optimistic" in text


def test_nothing_in_the_folder_names_a_path_of_this_machine(best: Path, minilm: Path) -> None:
    base = load_base(str(minilm), DEMO, texts)
    folder = best.parents[1] / "real"
    facts = dataclasses.replace(FACTS, base_model=base.name, hub_id=base.hub_id)
    real = export_model(
        trained(base, folder / "trained"),
        Run(folder / "run"),
        DEMO,
        base.tokenizer,
        metrics={"accuracy": 0.5},
        rows=1,
        split="validation",
        hyperparameters=BEST,
        card=facts,
        max_length=LIMIT,
    )
    for path in (*best.glob("*.[jm]*"), *real.glob("*.[jm]*")):
        if path.suffix in (".json", ".md"):
            text = path.read_text(encoding="utf-8")
            assert str(minilm.parent) not in text
            assert str(best.parents[2]) not in text
    card = ModelCard.load(real / "README.md")
    assert card.data.base_model is None, "a folder's name is no id of the Hub"
    assert "`model`, fine-tuned" in str(card)
    with_id = dataclasses.replace(facts, base_model="a/b", hub_id="a/b")
    assert ModelCard.load(export(folder, facts=with_id) / "README.md").data.base_model == "a/b"


def test_a_new_export_replaces_the_old_one_whole(tmp_path: Path) -> None:
    best = export(tmp_path)
    (best / "stale.txt").write_text("of the model before")
    leftover = best.with_name(".best.0123abcd")
    shutil.copytree(best, leftover)
    again = export(tmp_path, metrics={"accuracy": 0.5})
    assert again == best
    assert not (best / "stale.txt").exists()
    assert json.loads((best / "metrics.json").read_text())["metrics"] == {"accuracy": 0.5}
    assert [path.name for path in best.parent.iterdir()] == ["best"]


def test_an_export_that_fails_leaves_the_old_model_and_nothing_else(tmp_path: Path) -> None:
    best = export(tmp_path)
    base = load_base("tiny", DEMO, texts)
    (tmp_path / "trained" / "config.json").unlink()
    with pytest.raises(FileNotFoundError):
        export_model(
            tmp_path / "trained",
            Run(tmp_path / "demo-run"),
            DEMO,
            base.tokenizer,
            metrics={"accuracy": 0.1},
            rows=1,
            split="validation",
            hyperparameters=BEST,
            card=FACTS,
            max_length=LIMIT,
        )
    assert json.loads((best / "metrics.json").read_text())["metrics"] == {"accuracy": 0.75}
    assert [path.name for path in best.parent.iterdir()] == ["best"]
