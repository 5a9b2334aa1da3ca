"""The head of a `local` cluster: forget which hosts were up before, wait until all of them are.

`gather.py forget` comes before Ray's start. `gather.py wait SECONDS FILE` comes after it, and fails
when one of the hosts that FILE, the launcher's copy of cluster.yaml, names is not there in time.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def forget(folder: Path) -> None:
    """Mark every worker in Ray's record of the cluster as one to start.

    The record outlives the cluster: a host that it calls up to date is never set up again. It is
    edited, not removed, because `ray up` holds it open where it runs on the head itself.
    """
    for file in folder.glob("cluster-*.state"):
        hosts = json.loads(file.read_text())
        for host in hosts.values():
            if host["tags"].get("ray-node-type") == "worker":
                host.update(state="terminated", tags={"ray-node-type": "worker"})
        file.write_text(json.dumps(hosts))


def missing(hosts: set[str]) -> set[str]:
    """Which of the `hosts` are not in the cluster."""
    import ray

    return hosts - {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}


def wait(seconds: float, description: Path) -> int:
    """Wait for the hosts that `description`, the launcher's copy of cluster.yaml, names; the exit
    code."""
    import socket

    import ray
    import yaml

    provider = yaml.safe_load(description.read_text())["provider"]
    hosts = {socket.gethostbyname(host) for host in provider["worker_ips"]}
    ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
    until = time.monotonic() + seconds
    while left := missing(hosts):
        if time.monotonic() > until:
            names = ", ".join(sorted(left))
            print(f"not up after {seconds:.0f} s: {names}; see ray monitor", file=sys.stderr)
            return 1
        time.sleep(0.5)
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "forget":
        forget(Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp", "ray"))
    else:
        sys.exit(wait(float(sys.argv[2]), Path(sys.argv[3])))
