"""A search over trials that sleep: its cost by itself, its slots, and what trackers are told."""

import json
import statistics
import struct
from pathlib import Path

import pytest
import ray

from tests.sleeping import Gate, SleepingPlan, read_notes
from tuner.eventfiles import has_events
from tuner.history import DONE
from tuner.journal import Journal, read_history
from tuner.ledger import Ledger
from tuner.progress import Silent
from tuner.resources import Layout
from tuner.runs import create_run
from tuner.scheduler import Judge
from tuner.search import run_search
from tuner.session import ray_session
from tuner.slots import SlotPlan
from tuner.spaces import load_space
from tuner.study import Study
from tuner.trackers import trackers_of
from tuner.tracking import Tracking

SLOTS = 2
SECONDS = 0.1
KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module", autouse=True)
def _ray():
    with ray_session():
        yield


def search(folder, trials, crew, *watchers):
    """A search over sleeping trials; the records that its journal holds."""
    with Journal.open(folder / "journal.jsonl") as journal:
        space = load_space("default")
        study = Study(folder / "optuna.journal", "sleep", space, "max", 0, [], SLOTS)
        ledger = Ledger(
            journal,
            study,
            Judge(3, "max"),
            [Silent(), *watchers],
            objective="accuracy",
            direction="max",
            planned=trials,
            slots=SLOTS,
            seconds=None,
            attempts=1,
        )
        plan = SlotPlan(crew, 3, str(folder / "checkpoints"), 600.0)
        layout = Layout(SLOTS, 1, 1.0, 0.0, 1)
        assert run_search(ledger, plan, layout, folder / "search") == "complete"
    return list(read_history(folder / "journal.jsonl").records.values())


def test_a_slot_without_torch_goes_from_trial_to_trial_at_once(tmp_path):
    gate, notes, trials = Gate(tmp_path / "gate", SLOTS), tmp_path / "notes", 60
    records = search(tmp_path, trials, SleepingPlan(SECONDS, gate, notes))
    assert [record.number for record in records] == list(range(trials))
    assert all(record.status in DONE and record.takes == 1 for record in records)
    seen = read_notes(notes)
    assert [note.heavy for note in seen] == [()] * SLOTS
    gaps = [gap for note in seen for gap in note.idle]
    assert len(gaps) == trials - SLOTS
    # 15 to 25 ms on an idle machine.
    assert statistics.median(gaps) < 0.2


class Failing:
    """A tracker that takes nothing."""

    name = "failing"

    def open(self):
        raise ConnectionError("no answer")


def test_a_search_tells_all_its_trackers_and_one_that_fails_ends_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    run, notes = create_run(tmp_path / "runs", "rte", "rte-1"), []
    telling = Silent()
    telling.note = notes.append
    trackers = [*trackers_of(("tensorboard", "mlflow", "wandb"), run), Failing()]
    with Tracking(trackers, telling, patience=180.0) as tracking:
        records = search(run.folder, 2, SleepingPlan(SECONDS), tracking)
    assert [note.partition(";")[0] for note in notes] == [
        "--track failing is left alone (no answer)"
    ]

    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("rte-1")
    logged = {one.info.run_name: one for one in client.search_runs([experiment.experiment_id])}
    kept = {record["name"]: record for record in map(offline_run, tmp_path.glob("wandb/offline*"))}
    assert set(logged) == set(kept) == {"t000", "t001"}
    for record in records:
        last = record.scores[-1]
        assert has_events(run.search_folder, record.name)
        assert logged[record.name].data.metrics["objective"] == last.objective
        assert kept[record.name]["group"] == "rte-1"
        configuration = {**record.configuration, "status": record.status}
        assert configuration.items() <= kept[record.name]["config"].items()
        curve = [(row["_step"], row["objective"]) for row in kept[record.name]["history"]]
        assert curve == [(score.step, score.objective) for score in record.scores]

    # The key went to W&B's processes, and stands nowhere.
    logs = Path(ray._private.worker._global_node.get_session_dir_path(), "logs")
    places = [tmp_path, logs]
    files = [file for place in places for file in place.rglob("*") if file.is_file()]
    assert len(files) > 10
    assert not [file for file in files if KEY.encode() in file.read_bytes()]


def offline_run(folder):
    """What Weights & Biases keeps of a run until it is synced: name, group, config and history."""
    from wandb.proto.wandb_internal_pb2 import Record

    kept = {"config": {}, "history": []}
    for data in log_records(next(folder.glob("*.wandb")).read_bytes()):
        record = Record.FromString(data)
        if record.HasField("run"):
            kept["name"], kept["group"] = record.run.display_name, record.run.run_group
        for config in (record.run.config, record.config):
            for item in config.update:
                kept["config"][item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
        if record.HasField("history"):
            items = record.history.item
            row = {it.key or "/".join(it.nested_key): json.loads(it.value_json) for it in items}
            kept["history"].append(row)
    return kept


def log_records(content):
    """The records of a log in LevelDB's format, after W&B's header of 7 bytes: blocks of 32 KiB of
    pieces, each after its checksum, its length and whether it is whole, or the first or a middle or
    the last of a record's."""
    place, record = 7, b""
    while place + 7 <= len(content):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield record
            record = b""
