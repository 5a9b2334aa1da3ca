"""What becomes of a trained model on its way to the export when that is ended by hand. Stand-ins
train and write it; run folder and journal are real."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.journals import Told, drawn, run_trial
from tuner import finish, hosts
from tuner.errors import Unwritable
from tuner.journal import read_history
from tuner.leaderboard import Row, rows
from tuner.mailbox import Report
from tuner.progress import Silent
from tuner.retrain import Trained
from tuner.runs import Run
from tuner.settings import Settings
from tuner.stages import Job

SCORES = {"accuracy": 0.7}


class Noting(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def job_in(folder: Path) -> Job:
    preparation = SimpleNamespace(plain=True, direction="max", settings=Settings(task="rte"))
    lease: Any = SimpleNamespace(check=lambda: None)
    nobody = cast(Any, None)
    return Job(Run(folder), lease, cast(Any, preparation), (), Noting(), nobody, nobody)


def notes(job: Job) -> list[str]:
    return cast(Noting, job.watcher).notes


def winner(job: Job) -> Row:
    (row,) = rows(read_history(job.run.journal_file), "max")
    return row


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders in which stand-ins trained the model, by themselves or again as a winner's."""
    folders: list[Path] = []

    def model_in(folder: Path) -> Path:
        folders.append(folder)
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text("{}")
        return folder / "model"

    def train_alone(ledger: Any, run: Any, given: Any, nodes: Any, folder: Path, *more: Any) -> Any:
        ledger.journal.append("session", planned=1, slots=1)
        run_trial(ledger.journal, drawn(ledger.journal, 0), Told())
        return Trained(model_in(folder), Report("t000", "end", metrics=SCORES))

    def again(job: Job, layout: Any, winner: Row, history: Any) -> None:
        with finish._place(job) as folder:
            finish._export(job, winner, history, model_in(folder), SCORES)

    monkeypatch.setattr("tuner.plain.train_alone", train_alone)
    monkeypatch.setattr("tuner.resources.retrain_layout", lambda *of: None)
    monkeypatch.setattr(hosts, "alive", lambda: ())
    monkeypatch.setattr(finish, "_retrain_once", again)
    monkeypatch.setattr(finish, "model_bytes", lambda given: 0)
    monkeypatch.setattr(
        finish,
        "ledger_of",
        lambda job, journal, *of: SimpleNamespace(journal=journal, close=lambda: "complete"),
    )
    return folders


def writing(monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None) -> list[Any]:
    """Have the export raise `error`; what it is given."""
    given: list[Any] = []

    def write(job: Job, winner: Row, history: Any, model: Path, metrics: Any) -> None:
        assert (model / "config.json").is_file()
        given.append(metrics)
        if error is not None:
            raise error

    monkeypatch.setattr(finish, "_write", write)
    return given


def test_a_training_interrupted_while_it_is_exported_is_only_exported_by_resuming_it(
    tmp_path: Path, trainings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_in(tmp_path)
    writing(monkeypatch, KeyboardInterrupt())
    assert finish.train(job) == "interrupted"
    assert notes(job) == ["the trained model stays: tuner resume only exports it"]
    again, given = job_in(tmp_path), writing(monkeypatch)
    assert finish.train(again) == "complete"
    finish.retrain_winner(again, winner(again), read_history(again.run.journal_file))
    assert given == [SCORES]
    assert notes(again) == ["t000 is trained already, and only has to be exported"]
    assert len(trainings) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["journal.jsonl"]


def test_so_is_one_whose_export_the_disk_did_not_take(
    tmp_path: Path, trainings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_in(tmp_path)
    writing(monkeypatch, Unwritable("full"))
    with pytest.raises(Unwritable, match="full"):
        finish.train(job)
    writing(monkeypatch)
    finish.retrain_winner(job, winner(job), read_history(job.run.journal_file))
    assert len(trainings) == 1


@pytest.mark.parametrize("gone", ["model", "trained.json", "."])
def test_where_the_weights_are_gone_it_is_trained_again_and_that_is_said(
    tmp_path: Path, trainings: list[Path], monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    job = job_in(tmp_path)
    writing(monkeypatch, KeyboardInterrupt())
    finish.train(job)
    lost = tmp_path / finish.PLACE / gone
    lost.rename(tmp_path / "lost")
    again, given = job_in(tmp_path), writing(monkeypatch)
    finish.retrain_winner(again, winner(again), read_history(again.run.journal_file))
    assert notes(again) == ["the trained model is no longer there: it is trained once more"]
    assert (len(trainings), len(given)) == (2, 1)


def test_a_model_of_another_configuration_is_not_taken_for_the_winners(
    tmp_path: Path, trainings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_in(tmp_path)
    writing(monkeypatch, KeyboardInterrupt())
    finish.train(job)
    other = replace(winner(job), hyperparameters={"per_device_train_batch_size": 4})
    writing(monkeypatch)
    finish.retrain_winner(job, other, read_history(job.run.journal_file))
    assert len(trainings) == 2
