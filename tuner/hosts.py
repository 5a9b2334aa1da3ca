"""The hosts of the Ray cluster that this process is connected to: which live, what they have, what
of it is free, and what an autoscaler may add.

The one place that asks Ray about hosts. Knows nothing of trials; where Ray has no public call, its
own is used here and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tuner.preemption import draining
from tuner.resources import Layout, Node

_LAUNCHED = Path("~/ray_bootstrap_config.yaml")
"""What Ray's cluster launcher leaves on the head for its autoscaler: the hosts it may start."""


@dataclass(frozen=True)
class Host(Node):
    """A live host: `name` is for people, `key` is Ray's id of it. `leaving`: it was told that it
    will be taken away soon (a spot instance, a scale-down), and gets no further work."""

    name: str
    key: str
    leaving: bool = False


def alive() -> tuple[Host, ...]:
    """The hosts that live, the driver's own first."""
    import ray

    leaving = draining()
    here = ray.get_runtime_context().get_node_id()
    hosts = [
        Host(
            cpus=node["Resources"].get("CPU", 0.0),
            gpus=node["Resources"].get("GPU", 0.0),
            name=_name(node["NodeManagerHostname"], node["NodeManagerAddress"]),
            key=node["NodeID"],
            leaving=node["NodeID"] in leaving,
        )
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]
    return tuple(sorted(hosts, key=lambda host: host.key != here))


def staying(hosts: Iterable[Host]) -> tuple[Host, ...]:
    """Those that are not about to be taken away."""
    return tuple(host for host in hosts if not host.leaving)


def free(hosts: Iterable[Host]) -> tuple[Node, ...]:
    """What nobody uses now, host by host. Ray's figures lag behind by a moment."""
    from ray._private.state import available_resources_per_node

    left = available_resources_per_node()  # type: ignore[no-untyped-call]
    of_each = [left.get(host.key, {}) for host in hosts]
    return tuple(Node(has.get("CPU", 0.0), has.get("GPU", 0.0)) for has in of_each)


def taken(hosts: Iterable[Host]) -> str | None:
    """What others on this cluster have taken of `hosts` before this search begins, in a line; None
    where all is free."""
    has = tuple(hosts)
    left = free(has)
    cores = (sum(n.cpus for n in has), sum(n.cpus for n in left))
    gpus = (sum(n.gpus for n in has), sum(n.gpus for n in left))
    told = [
        f"{there - unused:g} of {there:g} {what}"
        for what, (there, unused) in (("cores", cores), ("GPUs", gpus))
        if there - unused > 1e-3
    ]
    if not told:
        return None
    return f"others on this cluster have taken {' and '.join(told)}; slots wait for what is missing"


def at_most(hosts: tuple[Host, ...]) -> tuple[Node, ...] | None:
    """All that the cluster can ever have: `hosts`, and those that an autoscaler may add to them.
    None where there is an autoscaler that does not say how far it goes."""
    try:
        said = yaml.safe_load(_LAUNCHED.expanduser().read_text(encoding="utf-8"))
    except OSError:
        return None if _on_autoscaling_kubernetes() else hosts
    except (ValueError, yaml.YAMLError):
        return None
    may_start = launched_at_most(said)
    if may_start is None:
        return None
    more = list(may_start)
    for host in hosts:
        if (like := Node(host.cpus, host.gpus)) in more:
            more.remove(like)
    return (*hosts, *more)


def launched_at_most(configuration: Any) -> tuple[Node, ...] | None:
    """The most worker hosts that a cluster launcher's configuration, as Ray completed it, lets its
    autoscaler start; None where it cannot be read. Hosts reached by ssh have no figures in it and
    are not counted: they are there, or they are not."""
    try:
        limit = int(configuration["max_workers"])
        kinds = [
            (_node(kind.get("resources") or {}), int(kind.get("max_workers", limit)))
            for name, kind in configuration["available_node_types"].items()
            if name != configuration["head_node_type"]
        ]
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    kinds.sort(key=lambda pair: (pair[0].gpus, pair[0].cpus), reverse=True)
    hosts = [node for node, count in kinds if node.cpus for _ in range(min(count, limit))]
    return tuple(hosts[:limit])


def ask_for(slots: int, layout: Layout) -> None:
    """Ask the autoscaler for hosts with room for so many slots (0: nothing any more). The request
    stands for the whole cluster until the next one, whoever makes it."""
    from ray.autoscaler.sdk import request_resources

    worker = {"CPU": layout.cpus, **({"GPU": layout.gpus} if layout.gpus else {})}
    request_resources(bundles=[worker] * (slots * layout.workers))


def _on_autoscaling_kubernetes() -> bool:
    """KubeRay starts the head without Ray's own monitor where its autoscaler runs beside it."""
    return "--no-monitor" in os.environ.get("KUBERAY_GEN_RAY_START_CMD", "")


def _node(resources: Any) -> Node:
    return Node(float(resources.get("CPU", 0)), float(resources.get("GPU", 0)))


def _name(hostname: str, address: str) -> str:
    return hostname if hostname == address else f"{hostname} ({address})"
