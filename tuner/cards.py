"""The model card: what an exported model is, how it was found, and how good it is.

Knows nothing of where the model lies, and nothing of how it was trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from tuner.counterparts import Scored
from tuner.headings import duration
from tuner.hyperparameters import Configuration
from tuner.rules import parse_rule
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
    `winner_score` is the winning trial's objective on the selection rows, the mean over
    `winner_seeds` seeds where it ran under several; `majority` holds the task's metrics on the
    validation split for a model that always says the commonest label (of a regression, the mean
    score) of the training rows. `searched` tells whether there was a search, or one training with a
    configuration that was given.
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
    winner_seeds: int = 1


@dataclass(frozen=True)
class MetricLine:
    """A line of the card's table of results."""

    name: str
    title: str
    value: str
    baseline: str


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
