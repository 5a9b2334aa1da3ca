"""The command that repeats a trial says all that its run was told, in a form that is read back."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import typer

from tuner.history import Record, Score
from tuner.options import settings_command, training_command
from tuner.provenance import versions
from tuner.repeating import Command, again, in_full
from tuner.settings import TRAINING, Settings

CONFIGURATION: dict[str, Any] = {
    "learning_rate": 3.14e-05,
    "num_train_epochs": 3,
    "warmup_ratio": 1.0,
    "group_by_length": True,
    "optim": "adamw torch",
    "lr_scheduler_type": "1e3",
    "seed": 7,
}
SETTINGS = Settings(
    task="my task.yaml",
    data={"train": "a b.csv", "test": "it's.csv"},
    text=("first", "second one"),
    split={"validation": "train[0.1]"},
    train_rows=500,
    model="some/model",
    trials=40,
    budget=1800.0,
    fraction=0.1,
    checkpoint_every=90.5,
    rungs=2,
    finalists=3,
    reseeds=2,
    slots="auto",
    seed=3,
    name="before",
    storage="s3://bucket/runs",
    set={"learning_rate": 1.0},
)
FACTS: dict[str, Any] = {
    "versions": versions(),
    "data": {"training_rows": 50, "full_training_rows": 500},
    "layout": {"slots": 2, "workers_per_trial": 1, "gpus_per_worker": 0.0, "threads_per_worker": 1},
}


def record(status: Any = "finished", **changes: Any) -> Record:
    return Record("t001", 1, CONFIGURATION, status=status, takes=1, **changes)


def parsed(command: Command) -> Settings:
    """The settings that the command line would be given, taken through a shell."""
    words = shlex.split(str(command))
    assert words[0] == "tuner"
    seen: list[Settings] = []

    def keep(settings: Settings) -> int:
        seen.append(settings)
        return 0

    app = typer.Typer()
    app.command()({"tune": settings_command, "train": training_command}[words[1]](keep))
    app(words[2:], standalone_mode=False)
    return seen[0]


def test_the_command_gives_the_trial_s_configuration_and_its_run_s_settings() -> None:
    expected = SETTINGS.model_copy(
        update={
            "set": CONFIGURATION,
            "trials": 1,
            "budget": None,
            "scheduler": "none",
            "finalists": 0,
            "reseeds": 0,
            "slots": 2,
            "retrain": False,
            "name": None,
        }
    )
    found = parsed(again(SETTINGS, FACTS, record()))
    assert found == expected
    types = {name: type(value) for name, value in found.set.items()}
    assert types == {name: type(value) for name, value in CONFIGURATION.items()}


def test_the_lines_for_a_shell_are_the_same_command() -> None:
    command = again(SETTINGS, FACTS, record())
    lines = command.lines(60)
    assert shlex.split("\n".join(lines).replace("\\\n", " ")) == list(command.words)
    assert all(line.endswith(" \\") for line in lines[:-1])


def test_a_training_is_repeated_by_a_training() -> None:
    settings = SETTINGS.without_search()
    command = again(settings, {**FACTS, "kind": TRAINING}, record())
    assert command.words[:2] == ("tuner", "train")
    assert parsed(command).without_search() == settings.model_copy(
        update={"name": None, "set": CONFIGURATION}
    )
    assert in_full(settings, {**FACTS, "kind": TRAINING}, record()) is None


def test_training_on_all_rows_says_that_the_scores_are_others() -> None:
    command = in_full(SETTINGS, FACTS, record())
    assert command is not None
    assert parsed(command).set == CONFIGURATION
    assert "all 500 training rows, the trial on 50" in command.notes[0]


def test_a_command_promises_the_last_bit_only_where_nothing_speaks_against_it() -> None:
    assert "the same to the last bit" in again(SETTINGS, FACTS, record()).notes[-1]
    assert "1 thread again" in again(SETTINGS, FACTS, record()).notes[-1]


@pytest.mark.parametrize(
    ("facts", "changes", "said"),
    [
        ({"versions": {**versions(), "torch": "1.0"}}, {}, "it ran with torch 1.0"),
        ({"layout": {"gpus_per_worker": 1.0}}, {}, "GPUs"),
        ({"layout": {"workers_per_trial": 2}}, {}, "several workers"),
        ({}, {"takes": 2}, "more than once"),
        ({}, {"scores": [Score(halvings=1)]}, "cut anew"),
    ],
)
def test_what_may_change_the_last_digits_is_said(
    facts: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    trial = record()
    for name, value in changes.items():
        setattr(trial, name, value)
    (note,) = again(SETTINGS, {**FACTS, **facts}, trial).notes
    assert note.startswith("may differ in the last digits")
    assert said in note


def test_of_a_stopped_trial_it_is_said_that_it_now_runs_to_its_end() -> None:
    assert "stopped early" in again(SETTINGS, FACTS, record("stopped")).notes[0]
