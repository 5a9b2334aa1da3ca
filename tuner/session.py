"""Ray for one command: a local one on loopback, or the cluster at an address, and what it has.

Knows nothing of trials or of data.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tuner.errors import TunerError, UserError
from tuner.resources import Node

_LOCAL_ENVIRONMENT = {
    # Named for the platforms where it is the default: without it a local Ray listens on every
    # address of the host. Ray reads it when it is first imported.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Ray's monitor kills the largest process when the host runs short, and ends all of Tune with
    # it; a trial that runs out of memory is told so by its own process.
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}

_ENVIRONMENT = {
    # Ray's coming default, which it asks every program to choose already.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@contextmanager
def ray_session(address: str | None = None) -> Iterator[tuple[Node, ...]]:
    """Start a local Ray, or join the cluster at `address`; gives the hosts that are there.

    Without an address a local Ray is started, whatever RAY_ADDRESS says. When this process is
    already connected, that connection is used and left open. Raises UserError when the cluster
    cannot be reached.
    """
    with _environment({**_ENVIRONMENT, **({} if address else _LOCAL_ENVIRONMENT)}):
        yield from _session(address)


@contextmanager
def _environment(wanted: dict[str, str]) -> Iterator[None]:
    """What is not set yet is, while the block runs: it is for Ray, and not for what the caller
    starts afterwards."""
    ours = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def _session(address: str | None) -> Iterator[tuple[Node, ...]]:
    import ray

    ours = not ray.is_initialized()
    if ours:
        _connect(address)
    try:
        yield tuple(
            Node(node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0))
            for node in ray.nodes()  # type: ignore[no-untyped-call]
            if node["Alive"]
        )
    finally:
        if ours:
            ray.shutdown()


def running_cluster() -> str | None:
    """`auto`, Ray's word for the cluster that this host is part of; None where it is part of none.

    It is part of one when `ray job submit` has said so (RAY_ADDRESS), or when the cluster of which
    `ray start` left a record answers: the record outlives a host that lost its power.
    """
    if os.environ.get("RAY_ADDRESS"):
        return "auto"
    recorded = _recorded()
    if recorded is None:
        return None
    try:
        _probe(recorded)
    except OSError:
        return None
    return "auto"


def _recorded() -> str | None:
    """The address that `ray start` left on this host, where Ray's `auto` looks for it, too."""
    base = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    try:
        return Path(base, "ray", "ray_current_cluster").read_text().strip() or None
    except OSError:
        return None


def _connect(address: str | None) -> None:
    import ray

    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        try:
            ray.init(address="local", include_dashboard=False, **quiet)
        except Exception as error:  # Ray raises a plain one when its processes do not come up
            raise TunerError(
                f"Ray did not start on this machine: {_first_line(error)}; see whether it is "
                "overloaded or short of memory, and try again"
            ) from error
        return
    if _meant(address).startswith("ray://"):
        raise UserError(
            f"--address {address}: a search cannot be driven through a Ray Client; start it on a "
            "host of the cluster (ray submit, ray job submit), or pass the head's HOST:PORT"
        )
    try:
        _probe(address)
        ray.init(address=address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"--address {address}: no Ray cluster answers there ({_first_line(error)}); start one, "
            "or leave --address out to run on this machine"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _meant(address: str) -> str:
    """What Ray takes `auto` for, as far as it is known here."""
    return (os.environ.get("RAY_ADDRESS") or _recorded() or "") if address == "auto" else address


def _probe(address: str) -> None:
    """Ray itself tries an address where nobody answers for minutes. Raises OSError."""
    host, _, port = _meant(address).rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=5.0).close()
