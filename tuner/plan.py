"""What `tuner tune` would do with the same settings, and what it would cost; nothing is started.

An estimate whose pace was timed is kept beside the runs; a run of the same settings takes it over,
so that its end can be compared with it. Knows nothing of how anything is printed.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tuner import forecast
from tuner.documents import write_json
from tuner.errors import TunerError, UserError
from tuner.forecast import Estimate, Pace, Schedule, Search
from tuner.hyperparameters import BATCH, EPOCHS
from tuner.preparation import Preparation, prepare, resolve
from tuner.progress import Silent, Watcher
from tuner.resources import Layout, Node, lay_out, room
from tuner.runs import check_free, check_storage
from tuner.settings import Settings
from tuner.shelves import free_bytes
from tuner.stores import is_uri, open_store

FOLDER = ".plans"
"""Where estimates lie, in the folder that holds the runs."""

_MOMENTS = 2
"""Numbers that the optimizer keeps for every weight."""

_PAGE = 3 * 2**20
"""Bytes of report.html, most of them the charts' script; while it is rewritten there are two."""

_TRIAL_FILES = 40_000
"""Bytes that a trial leaves in the journal, the leaderboard, the study and Tune's own files."""

# Neither changes what a search spends, or the plan knows it better.
_ELSEWHERE = {
    *("name", "storage", "address", "checkpoint_every", "max_failures", "retrain"),
    *("slots", "data", "model", "space", "set"),
}


@dataclass(frozen=True)
class Disk:
    """Bytes under the storage: `running` at most while the run goes on, `kept` when it is over;
    `free` is what there is now, None where that cannot be known."""

    running: int
    kept: int
    free: int | None


@dataclass(frozen=True)
class Plan:
    """Everything that can be told of a run before it starts.

    `nodes` are the hosts that the slots were laid out on, `now` the slots that fit on those that
    are there already. `schedules` show what trials may be like, `retraining` the same on all
    training rows.
    """

    preparation: Preparation
    nodes: tuple[Node, ...]
    layout: Layout
    now: int
    search: Search
    estimate: Estimate
    schedules: tuple[Schedule, ...]
    retraining: tuple[Schedule, ...]
    disk: Disk

    @property
    def at_once(self) -> int:
        """Trials that run at the same time."""
        return min(self.layout.slots, self.search.trials)


def plan(settings: Settings, *, probe: bool = False, watcher: Watcher | None = None) -> Plan:
    """What `tuner tune` would do with the same settings; `probe` times a few steps.

    Raises UserError for whatever `tune` would refuse. Nothing is started without `probe`, and
    nothing is written; with it, the estimate is kept.
    """
    settings, task = resolve(settings)
    check_storage(settings.storage)
    if settings.name is not None:
        check_free(settings.storage, settings.name)
    with watcher or Silent() as watching:
        preparation = prepare(settings, task, watching)
        for warning in preparation.warnings:
            watching.note(warning)
        with _hosts(settings, probe, watching) as (there, ever):
            layout = slots_on(there, ever, settings)
            if probe:
                watching.stage("timing a slot")
                pace = _timed(preparation, layout)
                estimate = _estimate(preparation, layout, pace)
                _keep(preparation, layout, estimate)
            else:
                estimate = expected(preparation, layout)
    search = _search(preparation, layout)
    schedules = _samples(search)
    return Plan(
        preparation,
        ever or there,
        layout,
        min(room(there, layout), layout.slots),
        search,
        estimate,
        schedules,
        _samples(replace(search, rows=preparation.data.full_train.num_rows, rungs=1)),
        disk(preparation, layout),
    )


def slots_on(there: tuple[Node, ...], ever: tuple[Node, ...] | None, settings: Settings) -> Layout:
    """The slots of a search on the hosts that are `there`, or on all that there can `ever` be
    (None: nobody knows). Raises UserError when what is asked for can never fit."""
    return lay_out(
        ever or there,
        slots=None if settings.slots == "auto" else settings.slots,
        workers=settings.workers_per_trial,
        gpus_per_worker=settings.gpus_per_worker,
        bounded=ever is not None,
    )


@contextmanager
def _hosts(
    settings: Settings, probe: bool, watcher: Watcher
) -> Iterator[tuple[tuple[Node, ...], tuple[Node, ...] | None]]:
    """The hosts that are there, and all that there can ever be (None: nobody knows): of the cluster
    at the address, or this one. Ray is started for a probe only."""
    if not probe and settings.address is None:
        yield (this_host(),), (this_host(),)
        return
    from tuner import hosts
    from tuner.session import ray_session

    watcher.stage("starting Ray" if settings.address is None else "asking the cluster")
    with ray_session(settings.address):
        there = hosts.staying(hosts.alive())
        if settings.address and (text := hosts.taken(there)):
            watcher.note(text)
        yield there, hosts.at_most(there) if settings.address else there


def this_host() -> Node:
    """This machine's cores and GPUs, as a Ray started on it will count them."""
    # Ray has no public call for it, and counts what a container may use.
    from ray._private.utils import get_num_cpus
    from torch import cuda

    return Node(float(get_num_cpus(override_docker_cpu_warning=True)), float(cuda.device_count()))


def _search(preparation: Preparation, layout: Layout, limit: float | None = None) -> Search:
    settings = preparation.settings
    return Search(
        space=preparation.space,
        seed=settings.seed,
        trials=settings.trials,
        rows=preparation.data.train.num_rows,
        rungs=settings.rungs,
        asha=settings.scheduler == "asha",
        slots=layout.slots,
        limit=limit or math.inf,
        finalists=settings.finalists,
        reseeds=settings.reseeds,
    )


def _samples(search: Search) -> tuple[Schedule, ...]:
    """Schedules that show what a trial may be like: all that are foreseen, and the extremes."""
    corners = [
        Schedule.of({EPOCHS: epochs, BATCH: batch}, search.rows, search.rungs)
        for epochs in _extremes(search, EPOCHS)
        for batch in _extremes(search, BATCH)
    ]
    known = forecast.foreseen(search)
    return tuple(known if len(known) >= search.trials else [*known, *corners])


def _extremes(search: Search, name: str) -> tuple[float, float]:
    parameter = search.space.parameter(name)
    numbers = [float(value) for value in parameter.values or (parameter.low, parameter.high)]
    return min(numbers), max(numbers)


# What a run takes over


def expected(preparation: Preparation, layout: Layout) -> Estimate:
    """The estimate that was kept for these very settings, or one without times."""
    return _kept(preparation, layout) or _estimate(preparation, layout, None)


def _estimate(preparation: Preparation, layout: Layout, pace: Pace | None) -> Estimate:
    settings, data = preparation.settings, preparation.data
    # Without times nobody knows what a budget of time cuts off.
    search = _search(preparation, layout, settings.budget if pace else None)
    found = forecast.forecast(search, pace)
    if pace is None or not settings.retrain:
        return found
    whole = replace(search, rows=data.full_train.num_rows, rungs=1)
    share = data.validation.num_rows / data.selection.num_rows
    scored = replace(pace, evaluation=pace.evaluation * share)
    lengths = [sum(scored.lengths(schedule)) for schedule in forecast.foreseen(whole)]
    return replace(found, retraining_seconds=sum(lengths) / len(lengths))


def _timed(preparation: Preparation, layout: Layout) -> Pace:
    from tuner.probe import probe

    search = _search(preparation, layout)
    batches = [schedule.batch for schedule in _samples(search)]
    return probe(preparation, layout, forecast.first_draws(search, 1)[0], batches)


def _folder(storage: str) -> Path:
    return Path(os.path.expanduser(storage)) / FOLDER


def _key(preparation: Preparation, layout: Layout) -> str:
    """What an estimate holds for: settings, rows, weights, space, devices; not where they lie."""
    settings = preparation.settings.plain()
    said = {
        "settings": {name: settings[name] for name in settings if name not in _ELSEWHERE},
        "rows": dict(preparation.data.fingerprints),
        "weights": preparation.base.weights.fingerprint or preparation.base.weights.config,
        "space": preparation.space.document(),
        "layout": [layout.slots, layout.workers, layout.cpus, layout.gpus, layout.threads],
    }
    text = json.dumps(said, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _keep(preparation: Preparation, layout: Layout, estimate: Estimate) -> None:
    storage, name = preparation.settings.storage, f"{_key(preparation, layout)}.json"
    if is_uri(storage):
        text = json.dumps(estimate.plain())
        open_store(storage).child(FOLDER).write(name, text.encode())
        return
    folder = _folder(storage)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / name, estimate.plain())
    except OSError as error:
        raise UserError(
            f"storage {storage} cannot be used: {error.strerror}; choose another --storage"
        ) from None


def _kept(preparation: Preparation, layout: Layout) -> Estimate | None:
    storage, name = preparation.settings.storage, f"{_key(preparation, layout)}.json"
    try:
        if is_uri(storage):
            data = open_store(storage).child(FOLDER).read(name)
        else:
            data = (_folder(storage) / name).read_bytes()
        return None if data is None else Estimate.read(json.loads(data))
    except (OSError, ValueError, TunerError):
        return None


# Disk


def disk(preparation: Preparation, layout: Layout) -> Disk:
    """What a run takes of its storage."""
    settings, data = preparation.settings, preparation.data
    model = model_bytes(preparation)
    row = 16 + 4 * preparation.task.num_labels
    count = settings.trials + preparation.finals.trials
    trials = count * (_TRIAL_FILES + data.selection.num_rows * row)
    slots = min(layout.slots, settings.trials)
    # The checkpoint before goes when the next one is whole.
    checkpoints = slots * 2 * (1 + _MOMENTS) * model
    exported = model if settings.retrain else 0
    return Disk(
        trials + 2 * _PAGE + max(checkpoints, 2 * exported),
        trials + _PAGE + exported,
        free_bytes(settings.storage),
    )


def model_bytes(preparation: Preparation) -> int:
    """The size of the model's weights."""
    weights = preparation.base.weights
    if weights.state is not None:
        return sum(array.nbytes for array in weights.state.values())
    from tuner.models import build_model

    tensors = build_model(weights).state_dict().values()
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
