"""The warm slot: a trial does not depend on what ran before it, and nothing is left behind."""

import os
import time
from pathlib import Path

import pytest
import ray

from tests.searches import configuration, crew_plan, rank_processes
from tests.toy import numbers, toy_materials
from tuner.crews import Crew
from tuner.mailbox import Order
from tuner.session import ray_session

THE_TRIAL = configuration(3, learning_rate=2e-3, num_train_epochs=3, warmup_steps=5)


@pytest.fixture(scope="module", autouse=True)
def _ray():
    with ray_session():
        yield


class _Host:
    """A fresh process with a crew in it, as a slot is."""

    def __init__(self, plan):
        self._crew = Crew(plan)

    def run(self, name, given, stop_at=0):
        """One trial's reports; stopped at its rung number `stop_at`."""
        self._crew.give(Order(name, given))
        reports = [self._crew.next_report()]
        while reports[-1].kind == "rung":
            if len(reports) == stop_at:
                self._crew.say("stop")
                break
            self._crew.say("go")
            reports.append(self._crew.next_report())
        return reports

    def run_many(self, count):
        """That many trials of two steps."""
        given = configuration(1, num_train_epochs=1, per_device_train_batch_size=60)
        for number in range(count):
            (report,) = self.run(f"t{number:03d}", given)[-1:]
            assert (report.kind, report.total_steps) == ("end", 2), report

    def pids(self):
        """This process, and the ranks of a worker group."""
        return [os.getpid(), *sorted(rank_processes(os.getppid()))]

    def holdings(self):
        """What this process holds: resident MiB, threads, open files, child processes, scratch.

        Looked at once the last trial has cleared up, which it does after its last report.
        """
        until = time.monotonic() + 60
        while os.listdir(os.environ["TMPDIR"]) and time.monotonic() < until:
            time.sleep(0.05)
        status = Path("/proc/self/status").read_text()
        return {
            "resident": int(status.split("VmRSS:")[1].split()[0]) / 1024,
            "threads": int(status.split("Threads:")[1].split()[0]),
            "files": len(os.listdir("/proc/self/fd")),
            "children": len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()),
            "scratch": os.listdir(os.environ["TMPDIR"]),
        }

    def close(self):
        self._crew.close()


def host_on(plan, scratch):
    runtime = {"env_vars": {"TMPDIR": str(scratch), "PYTHONPATH": os.getcwd()}}
    return ray.remote(_Host).options(num_cpus=0, runtime_env=runtime).remote(plan)


def ten_others():
    """Ten trials unlike the one that is compared: one fails, one is stopped."""
    return [
        (configuration(1, per_device_train_batch_size=4), 0),
        (configuration(2, num_train_epochs=5), 0),
        (configuration(3, lr_scheduler_type="cosine", warmup_steps=3), 0),
        (configuration(4, learning_rate=1e30, max_grad_norm=0.0), 0),
        (configuration(5, per_device_train_batch_size=64), 0),
        (configuration(6), 1),
        (configuration(7, weight_decay=0.1, label_smoothing_factor=0.1), 0),
        (configuration(8, num_train_epochs=0.5), 0),
        (configuration(9, optim="sgd", learning_rate=0.1), 0),
        (configuration(3, learning_rate=2e-3, num_train_epochs=3, warmup_steps=5), 2),
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_warm_slot_repeats_a_cold_start_bit_for_bit(tmp_path, workers):
    # Few tokens a pass, so that large batches are accumulated and small ones are not.
    materials = toy_materials(dropout=0.1, most_tokens=96)
    host = host_on(crew_plan(materials, tmp_path, workers), tmp_path)
    cold = ray.get(host.run.remote("cold", THE_TRIAL))
    before = ray.get(host.pids.remote())
    kinds = []
    for number, (given, stop_at) in enumerate(ten_others()):
        kinds.append(ray.get(host.run.remote(f"t{number}", given, stop_at))[-1].kind)
    warm = ray.get(host.run.remote("warm", THE_TRIAL))
    assert ray.get(host.pids.remote()) == before
    assert len(before) == (1 if workers == 1 else 1 + workers)
    assert sorted(kinds) == ["end"] * 7 + ["failed"] + ["rung"] * 2
    assert [report.kind for report in warm] == ["rung", "rung", "end"]
    assert numbers(warm) == numbers(cold)
    ray.get(host.close.remote())


def test_a_slot_neither_grows_nor_leaves_anything_over_200_trials(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    host = host_on(crew_plan(toy_materials(), tmp_path), scratch)
    ray.get(host.run_many.remote(10))
    before = ray.get(host.holdings.remote())
    ray.get(host.run_many.remote(190))
    after = ray.get(host.holdings.remote())
    assert after["resident"] < 1.05 * before["resident"]
    # Ray's own pools may come by a thread or a socket; a leak would be one a trial.
    for held in ("threads", "files", "children"):
        assert after[held] < before[held] + 19
    assert after["scratch"] == []
    ray.get(host.close.remote())
