"""What a user sees: the right line at the right event, and nothing that can end a run."""

from __future__ import annotations

import io
import math
import os
import pty
import random
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.journals import drawn, said
from tuner.finalists import in_all
from tuner.history import Direction, History
from tuner.journal import Journal
from tuner.live import Live
from tuner.progress import Lines, Silent, Watcher, watcher
from tuner.standing import Tally, reached, seconds_left, standing


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.open(tmp_path / "journal.jsonl")


class Teller:
    """Does what a search does: writes an event to the journal, then tells the watcher."""

    def __init__(self, journal: Journal, watching: Watcher, planned: int, slots: int) -> None:
        self.journal, self.watching = journal, watching
        journal.append("session", planned=planned, slots=slots)
        watching.aim("accuracy", "max")
        watching.search_started(planned, slots)

    def tell(self, name: str, event: str, **fields: object) -> None:
        self.journal.append(event, **{"trial": name, **fields})
        history = self.journal.history
        self.watching.event(event, history.records[name], history)

    def begin(self, number: int) -> str:
        name = drawn(self.journal, number)
        history = self.journal.history
        self.watching.event("drawn", history.records[name], history)
        self.tell(name, "taken")
        return name


def _lines(stream: io.StringIO) -> list[str]:
    assert stream.getvalue().endswith("\n")
    return stream.getvalue().splitlines()


def test_every_event_is_one_line_with_the_count_the_best_and_the_time_left(
    journal: Journal,
) -> None:
    stream = io.StringIO()
    teller = Teller(journal, Lines(stream), planned=4, slots=1)
    first = teller.begin(0)
    teller.tell(first, "report", **said(first, 0, 0.5))
    teller.tell(first, "finished", **said(first, 2, 0.5993), error=None)
    second = teller.begin(1)
    teller.tell(second, "stopped", **said(second, 1, 0.5451), error=None)
    third = teller.begin(2)
    teller.tell(third, "failed", error="CUDA out of memory\nsecond line")
    teller.watching.search_ended("interrupted")
    assert _lines(stream) == [
        "searching: 4 trials, 1 at a time",
        "[0/4] t000 started: lr 3.1e-05, epochs 3, seed 7, batch 16",
        "[0/4] t000 at 11 % of its schedule: accuracy 0.5000 (best 0.5000 t000)",
        "[1/4] t000 finished in 10 s: accuracy 0.5993 (best 0.5993 t000), about 32 s left",
        "[1/4] t001 started: lr 3.1e-05, epochs 3, seed 7, batch 16",
        "[2/4] t001 stopped at 33 % of its schedule: accuracy 0.5451 (best 0.5993 t000), "
        "about 15 s left",
        "[2/4] t002 started: lr 3.1e-05, epochs 3, seed 7, batch 16",
        "[3/4] t002 failed at 0 % of its schedule: CUDA out of memory second line "
        "(best 0.5993 t000), about 5 s left",
        "the search was interrupted: 1 finished, 1 stopped, 1 failed",
    ]


def test_where_less_is_better_the_best_is_the_lowest(journal: Journal) -> None:
    stream = io.StringIO()
    lines = Lines(stream)
    teller = Teller(journal, lines, planned=2, slots=1)
    lines.aim("rmse", "min")
    for number, value in enumerate((0.4, 0.7)):
        name = teller.begin(number)
        teller.tell(name, "finished", **said(name, 2, value), error=None)
    assert "rmse 0.7000 (best 0.4000 t000)" in _lines(stream)[-1]


def test_a_trial_that_begins_again_says_so(journal: Journal) -> None:
    stream = io.StringIO()
    teller = Teller(journal, Lines(stream), planned=1, slots=1)
    teller.tell(teller.begin(0), "taken")
    assert "t000 started again: lr" in _lines(stream)[-1]


def test_ticks_of_one_training_are_lines_only_now_and_then() -> None:
    often, seldom = io.StringIO(), io.StringIO()
    for stream, every in ((often, 0.0), (seldom, 3600.0)):
        lines = Lines(stream, tick_every=every)
        lines.stage("retraining t003 on all 2,490 training rows")
        for step in range(5):
            lines.tick(1000 * step, 5000, None if step == 0 else 90.0)
    assert len(_lines(seldom)) == 1
    assert _lines(often)[1:3] == [
        "step 0 of 5,000 (0 %)",
        "step 1,000 of 5,000 (20 %), about 90 s left",
    ]


@pytest.mark.parametrize("kind", [Lines, Live])
def test_a_stream_that_is_gone_does_not_end_a_run(
    journal: Journal, kind: Callable[[io.TextIOWrapper], Watcher]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = io.TextIOWrapper(os.fdopen(writing, "wb", buffering=0), write_through=True)
    with kind(stream) as watching:
        watching.stage("reading")
        teller = Teller(journal, watching, planned=1, slots=1)
        name = teller.begin(0)
        watching.note("a note")
        teller.tell(name, "finished", **said(name, 2, 0.5), error=None)
        watching.search_ended("complete")
    closed = io.StringIO()
    closed.close()
    Lines(closed).note("nobody hears it")


def test_a_stream_that_knows_only_ascii_gets_what_it_can_show() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Lines(stream).note("the café’s task")
    stream.flush()
    assert raw.getvalue() == b"note: the caf?'s task\n".replace(b"'", b"?")


def test_lines_of_several_threads_stay_whole() -> None:
    stream = io.StringIO()
    lines = Lines(stream)

    def talk(number: int) -> None:
        for _ in range(200):
            lines.note(f"{number}" * 50)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(_lines(stream)) == {"note: " + f"{number}" * 50 for number in range(4)}
    assert len(_lines(stream)) == 800


def test_silence_is_silent(journal: Journal, capsys: pytest.CaptureFixture[str]) -> None:
    with Silent() as watching:
        watching.stage("reading")
        watching.note("a note")
        watching.tick(1, 2, None)
        Teller(journal, watching, planned=1, slots=1).begin(0)
        watching.search_ended("complete")
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_the_live_table_and_everything_else_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert isinstance(watcher(io.StringIO()), Lines)
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setenv("TERM", "xterm")
        assert isinstance(watcher(terminal), Live)
        monkeypatch.setenv("TERM", "dumb")
        assert isinstance(watcher(terminal), Lines)
    os.close(ours)


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "110")
    monkeypatch.setenv("LINES", "30")
    return Terminal()


def _shown(terminal: Terminal) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())


def test_the_live_table_shows_the_best_first_and_running_trials_with_their_progress(
    journal: Journal, terminal: Terminal
) -> None:
    with Live(terminal) as live:
        live.stage("reading rte")
        teller = Teller(journal, live, planned=4, slots=2)
        for number, value in enumerate((0.5, 0.7)):
            name = teller.begin(number)
            teller.tell(name, "finished", **said(name, 2, value), error=None)
        name = teller.begin(2)
        teller.tell(name, "report", **said(name, 1, 0.65))
        live.refresh()
        shown = _shown(terminal)
        live.search_ended("complete")
        live.stage("retraining")
        live.tick(10, 500, 42.0)
        live.refresh()
    assert shown.index("t001") < shown.index("t000")
    assert "2 of 4 done, about" in shown
    running = next(line for line in shown.splitlines() if line.startswith("t002"))
    assert "0.6500 lr 3.1e-05" in running
    assert re.search(r"\d %", running)
    assert re.search(r"retraining, step 10 of 500, about 42 s left .* 2 %", _shown(terminal))
    kept = [line for line in shown.splitlines() if "reading rte " in line]
    assert kept, "a stage that ended stays on the screen with its time"


def test_printing_from_other_threads_does_not_break_the_live_table(
    journal: Journal, terminal: Terminal
) -> None:
    with Live(terminal) as live:
        teller = Teller(journal, live, planned=100, slots=1)

        def chatter() -> None:
            for number in range(50):
                print(f"line {number} of elsewhere")
                live.note(f"note {number}")

        threads = [threading.Thread(target=chatter) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(50):
            name = teller.begin(number)
            teller.tell(name, "finished", **said(name, 2, 0.5), error=None)
            live.refresh()
        for thread in threads:
            thread.join()
    shown = _shown(terminal)
    assert shown.count("of elsewhere") == 150
    assert shown.count("note 49") == 3
    assert sys.stdout is not terminal


def test_more_trials_than_lines_leave_room_for_those_that_run(
    journal: Journal, terminal: Terminal
) -> None:
    with Live(terminal) as live:
        teller = Teller(journal, live, planned=100, slots=1)
        for number in range(40):
            name = teller.begin(number)
            teller.tell(name, "finished", **said(name, 2, 0.5 + number / 100), error=None)
        teller.begin(40)
        live.refresh()
        last = _shown(terminal)[-4000:]
    assert "more" in last
    assert "t039" in last
    assert re.search(r"^t040", last, re.MULTILINE)


def test_the_best_is_a_finished_trial_as_soon_as_there_is_one(journal: Journal) -> None:
    teller = Teller(journal, Silent(), planned=3, slots=1)
    history = journal.history
    assert standing(history, "max").best is None
    running = teller.begin(0)
    teller.tell(running, "report", **said(running, 0, 0.9))
    assert standing(history, "max").best == "t000"
    done = teller.begin(1)
    teller.tell(done, "finished", **said(done, 2, 0.6), error=None)
    now = standing(history, "max")
    assert (now.best, now.value, now.done, now.planned) == ("t001", 0.6, 1, 3)


def test_time_left_is_the_mean_of_done_trials_shared_by_the_slots(journal: Journal) -> None:
    teller = Teller(journal, Silent(), planned=7, slots=2)
    assert seconds_left(journal.history) is None
    for number, seconds in enumerate((10.0, 20.0)):
        name = teller.begin(number)
        fields = {**said(name, 2, 0.5), "total_seconds": seconds}
        teller.tell(name, "finished", **fields, error=None)
    assert seconds_left(journal.history) == pytest.approx(5 * 15.0 / 2)
    name = teller.begin(2)
    teller.tell(name, "report", **{**said(name, 0, 0.5), "total_seconds": 5.0})
    assert seconds_left(journal.history) == pytest.approx((5 * 15.0 - 5.0) / 2)
    for number in range(3, 7):
        name = teller.begin(number)
        teller.tell(name, "finished", **{**said(name, 2, 0.5), "total_seconds": 15.0}, error=None)
    assert seconds_left(journal.history) == pytest.approx(10.0), "the last one has a slot alone"
    teller.tell("t002", "finished", **said("t002", 2, 0.5), error=None)
    assert seconds_left(journal.history) == 0.0


def test_progress_goes_on_at_its_own_pace_and_waits_at_the_next_rung(journal: Journal) -> None:
    teller = Teller(journal, Silent(), planned=1, slots=1)
    name = teller.begin(0)
    record = journal.history.records[name]
    assert reached(record, 1e12) == 0.0
    teller.tell(name, "report", **{**said(name, 0, 0.5), "total_seconds": 10.0}, time=1000.0)
    assert reached(record, 1000.0) == pytest.approx(1 / 9)
    assert reached(record, 1005.0) == pytest.approx(1.5 / 9)
    assert reached(record, 5000.0) == pytest.approx(3 / 9)
    assert reached(record, 900.0) == pytest.approx(1 / 9), "a clock that was set back"


def test_a_score_that_is_undefined_is_nobodys_best(journal: Journal) -> None:
    teller = Teller(journal, Silent(), planned=1, slots=1)
    name = teller.begin(0)
    teller.tell(name, "report", **said(name, 0, math.nan))
    assert standing(journal.history, "max").value is None


def test_what_a_tally_says_costs_the_same_after_thousands_of_trials_also_in_the_finals(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []

    def watched(history: History, direction: Direction) -> int:
        counted.append(len(history.records))
        return in_all(history, direction)

    monkeypatch.setattr("tuner.standing.in_all", watched)
    journal.append("session", planned=4, slots=1, finalists=2, reseeds=2)
    tally = Tally(journal.history, "max")
    for number in range(8):
        more = {"reseed_of": f"t{number % 2:03d}"} if number >= 4 else {}
        name, empty = f"t{number:03d}", {"configuration": {}}
        journal.append("drawn", trial=name, number=number, **empty, **more)
        for event in ("taken", "report", "finished"):
            fields = {"trial": name} if event == "taken" else said(name, 2, 1 - number / 10)
            journal.append(event, **fields)
            tally.hear(journal.history.records[name])
            assert tally.standing.planned == 8 == in_all(journal.history, "max")
    assert counted == [4, 5, 6, 7, 8], "once the search is over, and once a trial that is drawn"


@pytest.mark.parametrize("direction", ["max", "min"])
def test_a_tally_that_hears_every_event_says_what_the_whole_history_says(
    journal: Journal, direction: Direction
) -> None:
    rng = random.Random(3)
    tally = Tally(journal.history, direction)
    teller = Teller(journal, Silent(), planned=40, slots=4)
    rungs: dict[str, int] = {}
    for _ in range(300):
        if len(rungs) < 4 and len(journal.history.records) < 40:
            rungs[teller.begin(len(journal.history.records))] = 0
        name = rng.choice(sorted(rungs))
        rung, happens = rungs[name], rng.random()
        objective = math.nan if happens > 0.95 else rng.choice([0.1, 0.5, 0.5, 0.9])
        fields = said(name, rung, objective)
        if happens < 0.05:
            teller.tell(name, "failed", trial=name, error="out of memory")
            del rungs[name]
        elif happens < 0.2:
            teller.tell(name, "taken", trial=name)
            rungs[name] = 0
        elif rung == 2 or happens < 0.4:
            teller.tell(name, "finished" if rung == 2 else "stopped", **fields, error=None)
            del rungs[name]
        else:
            teller.tell(name, "report", **fields)
            rungs[name] += 1
        tally.hear(journal.history.records[name])
        kept, afresh = tally.standing, standing(journal.history, direction)
        assert replace(kept, seconds_left=None) == replace(afresh, seconds_left=None)
        assert kept.seconds_left == pytest.approx(afresh.seconds_left)
        if not rungs and len(journal.history.records) == 40:
            break
    assert journal.history.done > 30
