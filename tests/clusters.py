"""Ray clusters of several hosts on this machine: raylets of `ray.cluster_utils`, one a host."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

QUICK = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}
"""A host whose power went is noticed after about two seconds instead of a minute."""


@contextmanager
def cluster() -> Iterator[Any]:
    """A cluster whose head, where the driver is, has no cores. Nobody else finds it by Ray's record
    of running clusters."""
    import ray
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # paths of sockets must be short
    before = os.environ.get("RAY_TMPDIR")
    os.environ["RAY_TMPDIR"] = folder
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": QUICK}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = Cluster(initialize_head=True, head_node_args=head)
        try:
            yield made
        finally:
            ray.shutdown()
            made.shutdown()
    finally:
        os.environ.pop("RAY_TMPDIR")
        if before is not None:
            os.environ["RAY_TMPDIR"] = before
        shutil.rmtree(folder, ignore_errors=True)


def raylet(node: Any) -> int:
    """The process of a host's raylet, the parent of all that works there."""
    return int(node.all_processes["raylet"][0].process.pid)
