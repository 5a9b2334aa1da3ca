"""The exported model: a folder `best/` that transformers loads as it is, with scores and a card.

Knows nothing of Ray, and nothing of how the model was trained.
"""

from __future__ import annotations

import copy
import json
import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from tuner.cards import NOTHING, CardFacts, model_card
from tuner.counterparts import Scored
from tuner.disks import MEND, writing
from tuner.documents import write_json, write_text
from tuner.evaluation import Evaluation
from tuner.hyperparameters import Configuration
from tuner.models import label_maps
from tuner.runs import EVALUATION, SCORES, Run
from tuner.shortfall import Shortfall
from tuner.swaps import beside, clear
from tuner.tasks import Task


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
    evaluation: Evaluation | None = None,
    shortfall: Shortfall | None = None,
) -> Path:
    """Make the run's `best/` from the folder `trained` (config.json and safetensors); return it.

    It holds the weights, a configuration with the task's label names, the tokenizer limited to
    `max_length`, metrics.json and the card README.md. `metrics` are the task's on the `rows` rows
    of `split`, `more` those on further splits; with their `evaluation` there is an evaluation.json,
    too, which holds texts of rows and stays with the run. `shortfall` is told in metrics.json, null
    where there is none. Everything is written beside and renamed, so that `best/` is never half a
    model; an older one is replaced. Raises Unwritable where the disk does not take it; the older
    stays.
    """
    best = run.best_folder
    clear(best)
    then = f"what was there is kept; {MEND}, then: tuner resume {shlex.quote(run.where)}"
    with writing(best, then), beside(best) as fresh:
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
        scores["shortfall"] = None if shortfall is None else shortfall.plain()
        if evaluation is not None:
            told = evaluation.plain()
            scores["intervals"] = told["intervals"]
            write_json(fresh / EVALUATION, told)
        write_json(fresh / SCORES, scores)
        text = model_card(
            run.name, task, metrics, rows, split, hyperparameters, card, max_length, more
        )
        write_text(fresh / "README.md", text)
    return best


def tell_again(
    run: Run,
    task: Task,
    scores: Mapping[str, Any],
    *,
    card: CardFacts,
    max_length: int,
    shortfall: Shortfall | None = None,
) -> None:
    """Write the card of the run's model anew, and `shortfall` into metrics.json, whose content is
    `scores`; the model stays as it is. Raises Unwritable where the disk does not take it."""
    best = run.best_folder
    told = {**scores, "shortfall": None if shortfall is None else shortfall.plain()}
    more = {
        split: Scored(other["rows"], other["metrics"])
        for split, other in (scores.get("more") or {}).items()
    }
    text = model_card(
        run.name,
        task,
        scores["metrics"],
        scores["rows"],
        scores["split"],
        scores["hyperparameters"],
        card,
        max_length,
        more,
    )
    with writing(best, f"{MEND}, then: tuner resume {shlex.quote(run.where)}"):
        write_text(best / "README.md", text)
        write_json(best / SCORES, told)


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
