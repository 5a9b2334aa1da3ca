"""cluster/cluster.yaml on real hosts, by the commands that its README gives, end to end.

Reads GLUE's own RTE where GLUE_DIR names it, else the rows of `demo`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import HOME, Host, network, why_not

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

PROJECT = Path(__file__).parent.parent
CLUSTER = f"{HOME}/tuner/cluster"
PARTS = "pyproject.toml constraints.txt README.md LICENSE search_spaces tuner cluster".split()
TRIALS, EPOCHS = 28, 3
"""Enough for one host to be busy until the one that was cut off is back: Ray starts it again 30 s
after it was last heard of."""

SAME = "--model tiny --trials 6 --seed 7 --slots 1 --set num_train_epochs=1 --no-retrain"
"""One slot and no limit of time: a search that repeats."""

JOBS = "export RAY_AUTH_MODE=token RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265"
"""What `ray job` needs to know beside what `ray dashboard` forwards."""


@dataclass(frozen=True)
class Cluster:
    laptop: Host
    head: Host
    workers: list[Host]
    task: str
    """The options that say what is learned."""
    runs: Path
    """The runs in the shared storage, as this machine sees them."""

    def submit(self, options: str) -> str:
        """The command of the product's first page, from the folder cluster/."""
        return f"ray submit cluster.yaml tune.py {self.task} {options}"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    glue = os.environ.get("GLUE_DIR")
    hidden = [PROJECT, *([Path(glue)] if glue else [])]
    folder = tmp_path_factory.mktemp("hosts")
    with network(folder, ["head", "one", "two"], hidden) as (laptop, head, *workers):
        lay_project(laptop, head, workers)
        task = "--task demo"
        if glue:
            shutil.copytree(Path(glue) / "RTE", laptop.home / "glue" / "RTE")
            task = f"--task rte --data {HOME}/glue"
        laptop.run("pip install --quiet --constraint constraints.txt '.[cluster]'", f"{HOME}/tuner")
        laptop.run("(umask 077; ray get-auth-token --generate > /dev/null)")
        laptop.run("ray up --yes cluster.yaml", CLUSTER, timeout=600)
        if glue:
            laptop.run(f"ray rsync-up cluster.yaml {HOME}/glue/ {HOME}/glue/", CLUSTER)
        yield Cluster(laptop, head, workers, task, folder / "shared" / "runs")
        laptop.run("ray down --yes cluster.yaml", CLUSTER, timeout=300)
        assert "raylet" not in head.run("ps ax")


def lay_project(laptop: Host, head: Host, workers: list[Host]) -> None:
    """The project in the laptop's home, as a user would clone and edit it."""
    project = laptop.home / "tuner"
    project.mkdir()
    ignore = shutil.ignore_patterns("__pycache__")
    for part in PARTS:
        if (PROJECT / part).is_dir():
            shutil.copytree(PROJECT / part, project / part, ignore=ignore)
        else:
            shutil.copy(PROJECT / part, project / part)
    file = project / "cluster" / "cluster.yaml"
    file.write_text(edited(file.read_text(), head, workers))


def edited(text: str, head: Host, workers: list[Host]) -> str:
    """cluster.yaml with what a user writes into it; the storage and the key are where it has
    them."""
    edits = {
        r"head_ip: \S+": f"head_ip: {head.address}",
        r"worker_ips: \[.*?\]": f"worker_ips: [{', '.join(host.address for host in workers)}]",
        r"ssh_user: \S+": "ssh_user: root",
    }
    for old, new in edits.items():
        text, count = re.subn(old, new, text)
        assert count == 1, old
    return text


def until(met: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until `met`."""
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.2)


def events(run: Path) -> list[dict[str, Any]]:
    """The whole lines of a run's journal; none where there is no journal yet."""
    file = run / "journal.jsonl"
    if not file.exists():
        return []
    *lines, _ = file.read_text().split("\n")
    return [json.loads(line) for line in lines]


def hosts_of(run: Path) -> set[str]:
    """Hosts whose slots have brought a trial to its end."""
    ends = [event for event in events(run) if event["event"] in ("finished", "stopped")]
    return {event["slot"].partition(":")[0] for event in ends}


def leaderboard(host: Host, storage: str, run: str) -> list[dict[str, Any]]:
    said = host.run(f"tuner leaderboard {run} --storage {storage} --format json 2> /dev/null")
    return list(json.loads(said))


def test_a_search_is_the_same_on_one_machine_and_on_three_hosts(cluster: Cluster) -> None:
    laptop = cluster.laptop
    alone = laptop.start(f"tuner tune {cluster.task} {SAME} --name same --storage runs")
    laptop.start("ray dashboard cluster.yaml", CLUSTER)
    until(lambda: laptop.answers(f"{JOBS}; ray job list"), 120, "the dashboard")
    job = f"tuner tune --address auto {cluster.task} {SAME} --name same"
    laptop.run(f"{JOBS}; ray job submit -- {job}", timeout=600)
    printed = alone.communicate(timeout=600)[0]
    assert alone.returncode == 0, printed
    laptop.run("ray rsync-down cluster.yaml /mnt/shared/runs/ ~/fetched/", CLUSTER)
    here, there = leaderboard(laptop, "runs", "same"), leaderboard(laptop, "fetched", "same")
    assert {row["slot"].partition(":")[0] for row in here} == {"laptop"}
    assert "laptop" not in {row["slot"].partition(":")[0] for row in there}
    timed = {"train_seconds", "eval_seconds", "total_seconds", "slot"}
    assert len(here) == 6
    for one, other in zip(here, there, strict=True):
        assert {key: one[key] for key in one.keys() - timed} == {
            key: other[key] for key in other.keys() - timed
        }


def test_the_token_opens_the_cluster_and_is_nowhere_else(cluster: Cluster) -> None:
    laptop, head = cluster.laptop, cluster.head
    token = (laptop.home / ".ray" / "auth_token").read_text().strip()
    assert len(token) >= 32
    assert head.run("stat -c %a ~/.ray/auth_token").strip() == "600"
    assert not head.answers("RAY_AUTH_MODE=disabled ray status")
    kept = [file for file in cluster.runs.rglob("*") if file.is_file()]
    assert kept
    assert not [file for file in kept if token.encode() in file.read_bytes()]
    assert not laptop.answers(f"grep -rqF {token} /tmp/ray-config-*")


def test_the_dashboard_listens_on_loopback_only(cluster: Cluster) -> None:
    listening = cluster.head.run("ss -Hltn 'sport = :8265'").split("\n")
    assert [line.split()[3] for line in listening if line] == ["127.0.0.1:8265"]


def test_nothing_is_lost_when_a_host_dies_and_another_is_cut_off(cluster: Cluster) -> None:
    laptop, (one, two) = cluster.laptop, cluster.workers
    run = cluster.runs / "lost"
    options = f"--model tiny --trials {TRIALS} --seed 1 --set num_train_epochs={EPOCHS} --name lost"
    driver = laptop.start(cluster.submit(options), CLUSTER)
    until(
        lambda: {"one", "two"} <= hosts_of(run) or driver.poll() is not None,
        300,
        "a trial of each worker host",
    )
    assert driver.poll() is None, driver.communicate()[0]
    two.cut()
    mended = time.monotonic() + 20
    one.power_off()
    time.sleep(max(0.0, mended - time.monotonic()))
    two.mend()
    printed = driver.communicate(timeout=600)[0]
    assert driver.returncode == 0, printed

    laptop.run("ray rsync-down cluster.yaml /mnt/shared/runs/ ~/fetched/", CLUSTER)
    rows = leaderboard(laptop, "fetched", "lost")
    assert sorted(row["trial"] for row in rows) == [f"t{number:03d}" for number in range(TRIALS)]
    assert {row["status"] for row in rows} <= {"finished", "stopped"}
    assert 1 <= sum(row["restarts"] for row in rows) <= 4
    assert rows[0]["status"] == "finished"
    assert "on 2 workers" in printed
    best = laptop.home / "fetched" / "lost" / "best"
    assert (best / "model.safetensors").stat().st_size > 0
    scored = json.loads((best / "metrics.json").read_text())
    assert scored["hyperparameters"] == rows[0]["hyperparameters"]
