"""Two workers train as one does: the same effective batch gives the same gradients, and they fail,
stop and resume together. One pair of gloo processes runs all cases (`parallel_pair.py`)."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import set_seed

from tests import toy
from tests.parallel_pair import CASES, Watched, run_case
from tuner import attempts
from tuner.training import Feed

ROOT = Path(__file__).parent.parent

LIMIT = 240
"""Seconds after which the pair counts as hung."""


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of the two workers saw of every case."""
    folder = tmp_path_factory.mktemp("pair")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    port = free_port()
    workers = []
    for rank in range(2):
        command = [sys.executable, "-m", "tests.parallel_pair", str(folder), str(rank), port]
        with (folder / f"rank-{rank}.log").open("w") as log:
            workers.append(
                subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
            )
    try:
        for rank, worker in enumerate(workers):
            status = worker.wait(LIMIT)
            assert status == 0, (folder / f"rank-{rank}.log").read_text()[-3000:]
    finally:
        for worker in workers:
            worker.kill()
    assert not (folder / "rank-0.log").read_text(), "a train loop prints nothing"
    return [pickle.loads((folder / f"rank-{rank}.pickle").read_bytes()) for rank in range(2)]


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, Any]]:
    """The same cases on one worker."""
    with pytest.MonkeyPatch.context() as patch:
        # Watched replaces both; the context puts them back.
        patch.setattr(attempts, "build_model", attempts.build_model)
        patch.setattr(Feed, "__getitem__", Feed.__getitem__)
        watched = Watched()
        return {name: run_case(watched, name) for name in CASES}


def largest_difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


@pytest.mark.parametrize("case", CASES)
def test_two_workers_reach_the_weights_of_one(
    case: str, pair: list[dict[str, Any]], alone: dict[str, dict[str, Any]]
) -> None:
    """Plain gradient descent without clipping: a loss off by any factor would show."""
    together, single = pair[0][case], alone[case]
    assert largest_difference(together["weights"], single["weights"]) < 1e-5
    assert len(together["reports"]) == len(single["reports"]) == 3
    for mine, theirs in zip(single["reports"], together["reports"], strict=True):
        assert (mine.kind, mine.level, mine.step) == (theirs.kind, theirs.level, theirs.step)
        assert theirs.loss == pytest.approx(mine.loss, rel=1e-5)
        assert theirs.train_loss == pytest.approx(mine.train_loss, rel=1e-5)
        assert theirs.metrics == pytest.approx(mine.metrics, abs=1e-4)
        assert (mine.workers, theirs.workers) == (1, 2)


@pytest.mark.parametrize("case", CASES)
def test_both_workers_end_with_equal_weights(case: str, pair: list[dict[str, Any]]) -> None:
    assert largest_difference(pair[0][case]["weights"], pair[1][case]["weights"]) == 0.0
    assert pair[1][case]["reports"] == []


@pytest.mark.parametrize("case", CASES)
def test_each_worker_sees_its_own_half_of_the_rows(
    case: str, pair: list[dict[str, Any]], alone: dict[str, dict[str, Any]]
) -> None:
    first, second = pair[0][case]["fed"], pair[1][case]["fed"]
    assert sorted(first + second) == sorted(alone[case]["fed"])
    configuration = CASES[case][1]
    assert 0 <= len(first) - len(second) <= np.ceil(len(first) / 2)
    if configuration["num_train_epochs"] == 1:
        assert not set(first) & set(second)
        assert abs(len(first) - len(second)) <= 1


@pytest.mark.parametrize("case", ["classification", "regression"])
def test_training_moved_the_weights(case: str, alone: dict[str, dict[str, Any]]) -> None:
    """Equal weights say something only where training changed them by far more than they differ."""
    materials, configuration = CASES[case]
    set_seed(int(configuration["seed"]))
    fresh = attempts.build_model(toy.toy_materials(**materials).weights).state_dict()
    start = {name: tensor.numpy() for name, tensor in fresh.items()}
    assert largest_difference(start, alone[case]["weights"]) > 1e-2


def test_accumulated_passes_reach_the_weights_of_one_pass(
    alone: dict[str, dict[str, Any]],
) -> None:
    plain, accumulated = alone["classification"], alone["accumulation"]
    assert plain["reports"][-1].gradient_accumulation_steps == 1
    assert accumulated["reports"][-1].gradient_accumulation_steps == 6
    assert largest_difference(plain["weights"], accumulated["weights"]) < 1e-5


def test_two_workers_resume_from_a_checkpoint_bit_for_bit(pair: list[dict[str, Any]]) -> None:
    seen = pair[0]["resume"]
    assert seen["kept"] == ["checkpoint-8"], "the newest only, and no half-written one"
    assert seen["broken"] == seen["through"][:2]
    # The rung before the checkpoint is not reported again, the one after it is.
    assert seen["again"] == seen["through"][1:]
    assert not seen["left"], "a trial that ended leaves no checkpoint"


def test_workers_leave_together_when_the_host_of_one_is_taken_away(
    pair: list[dict[str, Any]],
) -> None:
    """At the same step, with one checkpoint, from which the trial goes on bit for bit."""
    seen = pair[0]["preempted"]
    then = "the trial goes on from step 32"
    assert (
        seen["said"] == [f"a host is to be taken away; {then}"] * 2 == pair[1]["preempted"]["said"]
    )
    assert seen["kept"] == [["checkpoint-32"]] * 2
    assert seen["reports"] == seen["through"]


def test_trials_that_fail_on_all_workers_fail_alone(pair: list[dict[str, Any]]) -> None:
    reports = pair[0]["failures"]["reports"]
    last = {report.trial: report for report in reports}
    assert list(last) == [*("good", "diverged", "wrong", "stopped", "memory", "good again")]
    assert last["good"].kind == last["good again"].kind == "end"
    assert last["diverged"].kind == last["wrong"].kind == "failed"
    assert "a smaller learning rate may help" in last["diverged"].error
    assert last["wrong"].error.startswith("ValueError: ")
    assert last["stopped"].kind == "rung"


def test_failures_leave_nothing_to_the_trials_after_them(pair: list[dict[str, Any]]) -> None:
    reports = pair[0]["failures"]["reports"]
    runs = {
        name: toy.numbers([report for report in reports if report.trial == name])
        for name in ("good", "good again", "stopped")
    }
    assert runs["good"] == runs["good again"]
    assert runs["stopped"] == runs["good"][:1]


def test_both_workers_halve_the_passes_when_memory_runs_out(pair: list[dict[str, Any]]) -> None:
    reports = pair[0]["failures"]["reports"]
    memory = [report for report in reports if report.trial == "memory"]
    good = [report for report in reports if report.trial == "good"]
    assert [report.kind for report in memory] == ["rung", "rung", "end"]
    assert (good[-1].micro_batch_size, good[-1].gradient_accumulation_steps) == (4, 1)
    assert (memory[-1].micro_batch_size, memory[-1].gradient_accumulation_steps) == (2, 2)
    assert memory[-1].loss == pytest.approx(good[-1].loss, rel=1e-5)


def test_a_worker_that_fails_alone_ends_the_group_instead_of_hanging_it(
    pair: list[dict[str, Any]],
) -> None:
    """Both raise CrewLost; "went on" is what the pair notes where neither does."""
    assert "went on" not in (pair[0]["alone"]["said"], pair[1]["alone"]["said"])


def test_a_worker_that_runs_out_of_memory_alone_leaves_word_for_the_next_group(
    pair: list[dict[str, Any]],
) -> None:
    assert pair[1]["alone"]["bound"] == 2, "half of the four rows of a pass"


def test_every_worker_has_a_log_of_its_own_where_there_was_trouble(
    pair: list[dict[str, Any]],
) -> None:
    first, second = (seen["alone"]["log"] for seen in pair)
    assert "only here" in second
    assert "OutOfMemoryError" in second
    assert "only here" not in first
    assert "WARNING" in first or "ERROR" in first
    for seen in pair:
        # Each looks while the other may still be at it: whose own log is gone is enough.
        names = seen["resume"]["logs"]
        mine = "resumed.log" if seen is pair[0] else "resumed.rank1.log"
        assert mine not in names
