"""`tuner show` tells all about a trial, also of a run that is not whole, on any terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.journals import Told, drawn, journal_of, run_trial, said
from tuner.cli import run_guarded
from tuner.curves import DRAWN, draw
from tuner.dossier import Dossier, as_json, dossier, lines
from tuner.errors import UserError
from tuner.journal import Journal
from tuner.runs import Run
from tuner.settings import Settings, write_run_file

TRIALS = (
    Told(values=(0.5, 0.4, 0.7)),
    Told("stopped", (0.5, 0.55)),
    Told("failed", (0.5,), error="RuntimeError:\nno room"),
    Told("drawn", ()),
)
FACTS = {"task": {"name": "demo"}, "data": {"training_rows": 9, "full_training_rows": 90}}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    found = Run(tmp_path / "runs" / "one")
    found.folder.mkdir(parents=True)
    journal_of(found.journal_file, TRIALS)
    write_run_file(found, Settings(task="demo", trials=4), FACTS)
    return found


def told(run: Run, trial: str, width: int = 80) -> list[str]:
    return lines(dossier(run, trial), width)


def test_a_finished_trial_is_told_from_its_rank_to_the_command_that_repeats_it(run: Run) -> None:
    found = told(run, "t000")
    assert found[0] == "t000 of one: finished, rank 1 of 1, a start point"
    assert found[1] == "accuracy 0.7000"
    assert "  learning_rate (lr)                   3.14e-05" in found
    assert "  100 %  90/90    0.7000  0.3500  0.6000      0.5000  10.5 s" in found
    assert "slot host:100" in found
    command = next(line for line in found if line.startswith("  tuner tune"))
    assert command.startswith("  tuner tune --task demo --trials 1 --scheduler none")
    assert any("all 90 training rows, the trial on 9" in line for line in found)


def test_how_a_trial_ended_is_said(run: Run) -> None:
    assert "ASHA stopped it after 33 % of its schedule" in told(run, "t001")
    failed = told(run, "t002")
    assert "error: RuntimeError: no room" in failed
    assert f"`tuner logs {run.folder} t002` has its log" in failed
    waiting = told(run, "t003")
    assert waiting[0] == "t003 of one: waiting for a slot"
    assert "it has not reported yet" in waiting


@pytest.mark.parametrize("width", [10, 60, 120])
def test_lines_fit_the_terminal_but_for_words_that_are_longer(run: Run, width: int) -> None:
    found = told(run, "t000", width)
    rest = [line for line in found if "--" not in line]
    assert max(map(len, rest)) <= max(60, width)


def test_json_holds_the_row_the_scores_the_times_and_the_commands(run: Run) -> None:
    found = as_json(dossier(run, "t000"))
    assert found["rank"] == 1
    assert [score["objective"] for score in found["scores"]] == [0.5, 0.4, 0.7]
    assert set(found["times"]) == {"train", "evaluation", "other", "waiting"}
    assert found["commands"][0]["words"][:2] == ["tuner", "tune"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_time_is_told_apart_over_losses_and_drivers_that_were_killed(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with Journal.open(run.journal_file) as journal:
        journal.append("session", planned=1, slots=1, time=0.0)
        configuration = Told().configuration
        journal.append("drawn", trial="t000", number=0, configuration=configuration, time=1.0)
        journal.append("taken", trial="t000", time=5.0)  # waited 4
        journal.append("lost", trial="t000", error="gone", time=15.0)  # held 10
        journal.append("taken", trial="t000", time=16.0)  # waited 1
        journal.append("report", **said("t000", 0, 0.5), time=20.0)  # held 4, then killed
        journal.append("session", planned=1, slots=1, time=1000.0)
        journal.append("taken", trial="t000", time=1002.0)  # waited 982
        journal.append("finished", **said("t000", 2, 0.7), time=1012.0)  # held 10
    times = dossier(run, "t000").times
    assert times is not None
    assert (times.train, times.evaluation) == (10.0, 0.5)
    assert times.other == pytest.approx(24 - 10.5)
    assert times.waiting == pytest.approx(4 + 1 + 982)


def test_without_run_yaml_there_is_no_command_and_it_says_so(run: Run) -> None:
    run.settings_file.unlink()
    found = dossier(run, "t000")
    assert found.commands == ()
    assert found.view.objective == "accuracy"
    assert any("run.yaml is missing" in line for line in lines(found))


def test_a_run_is_read_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: [reads.append(path), read(path)][1])
    assert told(run, "t000")[0].startswith("t000 of one: finished")
    assert reads.count(run.journal_file) == 1


def test_a_trial_that_ran_when_its_journal_broke_is_not_called_unfinished(run: Run) -> None:
    lines = run.journal_file.read_bytes().splitlines(keepends=True)
    lines[7] = b"broken\n"
    run.journal_file.write_bytes(b"".join(lines))
    found = told(run, "t000")
    assert found[0] == "t000 of one: unknown, a start point"
    assert "jsonl:8: broken line" in next(line for line in found if line.startswith("Not whole"))


def test_a_trial_that_is_not_there_is_the_users_to_mend(run: Run) -> None:
    with pytest.raises(UserError, match="has no trial 't02'; did you mean"):
        dossier(run, "t02")


def test_the_command_takes_the_newest_run_where_none_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(run.folder.parent.parent)
    assert run_guarded(["show", "t001"]) == 0
    newest = capsys.readouterr().out
    assert run_guarded(["show", "one", "t001"]) == 0
    assert capsys.readouterr().out == newest
    assert newest.startswith("t001 of one: stopped")
    assert run_guarded(["show", "t001", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["trial"] == "t001"
    assert run_guarded(["logs", "t001"]) == 0
    for wrong in (["show", "a", "b", "c"], ["show", "t001", "--format", "csv"], ["show", "t9"]):
        assert run_guarded(wrong) == 2
    capsys.readouterr()
    assert run_guarded(["show", "one"]) == 2
    assert "one is a run: add one of its trials" in capsys.readouterr().err


def test_a_curve_has_its_points_where_they_belong() -> None:
    drawn_lines = draw([(0.0, 1.0), (0.5, 0.0), (1.0, 0.5)], 28, marks=DRAWN, height=5)
    rows = [line.partition("│")[2].ljust(20) for line in drawn_lines[:5]]
    assert [(row.index("●"), place) for place, row in enumerate(rows) if "●" in row] == [
        (0, 0),
        (19, 2),
        (10, 4),
    ]
    assert [line[:6] for line in (drawn_lines[0], drawn_lines[4])] == ["1.0000", "0.0000"]
    assert drawn_lines[-1].split() == ["0", "%", "100", "%"]


def test_a_curve_of_equal_points_is_one_line_and_of_none_is_none() -> None:
    assert len(draw([(0.1, 0.5), (1.0, 0.5)], 40)) == 3
    assert draw([], 40) == []


def test_a_running_trial_is_told_as_far_as_it_is(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with Journal.open(run.journal_file) as journal:
        journal.append("session", planned=1, slots=1)
        run_trial(journal, drawn(journal, 0), Told("running", (0.5,)))
    found: Dossier = dossier(run, "t000")
    assert lines(found)[0].startswith("t000 of ")
    assert "unfinished" in lines(found)[0]
    assert found.times is not None
