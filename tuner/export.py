"""The exported model: a folder `best/` that transformers loads as it is, with scores and a card.

Knows nothing of Ray, and nothing of how the model was trained.
"""

from __future__ import annotations

import copy
import json
import os
import secrets
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import PreTrainedTokenizerFast

from tuner.counterparts import Scored
from tuner.disks import MEND, writing
from tuner.documents import write_json, write_text
from tuner.headings import duration
from tuner.hyperparameters import Configuration
from tuner.models import label_maps
from tuner.rules import parse_rule
from tuner.runs import Run
from tuner.settings import TINY
from tuner.tasks import Task

CARD_TEMPLATE = Path(__file__).with_name("model_card.md")
PIPELINE = "text-classification"
NOTHING: Mapping[str, Scored] = MappingProxyType({})


@dataclass(frozen=True)
class MetricName:
    """What a metric is called to readers, and the id that the Hub knows it by."""

    title: str
    hub_id: str


METRIC_NAMES = {
    "accuracy": MetricName("Accuracy", "accuracy"),
    "f1": MetricName("F1", "f1"),
    "macro_f1": MetricName("Macro F1", "f1"),
    "matthews_correlation": MetricName("Matthews correlation", "matthews_correlation"),
    "pearson": MetricName("Pearson correlation", "pearsonr"),
    "spearman": MetricName("Spearman correlation", "spearmanr"),
    "rmse": MetricName("Root mean squared error", "rmse"),
}


@dataclass(frozen=True)
class CardFacts:
    """What the model card tells of the search.

    `base_model` is the base model's name as it may be shown, `hub_id` its Hub id where it has one.
    `seconds` is the time over all sessions. `train_rows` are those a trial trained on,
    `selection_rows` those that trials were compared on, `full_train_rows` those of the retraining.
    `winner_score` is the winning trial's objective on the selection rows; `majority` holds the
    task's metrics on the validation split for a model that always says the commonest label (of a
    regression, the mean score) of the training rows. `searched` tells whether there was a search,
    or one training with a configuration that was given.
    """

    base_model: str
    hub_id: str | None
    finished: int
    stopped: int
    failed: int
    seconds: float
    space: str
    objective: str
    direction: Literal["max", "min"]
    selected_on: Literal["holdout", "validation"]
    train_rows: int
    selection_rows: int
    full_train_rows: int
    winner: str
    winner_score: float
    majority: Mapping[str, float]
    seed: int
    versions: Mapping[str, str]
    searched: bool = True


@dataclass(frozen=True)
class MetricLine:
    """A line of the card's table of results."""

    name: str
    title: str
    value: str
    baseline: str


def export_model(
    trained: Path,
    run: Run,
    task: Task,
    tokenizer: PreTrainedTokenizerFast,
    *,
    metrics: Mapping[str, float],
    more: Mapping[str, Scored] = NOTHING,
    rows: int,
    split: str,
    hyperparameters: Configuration,
    card: CardFacts,
    max_length: int,
) -> Path:
    """Make the run's `best/` from the folder `trained` (config.json and safetensors); return it.

    It holds the weights, a configuration with the task's label names, the tokenizer limited to
    `max_length`, metrics.json and the card README.md. `metrics` are the task's on the `rows` rows
    of `split`, `more` those on further splits. Everything is written beside and renamed, so that
    `best/` is never half a model; an older one is replaced. Raises Unwritable where the disk does
    not take it; the older stays.
    """
    best = run.best_folder
    for leftover in best.parent.glob(".best.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh = best.with_name(f".best.{secrets.token_hex(4)}")
    then = f"what was there is kept; {MEND}, then: tuner resume {shlex.quote(run.where)}"
    with writing(best, then):
        try:
            fresh.mkdir(parents=True)
            _write_weights(trained, fresh)
            _write_config(trained, fresh, task, max_length)
            _write_tokenizer(tokenizer, fresh, max_length)
            scores = {
                "task": task.name,
                "split": split,
                "rows": rows,
                "metrics": dict(metrics),
                "hyperparameters": dict(hyperparameters),
                "selected_on": card.selected_on if card.searched else None,
            }
            if more:
                scores["more"] = {
                    name: {"rows": other.rows, "metrics": dict(other.metrics)}
                    for name, other in more.items()
                }
            write_json(fresh / "metrics.json", scores)
            text = model_card(
                run.name, task, metrics, rows, split, hyperparameters, card, max_length, more
            )
            write_text(fresh / "README.md", text)
            _sync(fresh)
            _swap(fresh, best)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
    return best


def _write_weights(trained: Path, fresh: Path) -> None:
    files = [*trained.glob("*.safetensors"), *trained.glob("*.safetensors.index.json")]
    if not files:
        raise FileNotFoundError(f"no safetensors in {trained}")
    for file in files:
        try:
            os.link(file, fresh / file.name)  # half the time, and half the room on the disk
        except OSError:
            shutil.copyfile(file, fresh / file.name)
        # safetensors lets nobody else read what it writes.
        shutil.copymode(trained / "config.json", fresh / file.name)


def _write_config(trained: Path, fresh: Path, task: Task, max_length: int) -> None:
    config: dict[str, Any] = json.loads((trained / "config.json").read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)
    id2label, label2id = label_maps(task)
    config["id2label"] = {str(number): name for number, name in id2label.items()}
    config["label2id"] = label2id
    config["problem_type"] = "regression" if task.regression else "single_label_classification"
    # What predictions need to know of the task; transformers keeps names it does not know.
    said = task.plain()
    config["tuner"] = {"task": said.pop("name"), **said, "max_length": max_length}
    write_json(fresh / "config.json", config)


def _write_tokenizer(tokenizer: PreTrainedTokenizerFast, fresh: Path, max_length: int) -> None:
    tokenizer = copy.deepcopy(tokenizer)
    # A tokenizer remembers how it was last called, and would be saved with that.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.model_max_length = max_length
    tokenizer.init_kwargs["model_max_length"] = max_length
    for private in ("name_or_path", "tokenizer_file", "vocab_file", "cache_dir"):
        tokenizer.init_kwargs.pop(private, None)
    tokenizer.save_pretrained(str(fresh))


def _sync(folder: Path) -> None:
    for path in (*folder.iterdir(), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _swap(fresh: Path, best: Path) -> None:
    old = best.with_name(f".best.{secrets.token_hex(4)}")
    replaced = best.exists()
    if replaced:
        os.rename(best, old)
    try:
        os.rename(fresh, best)
    except OSError:
        if replaced:
            os.rename(old, best)
        raise
    shutil.rmtree(old, ignore_errors=True)


def model_card(
    name: str,
    task: Task,
    metrics: Mapping[str, float],
    rows: int,
    split: str,
    hyperparameters: Configuration,
    card: CardFacts,
    max_length: int,
    more: Mapping[str, Scored] = NOTHING,
) -> str:
    """The model card: Markdown with a `model-index` on top, in the Hub's form
    (https://huggingface.co/docs/hub/model-cards)."""
    pretty = {metric: f"{value:.4f}" for metric, value in metrics.items()}
    lines = [
        MetricLine(metric, title(metric), value, _number(card.majority.get(metric)))
        for metric, value in pretty.items()
    ]
    examples = ("A first sentence.", "A second one.")
    pair = dict(zip(("text", "text_pair"), examples, strict=True))
    done = card.finished + card.stopped + card.failed
    content = ModelCard.from_template(
        _metadata(name, task, metrics, split, card, more),
        template_path=str(CARD_TEMPLATE),
        title=name,
        space=Path(card.space).name,
        origin="A BERT of 2 layers, trained from scratch"
        if card.base_model == TINY
        else f"`{card.base_model}`, fine-tuned",
        task_title=task.title,
        task_name=task.name,
        trials=f"{done} trial{'s' if done != 1 else ''}",
        facts=card,
        example=repr(pair if len(task.text_columns) == 2 else examples[0]),
        labels=", ".join(f"`{label}`" for label in task.label_names),
        max_length=max_length,
        rows=rows,
        split=split,
        baseline="the mean of the training scores"
        if task.regression
        else "the commonest label of the training rows",
        baseline_short="mean score" if task.regression else "majority class",
        metrics=lines,
        more={
            split: (other.rows, {title(metric): _number(x) for metric, x in other.metrics.items()})
            for split, other in more.items()
        },
        time=duration(card.seconds),
        objective_title=title(card.objective),
        winner_score=_number(card.winner_score),
        final_score=_number(metrics.get(card.objective)),
        hyperparameters=hyperparameters,
        versions=", ".join(f"{library} {version}" for library, version in card.versions.items()),
    )
    return str(content)


def _metadata(
    name: str,
    task: Task,
    metrics: Mapping[str, float],
    split: str,
    card: CardFacts,
    more: Mapping[str, Scored],
) -> ModelCardData:
    dataset, config = task.hub or (task.name, None)
    called = split if parse_rule(task.split(split)).inner else task.split(split)
    splits = {called: metrics}
    splits |= {other: scored.metrics for other, scored in more.items()}
    results = [
        EvalResult(
            task_type=PIPELINE,
            task_name="Text classification",
            dataset_type=dataset,
            dataset_name=task.title,
            dataset_config=config,
            dataset_split=where,
            metric_type=METRIC_NAMES[metric].hub_id,
            metric_name=title(metric),
            metric_value=value,
        )
        for where, scores in splits.items()
        for metric, value in scores.items()
    ]
    return ModelCardData(
        base_model=card.hub_id,
        datasets=[dataset] if task.hub else None,
        eval_results=results,
        library_name="transformers",
        metrics=sorted({METRIC_NAMES[metric].hub_id for metric in metrics}),
        model_name=name,
        pipeline_tag=PIPELINE,
        tags=["generated_from_trainer", *(["hyperparameter-search"] if card.searched else [])],
    )


def title(metric: str) -> str:
    """What a reader calls `metric`."""
    return METRIC_NAMES[metric].title


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
