"""A search's finals, in its ledger, its study and its forecast: what a driver does with them."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.journals import Told, journal_of
from tests.test_forecast import FIXED, SEARCH
from tests.test_ledger import Draws, Heard, end, rung
from tests.test_ledger import ledger_on as begun
from tuner.finalists import Finals, in_all
from tuner.forecast import Pace, forecast
from tuner.headings import heading, heading_lines
from tuner.history import History
from tuner.journal import read_history
from tuner.leaderboard import rows
from tuner.ledger import Ledger
from tuner.spaces import load_space
from tuner.standing import standing
from tuner.study import Study


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def ledger_on(path: Path, *, slots=1, finals=None, **given):
    """A ledger on one slot that is to run two finalists again under two seeds each."""
    finals = finals or Finals(2, 2, seed=3)
    return begun(path, slots=slots, attempts=1, finals=finals, **given)


def run_on(ledger: Ledger, most: int = 99) -> list[str]:
    """Serve trials one after another, each with a score of its own; the names of those served."""
    served: list[str] = []
    while len(served) < most and (record := ledger.next()) != "over":
        assert record != "wait"
        ledger.taken(record.name)
        served.append(record.name)
        score = random.Random(record.name).random()
        if ledger.result(rung(record.name, score), "slot"):
            ledger.result(end(record.name, score), "slot")
    return served


def test_when_all_trials_are_done_the_finalists_run_again_and_nothing_stops_them(
    path: Path,
) -> None:
    draws, heard = Draws(), Heard()
    ledger = ledger_on(path, draws=draws, heard=[heard])
    assert run_on(ledger) == [f"t{n:03d}" for n in range(8)]
    assert ledger.close() == "complete"
    history = read_history(path)
    records = list(history.records.values())
    runs = records[4:]
    assert [record.reseed_of for record in records[:4]] == [None] * 4
    finalists = [row.trial for row in rows(history, "max") if row.seeds == 3]
    assert len(finalists) == 2
    assert [r.reseed_of for r in runs] == [runs[0].reseed_of, runs[1].reseed_of] * 2
    assert {r.reseed_of for r in runs} == set(finalists)
    assert [record.status for record in runs] == ["finished"] * 4, "whatever they score"
    assert [name for name, _ in draws.told] == [r.name for r in records[:4]]
    assert any(e[0] == "note" and "run again" in e[1] for e in heard.events)
    assert (history.planned, history.done, in_all(history, "max")) == (4, 8, 8)
    assert standing(history, "max").planned == 8


def test_a_search_that_was_complete_without_finals_has_them_later(path: Path) -> None:
    first = begun(path, attempts=1)
    assert run_on(first) == [f"t{n:03d}" for n in range(4)]
    assert first.close() == "complete"
    before = path.read_bytes()
    again = ledger_on(path)
    assert run_on(again) == [f"t{n:03d}" for n in range(4, 8)]
    assert again.close() == "complete"
    assert path.read_bytes().startswith(before)
    history = read_history(path)
    assert sum(row.seeds == 3 for row in rows(history, "max")) == 2


def test_no_finalist_runs_again_before_the_last_trial_is_done(path: Path) -> None:
    ledger = ledger_on(path, slots=2, planned=2, finals=Finals(1, 1))
    for name in ("t000", "t001"):
        assert ledger.next().name == name
        ledger.taken(name)
    ledger.result(end("t000", 0.9), "slot")
    assert ledger.next() == "wait"
    assert ledger.left == 2
    ledger.result(end("t001", 0.95), "slot")
    record = ledger.next()
    assert (record.name, record.reseed_of) == ("t002", "t001")
    assert ledger.next() == "wait"
    assert ledger.left == 1


@pytest.mark.parametrize("served", [3, 4, 5, 6, 7])
def test_a_search_that_is_killed_anywhere_in_its_finals_goes_on_to_the_same_end(
    tmp_path: Path, served: int
) -> None:
    def told(history: History) -> list[object]:
        return [(r.name, r.configuration, r.status, r.reseed_of) for r in history.records.values()]

    through, path = tmp_path / "through", tmp_path / "killed"
    run_on(ledger_on(through))
    ledger = ledger_on(path)
    run_on(ledger, served)
    begun = ledger.next()  # a trial is on its slot when the driver dies
    ledger.taken(begun.name)
    before = path.read_bytes()
    again_ = ledger_on(path)
    assert run_on(again_)[0] == begun.name
    assert again_.close() == "complete"
    assert told(read_history(path)) == told(read_history(through))
    assert path.read_bytes().startswith(before)


def test_a_run_again_that_fails_is_not_replaced(path: Path) -> None:
    ledger = ledger_on(path, planned=1, finals=Finals(1, 2))
    run_on(ledger, 1)
    record = ledger.next()
    ledger.taken(record.name)
    ledger.lost(record.name, "killed")
    assert run_on(ledger) == ["t002"]
    assert ledger.close() == "complete"
    first, *_ = rows(read_history(path), "max")
    assert (first.trial, first.seeds) == ("t000", 2)


def test_a_budget_that_ends_the_search_leaves_the_finals_to_a_driver_with_more(path: Path) -> None:
    run_on(ledger_on(path), 4)
    ledger = ledger_on(path, seconds=0.0)
    assert ledger.next() == "over"
    assert ledger.close() == "budget"
    assert run_on(ledger_on(path)) == ["t004", "t005", "t006", "t007"]


def test_an_extended_search_draws_on_and_its_runs_again_count(path: Path) -> None:
    run_on(ledger_on(path))
    ledger = ledger_on(path, planned=6, draws=Draws(8))
    served = run_on(ledger)
    history = read_history(path)
    assert served[:2] == ["t008", "t009"]
    assert [history.records[name].reseed_of for name in served[:2]] == [None, None]
    finalists = {r.reseed_of for r in history.records.values() if r.reseed_of}
    best_now = [row for row in rows(history, "max") if row.rank and row.seeds == 3]
    assert len(served) == 2 + 2 * (len(finalists) - 2)
    assert len(best_now) == len(finalists)
    assert ledger.close() == "complete"


def test_runs_again_take_names_but_no_place_in_the_study(tmp_path: Path) -> None:
    space = load_space("default")
    plain = Study(tmp_path / "a", "run", space, "max", 0, [], 1)
    records = []
    for number in range(3):
        name, configuration, _ = plain.draw()
        history = journal_of(
            tmp_path / f"{number}", [Told(configuration=configuration, values=(0.1, 0.2, 0.3))]
        )
        records.append(replace(history.records["t000"], name=name, number=number))
        plain.tell(records[-1])
    expected = Study(tmp_path / "b", "run", space, "max", 0, records, 1).draw()
    runs = [replace(records[0], name=f"t{n:03d}", number=n, reseed_of="t000") for n in range(3, 5)]
    study = Study(tmp_path / "c", "run", space, "max", 0, [*records, *runs], 1)
    name, *rest = study.draw()
    assert (expected[0], name) == ("t003", "t005")
    assert rest == list(expected[1:])


def test_a_forecast_adds_whole_schedules_which_nothing_stops() -> None:
    search = replace(SEARCH, space=FIXED)
    alone, more = forecast(search), forecast(replace(search, finalists=3, reseeds=2))
    assert more.exact
    assert (more.trials, more.epochs) == (alone.trials + 6, alone.epochs + 12)
    assert (more.steps, more.evaluations) == (alone.steps + 6 * 200, alone.evaluations + 18)
    asha = replace(search, asha=True, trials=30)
    alone, more = forecast(asha), forecast(replace(asha, finalists=3, reseeds=2))
    assert more.epochs - alone.epochs == pytest.approx(12, abs=2)
    pace = Pace(step=0.5, token=0.0, tokens=float)  # 100 s a schedule, two at a time
    alone, more = (forecast(s, pace) for s in (search, replace(search, finalists=3, reseeds=2)))
    assert more.seconds - alone.seconds == pytest.approx(300)
    assert not forecast(replace(SEARCH, finalists=1, reseeds=1)).exact, "who wins is not known"


def test_a_heading_counts_all_trials_that_there_are_to_be(path: Path) -> None:
    ledger = ledger_on(path)
    run_on(ledger, 5)
    history = read_history(path)
    about = heading("r", "demo", "accuracy", "max", {}, history)
    assert "5 of 8 trials done" in "\n".join(heading_lines(rows(history, "max"), about))
