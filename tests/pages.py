"""A run's folder to make pages of: a search of a dozen trials on two slots, event by event, and
texts in it that try to be markup wherever a user's text can stand."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tests.journals import Told, said
from tuner.evaluation import evaluate
from tuner.journal import Journal
from tuner.runs import Run
from tuner.settings import Settings, write_run_file
from tuner.spaces import load_space
from tuner.tasks import find_task

MARKUP = "</script><img src=x onerror=alert(1)>\"'&{{7*7}}{% raw %}\u2028<!--"
"""What a text of a data set, a label or an error could hold."""

NAME = "a \"run\" <img src=x onerror='alert(1)'> {{7*7}}"

START = 1_700_000_000.0

TRIALS = (
    Told("finished", (0.55, 0.61, 0.66)),
    Told("finished", (0.52, 0.70, 0.81), seconds=20),
    Told("stopped", (0.50,)),
    Told("stopped", (0.51, 0.58)),
    Told("failed", (0.53,), error=f"out of memory {MARKUP}"),
    Told("finished", (0.60, 0.72, 0.79)),
    Told("stopped", (0.49,)),
    Told("stopped", (0.48,)),
    Told("finished", (0.58, 0.69, 0.74)),
    Told("stopped", (0.54, 0.62)),
    Told("stopped", (0.47,)),
    Told("finished", (0.57, 0.68, 0.72)),
)
"""In the order of their names; t001 wins."""

WINNER, FINISHED, STOPPED = "t001", 5, 6


def configured(number: int, told: Told) -> Told:
    configuration = {
        "learning_rate": 1e-5 * 3**number if number < 5 else 2e-5 * number,
        "num_train_epochs": 1 + number % 4,
        "seed": number,
        "per_device_train_batch_size": (8, 16, 32)[number % 3],
        "lr_scheduler_type": MARKUP if number % 2 else "linear",
    }
    return dataclasses.replace(told, configuration=configuration)


def tell(path: Path, ended: bool = True, trials: Sequence[Told] = TRIALS) -> None:
    """The journal: two slots at work; t003 loses its first slot before it reports."""
    told_when: list[tuple[float, str, dict[str, Any]]] = []
    clock = [START + 5.0, START + 6.0]
    for number, told in enumerate(map(configured, range(len(trials)), trials)):
        slot = min((0, 1), key=clock.__getitem__)
        name, place = f"t{number:03d}", f"host:{100 + slot}"
        fresh = {"number": number, "configuration": told.configuration, "start_point": False}
        told_when.append((clock[slot], "drawn", {"trial": name, **fresh}))
        if name == "t003":
            told_when.append((clock[slot], "taken", {"trial": name}))
            clock[slot] += 4
            told_when.append((clock[slot], "lost", {"trial": name, "error": "its slot died"}))
        told_when.append((clock[slot], "taken", {"trial": name}))
        for rung, value in enumerate(told.values):
            clock[slot] += told.seconds / 3
            ends = rung == len(told.values) - 1 and told.status != "failed"
            fields = {**said(name, rung, value, told), "slot": place}
            told_when.append((clock[slot], told.status if ends else "report", fields))
        if told.status == "failed":
            clock[slot] += 1
            fields = {"trial": name, "error": told.error, "slot": place}
            told_when.append((clock[slot], "failed", fields))
    with Journal.open(path) as journal:
        journal.append("session", planned=len(trials), slots=2, time=START)
        for moment, event, fields in sorted(told_when, key=lambda each: each[0]):
            journal.append(event, **fields, time=moment)
        if ended:
            journal.append("ended", reason="complete", time=max(clock))


def make_run(
    storage: Path, name: str = NAME, trials: Sequence[Told] = TRIALS, winner: int = 1
) -> Run:
    """The run, done and exported: 40 validation rows with texts and labels full of markup."""
    run = Run(storage / name)
    run.best_folder.mkdir(parents=True)
    space = {**load_space("small-models").document(), "name": MARKUP}
    space["start"] = []
    space["parameters"]["lr_scheduler_type"] = {"values": ["linear", MARKUP]}
    facts = {
        "task": {"name": f"reviews {MARKUP}", "text_columns": ["sentence"]},
        "data": {
            "selected_on": "holdout",
            "selection_rows": 400,
            "majority": {"selection": {"accuracy": 0.5}, "validation": {"accuracy": 0.51}},
        },
        "space": space,
    }
    write_run_file(run, Settings(task="sst2", objective="accuracy", rungs=3), facts)
    tell(run.journal_file, trials=trials)
    task = dataclasses.replace(find_task("sst2"), label_names=("fine", MARKUP))
    labels = np.arange(40) % 2
    logits = np.eye(2)[labels] * 2 - 1
    logits[:12] *= np.linspace(-3, 3, 12)[:, None]
    table = pa.table({"sentence": [f"row {row} {MARKUP}" for row in range(40)], "label": labels})
    found = evaluate(task, table, logits.astype(np.float32), range(40), "validation").plain()
    (run.best_folder / "evaluation.json").write_text(json.dumps(found))
    scores = {
        "task": "reviews",
        "split": "validation",
        "rows": 40,
        "metrics": found["metrics"],
        "intervals": found["intervals"],
        "hyperparameters": configured(winner, trials[winner]).configuration,
        "selected_on": "holdout",
    }
    (run.best_folder / "metrics.json").write_text(json.dumps(scores))
    return run
