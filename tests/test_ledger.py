"""The ledger by itself: a stand-in draws configurations, the journal is real."""

import pytest

from tuner.errors import SearchError
from tuner.finalists import searched
from tuner.journal import Journal, read_history
from tuner.ledger import Ledger
from tuner.mailbox import Report
from tuner.scheduler import Judge


class Draws:
    """Draws t000, t001, … and keeps what it is told."""

    def __init__(self, drawn=0):
        self.drawn = drawn
        self.told = []

    def draw(self):
        name = f"t{self.drawn:03d}"
        self.drawn += 1
        return name, {"learning_rate": 1e-4, "seed": self.drawn}, self.drawn == 1

    def tell(self, record):
        self.told.append((record.name, record.status))


class Heard:
    def __init__(self):
        self.events = []

    def note(self, text):
        self.events.append(("note", text))

    def search_started(self, planned, slots):
        self.events.append(("started", planned, slots))

    def event(self, name, record, history):
        self.events.append((name, record.name))

    def search_ended(self, reason):
        self.events.append(("ended", reason))


def ledger_on(path, draws=None, *, heard=(), planned=4, slots=2, seconds=None, attempts=3, **more):
    journal = Journal.open(path)
    return Ledger(
        journal,
        draws or Draws(searched(journal.history)),
        Judge(2, "max"),
        heard,
        objective="accuracy",
        direction="max",
        planned=planned,
        slots=slots,
        seconds=seconds,
        attempts=attempts,
        **more,
    )


def end(name, accuracy=0.5):
    return Report(name, "end", 3, 9, 9, {"accuracy": accuracy}, loss=0.5)


def rung(name, accuracy=0.5):
    return Report(name, "rung", 1, 3, 9, {"accuracy": accuracy}, loss=0.5)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.jsonl"


def run_to_the_end(ledger):
    """Serve every trial that the ledger hands out; the names in that order."""
    served = []
    while (record := ledger.next()) != "over":
        ledger.taken(record.name)
        served.append(record.name)
        ledger.result(end(record.name), "slot")
    return served


def test_no_more_trials_run_than_there_are_slots(path):
    ledger = ledger_on(path)
    first, second = ledger.next(), ledger.next()
    assert (first.name, second.name) == ("t000", "t001")
    assert ledger.next() == "wait"
    ledger.result(end("t000"), "slot")
    assert ledger.next().name == "t002"


def test_more_or_less_room_is_used_from_the_next_trial_on_and_told_once(path):
    heard = Heard()
    ledger = ledger_on(path, heard=[heard], planned=6, slots=1)
    ledger.room(1, "1 host")
    assert ledger.next().name == "t000"
    ledger.room(3, "3 hosts")
    ledger.room(3, "3 hosts")
    assert [ledger.next().name, ledger.next().name] == ["t001", "t002"]
    assert ledger.next() == "wait"
    ledger.room(1, "1 host")
    for name in ("t000", "t001"):
        ledger.result(end(name), "slot")
        assert ledger.next() == "wait", "t002 still runs"
    ledger.result(end("t002"), "slot")
    assert ledger.next().name == "t003"
    notes = ["3 slots from now on: 3 hosts", "1 slot from now on: 1 host"]
    assert [event[1] for event in heard.events if event[0] == "note"] == notes
    history = read_history(path)
    assert (history.notes, history.slots) == (notes, 1)


def test_without_room_a_lost_trial_waits_but_what_is_done_is_over(path):
    ledger = ledger_on(path, planned=1, slots=1)
    ledger.taken(ledger.next().name)
    ledger.room(0, "0 hosts")
    ledger.lost("t000", "its host is gone")
    assert ledger.next() == "wait"
    ledger.room(1, "1 host")
    assert ledger.next().name == "t000"
    ledger.room(0, "0 hosts")
    ledger.result(end("t000"), "slot")
    assert ledger.next() == "over"
    assert ledger.close() == "complete"


def test_a_search_is_stranded_when_it_ends_and_only_trials_without_a_slot_are_left(path):
    ledger = ledger_on(path)
    ledger.taken(ledger.next().name)
    ledger.next()
    assert not ledger.stranded
    ledger.stop("interrupted")
    assert not ledger.stranded, "t000 has a slot that will say something"
    assert ledger.result(rung("t000"), "slot") is False
    assert ledger.stranded, "t001 never got one"
    assert ledger.close() == "interrupted"


def test_a_search_that_gives_up_says_why_and_can_go_on(path):
    ledger = ledger_on(path)
    ledger.next()
    ledger.give_up("no host had room")
    assert ledger.stranded
    with pytest.raises(SearchError) as caught:
        ledger.close()
    resume = f"`tuner resume {path.parent}` goes on with the run"
    assert str(caught.value) == f"no host had room; {resume}"
    assert read_history(path).reason == "lost"
    assert run_to_the_end(ledger_on(path)) == ["t000", "t001", "t002", "t003"]


def test_the_plan_is_drawn_once_and_then_it_is_over(path):
    draws = Draws()
    ledger = ledger_on(path, draws)
    assert run_to_the_end(ledger) == ["t000", "t001", "t002", "t003"]
    assert ledger.close() == "complete"
    assert draws.told == [(f"t{n:03d}", "finished") for n in range(4)]
    assert read_history(path).reason == "complete"


def test_an_event_is_in_the_journal_before_anyone_hears_of_it(path):
    class Reader(Heard):
        def event(self, name, record, history):
            told = read_history(path).records[record.name]
            expected = {"drawn": "drawn", "taken": "running", "finished": "finished"}[name]
            assert told.status == expected
            super().event(name, record, history)

    reader = Reader()
    run_to_the_end(ledger_on(path, heard=[reader], planned=1))
    assert [event[0] for event in reader.events] == ["started", "drawn", "taken", "finished"]


def test_a_trial_that_asha_stops_is_told_so_with_its_score(path):
    ledger = ledger_on(path, slots=4, planned=4)
    for _ in range(4):
        ledger.next()
    assert ledger.result(rung("t000", 0.9), "slot")
    assert not ledger.result(rung("t001", 0.1), "slot")
    record = read_history(path).records["t001"]
    assert (record.status, record.rung_values) == ("stopped", {1: 0.1})


def test_a_failed_trial_never_reaches_the_rungs(path):
    ledger = ledger_on(path, slots=3, planned=3)
    for _ in range(3):
        ledger.next()
    failed = Report("t000", "failed", error="the loss became nan", metrics={})
    assert not ledger.result(failed, "slot")
    # Were the failure on the rung, a first report there could not be the first.
    assert ledger.result(rung("t001", 0.1), "slot")
    assert read_history(path).records["t000"].error == "the loss became nan"


def test_a_trial_whose_slot_died_is_handed_out_again_under_its_name(path):
    ledger = ledger_on(path)
    ledger.next(), ledger.next()
    ledger.lost("t001", "the process died")
    assert ledger.next().name == "t001"
    ledger.result(end("t000"), "slot")
    ledger.result(end("t001"), "slot")
    assert run_to_the_end(ledger) == ["t002", "t003"]


def test_a_trial_that_kills_every_slot_fails_alone(path):
    ledger = ledger_on(path, slots=1, attempts=3)
    for _ in range(3):
        assert ledger.next().name == "t000"
        ledger.lost("t000", "segmentation fault")
    assert run_to_the_end(ledger) == ["t001", "t002", "t003"]
    assert ledger.close() == "complete"
    error = read_history(path).records["t000"].error
    assert "3 times" in error
    assert "segmentation fault" in error


def test_a_preempted_trial_is_handed_out_again_however_often_that_happens(path):
    heard = Heard()
    ledger = ledger_on(path, slots=1, attempts=1, planned=1, heard=[heard])
    for _ in range(5):
        assert ledger.next().name == "t000"
        ledger.taken("t000")
        ledger.lost("t000", "a host is to be taken away", preempted=True)
    assert heard.events[-2:] == [
        ("note", "t000 was preempted: a host is to be taken away"),
        ("lost", "t000"),
    ]
    assert run_to_the_end(ledger) == ["t000"]
    assert ledger.close() == "complete"
    record = read_history(path).records["t000"]
    assert (record.status, record.losses, record.preemptions) == ("finished", 0, 5)
    assert record.restarts == 5


def test_a_trial_that_a_slot_on_its_way_out_declined_was_never_there(path):
    ledger = ledger_on(path, slots=1, attempts=1, planned=1)
    ledger.next()
    before = path.read_bytes()
    ledger.lost("t000", "a host is to be taken away", preempted=True)
    assert path.read_bytes() == before
    assert run_to_the_end(ledger) == ["t000"]
    record = read_history(path).records["t000"]
    assert (record.restarts, record.preemptions) == (0, 0)


def test_lost_slots_are_counted_over_drivers(path):
    ledger = ledger_on(path, slots=1, attempts=2, planned=1)
    ledger.next()
    ledger.lost("t000", "killed")
    again = ledger_on(path, slots=1, attempts=2, planned=1)
    again.next()
    again.lost("t000", "killed again")
    assert again.next() == "over"
    error = read_history(path).records["t000"].error
    assert error == "its slot died 2 times, the last time: killed again"


def test_a_trial_that_reports_and_then_kills_its_slot_ends_too(path):
    ledger = ledger_on(path, slots=1, attempts=2, planned=1)
    for _ in range(2):
        ledger.next()
        ledger.result(rung("t000"), "slot")
        ledger.lost("t000", "killed")
    assert ledger.next() == "over"
    assert read_history(path).records["t000"].status == "failed"


def test_slots_that_never_start_end_the_search_with_an_error(path):
    ledger = ledger_on(path, slots=1, planned=20)
    losses = 0
    while (record := ledger.next()) != "over":
        ledger.lost(record.name, "no module named torch")
        losses += 1
    assert losses == 6
    with pytest.raises(SearchError, match="no module named torch"):
        ledger.close()
    assert read_history(path).reason == "lost"


def test_an_interrupted_search_ends_at_the_next_reports_and_goes_on_later(path):
    ledger = ledger_on(path)
    ledger.next(), ledger.next()
    ledger.stop("interrupted")
    assert not ledger.result(rung("t000"), "slot")
    assert ledger.next() == "wait"
    assert not ledger.result(end("t001"), "slot")
    assert ledger.next() == "over"
    assert ledger.close() == "interrupted"
    again = ledger_on(path)
    assert run_to_the_end(again) == ["t000", "t002", "t003"]
    assert again.close() == "complete"
    history = read_history(path)
    assert [record.status for record in history.records.values()] == ["finished"] * 4
    assert history.reason == "complete"


def test_a_spent_budget_ends_the_search(path):
    ledger = ledger_on(path, seconds=0.0)
    assert ledger.next() == "over"
    assert ledger.close() == "budget"


def test_an_interruption_counts_also_when_the_budget_is_spent(path):
    ledger = ledger_on(path, seconds=0.0)
    assert ledger.reason == "budget"
    ledger.stop("interrupted")
    ledger.stop("lost")
    assert ledger.reason == "interrupted"


def test_an_interruption_during_the_last_trial_is_not_taken_for_the_plans_end(path):
    ledger = ledger_on(path, planned=1)
    ledger.next()
    ledger.stop("interrupted")
    ledger.result(end("t000"), "slot")
    assert ledger.close() == "interrupted"
    again = ledger_on(path, planned=1)
    assert again.done == {"t000"}
    assert run_to_the_end(again) == []
    assert again.close() == "complete"


def test_rungs_are_remembered_by_the_next_driver(path):
    ledger = ledger_on(path, slots=3, planned=3)
    for _ in range(3):
        ledger.next()
    assert ledger.result(rung("t000", 0.9), "slot")
    again = ledger_on(path, slots=3, planned=3)
    for _ in range(3):
        again.next()
    assert not again.result(rung("t001", 0.1), "slot")


def test_every_slot_lost_at_once_hands_all_trials_out_again(path):
    ledger = ledger_on(path)
    ledger.next(), ledger.next()
    assert ledger.all_lost("Ray ran out of memory")
    assert [ledger.next().name, ledger.next().name] == ["t000", "t001"]
    again = ledger_on(path)
    assert not again.all_lost("nothing ran")
