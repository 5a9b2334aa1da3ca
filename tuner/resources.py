"""Who gets which devices: slots of a search, and the workers of the retraining.

Plain arithmetic over what Ray reports; knows nothing of Ray's calls, of trials or of data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tuner.errors import UserError


@dataclass(frozen=True)
class Node:
    """One host's cores and GPUs, as Ray reports them."""

    cpus: float
    gpus: float


@dataclass(frozen=True)
class Layout:
    """`slots` at once, each of `workers` workers; a worker has `cpus` cores, `gpus` GPUs (a share
    below 1 is packed with others) and `threads` torch threads."""

    slots: int
    workers: int
    cpus: float
    gpus: float
    threads: int


def lay_out(
    nodes: tuple[Node, ...],
    *,
    slots: int | None = None,
    workers: int = 1,
    gpus_per_worker: float | None = None,
    bounded: bool = True,
) -> Layout:
    """The slots of a search on `nodes`: all that there can ever be. `slots` None: one per GPU
    share, or one per core without GPUs.

    `bounded` says that there will never be more than `nodes`; else an autoscaler may add hosts that
    nobody knows of yet, and what was asked for is believed. Raises UserError, stating what was
    asked and what there is, when it can never fit.
    """
    devices = sum(node.gpus for node in nodes)
    gpus = _share(gpus_per_worker, devices, workers, bounded)
    what = f"{gpus:g} GPU{'s' if gpus != 1 else ''} and a core" if gpus else "a core"
    places = sum(_places(node, 1.0, gpus) for node in nodes)
    most = places // workers
    if bounded and (most < 1 or (slots is not None and slots > most)):
        asked = (slots or 1) * workers
        cores = int(sum(node.cpus for node in nodes))
        raise UserError(
            f"{_counted(slots or 1, 'slot')} of {_counted(workers, 'worker')} ask for {asked} "
            f"times {what}, and there are {_counted(cores, 'core')} and "
            f"{_counted(devices, 'GPU')} on {_counted(len(nodes), 'host')}: room for "
            f"{_counted(places, 'worker')}; ask for fewer slots, fewer workers or a smaller share "
            "of a GPU"
        )
    chosen = slots or max(1, most)
    cpus = _cores_each(nodes, chosen * workers, gpus)
    return Layout(chosen, workers, 1.0 if gpus else float(cpus), gpus, cpus)


def _share(asked: float | None, devices: float, workers: int, bounded: bool) -> float:
    """GPUs a worker: what was asked, or a whole one where there are any."""
    if asked is None:
        return 1.0 if devices >= 1 else 0.0
    if not 0 <= asked <= 1:
        raise UserError(
            f"--gpus-per-worker {asked:g}: a worker trains on one GPU or a share of one; "
            "pass a number from 0 to 1, and more workers for more GPUs"
        )
    if asked and not devices and bounded:
        raise UserError(
            f"--gpus-per-worker {asked:g} asks for GPUs and there are none; leave it out to train "
            "on the cores"
        )
    if 0 < asked < 1 and workers > 1:
        raise UserError(
            f"--gpus-per-worker {asked:g} with {workers} workers a trial: workers of one trial "
            "cannot share a GPU; pass 1, or one worker a trial"
        )
    return asked


def _counted(number: float, what: str) -> str:
    return f"{number:g} {what}{'' if number == 1 else 's'}"


def _places(node: Node, cpus: float, gpus: float) -> int:
    """Workers that fit on one host."""
    by_cores = int(node.cpus / cpus + 1e-9)
    return min(by_cores, int(node.gpus / gpus + 1e-9)) if gpus else by_cores


def _cores_each(nodes: tuple[Node, ...], workers: int, gpus: float) -> int:
    """Cores for each of so many workers, on the hosts that have their devices."""
    hosts = [node for node in nodes if _places(node, 1.0, gpus)]
    if not hosts:
        return 1
    cpus = int(sum(int(node.cpus) for node in hosts) // workers)
    # Cores left over by an uneven division must not make a worker too large for its host.
    cpus = min(cpus, int(max(node.cpus for node in hosts)))
    while cpus > 1 and not gpus and sum(_places(node, cpus, 0.0) for node in hosts) < workers:
        cpus -= 1
    return max(1, cpus)


def room(nodes: tuple[Node, ...], layout: Layout) -> int:
    """How many of the layout's slots fit on `nodes` at once. The workers of a slot are packed on
    one host where they fit and spread where they do not, so that only their number counts."""
    places = sum(_places(node, layout.cpus, layout.gpus) for node in nodes)
    return places // layout.workers


def retrain_layout(nodes: tuple[Node, ...], gpus_per_worker: float | None, batch: int) -> Layout:
    """The workers of the retraining: every GPU, or without GPUs one worker a host with all its
    cores; never more than there are rows in the effective batch `batch`."""
    devices = sum(int(min(node.gpus, node.cpus)) for node in nodes)
    if devices and gpus_per_worker != 0:
        workers = min(devices, batch)
        hosts = [node for node in nodes if node.gpus]
        threads = max(1, min(int(node.cpus // max(1, math.ceil(node.gpus))) for node in hosts))
        return Layout(1, workers, 1.0, 1.0, threads)
    cpus = sorted((node.cpus for node in nodes if node.cpus >= 1), reverse=True) or [1.0]
    workers = min(len(cpus), batch)
    cores = int(cpus[workers - 1])
    return Layout(1, workers, float(cores), 0.0, cores)
