"""Exported models that nobody trained: the folder's form is the real one, and rows differ."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from tuner.bases import load_base
from tuner.demo import demo_rows
from tuner.models import build_model
from tuner.tasks import find_task

TEXTS = [text for row in demo_rows("train")[:500] for text in row[:2]]


def export_tiny(folder: Path, task: str = "demo", selected_on: str = "holdout") -> Path:
    """A tiny model of `task` in `folder`, with the weights it starts from and a larger head."""
    found = find_task(task)
    base = load_base("tiny", found, lambda: TEXTS)
    torch.manual_seed(0)
    network = build_model(base.weights)
    with torch.no_grad():
        network.classifier.weight *= 20
    network.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["tuner"] = {"task": task, "text_columns": list(found.text_columns)}
    (folder / "config.json").write_text(json.dumps(config))
    scores = {"metrics": {}, "hyperparameters": {}, "selected_on": selected_on}
    (folder / "metrics.json").write_text(json.dumps(scores))
    return folder
