"""The commands: a flag for every setting, one line and exit code 2 for a mistake, light reading."""

from __future__ import annotations

import csv
import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import typer

from tuner import Settings, __version__
from tuner.cli import run_guarded
from tuner.journal import Journal
from tuner.leases import hold
from tuner.options import FLAGS, settings_command
from tuner.runs import Run, create_run
from tuner.settings import load_settings, write_run_file

LEADERBOARD_KEYS = (
    "rank trial status objective objective_se tied metrics hyperparameters progress train_seconds "
    "eval_seconds total_seconds restarts slot error"
).split()
"""What other programs may rely on in `tuner leaderboard --format json`."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings_of(*arguments: str) -> Settings:
    """What `tuner tune` with these arguments would be given."""
    seen: list[Settings] = []

    def keep(settings: Settings) -> int:
        seen.append(settings)
        return 0

    app = typer.Typer()
    app.command()(settings_command(keep))
    app(list(arguments), standalone_mode=False)
    return seen[0]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on stderr of a command that ends with 2 and leaves nothing behind."""
    before = sorted(Path.cwd().rglob("*"))
    assert run_guarded(arguments) == 2
    output = capsys.readouterr()
    assert output.err.startswith("tuner: ")
    assert output.err.count("\n") == 1
    assert sorted(Path.cwd().rglob("*")) == before
    return output.err


# --- options -------------------------------------------------------------------------------------

EXAMPLES: dict[str, tuple[list[str], object]] = {
    "task": (["--task", "rte"], "rte"),
    "data": (["--data", "glue"], "glue"),
    "text": (["--text", "premise", "--text", "claim"], ("premise", "claim")),
    "label": (["--label", "stars"], "stars"),
    "split": (["--split", "train=0:9", "--split", "test=0.5"], {"train": "0:9", "test": "0.5"}),
    "train_rows": (["--train-rows", "100"], 100),
    "eval_rows": (["--eval-rows", "50"], 50),
    "model": (["--model", "tiny"], "tiny"),
    "space": (["--space", "demo"], "demo"),
    "trials": (["--trials", "7"], 7),
    "budget": (["--budget", "1h30m"], 5400.0),
    "fraction": (["--fraction", "0.25"], 0.25),
    "max_length": (["--max-length", "64"], 64),
    "select_on": (["--select-on", "validation"], "validation"),
    "objective": (["--objective", "f1"], "f1"),
    "scheduler": (["--scheduler", "none"], "none"),
    "rungs": (["--rungs", "4"], 4),
    "finalists": (["--finalists", "3"], 3),
    "reseeds": (["--reseeds", "2"], 2),
    "slots": (["--slots", "3"], 3),
    "workers_per_trial": (["--workers-per-trial", "2"], 2),
    "gpus_per_worker": (["--gpus-per-worker", "0.25"], 0.25),
    "precision": (["--precision", "bf16"], "bf16"),
    "checkpoint_every": (["--checkpoint-every", "5m"], 300.0),
    "max_failures": (["--max-failures", "0"], 0),
    "seed": (["--seed", "11"], 11),
    "track": (["--track", "mlflow,wandb"], ("mlflow", "wandb")),
    "name": (["--name", "mine"], "mine"),
    "storage": (["--storage", "elsewhere"], "elsewhere"),
    "address": (["--address", "auto"], "auto"),
    "retrain": (["--no-retrain"], False),
    "set": (
        ["--set", "weight_decay=1e-2", "--set", "optim=adafactor"],
        {"weight_decay": 0.01, "optim": "adafactor"},
    ),
}


def test_every_setting_has_a_flag_and_every_flag_an_example() -> None:
    assert {flag.field for flag in FLAGS} == set(Settings.model_fields) == set(EXAMPLES)


@pytest.mark.parametrize("field", EXAMPLES)
def test_a_flag_reaches_its_setting_and_no_other(field: str) -> None:
    arguments, value = EXAMPLES[field]
    assert settings_of(*arguments) == Settings(**{field: value})
    assert getattr(Settings(), field) != value


def test_without_flags_the_settings_are_the_defaults() -> None:
    assert settings_of() == Settings()


def test_a_file_goes_before_the_defaults_and_a_flag_before_the_file(elsewhere: Path) -> None:
    file = elsewhere / "mine.yaml"
    file.write_text("task: rte\ntrials: 5\nretrain: false\nset: {weight_decay: 0.1, seed: 3}\n")
    settings = settings_of(
        "--config", str(file), "--trials", "9", "--retrain", "--set", "weight_decay=0.2"
    )
    assert (settings.task, settings.trials, settings.retrain) == ("rte", 9, True)
    assert settings.set == {"weight_decay": 0.2, "seed": 3}
    assert settings.rungs == Settings().rungs


def test_settings_that_were_printed_to_a_run_come_back_from_its_run_yaml(elsewhere: Path) -> None:
    settings = Settings(task="rte", trials=3, budget=60.0, slots=2, set={"weight_decay": 0.1})
    run = create_run(elsewhere, "rte", "one")
    write_run_file(run, settings, {})
    assert load_settings(run.settings_file, {}) == settings
    assert settings_of("--config", str(run.settings_file)) == settings


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_guarded(["tune", "--help"]) == 0
    shown = capsys.readouterr().out
    assert [flag.name for flag in FLAGS if flag.name not in shown] == []


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_guarded([]) == 0
    assert "leaderboard" in capsys.readouterr().out


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_guarded(["--version"]) == 0
    assert capsys.readouterr().out == f"tuner {__version__}\n"


# --- what the user gets wrong --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tun"], ["tun", "tune"]),
        (["tune", "--trails", "3"], ["--trails", "--trials"]),
        (["tune", "--trials", "many"], ["--trials"]),
        (["tune", "--trials", "0"], ["trials", "0"]),
        (["tune", "--fraction", "1.5"], ["fraction", "1.5"]),
        (["tune", "--budget", "soon"], ["budget", "soon", "30m"]),
        (["tune", "--select-on", "test"], ["select_on", "test", "holdout"]),
        (["tune", "--set", "learning_rate"], ["learning_rate", "NAME=VALUE"]),
        (["tune", "--name", "a/b"], ["a/b"]),
        (["tune", "--config", "nosuch.yaml"], ["nosuch.yaml"]),
        (["tune"], ["--task"]),
        (["tune", "--task", "nosuch"], ["nosuch", "rte"]),
        (["tune", "--task", "rtee"], ["rtee", "did you mean 'rte'"]),
        (["tune", "--task", "rte", "--objective", "f2"], ["f2", "accuracy"]),
        (["tune", "--task", "rte", "--data", "nowhere", "--model", "tiny"], ["nowhere"]),
        (["tune", "--task", "demo", "--data", "~nosuchuser/glue"], ["~nosuchuser/glue"]),
        (
            ["tune", "--task", "demo", "--set", "learning_rate=0"],
            ["--set learning_rate", "above 0"],
        ),
        (["tune", "--task", "demo", "--space", "nosuch"], ["nosuch", "small-models"]),
        (["resume"], ["no run"]),
        (["resume", "nosuch"], ["nosuch"]),
        (["resume", "x" * 300], ["xxx"]),
        (["resume", "--budget", "soon"], ["soon"]),
        (["leaderboard"], ["no run"]),
        (["leaderboard", "nosuch"], ["nosuch"]),
        (["leaderboard", "--top", "0"], ["--top"]),
        (["leaderboard", "--storage", "ftp://bucket/runs"], ["ftp://bucket/runs"]),
    ],
)
def test_a_mistake_is_one_line_that_names_it_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: list[str]
) -> None:
    line = refused(capsys, *arguments)
    assert [part for part in said if part not in line] == []


def test_a_mistake_in_a_file_is_named_by_file_and_line(
    capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    (elsewhere / "mine.yaml").write_text("task: rte\ntrails: 3\n")
    line = refused(capsys, "tune", "--config", "mine.yaml")
    assert "mine.yaml:2" in line
    assert "trials" in line


def run_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, which says at its end what it has imported."""
    code = (
        "import sys\nfrom tuner.cli import run_guarded\n"
        f"code = run_guarded({list(arguments)!r})\n"
        "print('loaded', *sorted({name.partition('.')[0] for name in sys.modules}))\n"
        "sys.exit(code)"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def closed_hub() -> str:
    """An address on loopback where nobody listens (the port was just free)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def silent_hub() -> Iterator[str]:
    """An address on loopback that answers no connection, as a network that drops packets does not:
    its queue of connections is full, and nobody takes them."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("hub", ["closed_hub", "silent_hub"])
def test_without_a_network_a_hub_task_fails_before_transformers_is_imported(
    hub: str, request: pytest.FixtureRequest, elsewhere: Path
) -> None:
    endpoint = request.getfixturevalue(hub)
    done = run_command(
        "tune", "--task", "rte", HF_ENDPOINT=endpoint, HF_HUB_OFFLINE="0", HF_HOME=str(elsewhere)
    )
    assert done.returncode == 2, done.stderr
    assert "--data" in done.stderr
    assert "--model" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not {"transformers", "datasets", "torch", "ray"} & set(done.stdout.split())
    assert not (elsewhere / "runs").exists()


# --- the leaderboard -----------------------------------------------------------------------------


def make_run(storage: Path, name: str, objectives: list[float]) -> Run:
    """A run with a trial finished for each objective, one stopped and one failed."""
    run = create_run(storage, "rte", name)
    facts = {
        "data": {
            "selected_on": "holdout",
            "selection_rows": 277,
            "majority": {"selection": {"accuracy": 0.5}},
        }
    }
    write_run_file(run, Settings(task="rte", objective="accuracy"), facts)
    journal = Journal.open(run.journal_file)
    journal.append("session", planned=len(objectives) + 2, slots=1)
    ends = [("finished", value) for value in objectives] + [("stopped", 0.4), ("failed", None)]
    for number, (status, objective) in enumerate(ends):
        trial = f"t{number:03d}"
        configuration = {
            "learning_rate": 1e-5 * (number + 1),
            "num_train_epochs": 2,
            "seed": number,
            "per_device_train_batch_size": 16,
        }
        journal.append("drawn", trial=trial, number=number, configuration=configuration)
        journal.append("taken", trial=trial)
        journal.append(
            status,
            trial=trial,
            level=9 if status == "finished" else 3,
            step=90 if status == "finished" else 30,
            total_steps=90,
            objective=objective,
            loss=0.7,
            metrics={} if objective is None else {"accuracy": objective},
            total_seconds=1.5,
            error="the loss became nan at step 30 of 90" if status == "failed" else None,
        )
    journal.append("ended", reason="complete")
    journal.close()
    return run


def test_the_json_leaderboard_has_the_keys_others_rely_on_best_first(
    capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    make_run(elsewhere / "runs", "one", [0.6, 0.8, 0.7])
    assert run_guarded(["leaderboard", "one", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["trial"] for row in rows] == ["t001", "t002", "t000", "t003", "t004"]
    assert [row["rank"] for row in rows] == [1, 2, 3, None, None]
    assert [row["status"] for row in rows] == ["finished"] * 3 + ["stopped", "failed"]
    assert all(set(LEADERBOARD_KEYS) <= set(row) for row in rows)
    assert rows[0]["hyperparameters"]["per_device_train_batch_size"] == 16
    assert rows[0]["metrics"] == {"accuracy": 0.8}
    assert rows[3]["progress"] == pytest.approx(1 / 3)
    assert "nan" in rows[4]["error"]


@pytest.mark.parametrize("form", ["table", "csv", "json", "md"])
def test_every_form_shows_the_first_rows_it_was_asked_for(
    capsys: pytest.CaptureFixture[str], elsewhere: Path, form: str
) -> None:
    make_run(elsewhere / "runs", "one", [0.6, 0.8, 0.7])
    assert run_guarded(["leaderboard", "--format", form, "--top", "2"]) == 0
    shown = capsys.readouterr().out
    assert [trial for trial in ("t000", "t001", "t002", "t003") if trial in shown] == [
        "t001",
        "t002",
    ]
    assert "0.8" in shown


def test_the_csv_leaderboard_is_read_back_with_a_column_a_hyperparameter(
    capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    make_run(elsewhere / "runs", "one", [0.6])
    assert run_guarded(["leaderboard", "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert float(rows[0]["hyperparameter.learning_rate"]) == 1e-5
    assert rows[2]["status"] == "failed"


def test_without_a_name_the_newest_run_is_shown(
    capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    # The names sort against the time at which the runs were made.
    make_run(elsewhere / "runs", "zz-older", [0.6])
    make_run(elsewhere / "runs", "aa-newer", [0.9])
    assert run_guarded(["leaderboard"]) == 0
    assert "aa-newer" in capsys.readouterr().out
    assert run_guarded(["leaderboard", str(elsewhere / "runs" / "zz-older")]) == 0
    assert "zz-older" in capsys.readouterr().out


def test_fetch_says_where_a_run_was_copied_and_where_it_lay_already(
    capsys: pytest.CaptureFixture[str], elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(elsewhere / "cache"))
    run = make_run(elsewhere / "far", "one", [0.6])
    assert run_guarded(["leaderboard", "far/one", "--fetch"]) == 0
    assert capsys.readouterr().err == "lies here already, in far/one\n"
    assert run_guarded(["leaderboard", f"file://{run.folder}", "--fetch"]) == 0
    assert capsys.readouterr().err == "copied to runs/one\n"
    assert (elsewhere / "runs/one/journal.jsonl").read_bytes() == run.journal_file.read_bytes()


def test_the_leaderboard_tells_a_run_that_is_driven_from_one_that_is_not(
    capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    run = make_run(elsewhere / "runs", "one", [0.6])
    whole = run.journal_file.read_text()
    *going, end = whole.splitlines(keepends=True)
    assert json.loads(end)["event"] == "ended"
    for journal, driven in (("".join(going), "is running"), (whole, "what follows it goes on")):
        run.journal_file.write_text(journal)
        with hold(run):
            assert run_guarded(["leaderboard"]) == 0
            assert driven in capsys.readouterr().out
        assert run_guarded(["leaderboard"]) == 0
        assert driven not in capsys.readouterr().out


def test_a_stream_that_lacks_a_character_still_gets_the_list() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tuner", "spaces"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0, done.stderr
    assert "1e-6 ? 1e-4 (log)" in done.stdout


def test_an_unknown_form_is_refused(capsys: pytest.CaptureFixture[str], elsewhere: Path) -> None:
    make_run(elsewhere / "runs", "one", [0.6])
    assert "json" in refused(capsys, "leaderboard", "--format", "jsn")


@pytest.mark.parametrize("form", ["table", "csv", "json", "md"])
def test_reading_a_leaderboard_imports_nothing_heavy(elsewhere: Path, form: str) -> None:
    make_run(elsewhere / "runs", "one", [0.6])
    done = run_command("leaderboard", "--format", form)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.splitlines()[-1].split())
    heavy = {"torch", "transformers", "ray", "datasets", "evaluate", "optuna", "pandas", "scipy"}
    assert not loaded & heavy


def test_a_reader_that_leaves_early_is_no_error(elsewhere: Path) -> None:
    make_run(elsewhere / "runs", "one", [0.6])
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner", "leaderboard"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=120)
    assert said == ""


# --- the lists -----------------------------------------------------------------------------------


def test_tasks_and_spaces_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_guarded(["tasks"]) == 0
    shown = capsys.readouterr().out.split()
    names = "cola mnli mnli-mm mrpc qnli qqp rte sst2 stsb wnli demo".split()
    assert [name for name in names if name not in shown] == []
    assert run_guarded(["spaces"]) == 0
    shown = capsys.readouterr().out.split()
    names = ["default:", "demo:", "small-models:", "learning_rate"]
    assert [name for name in names if name not in shown] == []
