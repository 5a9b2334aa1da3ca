"""A run whose driver is killed goes on where it was: real drivers, SIGKILL, the command line. It is
killed three times: within its first trials, once a row is there, while the winner is retrained."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.glue_files import write_rte
from tests.test_commands import command
from tuner.commands.boards import board
from tuner.journal import read_history
from tuner.runs import Run
from tuner.session import ray_session

TUNE = (
    *("tune", "--task", "rte", "--model", "tiny", "--trials", "4", "--name", "r", "--rungs", "2"),
    *("--set", "num_train_epochs=2", "--set", "per_device_train_batch_size=16"),
)
PATIENCE = 240.0

pytestmark = pytest.mark.timeout(1200)  # four drivers, one after another


def start(storage: Path, *arguments: str) -> subprocess.Popen[str]:
    """A driver in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tuner", *arguments, "--storage", str(storage)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(driver: subprocess.Popen[str]) -> str:
    """Wait for a driver to end well; what it printed."""
    output, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, output
    return output


def kill_after(driver: subprocess.Popen[str], journal: Path, *events: str) -> bytes:
    """SIGKILL the driver's whole group once one of `events` is in the journal; the journal then."""
    known = journal.read_bytes().count(b"\n") if journal.exists() else 0
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        lines = journal.read_bytes().splitlines()[known:] if journal.exists() else []
        if any(f'"event":"{event}"'.encode() in line for line in lines for event in events):
            break
        assert driver.poll() is None, driver.communicate()[0]
        time.sleep(0.002)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    return journal.read_bytes()


def kill_once(driver: subprocess.Popen[str], there: Callable[[], object]) -> None:
    """SIGKILL the driver's whole group once something is there."""
    until = time.monotonic() + PATIENCE
    while not there():
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.002)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()


def whole(journal: bytes) -> bytes:
    return journal[: journal.rfind(b"\n") + 1]


def events(run: Run, name: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in run.journal_file.read_text().splitlines())
    return [event for event in lines if event["event"] == name]


@pytest.fixture(scope="module")
def killed(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Run, list[bytes], str]]:
    """A run killed within its first trials, again right after a row appeared, and while its winner
    was retrained, then resumed; the journal at each kill, and what the last driver printed."""
    storage = tmp_path_factory.mktemp("runs")
    run = Run(storage / "r")
    files = write_rte(tmp_path_factory.mktemp("glue"))
    first = start(storage, *TUNE, "--data", str(files))
    journals = [kill_after(first, run.journal_file, "report", "stopped")]
    done = ("finished", "stopped")
    journals.append(kill_after(start(storage, "resume", "r"), run.journal_file, *done))
    (storage / "between.txt").write_text(board(run, "table", None))
    retrained = start(storage, "resume", "r")
    kill_once(retrained, lambda: list(run.folder.glob(".retraining-*")))
    journals.append(run.journal_file.read_bytes())
    assert not run.best_folder.exists()
    with ray_session():
        last = command("resume", "r", "--storage", storage)
        assert last.code == 0, last.err
        yield run, journals, last.out


def test_a_killed_run_goes_on_to_exactly_the_planned_trials(killed):
    run, _, _ = killed
    history = read_history(run.journal_file)
    assert list(history.records) == ["t000", "t001", "t002", "t003"]
    assert all(record.done for record in history.records.values())
    assert history.reason == "complete"
    assert len(history.sessions) == 3


def test_the_journal_before_a_kill_is_a_prefix_of_the_journal_after(killed):
    run, journals, _ = killed
    final = run.journal_file.read_bytes()
    for before in journals:
        assert final.startswith(whole(before))


def test_a_killed_run_s_leaderboard_shows_what_is_whole_and_says_what_is_not(killed, tmp_path):
    run, journals, _ = killed
    then = tmp_path / "journal.jsonl"
    then.write_bytes(journals[1])
    history = read_history(then)
    text = (run.folder.parent / "between.txt").read_text()
    assert f"{history.done} of 4 trials done" in text
    assert "was cut short (its driver is gone)" in text
    listed = [line.split() for line in text.splitlines()]
    assert {"t000", "t001", "t002", "t003"} & {word for line in listed for word in line} == set(
        history.records
    )


def test_no_done_trial_is_taken_again(killed):
    run, _, _ = killed
    done = set()
    for line in run.journal_file.read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "taken":
            assert event["trial"] not in done
        elif event["event"] in ("finished", "stopped", "failed"):
            assert event["trial"] not in done
            done.add(event["trial"])
    assert done == {"t000", "t001", "t002", "t003"}
    assert max(record.takes for record in read_history(run.journal_file).records.values()) >= 2


def test_no_start_point_is_drawn_twice(killed):
    run, _, _ = killed
    drawn = events(run, "drawn")
    assert [event["trial"] for event in drawn] == ["t000", "t001", "t002", "t003"]
    configurations = [json.dumps(event["configuration"], sort_keys=True) for event in drawn]
    assert len(set(configurations)) == 4
    assert drawn[0]["start_point"]


def test_a_run_killed_while_its_winner_was_retrained_is_only_retrained_again(killed):
    run, journals, output = killed
    assert run.journal_file.read_bytes() == journals[-1]
    assert "retraining t00" in output


def test_the_resumed_run_ends_with_a_leaderboard_and_an_exported_model(killed):
    run, _, output = killed
    rows = json.loads(run.leaderboard_file("json").read_text())
    assert {row["trial"] for row in rows} == {"t000", "t001", "t002", "t003"}
    assert rows[0]["rank"] == 1
    metrics = json.loads((run.best_folder / "metrics.json").read_text())
    assert metrics["rows"] == 60
    assert metrics["hyperparameters"] == rows[0]["hyperparameters"]
    assert str(run.best_folder) in output
    # Losers and interrupted drivers leave no checkpoints behind.
    assert not run.checkpoints_folder.exists()
    assert not list(run.folder.glob(".retraining-*"))


def test_a_finished_run_is_extended_also_with_a_torn_last_line(killed):
    run, _, _ = killed
    before = run.journal_file.read_bytes()
    with run.journal_file.open("ab") as file:
        file.write(b'{"event":"drawn","trial":"t0')
    more = ("--trials", "5", "--slots", "1")
    done = command("resume", "r", *more, "--storage", run.folder.parent)
    assert done.code == 0, done.err
    after = run.journal_file.read_bytes()
    assert after.startswith(before)
    history = read_history(run.journal_file)
    assert list(history.records) == ["t000", "t001", "t002", "t003", "t004"]
    assert len(events(run, "finished") + events(run, "stopped") + events(run, "failed")) == 5
    card = (run.best_folder / "README.md").read_text()
    assert "5 trials" in card
