"""A search over trials that sleep: what the search costs by itself, and what a slot is made of."""

import statistics

import pytest

from tests.sleeping import Gate, SleepingPlan, read_notes
from tuner.history import DONE
from tuner.journal import Journal, read_history
from tuner.ledger import Ledger
from tuner.progress import Silent
from tuner.resources import Layout
from tuner.scheduler import Judge
from tuner.search import run_search
from tuner.session import ray_session
from tuner.slots import SlotPlan
from tuner.spaces import load_space
from tuner.study import Study

SLOTS = 2
SECONDS = 0.1


@pytest.fixture(scope="module", autouse=True)
def _ray():
    with ray_session():
        yield


def test_a_slot_without_torch_goes_from_trial_to_trial_at_once(tmp_path):
    gate, notes, trials = Gate(tmp_path / "gate", SLOTS), tmp_path / "notes", 60
    with Journal.open(tmp_path / "journal.jsonl") as journal:
        space = load_space("default")
        study = Study(tmp_path / "optuna.journal", "sleep", space, "max", 0, [], SLOTS)
        ledger = Ledger(
            journal,
            study,
            Judge(3, "max"),
            [Silent()],
            objective="accuracy",
            direction="max",
            planned=trials,
            slots=SLOTS,
            seconds=None,
            attempts=1,
        )
        plan = SlotPlan(SleepingPlan(SECONDS, gate, notes), 3, str(tmp_path / "checkpoints"), 600.0)
        layout = Layout(SLOTS, 1, 1.0, 0.0, 1)
        assert run_search(ledger, plan, layout, tmp_path / "search") == "complete"
    records = read_history(tmp_path / "journal.jsonl").records.values()
    assert [record.number for record in records] == list(range(trials))
    assert all(record.status in DONE and record.takes == 1 for record in records)
    seen = read_notes(notes)
    assert [note.heavy for note in seen] == [()] * SLOTS
    gaps = [gap for note in seen for gap in note.idle]
    assert len(gaps) == trials - SLOTS
    # 15 to 25 ms on an idle machine.
    assert statistics.median(gaps) < 0.2
