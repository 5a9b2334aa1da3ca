"""What the stages of a run share, and the first of them: the search.

Knows nothing of what becomes of the winner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.collection import collection_paused
from tuner.finalists import due, open_trials
from tuner.identity import time_left
from tuner.journal import Journal
from tuner.leases import Lease
from tuner.page.keeper import ReportPage
from tuner.preparation import Preparation
from tuner.progress import Watcher
from tuner.runs import Run
from tuner.tracking import Tracking
from tuner.upkeep import LeaderboardFiles

if TYPE_CHECKING:
    from tuner.ledger import Ledger, Reason, SearchWatcher
    from tuner.resources import Layout, Node


@dataclass(frozen=True)
class Job:
    """A run in the hands of this driver, with all that its stages share. `nodes` are the hosts that
    it began on."""

    run: Run
    lease: Lease
    preparation: Preparation
    nodes: tuple[Node, ...]
    watcher: Watcher
    tracking: Tracking
    page: ReportPage


def search(job: Job, layout: Layout) -> tuple[Reason, bool]:
    """Run the search; also says whether any trial ended in it."""
    import ray

    from tuner import growth, hosts
    from tuner.resources import room

    with collection_paused():
        from tuner.crews import CrewPlan
        from tuner.search import run_search
        from tuner.slots import SlotPlan

    run, preparation = job.run, job.preparation
    settings, data = preparation.settings, preparation.data
    grow = settings.slots == "auto"
    there = hosts.staying(hosts.alive())
    with Journal.open(run.journal_file, job.lease.check) as journal:
        history, done = journal.history, journal.history.done
        job.tracking.catch_up(history)  # beside the search, which is not held up
        to_come = due(history, preparation.direction, preparation.finals)
        over = open_trials(history, settings.trials) <= 0 and not to_come
        if over and history.reason == "complete":
            return "complete", False
        slots = min(layout.slots, room(there, layout))
        ledger = ledger_of(job, journal, layout.slots, slots, job.watcher)
        job.watcher.stage("starting the slots")
        materials = preparation.materials(layout, data.train, data.selection)
        plan = SlotPlan(
            CrewPlan(
                (ray.put(materials),),
                workers=layout.workers,
                cpus=layout.cpus,
                gpus=layout.gpus,
            ),
            rungs=settings.rungs,
            checkpoints=run.place(run.checkpoints_folder.name),
            checkpoint_every=settings.checkpoint_every,
            predictions=run.place(run.predictions_folder.name),
            logs=run.place(run.logs_folder.name),
        )
        reason = run_search(
            ledger,
            plan,
            layout,
            run.search_folder.absolute(),
            grow=grow,
            wanted=growth.wanted(layout, there, grow, settings.trials) if settings.address else 0,
        )
        return reason, journal.history.done > done


def ledger_of(
    job: Job, journal: Journal, most: int, slots: int, *watchers: SearchWatcher
) -> Ledger:
    """The run's book, kept in `journal`: for `slots` trials at once, later perhaps for `most`.

    The one trial of a run without a search never fails for a lost slot: `tuner resume` goes on."""
    from tuner.ledger import Ledger
    from tuner.scheduler import Judge
    from tuner.study import Study

    run, preparation = job.run, job.preparation
    settings = preparation.settings
    study = Study(
        run.optuna_file,
        run.name,
        preparation.space,
        preparation.direction,
        settings.seed,
        list(journal.history.records.values()),
        most,
    )
    return Ledger(
        journal,
        study,
        Judge(settings.rungs, preparation.direction, asha=settings.scheduler == "asha"),
        (
            *watchers,
            LeaderboardFiles(
                run, preparation.direction, preparation.task.objective, note=job.watcher.note
            ),
            job.tracking,
            job.page,
        ),
        objective=preparation.task.objective,
        direction=preparation.direction,
        planned=settings.trials,
        slots=slots,
        seconds=time_left(settings, journal.history),
        attempts=math.inf if preparation.plain else settings.max_failures + 1,
        finals=preparation.finals,
        run=run.where,
    )
