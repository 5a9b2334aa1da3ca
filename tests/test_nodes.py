"""A search on several hosts: where its slots are, and what becomes of it when hosts join and go."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray._private.internal_api import node_stats
from ray._private.ray_constants import AUTOSCALER_RESOURCE_REQUEST_CHANNEL
from ray.experimental import internal_kv
from ray.util.placement_group import placement_group, remove_placement_group

from tests.clusters import cluster, raylet
from tests.glue_files import write_rte
from tests.searches import Acting, Listed, configuration, parent, rank_processes, search
from tests.sleeping import SleepingPlan
from tests.toy import toy_materials
from tuner import growth
from tuner.bases import load_base
from tuner.errors import SearchError
from tuner.history import History, Record
from tuner.hosts import alive
from tuner.journal import Journal, read_history
from tuner.ledger import Ledger
from tuner.models import build_model
from tuner.orphans import remove_orphans
from tuner.pipeline import tune
from tuner.progress import Silent
from tuner.resources import Layout
from tuner.scheduler import Judge
from tuner.search import run_search
from tuner.session import ray_session
from tuner.settings import Settings
from tuner.slots import SlotPlan
from tuner.sources import read_split
from tuner.tasks import find_task

ONE_CORE = Layout(slots=1, workers=1, cpus=1, gpus=0, threads=1)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Any]:
    """A cluster of a head without cores; each test adds hosts to it, and takes them away again."""
    with cluster() as made, ray_session(made.address):
        yield made


@pytest.fixture(autouse=True)
def _alone(hosts: Any) -> Iterator[None]:
    yield
    for node in list(hosts.worker_nodes):
        hosts.remove_node(node)
    wait_for_hosts(0)


def wait_for_hosts(count: int) -> None:
    """Until so many hosts beside the head live."""
    until = time.monotonic() + 30
    while sum(node["Alive"] for node in ray.nodes()) != count + 1:
        assert time.monotonic() < until, ray.nodes()
        time.sleep(0.1)


def sleeping_search(
    folder: Path,
    trials: int,
    seconds: float,
    act: Callable[[str, Record], None] = lambda event, record: None,
    layout: Layout = ONE_CORE,
    note: Callable[[str], object] = lambda text: None,
    **options: Any,
) -> History:
    """A whole search of trials that sleep; what the journal says afterwards."""
    file = folder / "journal.jsonl"
    with Journal.open(file) as journal:
        listed = [configuration(number) for number in range(trials)]
        ledger = Ledger(
            journal,
            Listed(listed, len(journal.history.records)),  # type: ignore[arg-type]
            Judge(3, "max", asha=False),
            [Noting(act, note)],
            objective="accuracy",
            direction="max",
            planned=trials,
            slots=layout.slots,
            seconds=None,
            attempts=3,
        )
        plan = SlotPlan(SleepingPlan(seconds), 3, str(folder / "checkpoints"), 600.0)
        run_search(ledger, plan, layout, folder / "search", **options)
    return read_history(file)


def host_of(record: Record) -> int:
    """The raylet of the host on which the trial's slot is."""
    assert record.slot is not None
    return parent(int(record.slot.split(":")[1]))


def all_once(history: History, trials: int) -> bool:
    return [record.status for record in history.records.values()] == ["finished"] * trials


def test_slots_follow_hosts_that_join_and_go(tmp_path: Path, hosts: Any) -> None:
    first = hosts.add_node(num_cpus=1)
    raylets = [raylet(first)]
    ended: list[tuple[str, int]] = []

    def act(event: str, record: Record) -> None:
        if event == "finished":
            ended.append((record.name, host_of(record)))
            if len(ended) == 1:
                raylets.append(raylet(hosts.add_node(num_cpus=1)))
        both = len({place for _, place in ended}) == 2
        here = event == "report" and first in hosts.worker_nodes and host_of(record) == raylets[0]
        if both and here:  # in mid-trial
            hosts.remove_node(first, allow_graceful=False)

    history = sleeping_search(tmp_path, 12, 1.5, act, grow=True)
    assert all_once(history, 12)
    assert first not in hosts.worker_nodes
    assert {place for _, place in ended} == set(raylets)
    assert len(ended) == 12
    losses = [record.losses for record in history.records.values()]
    assert sorted(losses) == [0] * 11 + [1]
    assert ended[-1][1] == raylets[1]
    assert [note for note in history.notes if "slot" in note] == [
        "2 slots from now on: 2 hosts",
        "1 slot from now on: 1 host",
    ]


def asked_of_an_autoscaler() -> list[dict[str, float]]:
    """What a cluster launcher's autoscaler reads on the head: room for each of these."""
    asked = internal_kv._internal_kv_get(AUTOSCALER_RESOURCE_REQUEST_CHANNEL)
    return json.loads(asked) if asked else []


def test_never_more_slots_than_asked_for(tmp_path: Path, hosts: Any) -> None:
    """Nor does an autoscaler hear of more, or of any when the search is over."""
    hosts.add_node(num_cpus=3)
    at_once = []
    running: set[str] = set()
    asked = []

    def act(event: str, record: Record) -> None:
        if event == "taken":
            running.add(record.name)
        if event == "finished":
            running.discard(record.name)
        at_once.append(len(running))
        asked.append(asked_of_an_autoscaler())

    two = Layout(slots=2, workers=1, cpus=1, gpus=0, threads=1)
    history = sleeping_search(tmp_path, 6, 0.5, act, two, wanted=2)
    assert all_once(history, 6)
    assert max(at_once) == 2
    assert max(asked, key=len) == [{"CPU": 1}, {"CPU": 1}]
    assert asked_of_an_autoscaler() == []
    assert not history.notes


def test_without_a_host_the_search_waits_and_in_the_end_gives_up_as_a_run_that_can_go_on(
    tmp_path: Path, hosts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "PATIENCE", 3.0)
    only = hosts.add_node(num_cpus=1)

    def lose(event: str, record: Record) -> None:
        if event == "report" and record.name == "t001" and only in hosts.worker_nodes:
            hosts.remove_node(only, allow_graceful=False)

    with pytest.raises(SearchError, match=r"no host had room for a slot in 0\.05 minutes.*resume"):
        sleeping_search(tmp_path, 4, 0.5, lose)
    history = read_history(tmp_path / "journal.jsonl")
    assert history.reason == "lost"
    *done, lost = history.records.values()
    assert {record.status for record in done} == {"finished"}
    assert (lost.status, lost.losses) == ("drawn", 1)
    before = (tmp_path / "journal.jsonl").read_bytes()

    wait_for_hosts(0)
    told: list[str] = []

    def rescue(text: str) -> None:
        told.append(text)
        if text.startswith("0 slots"):
            hosts.add_node(num_cpus=1)

    history = sleeping_search(tmp_path, 4, 0.5, note=rescue)
    assert all_once(history, 4)
    assert history.reason == "complete"
    assert history.records["t000"].takes == 1
    assert (tmp_path / "journal.jsonl").read_bytes().startswith(before)
    assert told == ["0 slots from now on: 0 hosts", "1 slot from now on: 1 host"]


def test_an_interrupt_ends_a_search_that_waits_for_a_slot(tmp_path: Path, hosts: Any) -> None:
    """Cores that others have taken: the first trial waits for a slot that never comes."""
    hosts.add_node(num_cpus=1)
    other = ray.remote(Other).options(num_cpus=1).remote()
    ray.get(other.there.remote())
    events = []
    threading.Timer(3.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    history = sleeping_search(tmp_path, 2, 0.5, lambda event, record: events.append(event))
    assert time.monotonic() - began < 10
    assert history.reason == "interrupted"
    assert events == ["drawn"]
    ray.kill(other)
    wait_until_free(1.0)
    assert all_once(sleeping_search(tmp_path, 2, 0.5), 2)


def test_cores_that_a_dead_maker_left_taken_are_given_back(hosts: Any) -> None:
    """Those of a group whose maker lives, and of the driver's own, stay taken."""
    hosts.add_node(num_cpus=3)
    makers = [ray.remote(Maker).options(num_cpus=0).remote() for _ in range(2)]
    mine = placement_group([{"CPU": 1}])
    ray.get([mine.ready(), *(maker.make.remote() for maker in makers)])
    assert remove_orphans() == 0
    ray.kill(makers[0])
    until = time.monotonic() + 20
    while not remove_orphans():
        assert time.monotonic() < until
        time.sleep(0.1)
    wait_until_free(1.0)
    assert remove_orphans() == 0
    assert ray.available_resources()["CPU"] == 1.0
    remove_placement_group(mine)


def test_a_slot_of_two_workers_is_packed_where_it_fits_and_spread_where_it_does_not(
    tmp_path: Path, hosts: Any
) -> None:
    """Real workers: both on the host of two cores until it goes, then one on each of the others."""
    large, *small = [hosts.add_node(num_cpus=count) for count in (2, 1, 1)]
    two_workers = Layout(slots=1, workers=2, cpus=1, gpus=0, threads=1)
    places: list[list[int]] = []

    def act(event: str, record: Record) -> None:
        if event not in ("report", "finished"):
            return
        living = hosts.worker_nodes
        here = [
            len(list(rank_processes(raylet(node)))) if node in living else 0
            for node in (large, *small)
        ]
        # A last report may still come from a crew whose host has gone.
        if any(here) and here not in places:
            places.append(here)
        if large in living:
            # A short trial would end before its workers, which outlive their host by some moments.
            crew = [psutil.Process(pid) for pid in rank_processes(raylet(large))]
            hosts.remove_node(large, allow_graceful=False)
            psutil.wait_procs(crew, timeout=30)

    history = search(tmp_path, toy_materials(), [configuration()], two_workers, act=act, asha=False)
    assert all_once(history, 1)
    assert history.records["t000"].losses == 1
    assert places == [[2, 0, 0], [0, 1, 1]]


class Felling(Silent):
    """Takes a host away in mid-retraining."""

    def __init__(self, fell: Callable[[], object]) -> None:
        self.fell = fell
        self.stages: list[str] = []
        self.notes: list[str] = []

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def tick(self, step: int, total: int, seconds_left: float | None, unit: str = "step") -> None:
        if step and unit == "step":
            self.fell()


@pytest.mark.cluster  # a minute, most of it processes that start
def test_a_retraining_whose_host_goes_begins_again_on_what_is_left(
    tmp_path: Path, hosts: Any
) -> None:
    hosts.add_node(num_cpus=1)
    other = hosts.add_node(num_cpus=1)

    def fell() -> None:
        if other in hosts.worker_nodes:
            hosts.remove_node(other, allow_graceful=False)

    watcher = Felling(fell)
    settings = Settings(
        task="demo",
        trials=1,
        scheduler="none",
        storage=str(tmp_path / "runs"),
        address=hosts.address,
        set={"num_train_epochs": 1},
    )
    result = tune(settings, watcher)
    assert other not in hosts.worker_nodes
    assert result.metrics is not None
    told = [text for text in watcher.stages if text.startswith("retraining")]
    assert told[0].endswith(", on 2 workers")
    assert told[-1].endswith("training rows")
    notes = [note for note in watcher.notes if note.startswith("the retraining begins again: ")]
    assert len(notes) == len(told) - 1


class Emptying(Silent):
    """Removes folders before the first slot starts, and looks at the stores of the hosts when the
    first trial is done."""

    def __init__(self, folders: list[Path]) -> None:
        self.folders = folders
        self.before: dict[str, Any] = {}
        self.stored: dict[str, Any] = {}

    def stage(self, text: str) -> None:
        if text == "starting the slots":
            self.before = stores()
            for folder in self.folders:
                shutil.rmtree(folder)

    def event(self, name: str, record: Record, history: History) -> None:
        if name == "finished":
            self.stored = stores()


def stores() -> dict[str, Any]:
    """What each live host's object store has held so far."""
    return {
        node["NodeID"]: node_stats(node["NodeManagerAddress"], node["NodeManagerPort"]).store_stats
        for node in ray.nodes()
        if node["Alive"]
    }


def test_hosts_read_neither_data_nor_model_and_get_them_once_each(
    tmp_path: Path, hosts: Any
) -> None:
    hosts.add_node(num_cpus=2)
    data = write_rte(tmp_path / "data")
    model = save_tiny_model(tmp_path / "model", data)
    watcher = Emptying([data, model])
    settings = Settings(
        task="rte",
        data=str(data),
        model=str(model),
        space="demo",
        trials=4,
        scheduler="none",
        retrain=False,
        storage=str(tmp_path / "runs"),
        address=hosts.address,
        set={"num_train_epochs": 1},
    )
    result = tune(settings, watcher)
    assert not data.exists()
    assert not model.exists()
    assert [row.status for row in result.rows] == ["finished"] * 4
    assert len({row.slot for row in result.rows}) == 2
    # The driver's host holds what it has put there; the other was sent it once, for two slots.
    put, sent = (
        watcher.stored[there.key].cumulative_created_bytes
        - watcher.before[there.key].cumulative_created_bytes
        for there in alive()
    )
    assert put > 500_000
    assert 0.9 * put < sent < 1.5 * put


def save_tiny_model(folder: Path, data: Path) -> Path:
    """A model of some megabytes as a folder, as if it had been downloaded."""
    task = find_task("rte")
    train = read_split(task, "train", str(data))
    texts = train["sentence1"].to_pylist() + train["sentence2"].to_pylist()
    base = load_base("tiny", task, lambda: texts)
    build_model(base.weights).save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    return folder


class Noting(Acting):
    """Calls `note(text)` on every note, too."""

    def __init__(self, act: Callable[[str, Record], None], note: Callable[[str], object]) -> None:
        super().__init__(act)
        self.note = note  # type: ignore[method-assign, assignment]


class Maker:
    """An actor that asks for a core, as Train's controller does for its workers."""

    def make(self) -> bool:
        return placement_group([{"CPU": 1}]).wait(20)


class Other:
    """Somebody else's work."""

    def there(self) -> bool:
        return True


def wait_until_free(cores: float) -> None:
    until = time.monotonic() + 20
    while ray.available_resources().get("CPU", 0.0) < cores:
        assert time.monotonic() < until
        time.sleep(0.1)
