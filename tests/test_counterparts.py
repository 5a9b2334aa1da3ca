"""The other validation split of a task: scored where it is at hand, noted where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from tests.exported import export_tiny
from tests.glue_files import write_mnli
from tuner.counterparts import score_counterparts
from tuner.predict import predict
from tuner.progress import Silent
from tuner.sources import read_split
from tuner.tasks import TASKS, find_task


class Notes(Silent):
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.stages: list[str] = []
        self.ticks: list[tuple[int, int]] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def tick(self, step: int, total: int, seconds_left: float | None) -> None:
        self.ticks.append((step, total))


@pytest.fixture(scope="module")
def glue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mnli(tmp_path_factory.mktemp("glue"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_tiny(tmp_path_factory.mktemp("model"), "mnli")


@pytest.mark.parametrize(
    ("name", "other", "split", "rows"),
    [
        ("mnli", "mnli-mm", "validation_mismatched", 50),
        ("mnli-mm", "mnli", "validation_matched", 40),
    ],
)
def test_each_half_of_mnli_is_scored_on_the_other(
    name: str, other: str, split: str, rows: int, glue: Path, model: Path
) -> None:
    watcher = Notes()
    tokenizer = AutoTokenizer.from_pretrained(model)
    limit = tokenizer.model_max_length
    task = find_task(name)
    found = score_counterparts(task, str(glue), model, tokenizer, limit, watcher)
    table = read_split(find_task(other), "validation", str(glue))
    right = predict(model, task, table).argmax(axis=1) == table["label"].to_numpy()
    assert {key: scored.rows for key, scored in found.items()} == {split: rows}
    assert found[split].metrics == {"accuracy": pytest.approx(right.mean())}
    assert watcher.stages == [f"scoring {split}"]
    assert watcher.ticks[-1] == (rows, rows)
    assert watcher.notes == []


def test_a_split_that_is_not_at_hand_is_noted_and_left_out(model: Path, tmp_path: Path) -> None:
    files = write_mnli(tmp_path)
    (files / "MNLI" / "dev_mismatched.tsv").unlink()
    watcher = Notes()
    assert score_counterparts(find_task("mnli"), str(files), model, None, 64, watcher) == {}
    (note,) = watcher.notes
    assert note.startswith("validation_mismatched is not scored: ")
    assert "dev_mismatched.tsv: there is no such file" in note


def test_a_file_a_split_is_not_taken_for_both_splits(model: Path, glue: Path) -> None:
    watcher = Notes()
    data = {"validation": str(glue / "MNLI" / "dev_matched.tsv")}
    assert score_counterparts(find_task("mnli"), data, model, None, 64, watcher) == {}
    assert "there is no 'validation_mismatched'" in watcher.notes[0]


def test_only_mnli_has_two() -> None:
    assert {name for name, task in TASKS.items() if task.counterparts} == {"mnli", "mnli-mm"}
