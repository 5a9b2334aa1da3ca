"""The journal: what is appended is what is read back, whatever became of its last line."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import tuner
from tests.journals import Told, drawn, journal_of, run_trial, said
from tuner.errors import TunerError, UserError
from tuner.journal import History, Journal, Score, read_history

TRIALS = (
    Told(),
    Told("stopped", (0.55, 0.52)),
    Told("failed", (0.5,), error="loss is not finite"),
    Told("running", (0.61,)),
    Told("drawn", ()),
)


def python(script: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in a Python of its own, from the folder that holds the package."""
    folder = Path(tuner.__file__).parent.parent
    command = [sys.executable, "-c", script, str(path)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def test_a_journal_read_back_is_the_history_of_the_one_who_wrote_it(path: Path) -> None:
    live = journal_of(path, TRIALS, order=(2, 0, 3, 1, 4), reason="budget")
    assert read_history(path) == live


def test_statuses_scores_and_errors_are_those_that_were_told(path: Path) -> None:
    journal_of(path, TRIALS)
    records = read_history(path).records
    assert [r.status for r in records.values()] == [
        "finished",
        "stopped",
        "failed",
        "running",
        "drawn",
    ]
    assert list(records) == ["t000", "t001", "t002", "t003", "t004"]
    first = records["t000"]
    assert first.rung_values == {1: 0.5, 3: 0.6, 9: 0.7}
    assert first.last is not None
    assert (first.last.progress, first.last.metrics["f1"], first.slot) == (1.0, 0.35, "host:100")
    assert first.start_point
    assert not records["t001"].start_point
    assert records["t002"].error == "loss is not finite"
    assert records["t004"].last is None


def test_the_best_on_the_way_follows_the_direction_and_takes_the_earliest_of_equals(
    path: Path,
) -> None:
    record = journal_of(path, [Told(values=(0.6, 0.4, 0.6))]).records["t000"]
    highest, lowest = record.best("max"), record.best("min")
    assert highest is not None
    assert lowest is not None
    assert (highest.level, lowest.level) == (1, 3)


def test_results_come_in_the_order_of_the_journal_with_their_status(path: Path) -> None:
    journal_of(path, TRIALS, order=(1, 2, 0, 3, 4))
    results = [(name, score.level, status) for name, score, status in read_history(path).results]
    assert results == [
        ("t001", 1, "report"),
        ("t001", 3, "stopped"),
        ("t002", 1, "report"),
        ("t002", 0, "failed"),
        ("t000", 1, "report"),
        ("t000", 3, "report"),
        ("t000", 9, "finished"),
        ("t003", 1, "report"),
    ]


def test_numbers_that_json_lacks_are_null_in_the_file_and_nan_in_a_score(path: Path) -> None:
    with Journal.open(path) as journal:
        journal.append("session", planned=1, slots=1)
        name = drawn(journal, 0)
        fields = said(name, 0, math.nan)
        fields["metrics"] = {"accuracy": math.inf, "f1": np.float32(0.5)}
        journal.append("report", **{**fields, "step": np.int64(10), "loss": -math.inf})
    text = path.read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    line = json.loads(text.splitlines()[-1])
    assert line["objective"] is None
    assert line["metrics"] == {"accuracy": None, "f1": 0.5}
    score = read_history(path).records["t000"].scores[0]
    assert math.isnan(score.objective)
    assert math.isnan(score.loss)
    assert math.isnan(score.metrics["accuracy"])
    assert score.step == 10
    record = read_history(path).records["t000"]
    assert record.rung_values == {}
    assert record.best("max") is None


def test_a_failure_keeps_what_the_report_before_it_said(path: Path) -> None:
    record = journal_of(path, [Told("failed", (0.5, 0.6))]).records["t000"]
    assert record.last is not None
    assert (record.last.step, record.last.level) == (30, 0)
    assert record.last.total_seconds > 0
    assert math.isnan(record.last.objective)
    assert record.rung_values == {1: 0.5, 3: 0.6}


@pytest.mark.parametrize("cut", range(1, 80, 7))
def test_a_torn_last_line_is_passed_over_and_cut_off_before_the_next_append(
    path: Path, cut: int
) -> None:
    journal_of(path, TRIALS)
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    torn = whole[: max(len(whole) - len(last) + 1, len(whole) - cut)]
    kept = whole[: len(whole) - len(last)]
    path.write_bytes(torn)
    history = read_history(path)
    assert history.reason is None
    assert path.read_bytes() == torn, "reading changes nothing"
    with Journal.open(path) as journal:
        assert journal.history == history
        journal.append("note", text="on again")
    after = path.read_bytes()
    assert after.startswith(kept)
    assert after.count(b"\n") == kept.count(b"\n") + 1
    assert read_history(path).notes == ["on again"]


@pytest.mark.parametrize("tail", [b'{"event":"rep\n', b"\0\0\0\0", b"\0\0\0\n", b"[1]\n", b"{}"])
def test_a_last_line_that_is_no_event_is_torn_even_when_it_ends(path: Path, tail: bytes) -> None:
    history = journal_of(path, TRIALS)
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    assert read_history(path) == history
    Journal.open(path).close()
    assert path.read_bytes() == whole


def test_a_note_without_a_text_changes_no_slots() -> None:
    history = History()
    with pytest.raises(KeyError):
        history.apply({"event": "note", "slots": 7})
    assert history == History()


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b'{"event":"taken","tri', "not a JSON object"),
        (b"", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"event":"note","text":"a"},{"event":"note","text":"b"}', "not a JSON object"),
        (b'{"event":"taken","trial":"t999"}', "'t999' is missing"),
        (b'{"event":"drawn","trial":"t000","number":0,"configuration":{}}', "drawn before"),
        (b'{"event":"session","planned":3}', "'slots' is missing"),
        (b'{"event":"report","trial":"t000","metrics":[1]}', ""),
        (b'{"event":"report","trial":"t000","step":"3"}', "step is '3', not a number"),
        (b'{"event":"report","trial":"t000","loss":[1]}', "loss is [1], not a number"),
        (b'{"event":"report","trial":"t000","metrics":{"f1":"x"}}', "f1 is 'x', not a number"),
        (b'{"event":"report","trial":"t000","total_steps":1e999}', "total_steps is inf, not a"),
        (b'{"event":"report","trial":"t000","level":1%s}' % (b"0" * 400), "level is 1000"),
        (b'{"event":"taken","trial":"t000","time":"now"}', "time is 'now', not a number"),
        (b'{"event":"taken","trial":"t000","time":1e999}', "time is inf, no time of any year"),
        (b'{"event":["taken"],"trial":"t000"}', "['taken'] is no event"),
        (b'{"event":"drawn","trial":"t9","number":9,"configuration":{"lr":1e999}}', "lr is inf,"),
        (b'{"event":"session","planned":null,"slots":1,"time":1}', "planned is None, not a whole"),
        (b'{"event":"drawn","trial":7,"number":9,"configuration":{}}', "7 is no trial"),
        (b'{"event":"drawn","trial":"t9","number":9,"configuration":[]}', "configuration is []"),
        (b'{"event":"drawn","trial":"t9","number":9,"configuration":{"lr":[1]}}', "lr is [1],"),
    ],
)
def test_a_broken_line_in_the_middle_is_an_error_that_names_it(
    path: Path, broken: bytes, reason: str
) -> None:
    journal_of(path, TRIALS)
    lines = path.read_bytes().splitlines()
    lines[6:6] = [broken]
    content = b"\n".join(lines) + b"\n"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_history(path)
    assert str(caught.value).startswith(f"{path}:7: broken line")
    assert reason in str(caught.value)
    with pytest.raises(UserError):
        Journal.open(path)
    assert path.read_bytes() == content, "a broken journal is left as it is"


def test_two_halves_of_a_line_do_not_pass_for_one(path: Path) -> None:
    journal_of(path, TRIALS)
    content = path.read_bytes().replace(b',"trial":"t000"', b'\n"trial":"t000"', 1)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"journal\.jsonl:2: broken line"):
        read_history(path)


def test_an_event_that_nobody_knows_is_passed_over(path: Path) -> None:
    history = journal_of(path, TRIALS)
    with path.open("ab") as file:
        file.write(b'{"event":"reseeded","trial":"t000"}\n')
    assert read_history(path) == history


def test_no_journal_is_an_empty_history_and_opening_makes_one(path: Path) -> None:
    assert read_history(path) == History()
    Journal.open(path).close()
    assert path.read_bytes() == b""
    assert read_history(path) == History()


def test_a_folder_in_the_place_of_the_journal_is_the_users_error(path: Path) -> None:
    path.mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        read_history(path)


def test_what_a_history_refuses_never_reaches_the_file(path: Path) -> None:
    with Journal.open(path) as journal:
        journal.append("session", planned=1, slots=1)
        before = path.read_bytes()
        with pytest.raises(KeyError):
            journal.append("taken", trial="t007")
        with pytest.raises(TypeError):
            journal.append("note", text=object())
        assert path.read_bytes() == before


def test_a_full_disk_leaves_the_journal_as_it_was(path: Path) -> None:
    with Journal.open(path) as journal:
        journal.append("session", planned=1, slots=1)
    # A limit on the file's size is a disk that is full after a part of a line.
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from tuner.journal import Journal\n"
        "from tuner.errors import TunerError\n"
        "path = Path(sys.argv[1]); size = path.stat().st_size\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, size + 10))\n"
        "journal = Journal.open(path)\n"
        "try: journal.append('note', text='x' * 100)\n"
        "except TunerError as error: print(error)\n"
    )
    before = path.read_bytes()
    ran = python(script, path)
    assert "cannot write the journal" in ran.stdout, ran.stderr
    assert path.read_bytes() == before


def test_a_trial_that_is_taken_again_counts_a_restart_and_its_steps_once(path: Path) -> None:
    with Journal.open(path) as journal:
        journal.append("session", planned=1, slots=1)
        name = drawn(journal, 0)
        journal.append("taken", trial=name)
        journal.append("report", **said(name, 0, 0.5))
        journal.append("report", **said(name, 1, 0.6))
        run_trial(journal, name, Told(values=(0.51, 0.61, 0.71)))
    record = read_history(path).records[name]
    assert record.restarts == 1
    assert [score.step for score in record.scores] == [10, 30, 90]
    assert record.rung_values == {1: 0.51, 3: 0.61, 9: 0.71}


def test_slots_that_died_and_hosts_that_were_taken_away_are_counted_apart(path: Path) -> None:
    with Journal.open(path) as journal:
        journal.append("session", planned=1, slots=1)
        name = drawn(journal, 0)
        for preempted in (True, False, True):
            journal.append("taken", trial=name)
            journal.append("lost", trial=name, error="gone", preempted=preempted)
            assert journal.history.records[name].status == "drawn", "it waits for a slot"
        run_trial(journal, name, Told())
    record = read_history(path).records[name]
    assert (record.losses, record.preemptions, record.restarts) == (1, 2, 3)
    assert (record.status, record.error) == ("finished", None)


def test_what_ran_when_a_driver_died_waits_in_the_next_session(path: Path) -> None:
    assert journal_of(path, TRIALS, reason=None).reason is None
    with Journal.open(path) as journal:
        assert journal.history.records["t003"].status == "running"
        journal.append("ended", reason="interrupted")
        journal.append("session", planned=8, slots=1)
    history = read_history(path)
    assert history.reason is None, "the new session goes on"
    assert history.records["t003"].status == "drawn"
    assert history.records["t003"].takes == 1
    assert (history.planned, history.slots, len(history.sessions)) == (8, 1, 2)


def test_time_spent_is_the_sum_over_sessions_without_the_pause_between_them(path: Path) -> None:
    with Journal.open(path) as journal:
        journal.append("session", planned=1, slots=1, time=1000.0)
        journal.append("note", text="a", time=1030.0)
        journal.append("session", planned=1, slots=1, time=9000.0)
        journal.append("note", text="the clock was set back", time=8000.0)
        assert journal.history.seconds == 30.0
        journal.append("ended", reason="interrupted", time=9005.5)
        assert journal.history.seconds == 35.5
        assert journal.history.reason == "interrupted"
    assert read_history(path).seconds == 35.5


def test_threads_that_append_at_once_leave_whole_lines(path: Path) -> None:
    with Journal.open(path) as journal:
        journal.append("session", planned=1, slots=1)

        def write(number: int) -> None:
            for count in range(50):
                journal.append("note", text=f"{number}-{count}-" + "x" * 200)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(read_history(path).notes)) == 200


def test_an_appended_line_has_left_the_process_when_append_returns(path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tuner.journal import Journal\n"
        "journal = Journal.open(Path(sys.argv[1]))\n"
        "journal.append('note', text='said')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert python(script, path).returncode == -9
    assert read_history(path).notes == ["said"]


def test_a_closed_journal_takes_nothing_more(path: Path) -> None:
    journal = Journal.open(path)
    journal.close()
    journal.close()
    with pytest.raises(TunerError):
        journal.append("note", text="late")


def test_a_score_without_a_schedule_has_no_progress() -> None:
    assert Score().progress == 0.0


def test_reading_a_journal_and_its_leaderboard_imports_nothing_heavy(path: Path) -> None:
    journal_of(path, TRIALS)
    script = (
        "import sys; from pathlib import Path\n"
        "import tuner.journal, tuner.leaderboard, tuner.rendering, tuner.progress, tuner.live\n"
        "rows = tuner.leaderboard.rows(tuner.journal.read_history(Path(sys.argv[1])), 'max')\n"
        "for form in tuner.rendering.FORMATS:\n"
        "    assert 't000' in tuner.rendering.render(rows, form, width=100)\n"
        "heavy = 'torch transformers ray datasets evaluate optuna pandas pyarrow scipy sklearn'\n"
        "print(*(name for name in heavy.split() if name in sys.modules))\n"
    )
    ran = python(script, path)
    assert (ran.returncode, ran.stdout.split()) == (0, []), ran.stderr
