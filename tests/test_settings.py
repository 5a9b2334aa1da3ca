"""Settings: what is given wins in the right order, what is wrong is named, and a run repeats."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from tuner.errors import UserError
from tuner.forms import parse_assignments, parse_duration
from tuner.runs import Run, create_run
from tuner.settings import (
    STORAGE,
    Settings,
    load_settings,
    read_run_file,
    write_run_file,
)

ODD = Settings(
    task="rte",
    data="/glue",
    model="a/b",
    trials=7,
    budget="1h30m",
    fraction=0.1,
    max_length=64,
    select_on="validation",
    objective="accuracy",
    scheduler="none",
    rungs=4,
    slots=2,
    workers_per_trial=2,
    gpus_per_worker=0.25,
    precision="bf16",
    checkpoint_every="90s",
    max_failures=0,
    seed=2**32 - 1,
    track=("mlflow", "wandb"),
    name="mine",
    storage="elsewhere",
    address="auto",
    retrain=False,
    set={"learning_rate": 1e-6, "num_train_epochs": 3.0, "seed": 7, "optim": "no", "flag": True},
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create_run(tmp_path, "rte", "first")


@pytest.mark.parametrize("settings", [Settings(), Settings(task="cola"), ODD])
def test_a_run_file_repeats_the_run_under_a_fresh_name(run: Run, settings: Settings) -> None:
    facts = {"versions": {"torch": "2"}, "space": {"start": ({"seed": 1},)}, "git": None}
    write_run_file(run, settings, facts)
    unnamed = settings.resolved(name=None)
    assert load_settings(run.settings_file, {}) == unnamed
    file = read_run_file(run)
    assert file.settings == unnamed
    assert file.facts["space"] == {"start": [{"seed": 1}]}
    assert {"versions", "git", "created"} <= set(file.facts)
    types = {name: type(value) for name, value in file.settings.set.items()}
    assert types == {name: type(value) for name, value in settings.set.items()}


def test_a_run_file_keeps_its_birth_when_it_is_written_again(run: Run) -> None:
    write_run_file(run, Settings(task="rte"), {})
    born = read_run_file(run).facts["created"]
    write_run_file(run, Settings(task="rte", trials=40), read_run_file(run).facts)
    assert read_run_file(run).facts["created"] == born
    assert read_run_file(run).settings.trials == 40


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("task: cola\ntrials: 30\nset: {learning_rate: 1e-6, weight_decay: 0.1}\n")
    flags = {"trials": 5, "task": None, "set": {"learning_rate": 2e-5, "seed": 3}}
    settings = load_settings(file, flags)
    assert (settings.task, settings.trials, settings.rungs) == ("cola", 5, 2)
    assert settings.set == {"learning_rate": 2e-5, "weight_decay": 0.1, "seed": 3}
    assert load_settings(None, {}) == Settings()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trials": 0}, "trials: 0 cannot be used: must be greater than 0"),
        ({"trials": 1.5}, "trials: 1.5 cannot be used: must be a whole number"),
        ({"trials": True}, "trials: True cannot be used: must be a number"),
        ({"trials": "many"}, "trials: 'many' cannot be used: must be a whole number"),
        ({"budget": "soon"}, "budget: 'soon' cannot be used: write it as 30m, 1h30m, 90s"),
        ({"fraction": 1.1}, "fraction: 1.1 cannot be used: must be less than or equal to 1"),
        ({"fraction": float("nan")}, "fraction: nan cannot be used: must be"),
        ({"max_length": 7}, "max_length: 7 cannot be used: must be greater than or equal to 8"),
        ({"select_on": "test"}, "select_on: 'test' cannot be used: must be 'holdout' or"),
        ({"scheduler": "hyperband"}, "scheduler: 'hyperband' cannot be used: must be 'asha'"),
        ({"rungs": 7}, "rungs: 7 cannot be used: must be less than or equal to 6"),
        ({"slots": 0}, "slots: 0 cannot be used: must be a whole number of at least 1, or auto"),
        ({"workers_per_trial": 0}, "workers_per_trial: 0 cannot be used"),
        ({"gpus_per_worker": -1}, "gpus_per_worker: -1 cannot be used"),
        ({"precision": "int8"}, "precision: 'int8' cannot be used: must be 'auto', 'fp32'"),
        ({"checkpoint_every": 0}, "checkpoint_every: 0 cannot be used"),
        ({"max_failures": -1}, "max_failures: -1 cannot be used"),
        ({"seed": 2**32}, "seed: 4294967296 cannot be used"),
        ({"retrain": "maybe"}, "retrain: 'maybe' cannot be used: must be true or false"),
        ({"task": ""}, "task: '' cannot be used: must not be empty"),
        ({"task": ["rte"]}, "task: ['rte'] cannot be used: must be text"),
        ({"name": "a/b"}, "the run name 'a/b' is no folder name"),
        ({"set": {"seed": [1]}}, "seed must be one number, truth value or text"),
        ({"set": {"seed": None}}, "seed must be one number, truth value or text"),
        ({"trails": 3}, "trails: is no setting; did you mean 'trials'?"),
        ({"xyzzy": 3}, "xyzzy: is no setting"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_rule(
    tmp_path: Path, values: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        Settings(**values)  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError) as flagged:
        load_settings(None, values)
    assert message in str(flagged.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: rte\ntrails: 3", "s.yaml:2: trails: is no setting; did you mean 'trials'?"),
        ("task: rte\n\ntrials: -3", "s.yaml:3: trials: -3 cannot be used"),
        ("task: rte\nname: a/b", "s.yaml:2: the run name 'a/b'"),
        ("task: rte\nset:\n  seed: [1]", "s.yaml:2: set: "),
        ("created: x\nsettings:\n  task: rte\n  rungs: 9", "s.yaml:4: rungs: 9"),
        ("", "s.yaml: must map settings to values"),
        ("- rte", "s.yaml:1: must map settings to values"),
        ("task: a\ntask: b", "s.yaml:2: task is given twice"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_by_file_and_line(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        load_settings(tmp_path / "s.yaml", {"trials": 3})
    assert str(caught.value).startswith(f"{tmp_path}/{message}")


@pytest.mark.parametrize("key", ["data", "model", "space", "storage", "address"])
def test_no_password_gets_into_settings_or_into_the_message(key: str) -> None:
    with pytest.raises(UserError, match="password") as caught:
        Settings(**{key: "s3://me:s3cret@bucket/x"})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30m", 1800),
        ("1h30m", 5400),
        ("90s", 90),
        ("1.5h", 5400),
        ("2d", 172800),
        ("45", 45),
        (45, 45),
        (0.5, 0.5),
        ("1h 30m", 5400),
        ("10M", 600),
    ],
)
def test_durations_are_read_as_people_write_them(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert Settings(budget=text).budget == seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "-5", -5, "m", "1h1h", "1x", "inf", True, "1:30"])
def test_what_is_no_duration_is_refused(text: str | float) -> None:
    with pytest.raises(UserError, match=r"1h30m"):
        parse_duration(text)


def test_assignments_are_typed_as_yaml() -> None:
    texts = ["learning_rate=1e-6", "seed = 3", "optim=adamw_torch", "flag=true", "kwargs=a=b"]
    found = parse_assignments(texts)
    assert found == {
        "learning_rate": 1e-6,
        "seed": 3,
        "optim": "adamw_torch",
        "flag": True,
        "kwargs": "a=b",
    }
    assert Settings(set=texts).set == found


@pytest.mark.parametrize("text", ["seed", "=3", "seed=", "seed=null", ""])
def test_an_assignment_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="must be NAME=VALUE"):
        parse_assignments([text])


def test_an_assignment_given_twice_is_refused() -> None:
    with pytest.raises(UserError, match="seed: is given twice"):
        parse_assignments(["seed=1", "seed=2"])


def test_resolved_settings_can_be_used_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("glue", "models/mine", "demo", "tiny"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "my.yaml").write_text("")
    given = Settings(task="demo", data="glue", model="models/mine", space="my.yaml")
    resolved = given.resolved(trials=3)
    assert resolved.task == "demo"
    assert resolved.data == str(tmp_path / "glue")
    assert resolved.model == str(tmp_path / "models/mine")
    assert resolved.space == str(tmp_path / "my.yaml")
    assert resolved.trials == 3
    assert Settings(model="tiny", space="demo").resolved() == Settings(model="tiny", space="demo")
    assert Settings(model="bert/base").resolved().model == "bert/base"
    # A model's folder in the working directory is read, so it is what a repeated run must find.
    assert Settings(model="glue").resolved().model == str(tmp_path / "glue")


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().seed = 3  # type: ignore[misc]


def test_reading_settings_imports_nothing_heavy() -> None:
    code = (
        "import sys, tuner.settings, tuner.spaces; tuner.spaces.built_in_spaces();"
        "print([n for n in ('torch','transformers','ray','optuna','pandas','numpy','datasets')"
        " if n in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert answer.stdout.strip() == "[]"


def test_runs_go_where_the_environment_says_when_nothing_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv(STORAGE, raising=False)
    assert Settings().storage == "runs"
    monkeypatch.setenv(STORAGE, "/mnt/shared/runs")
    assert Settings().storage == "/mnt/shared/runs"
    file = tmp_path / "settings.yaml"
    file.write_text("storage: elsewhere\n")
    assert load_settings(file, {}).storage == "elsewhere"
    assert load_settings(file, {"storage": "here"}).storage == "here"
