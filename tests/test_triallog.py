"""A trial's log holds what its process said, stays when there was trouble, and disturbs nothing."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from tests.test_bench import CONFIGURATION, saying
from tests.toy import go, numbers, toy_materials
from tuner import attempts, triallog
from tuner.bench import Bench
from tuner.errors import CrewLost, Preempted
from tuner.mailbox import Order, Report, Word
from tuner.triallog import LIMIT, recording


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(toy_materials())


def run(
    bench: Bench, log: Path | str, word: Callable[[], Word] = go, **changes: Any
) -> list[Report]:
    """The reports of one trial that keeps a log."""
    reports: list[Report] = []
    bench.run(Order("t007", {**CONFIGURATION, **changes}, log=str(log)), reports.append, word)
    return reports


def saying_in_training(monkeypatch: pytest.MonkeyPatch, say: Callable[[], None]) -> None:
    """Give trials a model that calls `say` in its first training pass."""
    build = attempts.build_model

    def talkative(weights: Any) -> Any:
        model = build(weights)
        forward, left = model.forward, iter([say])

        def talking(**inputs: Any) -> Any:
            next(left, lambda: None)()
            return forward(**inputs)

        model.forward = talking
        return model

    monkeypatch.setattr(attempts, "build_model", talkative)


def a_warning() -> None:
    warnings.warn("watch out", UserWarning, stacklevel=1)


# --- what is kept --------------------------------------------------------------------------------


def test_a_trial_that_fails_leaves_the_whole_traceback(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "t007.log"
    (report,) = run(bench, log, lr_scheduler_type="no such schedule")
    assert report.kind == "failed"
    lines = log.read_text().splitlines()
    assert f"INFO t007 begins on {os.uname().nodename}, process {os.getpid()}" in lines[0]
    assert "'lr_scheduler_type': 'no such schedule'" in lines[1]
    assert any("ERROR Traceback (most recent call last):" in line for line in lines)
    assert any('attempts.py", line' in line for line in lines)
    assert any("ValueError: no such schedule is not" in line for line in lines)
    assert lines[-2].endswith(f"ERROR failed at step 0: {report.error}")
    assert lines[-1].endswith("INFO ended: failed")


@pytest.mark.parametrize("word", ["go", "stop"])
def test_a_trial_that_ends_without_trouble_leaves_no_log(
    bench: Bench, tmp_path: Path, word: Word
) -> None:
    run(bench, tmp_path / "t007.log", saying(word, "go"))
    assert list(tmp_path.iterdir()) == []


def test_a_log_does_not_change_what_a_trial_learns(bench: Bench, tmp_path: Path) -> None:
    reports: list[Report] = []
    bench.run(Order("t007", CONFIGURATION), reports.append, go)
    assert numbers(run(bench, tmp_path / "t007.log")) == numbers(reports)


def test_warnings_records_and_stderr_are_in_the_log_of_every_trial_that_has_them(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def say() -> None:
        a_warning()
        transformers.utils.logging.get_logger("transformers.x").warning("a word of %s", "theirs")
        logging.getLogger("anyone").error("another's", exc_info=ValueError("with its cause"))
        print("loud\nand clear", file=sys.stderr)

    saying_in_training(monkeypatch, say)
    for name in ("t007", "t008"):  # Python itself shows a warning of a place once
        log = tmp_path / f"{name}.log"
        assert run(bench, log)[-1].kind == "end"
        text = log.read_text()
        assert f"WARNING {__file__}:" in text
        assert "UserWarning: watch out" in text
        assert "WARNING transformers.x: a word of theirs" in text
        assert "ERROR anyone: another's" in text
        assert "ValueError: with its cause" in text
        assert "STDERR loud\n" in text
        assert "STDERR and clear\n" in text
        assert text.splitlines()[-1].endswith("ended: finished")
    assert capsys.readouterr().err.count("loud") == 2


def test_a_trial_leaves_the_process_as_it_found_it(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def state() -> tuple[Any, ...]:
        loggers = [logging.root, logging.getLogger("transformers")]
        handlers = [list(logger.handlers) for logger in loggers]
        return sys.stderr, warnings.showwarning, list(warnings.filters), handlers

    saying_in_training(monkeypatch, lambda: warnings.simplefilter("ignore"))
    run(bench, tmp_path / "warm-up")
    before = state()
    run(bench, tmp_path / "t007.log")
    run(bench, tmp_path / "t008.log", lr_scheduler_type="no such schedule")
    assert state() == before


def test_a_log_that_cannot_be_written_does_not_fail_the_trial(bench: Bench) -> None:
    assert run(bench, "/proc/none/t007.log")[-1].kind == "end"
    assert run(bench, "file://elsewhere/x/t007.log")[-1].kind == "end"


# --- over restarts -------------------------------------------------------------------------------


def test_an_interrupted_attempt_is_no_trouble(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "t007.log"
    run(bench, log, saying("leave"))
    assert log.read_text().splitlines()[-1].endswith("ended: left")
    run(bench, log)
    assert not log.exists()


def test_an_attempt_that_was_preempted_is_no_trouble(tmp_path: Path) -> None:
    log = tmp_path / "t007.log"
    with pytest.raises(Preempted), recording(str(log), "t007"):
        raise Preempted("the host goes")
    assert "INFO the host goes" in log.read_text()
    with recording(str(log), "t007") as second:
        second.end("finished")
    assert not log.exists()


def test_a_lost_crew_and_its_cause_stay_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "t007.log"
    with pytest.raises(CrewLost), recording(str(log), "t007"):
        raise CrewLost("the workers lost each other") from OSError("cut off")
    with recording(str(log), "t007") as second:
        second.end("finished")
    text = log.read_text()
    assert "OSError: cut off" in text
    assert "CrewLost: the workers lost each other" in text
    assert text.count("t007 begins") == 2


@pytest.mark.parametrize("store", [False, True])
def test_what_a_process_said_before_it_was_killed_is_kept(tmp_path: Path, store: bool) -> None:
    where = f"file://{tmp_path}/t007.log" if store else str(tmp_path / "t007.log")
    script = f"""
import os, time
from tuner import triallog
triallog.SEND_EVERY = 0.05
with triallog.recording({where!r}, "t007") as log:
    log.say("the last words")
    time.sleep(1)
    os._exit(9)
"""
    subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    with recording(where, "t007") as second:
        second.end("finished")
    wait_for_couriers()
    text = (tmp_path / "t007.log").read_text()
    assert "the last words" in text
    assert "WARNING the attempt before broke off: its process died" in text


def wait_for_couriers() -> None:
    """Wait for the threads that take logs to a store."""
    for thread in threading.enumerate():
        if thread.name == "trial-log":
            thread.join(10)


# --- size, and what must not stand in it ---------------------------------------------------------


def test_a_log_stays_small_and_keeps_its_end(tmp_path: Path) -> None:
    log = tmp_path / "t007.log"
    for attempt in range(3):
        with recording(str(log), "t007") as said:
            for number in range(20_000):
                said.say(f"attempt {attempt} line {number} " + "x" * 60)
            said.say("y" * LIMIT, "ERROR")
            said.end("failed")
        assert log.stat().st_size <= LIMIT * 1.1
        lines = log.read_text().splitlines()
        assert "longer" in lines[0]
        assert any(f"attempt {attempt} line 19999" in line for line in lines)
        assert lines[-1].endswith("ended: failed")


def test_no_credentials_and_no_control_characters(tmp_path: Path) -> None:
    log = tmp_path / "t007.log"
    with recording(str(log), "t007") as said:
        said.say("s3://key:secret@bucket/x \x1b[31mred", "ERROR")
        print("  5%\r100% done", file=sys.stderr)
        said.end("failed")
    text = log.read_text()
    assert "s3://bucket/x" in text
    assert "secret" not in text
    assert "\x1b" not in text
    assert "STDERR 100% done\n" in text


# --- in a store ----------------------------------------------------------------------------------


def test_in_a_store_a_log_is_there_when_the_failure_is_told(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triallog, "SEND_EVERY", 600.0)
    log = tmp_path / "logs" / "t007.log"
    seen: list[bool] = []
    changes = {**CONFIGURATION, "lr_scheduler_type": "no such schedule"}
    order = Order("t007", changes, log=f"file://{log}")
    bench.run(order, lambda report: seen.append("Traceback" in log.read_text()), go)
    assert seen == [True]


def test_in_a_store_a_trial_that_ends_without_trouble_leaves_nothing(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triallog, "SEND_EVERY", 0.01)
    run(bench, f"file://{tmp_path}/logs/t007.log")
    wait_for_couriers()
    assert list((tmp_path / "logs").iterdir()) == []
