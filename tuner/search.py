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
from ray.tune import Callback, PlacementGroupFactory, Stopper
from ray.tune.error import TuneError
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from tuner import checkpoints
from tuner.growth import Growth
from tuner.ledger import Ledger, Reason
from tuner.resources import Layout
from tuner.scheduler import RungScheduler
from tuner.slots import Slot, SlotPlan


class _Over(Exception):
    """The search is over. Tune clears up after an exception as it does after its own end; there it
    would first write down the state of every trial and read every result back, which takes 2 ms a
    trial, for restores and analyses that are never made."""


class LedgerSearcher(Searcher):
    """Tune's searcher: asks the ledger which trial is next."""

    def __init__(self, ledger: Ledger, growth: Growth) -> None:
        super().__init__()
        self._ledger = ledger
        self._growth = growth

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        self._growth.look()  # while nothing runs and nothing waits, Tune asks nobody else
        record = self._ledger.next()
        if record == "wait":
            return None
        if record == "over":
            raise _Over
        return {"trial": record.name, "configuration": dict(record.configuration)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: the ledger heard it from the scheduler."""


class LedgerCallback(Callback):
    """Tells the ledger when a slot is about to be given a trial, and how many slots there are."""

    def __init__(self, ledger: Ledger, growth: Growth) -> None:
        self._ledger = ledger
        self._growth = growth

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._growth.look()

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._ledger.taken(trial.config["trial"])


class StrandedStopper(Stopper):
    """Ends a search of which only trials are left that wait for a slot they will never get."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._ledger.stranded


def run_search(
    ledger: Ledger,
    plan: SlotPlan,
    layout: Layout,
    folder: Path,
    *,
    grow: bool = False,
    wanted: int = 0,
) -> Reason:
    """Run trials on `layout.slots` warm slots until the ledger says that it is over; on fewer while
    there is room for fewer, and, with `grow`, on more as hosts join.

    `folder` is where Tune keeps its own files; `wanted` slots are asked of an autoscaler. Returns
    why the search ended. Raises SearchError when no slot can run. The first Ctrl-C (or SIGTERM)
    ends running trials at their next report, the second raises KeyboardInterrupt.
    """
    growth = Growth(ledger, layout, most=None if grow else layout.slots, wanted=wanted)
    with _settings(), _ending_gently(ledger):
        try:
            _until_over(ledger, growth, plan, layout, folder)
        finally:
            growth.end()
    # Of done trials whose slot ended before it could clear up.
    checkpoints.sweep(plan.checkpoints, ledger.done)
    return ledger.close()


def _until_over(
    ledger: Ledger, growth: Growth, plan: SlotPlan, layout: Layout, folder: Path
) -> None:
    while True:
        try:
            _tuner(ledger, growth, plan, layout, folder).fit()
            return
        except _Over:
            return
        except (TuneError, ray.exceptions.RayError) as error:
            # Some errors of Ray (its out-of-memory error is one) end all of Tune.
            text = str(error).strip().splitlines()
            line = text[-1] if text else type(error).__name__
            if not ledger.all_lost(line):
                if ledger.left:
                    ledger.give_up(f"Ray Tune ended the search: {line}")
                return


def _tuner(
    ledger: Ledger, growth: Growth, plan: SlotPlan, layout: Layout, folder: Path
) -> tune.Tuner:
    def lost(name: str, error: str, preempted: bool) -> None:
        growth.look(now=True)  # where the slot died with its host, there is room for one less
        ledger.lost(name, error, preempted)

    trainable: Any = tune.with_parameters(Slot, plan=plan)
    return tune.Tuner(
        tune.with_resources(trainable, resources(layout)),
        tune_config=tune.TuneConfig(
            search_alg=LedgerSearcher(ledger, growth),
            scheduler=RungScheduler(
                lambda name, result: ledger.result(result["report"], result["slot"]), lost
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
            callbacks=[LedgerCallback(ledger, growth)],
            stop=StrandedStopper(ledger),
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
def _settings() -> Iterator[None]:
    """Tune's settings that it takes from the environment only, and its log kept quiet: it prints a
    traceback for every slot that is lost, which the ledger tells in a line."""
    wanted = {
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        # The ledger hands out as many trials as there is room for, which may grow.
        "TUNE_MAX_PENDING_TRIALS_PG": str(2**31),
        # The journal is the run. Tune's own files of every trial, and its snapshots of all of them,
        # took two thirds of the driver's time.
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "inf",
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
