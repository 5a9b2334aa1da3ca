"""Whole jobs through the commands: from `tuner tune` to a file of predictions; failures; Ctrl-C."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tuner.cli import run_guarded
from tuner.demo import demo_rows
from tuner.journal import read_history
from tuner.session import ray_session

SMALL = "--task demo --slots 1 --fraction 0.2 --set num_train_epochs=1".split()


@dataclass(frozen=True)
class Said:
    """What a command ended with and what it printed."""

    code: int
    out: str
    err: str


def command(*arguments: str | Path) -> Said:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_guarded([str(argument) for argument in arguments])
    return Said(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="module")
def one_ray() -> Iterator[None]:
    """One Ray for the runs of this module."""
    with ray_session():
        yield


@pytest.fixture(scope="module")
def tuned(one_ray: None, storage: Path) -> Said:
    """A run of two trials, retrained and exported."""
    return command("tune", *SMALL, "--trials", "2", "--name", "one", "--storage", storage)


def test_tune_ends_with_the_leaderboard_the_score_and_where_everything_is(
    tuned: Said, storage: Path
) -> None:
    assert tuned.code == 0, tuned.err
    best = storage / "one" / "best"
    metrics = json.loads((best / "metrics.json").read_text())["metrics"]
    closing = tuned.out[tuned.out.rindex("rank ") :]
    assert f"validation accuracy {metrics['accuracy']:.4f}" in closing
    assert "0.5000 for always the majority class" in closing
    evaluation = json.loads((best / "evaluation.json").read_text())
    assert evaluation["metrics"] == metrics
    low, high = evaluation["intervals"]["accuracy"]
    assert f"({low:.4f} to {high:.4f}), retrained on all training rows" in closing
    page = (storage / "one" / "report.html").read_text()
    assert f"accuracy {metrics['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f})" in page
    assert "Still running" not in page
    assert not (storage / "one" / ".final.parquet").exists()
    for said in ("t000", "t001", str(best), f"tuner predict {storage / 'one'}", "--trials"):
        assert said in closing


def test_predict_writes_a_line_for_every_row_of_a_split(
    tuned: Said, storage: Path, tmp_path: Path
) -> None:
    assert tuned.code == 0
    file = tmp_path / "demo.tsv"
    done = command("predict", "one", "--storage", storage, "--split", "test", "--output", file)
    assert done.code == 0, done.err
    header, *lines = file.read_text().splitlines()
    assert header == "index\tprediction"
    assert [int(line.split("\t")[0]) for line in lines] == list(range(len(demo_rows("test"))))
    assert {line.split("\t")[1] for line in lines} <= {"different", "same"}


def test_predict_takes_a_file_and_the_model_s_own_folder(
    tuned: Said, storage: Path, tmp_path: Path
) -> None:
    assert tuned.code == 0
    rows = [{"sentence1": first, "sentence2": second} for first, second, _ in demo_rows("test")[:5]]
    source, file = tmp_path / "rows.jsonl", tmp_path / "out.csv"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    best = storage / "one" / "best"
    done = command("predict", best, "--input", source, "--output", file, "--probabilities")
    assert done.code == 0, done.err
    header, *lines = file.read_text().splitlines()
    assert header == "index,prediction,different,same"
    shares = [[float(value) for value in line.split(",")[2:]] for line in lines]
    assert len(shares) == 5
    assert [sum(share) for share in shares] == pytest.approx([1] * 5, abs=1e-5)


def test_evaluate_scores_a_run_as_its_retraining_did(tuned: Said, storage: Path) -> None:
    assert tuned.code == 0
    done = command("evaluate", "one", "--storage", storage, "--format", "json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    kept = json.loads((storage / "one" / "best" / "metrics.json").read_text())
    assert found["metrics"] == pytest.approx(kept["metrics"], abs=1e-9)
    assert (found["rows"], found["notes"]) == (kept["rows"], [])
    low, high = found["intervals"]["accuracy"]
    assert low <= kept["metrics"]["accuracy"] <= high
    train = command("evaluate", "one", "--storage", storage, "--split", "train", "--worst", "1")
    assert "note: the model was trained on these rows" in train.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--output", "out.tsv"], "--split"),
        (["--output", "out.tsv", "--split", "test", "--input", "rows.tsv"], "--input"),
        (["--output", "out.tsv", "--split", "dev"], "dev"),
        (["--output", "out.tsv", "--input", "nosuch.tsv"], "nosuch.tsv"),
        (["--output", "out.txt", "--split", "test"], ".txt"),
        (["--output", "nosuch/out.tsv", "--split", "train", "--data", "nowhere"], "nowhere"),
    ],
)
def test_a_prediction_that_cannot_be_made_writes_nothing(
    tuned: Said,
    storage: Path,
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert tuned.code == 0
    monkeypatch.chdir(tmp_path)
    done = command("predict", "one", "--storage", storage, *arguments)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_search_in_which_every_trial_fails_ends_with_1_says_why_and_exports_nothing(
    one_ray: None, tmp_path: Path
) -> None:
    options = ["--trials", "2", "--name", "lost", "--storage", tmp_path]
    done = command("tune", *SMALL, *options, "--set", "learning_rate=1e30")
    assert done.code == 1
    assert "no trial finished" in done.err
    assert "learning rate" in done.err
    assert done.err.count("\n") == 1
    rows = json.loads(command("leaderboard", "--storage", tmp_path, "--format", "json").out)
    assert [row["status"] for row in rows] == ["failed", "failed"]
    assert not (tmp_path / "lost" / "best").exists()
    predict = ["--split", "test", "--output", tmp_path / "out.tsv", "--storage", tmp_path]
    done = command("predict", "lost", *predict)
    assert done.code == 2
    assert f"tuner resume {tmp_path / 'lost'}" in done.err


def test_ctrl_c_ends_a_run_cleanly_and_says_how_to_go_on(tmp_path: Path) -> None:
    arguments = [*SMALL, "--trials", "1000", "--name", "cut", "--storage", tmp_path]
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner", "tune", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        # Ctrl-C reaches every process of a terminal's foreground group, Ray's own included.
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "t000 started" in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=500)
    assert process.returncode == 1, err
    assert f"tuner resume {tmp_path / 'cut'}" in out
    assert "Traceback" not in out + err
    history = read_history(tmp_path / "cut" / "journal.jsonl")
    assert history.reason == "interrupted"
    assert history.done < 1000
    assert (tmp_path / "cut" / "leaderboard.parquet").is_file()
    assert not (tmp_path / "cut" / "best").exists()
