"""The search: Ray Tune over warm slots, with the ledger behind its searcher and its scheduler.

Knows nothing of how a trial trains. Tune's own retries, concurrency limits and restores are not
used: a trial that lost its slot is handed out again by the ledger, which also survives the driver.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import ray
from ray import tune
from ray.tune import Callback, PlacementGroupFactory
from ray.tune.error import TuneError
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from tuner import checkpoints
from tuner.errors import SearchError
from tuner.ledger import Ledger, Reason
from tuner.resources import Layout
from tuner.scheduler import RungScheduler
from tuner.slots import Slot, SlotPlan, report_of


class LedgerSearcher(Searcher):
    """Tune's searcher: asks the ledger which trial is next."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        record = self._ledger.next()
        if record == "wait":
            return None
        if record == "over":
            return str(Searcher.FINISHED)
        return {"trial": record.name, "configuration": dict(record.configuration)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: the ledger heard it from the scheduler."""


class TakenCallback(Callback):
    """Tells the ledger when a slot is about to be given a trial."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._ledger.taken(trial.config["trial"])


def run_search(ledger: Ledger, plan: SlotPlan, layout: Layout, folder: Path) -> Reason:
    """Run trials on `layout.slots` warm slots until the ledger says that it is over.

    `folder` is where Tune keeps its own files. Returns why the search ended. Raises SearchError
    when no slot can run. The first Ctrl-C (or SIGTERM) ends running trials at their next report,
    the second raises KeyboardInterrupt.
    """
    with _settings(layout.slots), _ending_gently(ledger):
        while True:
            try:
                _tuner(ledger, plan, layout, folder).fit()
                break
            except (TuneError, ray.exceptions.RayError) as error:
                # Some errors of Ray (its out-of-memory error is one) end all of Tune.
                text = str(error).strip().splitlines()
                line = text[-1] if text else type(error).__name__
                if not ledger.all_lost(line):
                    raise SearchError(f"Ray Tune ended the search: {line}") from error
    _sweep(plan, ledger.done)
    return ledger.close()


def _sweep(plan: SlotPlan, done: set[str]) -> None:
    """Remove the checkpoints of done trials whose slot ended before it could."""
    for folder in Path(plan.checkpoints).glob("*"):
        if folder.name in done:
            checkpoints.discard(str(folder))


def _tuner(ledger: Ledger, plan: SlotPlan, layout: Layout, folder: Path) -> tune.Tuner:
    trainable: Any = tune.with_parameters(Slot, plan=plan)
    return tune.Tuner(
        tune.with_resources(trainable, resources(layout)),
        tune_config=tune.TuneConfig(
            search_alg=LedgerSearcher(ledger),
            scheduler=RungScheduler(
                lambda name, result: ledger.result(report_of(result), result["slot"]), ledger.lost
            ),
            num_samples=-1,  # the searcher says when it is over
            reuse_actors=True,
            trial_name_creator=_name,
            trial_dirname_creator=_folder_name,
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[TakenCallback(ledger)],
            verbose=0,
        ),
    )


def resources(layout: Layout) -> PlacementGroupFactory:
    """What a slot asks of Tune. A slot of several workers runs nothing heavy itself (its worker
    group asks for the devices), but Tune refuses a request for nothing: a MiB of memory it is."""
    if layout.workers > 1:
        return PlacementGroupFactory([{"memory": 2**20}])
    return PlacementGroupFactory(
        [{"CPU": layout.cpus, **({"GPU": layout.gpus} if layout.gpus else {})}]
    )


def _name(trial: Trial) -> str:
    return str(trial.config["trial"])


def _folder_name(trial: Trial) -> str:
    return f"{trial.config['trial']}_{trial.trial_id}"  # a restarted trial gets a folder of its own


@contextmanager
def _settings(slots: int) -> Iterator[None]:
    """Tune's settings that it takes from the environment only, and its log kept quiet: it prints a
    traceback for every slot that is lost, which the ledger tells in a line."""
    wanted = {
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_MAX_PENDING_TRIALS_PG": str(slots),
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
        "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints banners whatever `verbose` says
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    log = logging.getLogger("ray.tune")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _ending_gently(ledger: Ledger) -> Iterator[None]:
    """Take Ctrl-C and SIGTERM as in `run_search`; signals reach Python's main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if ledger.reason == "interrupted":
            raise KeyboardInterrupt
        ledger.stop("interrupted")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
