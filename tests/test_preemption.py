"""A host that is taken away after a notice: trials leave it in time and lose little or nothing."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2, common_pb2
from ray.exceptions import ActorDiedError, OutOfMemoryError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from ray.train.v2.api.exceptions import WorkerGroupError

from tests.searches import configuration, parent, rank_processes, search
from tests.toy import go, numbers, toy_materials
from tuner import checkpointing
from tuner.bench import Bench
from tuner.checkpointing import WORTH_SAVING
from tuner.checkpoints import newest
from tuner.errors import CrewLost, Preempted
from tuner.history import Record
from tuner.mailbox import Order, Report
from tuner.preemption import Loss, Notice, loss_of
from tuner.resources import Layout

GIVEN = {
    "learning_rate": 1e-3,
    "num_train_epochs": 2,
    "per_device_train_batch_size": 8,
    "seed": 7,
}


def after(looks: int) -> Callable[[], Notice | None]:
    """A notice, from the look after so many."""
    left = iter([None] * looks)
    return lambda: next(left, Notice("a host", deadline=0.0))


@pytest.mark.parametrize(("looks", "step"), [(3, 3), (4, 4), (12, 12), (15, 15)])
def test_a_preempted_trial_goes_on_where_it_was_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: int, step: int
) -> None:
    """Before, at and after its first rung, and at the end of an epoch."""
    monkeypatch.setattr(checkpointing, "WORTH_SAVING", 0.0)
    materials = toy_materials(dropout=0.1)
    through: list[Report] = []
    Bench(materials).run(Order("t0", GIVEN), through.append, go)
    kept = str(tmp_path / "kept")
    order = Order("t0", GIVEN, checkpoints=kept)
    reports: list[Report] = []
    # One look when the attempt begins, one after every step.
    with pytest.raises(Preempted, match=f"a host is to be .* goes on from step {step}$"):
        Bench(materials, notice=after(looks)).run(order, reports.append, go)
    found = newest(kept)
    assert found is not None
    assert found[1].step == step
    Bench(materials).run(order, reports.append, go)
    assert numbers(reports) == numbers(through)


def test_a_checkpoint_that_would_save_little_is_not_written(tmp_path: Path) -> None:
    kept = str(tmp_path / "kept")
    with pytest.raises(Preempted, match="begins anew"):
        Bench(toy_materials(), notice=after(5)).run(
            Order("t0", GIVEN, checkpoints=kept), lambda report: None, go
        )
    assert newest(kept) is None


def test_a_trial_that_keeps_no_checkpoints_stays_as_long_as_its_host_does() -> None:
    reports: list[Report] = []
    Bench(toy_materials(), notice=after(5)).run(Order("t0", GIVEN), reports.append, go)
    assert [report.kind for report in reports] == ["rung", "rung", "end"]


def died(message: str, reason: int | None = None) -> ActorDiedError:
    """Ray's error for an actor that died, as the head makes it."""
    context = common_pb2.ActorDiedErrorContext(
        error_message=message,
        actor_id=b"0" * 16,
        node_ip_address="10.0.0.7",
        pid=77,
        class_name="Slot",
    )
    if reason is not None:
        context.node_death_info.reason = reason  # type: ignore[assignment]
    return ActorDiedError(context)


def test_the_error_of_a_host_that_was_taken_away_says_so() -> None:
    gone = "The actor died because its node has died. Node Id: ab12\n\tthe actor's node was "
    preempted = common_pb2.NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED
    loss = loss_of(died(gone + "preempted: a better offer", preempted))
    assert loss == Loss("its host 10.0.0.7 was taken away", preempted=True)
    unexpected = common_pb2.NodeDeathInfo.UNEXPECTED_TERMINATION
    loss = loss_of(died(gone + "terminated unexpectedly: health check failed", unexpected))
    assert loss == Loss(
        "its host 10.0.0.7 is gone: terminated unexpectedly: health check failed", preempted=False
    )


def test_the_worker_that_died_tells_more_than_those_that_noticed() -> None:
    ended = died(
        "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR "
        "Worker exit detail: Worker unexpectedly exits with a connection error code 2. "
        "End of file. Some common causes include: (1) the process was killed by the OOM killer"
    )
    noticed = CrewLost("a rank no longer answers at 'losses'")
    loss = loss_of(WorkerGroupError("two workers failed", {0: noticed, 1: ended}))
    assert loss == Loss(
        "its process died (pid 77 on 10.0.0.7): killed, by hand or for want of memory, or crashed"
    )


def test_a_worker_that_left_in_time_makes_the_whole_group_preempted() -> None:
    others: dict[int, Exception] = {0: CrewLost("a rank no longer answers"), 1: died("gone")}
    group = WorkerGroupError("all workers failed", {**others, 2: Preempted("a host goes")})
    wrapped = CrewLost("the worker group is gone")
    wrapped.__cause__ = group
    assert loss_of(wrapped) == Loss("a host goes", preempted=True)


def test_a_worker_that_went_with_its_host_after_a_notice_makes_the_whole_group_preempted() -> None:
    """Train wraps the death of a worker that it asks for its state."""
    reason = common_pb2.NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED
    gone = died("The actor died because its node has died. Node Id: ab12", reason)
    noticed: dict[int, Exception] = {0: CrewLost("a rank no longer answers")}
    group = WorkerGroupError("two failed", {**noticed, 1: WorkerHealthCheckFailedError("", gone)})
    assert loss_of(group) == Loss("its host 10.0.0.7 was taken away", preempted=True)


def test_any_error_becomes_one_telling_line() -> None:
    assert loss_of(ValueError("first\n  last")) == Loss("ValueError: last")
    assert loss_of(KeyError()) == Loss("KeyError: no message")
    assert loss_of(OutOfMemoryError("a\nno memory")).why == "OutOfMemoryError: no memory"
    assert len(loss_of(ValueError("x" * 1000)).why) == 300


# From here on, hosts of a Ray cluster on this machine, and Ray's own drain notices.


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without CPUs, so that no slot runs on it."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def hosts(cluster: Cluster) -> Iterator[Callable[[int], list[Any]]]:
    """Adds so many hosts of one CPU; they go when the test ends."""
    added: list[Any] = []

    def add(count: int) -> list[Any]:
        added.extend(cluster.add_node(num_cpus=1) for _ in range(count))
        return added

    yield add
    for host in added:
        if host in cluster.worker_nodes:
            cluster.remove_node(host, allow_graceful=False)


def drain(host: Any, seconds: float) -> None:
    """The notice that a spot host gets so many seconds before it is taken away."""
    accepted, why = GcsClient(address=ray.get_runtime_context().gcs_address).drain_node(
        host.node_id,
        autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"),
        "a better offer",
        int((time.time() + seconds) * 1000),
    )
    assert accepted, why


TWO = Layout(slots=2, workers=1, cpus=1, gpus=0, threads=1)


def raylet_of(slot: str) -> int:
    """The raylet that a slot (`host:pid`) of this machine belongs to."""
    return parent(int(slot.split(":")[1]))


def host_of(hosts: list[Any], raylet: int) -> Any:
    (found,) = [h for h in hosts if h.all_processes["raylet"][0].process.pid == raylet]
    return found


def lost_events(folder: Path) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines())
    return [event for event in lines if event["event"] == "lost"]


def test_a_trial_leaves_a_host_that_is_to_be_taken_away_with_a_checkpoint(
    tmp_path: Path, hosts: Callable[[int], list[Any]]
) -> None:
    """A host is told to go when a long trial on it has trained for some seconds: the trial goes on
    elsewhere from a checkpoint of that moment, and nothing starts on that host any more."""
    there, told = hosts(2), []

    def act(event: str, record: Record) -> None:
        if event == "report" and record.name == "t000" and not told:
            told.append(raylet_of(record.slot or ""))
            threading.Timer(WORTH_SAVING, drain, [host_of(there, told[0]), 60.0]).start()

    planned = [configuration(0, num_train_epochs=400), *map(configuration, range(1, 5))]
    history = search(
        tmp_path, toy_materials(rows=64), planned, TWO, act=act, asha=False, attempts=1
    )
    long, *others = history.records.values()
    assert (long.status, long.restarts, long.preemptions, long.losses) == ("finished", 1, 1, 0)
    assert [(r.status, r.restarts) for r in others] == [("finished", 0)] * 4
    assert raylet_of(long.slot or "") != told[0]
    (lost,) = lost_events(tmp_path)
    assert lost["preempted"]
    said = re.fullmatch(
        rf"{socket.gethostname()} is to be taken away at \d\d:\d\d:\d\d; the trial goes on from "
        r"step (\d+)",
        lost["error"],
    )
    assert said, lost["error"]
    assert int(said[1]) > long.scores[0].step


def test_an_idle_slot_on_a_host_that_is_to_be_taken_away_takes_no_trial(
    tmp_path: Path, hosts: Callable[[int], list[Any]]
) -> None:
    there, told, taken = hosts(2), [], []

    def act(event: str, record: Record) -> None:
        if event == "finished" and not told:
            told.append(raylet_of(record.slot or ""))
            drain(host_of(there, told[0]), 60.0)
        elif told and event == "report":
            taken.append(record)

    planned = [configuration(n) for n in range(6)]
    history = search(tmp_path, toy_materials(), planned, TWO, act=act, asha=False, attempts=1)
    assert [(r.status, r.restarts) for r in history.records.values()] == [("finished", 0)] * 6
    assert lost_events(tmp_path) == []
    assert told[0] not in {raylet_of(r.slot or "") for r in taken}


def test_workers_leave_when_the_host_of_one_of_them_is_to_be_taken_away(
    tmp_path: Path, hosts: Callable[[int], list[Any]]
) -> None:
    """A slot of two workers on two of three hosts: its trial goes on, on the other pair."""
    there, told, watchers = hosts(3), [], []

    def act(event: str, record: Record) -> None:
        if event == "report" and not told:
            raylets = [h.all_processes["raylet"][0].process.pid for h in there]
            told.append(next(raylet for raylet in raylets if list(rank_processes(raylet))))
            watchers.extend(w for raylet in raylets for w in rank_processes(raylet, "Preemption"))
            drain(host_of(there, told[0]), 60.0)

    planned = [configuration(0, num_train_epochs=40), configuration(1)]
    layout = Layout(slots=1, workers=2, cpus=1, gpus=0, threads=1)
    history = search(
        tmp_path,
        toy_materials(rows=64),
        planned,
        layout,
        act=act,
        asha=False,
        attempts=1,
        checkpoint_every=1.0,
    )
    records = list(history.records.values())
    assert [r.status for r in records] == ["finished"] * 2
    assert [(r.restarts, r.preemptions, r.losses) for r in records] == [(1, 1, 0), (0, 0, 0)]
    (lost,) = lost_events(tmp_path)
    assert "is to be taken away at " in lost["error"]
    assert not watchers, "Train's own watcher would start the workers again"


def test_a_slot_that_found_no_room_counts_as_preempted() -> None:
    """Of an error in an actor's start, Ray keeps the text alone."""
    from ray.exceptions import ActorDiedError, RayTaskError

    said = "no host had room for 2 workers in 60 s"
    trace = f"Traceback (most recent call last):\ntuner.errors.NoRoom: {said}"
    loss = loss_of(ActorDiedError(RayTaskError("Slot.__init__", trace, ValueError("lost"))))
    assert loss == Loss(said, preempted=True)
