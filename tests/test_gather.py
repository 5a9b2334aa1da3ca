"""cluster/gather.py: what the head of hosts reached by ssh does before Ray starts and after it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml
from ray.cluster_utils import Cluster

GATHER = Path(__file__).parent.parent / "cluster" / "gather.py"


def gather(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(GATHER), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_workers_of_an_earlier_cluster_are_set_up_again_and_the_head_is_kept(tmp_path: Path):
    head = {"state": "running", "tags": {"ray-node-type": "head", "ray-node-status": "up-to-date"}}
    worker = {"state": "running", "tags": {"ray-node-type": "worker", "ray-node-status": "up"}}
    record = tmp_path / "ray" / "cluster-tuner.state"
    record.parent.mkdir()
    record.write_text(json.dumps({"10.0.0.1": head, "10.0.0.2": worker}))
    assert gather("forget", RAY_TMPDIR=str(tmp_path)).returncode == 0
    assert json.loads(record.read_text()) == {
        "10.0.0.1": head,
        "10.0.0.2": {"state": "terminated", "tags": {"ray-node-type": "worker"}},
    }


def test_it_waits_for_the_hosts_that_cluster_yaml_names(tmp_path: Path):
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    there = cluster.head_node.node_ip_address
    description = tmp_path / "description.yaml"

    def wait(*hosts: str) -> subprocess.CompletedProcess[str]:
        provider = {"type": "local", "head_ip": there, "worker_ips": list(hosts)}
        description.write_text(yaml.safe_dump({"provider": provider}))
        return gather("wait", "1", str(description), RAY_ADDRESS=cluster.address)

    try:
        done, late = wait(there), wait(there, "203.0.113.9")
    finally:
        cluster.shutdown()
    assert done.returncode == 0, done.stderr
    assert late.returncode == 1
    assert "not up after 1 s: 203.0.113.9; see ray monitor" in late.stderr
