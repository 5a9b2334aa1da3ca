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
) -> Layout:
    """The slots of a search. `slots` None: one per GPU share, or one per core without GPUs.

    Raises UserError, stating what was asked and what there is, when it can never fit.
    """
    cores = int(sum(node.cpus for node in nodes))
    devices = sum(node.gpus for node in nodes)
    gpus = _share(gpus_per_worker, devices, workers)
    if gpus:
        room = sum(min(int(node.gpus / gpus + 1e-9), int(node.cpus)) for node in nodes)
        what = f"{gpus:g} GPU{'s' if gpus != 1 else ''} and a core"
    else:
        room = cores
        what = "a core"
    most = room // workers
    if most < 1 or (slots is not None and slots > most):
        asked = (slots or 1) * workers
        raise UserError(
            f"{slots or 1} slots of {workers} workers ask for {asked} times {what}, and there are "
            f"{cores} cores and {devices:g} GPUs: room for {room} workers; ask for fewer slots, "
            "fewer workers or a smaller share of a GPU"
        )
    chosen = slots or most
    cpus = max(1, cores // (chosen * workers))
    if not gpus:
        # Cores left over by an uneven division must not make a worker too large for its host.
        cpus = max(1, min(cpus, int(max(node.cpus for node in nodes))))
        while cpus > 1 and sum(int(node.cpus // cpus) for node in nodes) < chosen * workers:
            cpus -= 1
    return Layout(chosen, workers, float(cpus if not gpus else 1), gpus, int(cpus))


def _share(asked: float | None, devices: float, workers: int) -> float:
    """GPUs a worker: what was asked, or a whole one where there are any."""
    if asked is None:
        return 1.0 if devices >= 1 else 0.0
    if not 0 <= asked <= 1:
        raise UserError(
            f"--gpus-per-worker {asked:g}: a worker trains on one GPU or a share of one; "
            "pass a number from 0 to 1, and more workers for more GPUs"
        )
    if asked and not devices:
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
