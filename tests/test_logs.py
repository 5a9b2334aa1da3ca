"""`tuner logs` tells a trial's whole story: what the journal says of it, then its log."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.journals import Told, drawn, journal_of, run_trial, said
from tuner.cli import run_guarded
from tuner.errors import UserError
from tuner.journal import Journal
from tuner.logs import trial_lines
from tuner.runs import Run

FAILED = Told("failed", (0.5,), error="ValueError: no such schedule")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of a finished and a failed trial; the failed one left a log."""
    found = Run(tmp_path / "one")
    found.folder.mkdir()
    journal_of(found.journal_file, [Told(), FAILED])
    found.settings_file.write_text("created: now\n")
    found.logs_folder.mkdir()
    (found.logs_folder / "t001.log").write_text("the\ntraceback\n")
    return found


def test_a_failed_trial_is_told_from_its_drawing_to_its_log(run: Run) -> None:
    lines = trial_lines(run, "t001")
    story, log = lines[: lines.index("")], lines[lines.index("") + 1 :]
    texts = [line[21:] for line in story]
    assert texts == [
        "drawn: lr 3.1e-05, epochs 3, seed 7, batch 16",
        "taken by a slot",
        "reported at step 10 of 90 on host:100: accuracy 0.5000, f1 0.2500, loss 0.6000",
        "failed: ValueError: no such schedule",
    ]
    assert log == [f"{run.logs_folder / 't001.log'}:", "the", "traceback"]


def test_every_worker_s_log_is_shown(run: Run) -> None:
    for name in ("t001.rank1", "t001.rank10", "t001.rank2", "t0010", "xt001"):
        (run.logs_folder / f"{name}.log").write_text(f"{name}\n")
    shown = [line for line in trial_lines(run, "t001") if line.startswith(("t0", "xt"))]
    assert shown == ["t001.rank1", "t001.rank2", "t001.rank10"]


def test_a_trial_without_a_log_says_why(run: Run) -> None:
    lines = trial_lines(run, "t000")
    assert lines[0].endswith("(a start point): lr 3.1e-05, epochs 3, seed 7, batch 16")
    assert "finished at step 90 of 90" in lines[-3]
    assert lines[-1].startswith("no log")


def test_losses_preemptions_and_other_drivers_are_told(tmp_path: Path) -> None:
    found = Run(tmp_path)
    with Journal.open(found.journal_file) as journal:
        journal.append("session", planned=2, slots=1)
        name = drawn(journal, 0)
        journal.append("taken", trial=name)
        journal.append("lost", trial=name, error="the host is gone", preempted=False)
        journal.append("taken", trial=name)
        journal.append("lost", trial=name, error="spot", preempted=True)
        journal.append("taken", trial=name)
        journal.append(
            "report", **{**said(name, 0, 0.5), "objective": None, "metrics": {"f1": None}}
        )
        journal.append("session", planned=2, slots=1)
        journal.append("note", text=f"{name} was told about")
        journal.append("note", text="something else")
        run_trial(journal, drawn(journal, 1), Told())
    texts = [line[21:] for line in trial_lines(found, "t000") if line][1:-1]
    assert texts == [
        "taken by a slot",
        "lost its slot: the host is gone",
        "taken by a slot, for the second time",
        "preempted: spot",
        "taken by a slot, for the third time",
        "reported at step 10 of 90 on host:100: f1 undefined, loss 0.6000",
        "another driver began, and so does the trial",
        "t000 was told about",
    ]


@pytest.mark.parametrize("trial", ["t002", "x" * 300, "", "../t001"])
def test_a_trial_that_is_not_there_is_the_users_to_mend(run: Run, trial: str) -> None:
    with pytest.raises(UserError, match="has no trial") as refused:
        trial_lines(run, trial)
    assert len(str(refused.value)) < 200


def test_a_run_without_trials_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not whole: journal\.jsonl is missing"):
        trial_lines(Run(tmp_path), "t000")
    journal_of(Run(tmp_path).journal_file, [])
    with pytest.raises(UserError, match="none was drawn yet"):
        trial_lines(Run(tmp_path), "t000")


def test_of_a_broken_journal_the_lines_before_the_break_are_told(run: Run) -> None:
    lines = run.journal_file.read_text().splitlines()
    lines[5] = lines[5].replace('"step":30', '"step":"30"')
    assert "finished" in lines[6]
    run.journal_file.write_text("\n".join(lines) + "\n")
    told = trial_lines(run, "t000")
    assert [line[21:29] for line in told[: told.index("")][:-1]] == [
        "drawn (a",
        "taken by",
        "reported",
    ]
    assert f"Not whole: {run.journal_file}:6: broken line (step is '30', not a number)" in told[3]
    with pytest.raises(UserError, match=r"has no trial 't002'; not whole: .*jsonl:6: broken line"):
        trial_lines(run, "t002")


def test_the_command_prints_the_lines(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_guarded(["logs", "one", "t001", "--storage", str(run.folder.parent)]) == 0
    assert capsys.readouterr().out.splitlines() == trial_lines(run, "t001")


def test_a_log_in_a_store_is_brought(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    shutil.move(run.folder, tmp_path / "store" / "one")
    uri = f"file://{tmp_path}/store/one"
    assert run_guarded(["logs", uri, "t001"]) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [
        f"{uri}/logs/t001.log:",
        "the",
        "traceback",
    ]
