"""One configuration on the full training split, with every device, scored on validation.

The same train loop as a trial's. Knows nothing of Optuna, of slots' scheduling or of the export.
"""

from __future__ import annotations

import gc
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import ray
import torch

from tuner.bench import Materials
from tuner.connections import patiently
from tuner.crews import Crew, CrewPlan
from tuner.errors import SearchError, Unwritable
from tuner.hyperparameters import Configuration
from tuner.mailbox import Order, Report
from tuner.progress import Watcher
from tuner.resources import Layout
from tuner.stores import open_store

RETRAINED = ".retrained"
"""What the model is called on its way through a run's store."""

_TICK = 1.0
"""Seconds between two signs of life."""

_PATIENCE = 120.0
"""Seconds to wait for room on the hosts: more than Ray takes to notice that one is gone."""


@dataclass(frozen=True)
class Trained:
    """A trained model: its folder (config and safetensors) and its last report."""

    folder: Path
    report: Report


def retrain(
    materials: Materials,
    configuration: Configuration,
    layout: Layout,
    folder: Path,
    watcher: Watcher,
    *,
    run: str,
    local: bool,
    check: Callable[[], None] = lambda: None,
    handover: str | None = None,
    predictions: str | None = None,
) -> Trained:
    """Train `configuration` once more, on `materials.train`, and score `materials.selection` at the
    end: `train` for a search's best. The logits go to `predictions`, a file or a URI. Raises
    SearchError when the training fails.
    """
    done = train(
        materials,
        Order("retraining", configuration, rungs=1, predictions=predictions),
        layout,
        folder,
        watcher,
        run=run,
        local=local,
        check=check,
        handover=handover,
    )
    if done.report.kind == "failed":
        raise SearchError(
            f"the best configuration failed when it was retrained on all rows: {done.report.error}"
        )
    return done


def train(
    materials: Materials,
    order: Order,
    layout: Layout,
    folder: Path,
    watcher: Watcher,
    *,
    run: str,
    local: bool,
    hear: Callable[[Report], None] = lambda report: None,
    check: Callable[[], None] = lambda: None,
    handover: str | None = None,
) -> Trained:
    """Run `order` on `materials`, which hold the full training split and the validation split, and
    save the model under `folder`, unless the training failed.

    `materials` are made for `layout`'s threads and GPUs; `run` is what a person names the run by;
    `local` says that the devices are this process's own. `hear` gets the reports at the rungs.
    `check` is called now and then, and raises when there is no point in going on. `handover` is a
    URI through which the model comes when `folder` is not one that every host sees. Raises CrewLost
    when one of its workers is gone, and Unwritable when a disk does not take the model; a
    checkpoint that was kept then stays.
    """
    plan = CrewPlan(
        (ray.put(materials),),
        workers=layout.workers,
        cpus=layout.cpus,
        gpus=layout.gpus,
        local=local,
        patience=_PATIENCE,
    )
    model = folder / "model"
    order = replace(order, ticks=_TICK, save_to=handover or str(model))
    with _threads_as_before():
        report = _last_report(plan, order, watcher, hear, check)
    if report.kind == "unsaved":
        raise Unwritable(f"{report.error}, then go on with: tuner resume {shlex.quote(run)}")
    if handover is not None and report.kind != "failed":
        _take_over(handover, model)
    return Trained(model, report)


def _take_over(uri: str, model: Path) -> None:
    above, _, name = uri.rpartition("/")
    store = open_store(above)
    patiently(lambda: store.fetch(name, model))
    store.remove(name)


def _last_report(
    plan: CrewPlan,
    order: Order,
    watcher: Watcher,
    hear: Callable[[Report], None],
    check: Callable[[], None],
) -> Report:
    crew = Crew(plan)
    try:
        crew.give(order)
        while (report := crew.next_report()).kind in ("tick", "rung"):
            check()
            if report.kind == "rung":
                hear(report)
                crew.say("go")
            else:
                watcher.tick(report.step, report.total_steps, seconds_left(report))
        return report
    finally:
        crew.close()


@contextmanager
def _threads_as_before() -> Iterator[None]:
    """A bench takes its process over, and this one is the caller's: give it back."""
    threads, variable = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    try:
        yield
    finally:
        gc.unfreeze()
        torch.set_num_threads(threads)
        if variable is None:
            os.environ.pop("OMP_NUM_THREADS", None)
        else:
            os.environ["OMP_NUM_THREADS"] = variable


def seconds_left(report: Report) -> float | None:
    """Seconds until a training's end, when there is something to go by."""
    if not report.step:
        return None
    return report.total_seconds * (report.total_steps - report.step) / report.step
