"""Runs that are ended rudely: a second Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.glue_files import write_rte
from tests.test_commands import command
from tuner.journal import read_history
from tuner.runs import Run

ONE = ("--task", "rte", "--model", "tiny", "--name", "r", "--trials", "1", "--slots", "1")


@contextmanager
def driver(storage: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A driver in a process group of its own, killed whole when the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner", *arguments, "--storage", str(storage)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(process: subprocess.Popen[str], said: str) -> str:
    """Read what the driver prints until a line holds `said`; all of it."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if said in line:
            return "".join(lines)
    raise AssertionError("".join(lines))


def events(run: Run) -> list[str]:
    """The events of the journal, every line of which must be whole."""
    text = run.journal_file.read_text()
    assert text.endswith("\n")
    return [json.loads(line)["event"] for line in text.splitlines()]


def test_a_second_ctrl_c_ends_a_run_at_once_and_it_can_be_resumed(tmp_path: Path) -> None:
    # One report, at the end of so many epochs: the first Ctrl-C would wait for it.
    long = ("--rungs", "1", "--set", "num_train_epochs=10", "--no-retrain")
    run = Run(tmp_path / "r")
    files = str(write_rte(tmp_path / "glue", rows=80))
    with driver(tmp_path, "tune", *ONE, "--data", files, *long) as process:
        wait_for(process, "t000 started")
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        asked = time.monotonic()
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 1, output
        assert time.monotonic() - asked < 20
        assert "Traceback" not in output
    assert "finished" not in events(run)
    done = command("resume", "r", "--storage", tmp_path)
    assert done.code == 0, done.err
    history = read_history(run.journal_file)
    assert history.reason == "complete"
    assert [record.status for record in history.records.values()] == ["finished"]
    assert history.records["t000"].takes == 2
