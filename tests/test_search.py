"""Whole searches on real slots: Ray Tune, TorchTrainer and the HF Trainer, with a toy model."""

import os
import signal
import time

import pytest

from tests.searches import configuration, parent, rank_processes, search
from tests.small_disks import small_disk
from tests.toy import toy_materials
from tuner.errors import TunerError
from tuner.resources import Layout
from tuner.session import ray_session

__all__ = ["small_disk"]

TWO_SLOTS = Layout(slots=2, workers=1, cpus=1, gpus=0, threads=1)
ONE_SLOT = Layout(slots=1, workers=1, cpus=2, gpus=0, threads=1)
TWO_WORKERS = Layout(slots=1, workers=2, cpus=1, gpus=0, threads=1)


@pytest.fixture(scope="module", autouse=True)
def _ray():
    with ray_session():
        yield


def slots_of(history):
    return {score.slot for _, score, _ in history.results}


def twelve():
    """Twelve trials, the good ones first: ASHA stops most of the rest."""
    rates = [3e-3, 2e-3, 1e-3] + [1e-6] * 7 + [3e-3, 1e-6]
    return [configuration(n, learning_rate=rate) for n, rate in enumerate(rates)]


@pytest.mark.parametrize("layout", [TWO_SLOTS, TWO_WORKERS], ids=["two slots", "two workers"])
def test_twelve_trials_most_of_them_stopped_all_end(tmp_path, layout):
    failing = configuration(5, learning_rate=1e30, max_grad_norm=0.0)
    planned = twelve()
    planned[5] = failing
    history = search(tmp_path, toy_materials(), planned, layout)
    statuses = [record.status for record in history.records.values()]
    assert len(statuses) == 12
    assert set(statuses) <= {"finished", "stopped", "failed"}
    assert statuses.count("stopped") >= 5
    assert statuses.count("finished") >= 1
    assert history.records["t005"].status == "failed"
    assert "nan" in history.records["t005"].error or "inf" in history.records["t005"].error
    assert history.reason == "complete"
    # The slots stayed warm: nobody was replaced, and every slot took part.
    assert len(slots_of(history)) == layout.slots
    assert all(record.takes == 1 for record in history.records.values())
    # Losers leave nothing; who finished leaves its logits.
    assert not list((tmp_path / "checkpoints").glob("*"))
    finished = {name for name, record in history.records.items() if record.status == "finished"}
    assert {file.stem for file in (tmp_path / "predictions").glob("*")} == finished


@pytest.mark.parametrize("moment", ["report", "finished"], ids=["within a trial", "between trials"])
def test_a_slot_that_is_killed_costs_no_trial(tmp_path, moment):
    killed, kept = [], []

    def act(event, record):
        if event == moment and not killed:
            if moment == "report":
                kept.append(any((tmp_path / "checkpoints" / record.name).iterdir()))
            killed.append(int(record.slot.split(":")[1]))
            os.kill(killed[0], signal.SIGKILL)

    planned = [configuration(n) for n in range(4)]
    materials = toy_materials()
    history = search(
        tmp_path, materials, planned, ONE_SLOT, act=act, asha=False, checkpoint_every=0.0
    )
    assert killed
    assert [record.status for record in history.records.values()] == ["finished"] * 4
    assert history.reason == "complete"
    assert len(slots_of(history)) == 2
    assert sum(record.restarts for record in history.records.values()) <= 1
    assert [record.losses for record in history.records.values()].count(1) == 1
    # What a trial says again after its newest checkpoint is what it said before.
    said = {}
    for name, score, _ in history.results:
        assert said.setdefault((name, score.level), score.loss) == score.loss
    assert len(said) == 12
    assert kept == ([] if moment == "finished" else [True])
    assert not list((tmp_path / "checkpoints").glob("*"))


def test_a_worker_that_is_killed_costs_no_trial(tmp_path):
    killed = []

    def act(event, record):
        if event == "report" and not killed:
            killed.extend(list(rank_processes(parent(int(record.slot.split(":")[1]))))[-1:])
            os.kill(killed[0], signal.SIGKILL)

    planned = [configuration(n) for n in range(2)]
    history = search(tmp_path, toy_materials(), planned, TWO_WORKERS, act=act, asha=False)
    assert killed
    assert [record.status for record in history.records.values()] == ["finished"] * 2
    assert [record.restarts for record in history.records.values()] == [1, 0]


def test_an_interrupt_ends_running_trials_at_their_next_report_and_they_run_again(tmp_path):
    def act(event, record):
        if event == "report" and record.name == "t001":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)  # Python handles the signal before the report is answered

    planned = [configuration(n) for n in range(3)]
    history = search(tmp_path, toy_materials(), planned, ONE_SLOT, act=act, asha=False)
    assert history.reason == "interrupted"
    assert [r.status for r in history.records.values()] == ["finished", "running"]
    before = (tmp_path / "journal.jsonl").read_bytes()
    history = search(tmp_path, toy_materials(), planned, ONE_SLOT, asha=False)
    assert [r.status for r in history.records.values()] == ["finished"] * 3
    assert (tmp_path / "journal.jsonl").read_bytes().startswith(before)
    assert history.records["t000"].takes == 1


def test_a_disk_that_fills_up_ends_the_search_in_a_line_and_it_goes_on_later(small_disk):
    def act(event, record):
        if event == "finished":
            small_disk.fill()

    planned = [configuration(n) for n in range(3)]
    with pytest.raises(TunerError) as caught:
        search(small_disk.folder, toy_materials(), planned, ONE_SLOT, act=act, asha=False)
    assert "journal.jsonl: cannot write the journal (No space left on device)" in str(caught.value)
    assert "\n" not in str(caught.value)
    before = (small_disk.folder / "journal.jsonl").read_bytes()
    small_disk.free()
    history = search(small_disk.folder, toy_materials(), planned, ONE_SLOT, asha=False)
    assert [r.status for r in history.records.values()] == ["finished"] * 3
    assert history.records["t000"].takes == 1
    assert (small_disk.folder / "journal.jsonl").read_bytes().startswith(before)
