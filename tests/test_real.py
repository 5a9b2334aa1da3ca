"""Whole runs on GLUE's own files (GLUE_DIR), with a real checkpoint where it is installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuner import Settings, tune
from tuner.journal import read_history
from tuner.progress import Silent
from tuner.session import ray_session

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module", autouse=True)
def _ray():
    with ray_session():
        yield


def test_a_real_checkpoint_is_tuned_on_real_rows(glue: Path, minilm: Path, tmp_path: Path):
    result = tune(
        Settings(
            task="wnli",
            data=str(glue),
            model=str(minilm),
            trials=3,
            storage=str(tmp_path),
            set={"num_train_epochs": 1},
        )
    )
    assert result.reason == "complete"
    history = read_history(result.run.journal_file)
    assert len(history.records) == 3
    assert all(record.status in ("finished", "stopped") for record in history.records.values())
    said = json.loads((result.model_dir / "metrics.json").read_text())
    assert said["rows"] == 71
    config = json.loads((result.model_dir / "config.json").read_text())
    assert set(config["label2id"]) == {"not_entailment", "entailment"}


class Keeping(Silent):
    """Keeps the notes that a run says aloud."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.parametrize(
    ("task", "objective", "told"),
    [
        ("cola", "matthews_correlation", "16 of 1,043 validation rows"),
        ("stsb", "pearson", "texts are cut at"),
    ],
)
def test_a_search_on_real_rows_says_aloud_what_it_found_in_them(
    glue: Path, tmp_path: Path, task: str, objective: str, told: str
):
    keeping = Keeping()
    settings = Settings(
        task=task,
        data=str(glue),
        model="tiny",
        fraction=0.05,
        trials=2,
        retrain=False,
        storage=str(tmp_path),
        set={"num_train_epochs": 1, "per_device_train_batch_size": 64},
    )
    result = tune(settings, keeping)
    assert any(told in note for note in keeping.notes)
    assert {row.status for row in result.rows} <= {"finished", "stopped"}
    assert result.best is not None
    assert objective in result.best.metrics
    assert -1 <= result.best.objective <= 1
