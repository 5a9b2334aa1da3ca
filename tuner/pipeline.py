"""The stages in order: prepare, search, leaderboard, retrain, export. `tune` and `resume` return a
`Result`; nothing here prints, and each stage's insides are its module's.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tuner.comparer import FEW, comparisons_of
from tuner.comparisons import write_comparisons
from tuner.drafts import Draft
from tuner.endings import of_winner
from tuner.errors import SearchError, UserError
from tuner.formats import write_leaderboard
from tuner.identity import check_same, describe, extended, plain_layout
from tuner.journal import read_history
from tuner.keeping import check_room, check_writable, kept, room_note
from tuner.leaderboard import Row, best, rows
from tuner.leases import Lease, hold
from tuner.mirror import catch_up, mirrored, work_on
from tuner.page.keeper import ReportPage
from tuner.plan import disk, expected, model_bytes, slots_on
from tuner.preparation import Preparation, prepare, resolve
from tuner.progress import Silent, Watcher
from tuner.results import Result
from tuner.runs import Run, check_free, check_storage, create_run, find_run
from tuner.settings import Settings, default_storage, read_run_file, write_run_file
from tuner.shortfall import told_of
from tuner.stages import Job
from tuner.trackers import check_installed, trackers_of
from tuner.tracking import Tracking
from tuner.views import scores_of

if TYPE_CHECKING:
    from tuner.ledger import Reason
    from tuner.resources import Layout, Node

__all__ = ["Result", "resume", "train", "tune"]


def tune(settings: Settings, watcher: Watcher | None = None) -> Result:
    """Search, retrain the best configuration on all training rows, and export it.

    Raises UserError for input that cannot be used, leaving no run folder behind, and SearchError
    when no trial finishes. `watcher` is told what happens while it happens.
    """
    return _begun(settings, watcher or Silent(), plain=False)


def train(settings: Settings, watcher: Watcher | None = None) -> Result:
    """Train one configuration on all training rows, without a search, and export the model.

    It is what `settings.set` says; what that leaves open comes from the search space's first start
    point. After each epoch the validation rows are scored. Settings of a search are passed over.
    Raises as `tune` does.
    """
    return _begun(settings.without_search(), watcher or Silent(), plain=True)


def _begun(settings: Settings, watcher: Watcher, plain: bool) -> Result:
    settings, task = resolve(settings)
    check_installed(settings.track)
    check_storage(settings.storage)
    if settings.name is not None:
        check_free(settings.storage, settings.name)
    with watcher as watching:
        preparation = _prepared(settings, task, watching, plain)
        with _devices(preparation, settings.storage, watching) as (nodes, layout):
            run = create_run(settings.storage, task.name, settings.name)
            with (
                kept(run, fresh=True),
                hold(run, lost=watching.note) as lease,
                mirrored(run, lease.is_ours, watching.note),
            ):
                estimate = None if plain else expected(preparation, layout).plain()
                describe(run, preparation, layout, estimate)
                with _announced(run, settings, nodes, layout, watching):
                    return _run(_job(run, lease, preparation, nodes, watching), layout)


def resume(
    which: str | None = None,
    *,
    storage: str | None = None,
    trials: int | None = None,
    budget: float | None = None,
    finalists: int | None = None,
    reseeds: int | None = None,
    address: str | None = None,
    slots: int | str | None = None,
    take_over: bool = False,
    watcher: Watcher | None = None,
) -> Result:
    """Go on with a run that was interrupted, killed or is to be extended to `trials` trials.

    Trials that are done stay as they are; begun ones run again under their own names. A run
    whose search is complete is only retrained and exported, where that is missing. `finalists`
    of its best configurations run again under `reseeds` new seeds each; another winner is
    retrained. `trials`, `finalists` or `budget` give the run a new limit of time (`budget`
    seconds, or none), `slots` another number of them. `take_over` takes the run from a driver
    that still has it. Raises UserError when there is no such run, when another process drives
    it, or when its data or search space have changed.
    """
    run = work_on(find_run(storage or default_storage(), which))
    check_writable(run)
    watching = watcher or Silent()
    with kept(run), hold(run, take_over, watching.note) as lease:
        catch_up(run)
        file = read_run_file(run)
        history = read_history(run.journal_file)
        if file.plain and (trials or budget or slots or finalists or reseeds):
            task_name = file.settings.task or "NAME"
            raise UserError(
                f"{run.name} is a training without a search, which --trials, --budget, --slots and "
                "--finalists cannot extend; start a search of its own: "
                f"tuner tune --task {task_name}"
            )
        settings = extended(
            file.settings, history, trials, budget, address, slots, finalists, reseeds
        )
        settings, task = resolve(settings)
        with watching, mirrored(run, lease.is_ours, watching.note):
            watching.stage(f"resuming {run.name}")
            preparation = _prepared(settings, task, watching, file.plain)
            check_same(run, preparation, file.facts)
            with _devices(preparation, run.where, watching) as (nodes, layout):
                lease.check()
                facts = {**file.facts, "layout": plain_layout(layout)}
                if _extent(settings) != _extent(file.settings):
                    facts["estimate"] = expected(preparation, layout).plain()
                write_run_file(run, settings, facts)
                with _announced(run, settings, nodes, layout, watching):
                    return _run(_job(run, lease, preparation, nodes, watching), layout)


def _extent(settings: Settings) -> tuple[int, ...]:
    """How many trials there are to be."""
    return settings.trials, settings.finalists, settings.reseeds


def _prepared(settings: Settings, task: Draft, watcher: Watcher, plain: bool) -> Preparation:
    preparation = prepare(settings, task, watcher)
    if not plain:
        return preparation
    from tuner.parameters import fields
    from tuner.plain import one_point

    return one_point(preparation, fields())


@contextmanager
def _devices(
    preparation: Preparation, storage: str, watcher: Watcher
) -> Iterator[tuple[tuple[Node, ...], Layout]]:
    """Ray, its hosts, each of them checked, and the slots laid out on them."""
    from tuner import hosts
    from tuner.plain import spread_over
    from tuner.preflight import check_hosts
    from tuner.session import ray_session

    settings = preparation.settings
    # A checkpoint holds the weights and Adam's two moments; then there is the exported model.
    needed = 4 * model_bytes(preparation)
    check_room(storage, needed)
    watcher.stage("starting Ray")
    with ray_session(settings.address):
        there = hosts.staying(hosts.alive())
        ever = hosts.at_most(there) if settings.address else there
        layout = (
            spread_over(there, preparation)
            if preparation.plain
            else slots_on(there, ever, settings)
        )
        if len(there) > 1:
            watcher.stage(f"checking {len(there)} hosts")
        check_hosts(there, storage, needed)
        space = disk(preparation, layout)
        if text := room_note(space.running, space.free):
            watcher.note(text)
        if settings.address and (text := hosts.taken(there)):
            watcher.note(text)
        yield there, layout


@contextmanager
def _announced(
    run: Run, settings: Settings, nodes: tuple[Node, ...], layout: Layout, watcher: Watcher
) -> Iterator[None]:
    """Say what else runs on this machine, and let others know of this run; a cluster's own Ray
    knows better."""
    from tuner import neighbours

    if settings.address is not None:
        yield
        return
    workers = layout.slots * layout.workers
    mine = neighbours.Search(run.name, layout.slots, workers * layout.cpus, workers * layout.gpus)
    others = neighbours.searches()
    cores, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    if (text := neighbours.note(mine, others, cores, gpus)) is not None:
        watcher.note(text)
    with neighbours.announced(mine):
        yield


def _job(
    run: Run, lease: Lease, preparation: Preparation, nodes: tuple[Node, ...], watcher: Watcher
) -> Job:
    tracking = Tracking(trackers_of(preparation.settings.track, run), watcher)
    page = ReportPage(run, lease.is_ours)
    return Job(run, lease, preparation, nodes, watcher, tracking, page)


def _run(job: Job, layout: Layout) -> Result:
    """Search, retrain, export: what `tune` and `resume` share once everything is checked."""
    from tuner import finish, stages

    for warning in job.preparation.warnings:
        job.watcher.note(warning)
    job.watcher.aim(job.preparation.task.objective, job.preparation.direction)
    with job.tracking, job.page:
        if job.preparation.plain:
            return _concluded(job, finish.train(job), news=False)
        reason, news = stages.search(job, layout)
        return _concluded(job, reason, news)


def _concluded(job: Job, reason: Reason, news: bool) -> Result:
    """The leaderboard, and the winner's model: made where there is none of this winner. With `news`
    of trials, one that stays tells of them."""
    from tuner import finish

    run, preparation = job.run, job.preparation
    history = read_history(run.journal_file)
    objective, direction = preparation.task.objective, preparation.direction
    few = FEW if reason == "interrupted" else None  # who pressed Ctrl-C does not want to wait
    found = comparisons_of(run, history, objective, direction, fetch=True, most=few)
    table = tuple(rows(history, direction, found))
    job.lease.check()
    write_comparisons(run, found)
    write_leaderboard(run, table)
    job.tracking.catch_up(history)
    winner = best(table)
    if winner is None and reason != "interrupted":
        raise SearchError(_nothing_finished(run, table))
    result = Result(run, table, reason)
    if winner is None or result.interrupted or not preparation.settings.retrain:
        return result
    scores = finish.exported(run, winner)
    if scores is not None and news:
        finish.keep_model(job, winner, history, scores)
    if scores is None:
        try:
            finish.retrain_winner(job, winner, history)
        except KeyboardInterrupt:
            return Result(run, table, "interrupted")
        scores = scores_of(run.best_folder)
    more = {split: scored["metrics"] for split, scored in scores.get("more", {}).items()}
    if not preparation.plain:  # there the one trial is the model
        by_split = {"validation": scores["metrics"], **more}
        job.tracking.tell(of_winner(winner.trial, winner.hyperparameters, by_split, time.time()))
    intervals = {name: (low, high) for name, (low, high) in scores.get("intervals", {}).items()}
    same = preparation.settings.select_on == "validation"
    alone = preparation.plain  # without a trial beside it
    short = None if alone else told_of(scores, table, objective, direction, same_rows=same)
    return Result(run, table, reason, scores["metrics"], run.best_folder, more, intervals, short)


def _nothing_finished(run: Run, table: tuple[Row, ...]) -> str:
    errors = [row.error for row in table if row.error]
    if not errors:
        return (
            f"no trial finished in {run.name}; give it more time: "
            f"tuner resume {shlex.quote(run.where)} --budget 30m"
        )
    if len(table) == 1:
        return f"the training of {run.name} failed: {errors[0]}"
    return f"no trial finished in {run.name}; {len(errors)} failed, the first with: {errors[0]}"
