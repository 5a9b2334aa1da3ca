"""The stages in order: prepare, search, leaderboard, retrain, export. `tune` and `resume` return a
`Result`; nothing here prints, and each stage's insides are its module's.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.drafts import Draft
from tuner.errors import CrewLost, SearchError, UserError
from tuner.history import History
from tuner.identity import check_same, describe, extended, plain_layout, time_left
from tuner.journal import Journal, read_history
from tuner.keeping import check_room, check_room_left, check_writable, kept, room_note
from tuner.leaderboard import LeaderboardFiles, Row, best, rows, to_frame, write_leaderboard
from tuner.leases import Lease, hold
from tuner.mirror import catch_up, mirrored, work_on
from tuner.plan import disk, expected, model_bytes, slots_on
from tuner.predict import scores_of
from tuner.preparation import Preparation, prepare, resolve
from tuner.progress import Silent, Watcher
from tuner.provenance import versions
from tuner.runs import Run, check_free, check_storage, create_run, find_run
from tuner.settings import Settings, default_storage, read_run_file, write_run_file

if TYPE_CHECKING:
    import pandas as pd

    from tuner.ledger import Ledger, Reason, SearchWatcher
    from tuner.resources import Layout, Node
    from tuner.retrain import Trained


@dataclass(frozen=True)
class Result:
    """What came out of a run. `metrics` are the retrained model's on the validation split; they and
    `model_dir` are None when nothing was retrained. `more` holds them on other splits that the task
    is judged by (MNLI's mismatched genres), by the splits' names. `reason` tells why the search
    ended: "complete", "budget", "interrupted" or "lost"."""

    run: Run
    rows: tuple[Row, ...]
    reason: str
    metrics: Mapping[str, float] | None = None
    model_dir: Path | None = None
    more: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def best(self) -> Row | None:
        """The winner: the best finished trial."""
        return best(self.rows)

    @property
    def interrupted(self) -> bool:
        """Whether the run was ended by hand; `tuner resume` goes on with it."""
        return self.reason == "interrupted"

    @property
    def leaderboard(self) -> pd.DataFrame:
        """The leaderboard as a frame, a row a trial, best first."""
        return to_frame(self.rows)


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
                    return _run(run, lease, preparation, nodes, layout, watching)


def resume(
    which: str | None = None,
    *,
    storage: str | None = None,
    trials: int | None = None,
    budget: float | None = None,
    address: str | None = None,
    take_over: bool = False,
    watcher: Watcher | None = None,
) -> Result:
    """Go on with a run that was interrupted, killed or is to be extended to `trials` trials.

    Trials that are done stay as they are; begun ones run again under their own names. A run whose
    search is complete is only retrained and exported, where that is missing. `trials` or `budget`
    give the run a new limit of time (`budget` seconds, or none). `take_over` takes the run from a
    driver that still has it. Raises UserError when there is no such run, when another process
    drives it, or when its data or search space have changed.
    """
    run = work_on(find_run(storage or default_storage(), which))
    check_writable(run)
    watching = watcher or Silent()
    with kept(run), hold(run, take_over, watching.note) as lease:
        catch_up(run)
        file = read_run_file(run)
        history = read_history(run.journal_file)
        if file.plain and (trials or budget):
            raise UserError(
                f"{run.name} is a training without a search, which --trials and --budget cannot "
                f"extend; start a search with `tuner tune --config {run.settings_file} --trials 20`"
            )
        settings = extended(file.settings, history, trials, budget, address)
        settings, task = resolve(settings)
        with watching, mirrored(run, lease.is_ours, watching.note):
            watching.stage(f"resuming {run.name}")
            preparation = _prepared(settings, task, watching, file.plain)
            check_same(run, preparation, file.facts)
            with _devices(preparation, run.where, watching) as (nodes, layout):
                lease.check()
                facts = {**file.facts, "layout": plain_layout(layout)}
                if settings.trials != file.settings.trials:
                    facts["estimate"] = expected(preparation, layout).plain()
                write_run_file(run, settings, facts)
                with _announced(run, settings, nodes, layout, watching):
                    return _run(run, lease, preparation, nodes, layout, watching)


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


def _run(
    run: Run,
    lease: Lease,
    preparation: Preparation,
    nodes: tuple[Node, ...],
    layout: Layout,
    watcher: Watcher,
) -> Result:
    """Search, retrain, export: what `tune` and `resume` share once everything is checked."""
    for warning in preparation.warnings:
        watcher.note(warning)
    watcher.aim(preparation.task.objective, preparation.direction)
    if preparation.plain:
        return _train(run, lease, preparation, nodes, watcher)
    reason, news = _search(run, lease, preparation, layout, watcher)
    return _concluded(run, lease, preparation, nodes, reason, news, watcher)


def _concluded(
    run: Run,
    lease: Lease,
    preparation: Preparation,
    nodes: tuple[Node, ...],
    reason: Reason,
    news: bool,
    watcher: Watcher,
) -> Result:
    """The leaderboard, and the winner's model: made where there is none, or `news` of one."""
    history = read_history(run.journal_file)
    table = tuple(rows(history, preparation.direction))
    lease.check()
    write_leaderboard(run, table)
    winner = best(table)
    if winner is None and reason != "interrupted":
        raise SearchError(_nothing_finished(run, table))
    result = Result(run, table, reason)
    if winner is None or result.interrupted or not preparation.settings.retrain:
        return result
    scores = None if news else _exported(run, winner)
    if scores is None:
        try:
            _retrain(run, lease, preparation, nodes, winner, history, watcher)
        except KeyboardInterrupt:
            return Result(run, table, "interrupted")
        scores = scores_of(run.best_folder)
    more = {split: scored["metrics"] for split, scored in scores.get("more", {}).items()}
    return Result(run, table, reason, scores["metrics"], run.best_folder, more)


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


def _search(
    run: Run, lease: Lease, preparation: Preparation, layout: Layout, watcher: Watcher
) -> tuple[Reason, bool]:
    """Run the search; also says whether any trial ended in it."""
    import ray

    from tuner import growth, hosts
    from tuner.crews import CrewPlan
    from tuner.resources import room
    from tuner.search import run_search
    from tuner.slots import SlotPlan

    settings, data = preparation.settings, preparation.data
    grow = settings.slots == "auto"
    there = hosts.staying(hosts.alive())
    with Journal.open(run.journal_file, lease.check) as journal:
        done = journal.history.done
        if done >= settings.trials and journal.history.reason == "complete":
            return "complete", False
        slots = min(layout.slots, room(there, layout))
        ledger = _ledger(run, preparation, journal, layout.slots, slots, watcher)
        watcher.stage("starting the slots")
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


def _ledger(
    run: Run,
    preparation: Preparation,
    journal: Journal,
    most: int,
    slots: int,
    *watchers: SearchWatcher,
) -> Ledger:
    """The run's book, kept in `journal`: for `slots` trials at once, later perhaps for `most`."""
    from tuner.ledger import Ledger
    from tuner.scheduler import Judge
    from tuner.study import Study

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
        (*watchers, LeaderboardFiles(run, preparation.direction)),
        objective=preparation.task.objective,
        direction=preparation.direction,
        planned=settings.trials,
        slots=slots,
        seconds=time_left(settings, journal.history),
        attempts=settings.max_failures + 1,
    )


def _train(
    run: Run, lease: Lease, preparation: Preparation, nodes: tuple[Node, ...], watcher: Watcher
) -> Result:
    """The one training of a run without a search, and its export."""
    from tuner.plain import train_alone

    with _scratch(run) as folder:
        with Journal.open(run.journal_file, lease.check) as journal:
            trained = None
            reason: Reason = "complete"
            if not journal.history.done:
                ledger = _ledger(run, preparation, journal, 1, 1)
                trained = train_alone(ledger, run, preparation, nodes, folder, watcher, lease.check)
                reason = ledger.close()
        if trained is not None:
            history = read_history(run.journal_file)
            (row,) = rows(history, preparation.direction)
            _export(run, lease, preparation, row, history, trained, watcher)
    return _concluded(run, lease, preparation, nodes, reason, False, watcher)


@contextmanager
def _scratch(run: Run) -> Iterator[Path]:
    """A folder for a model on its way to the export; what a killed driver left of one goes."""
    for leftover in run.folder.glob(".retraining-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".retraining-", dir=run.folder.absolute()) as folder:
        yield Path(folder)


def _retrain(
    run: Run,
    lease: Lease,
    preparation: Preparation,
    nodes: tuple[Node, ...],
    winner: Row,
    history: History,
    watcher: Watcher,
) -> None:
    """Retrain and export the winner; again, on the hosts that are left, when a worker is lost or
    finds no room."""
    from tuner import hosts
    from tuner.hyperparameters import BATCH
    from tuner.resources import retrain_layout

    settings, batch = preparation.settings, int(winner.hyperparameters[BATCH])
    losses = 0
    # Other things may have filled the disk since the start.
    check_room_left(run, 2 * model_bytes(preparation))
    while True:
        there = hosts.staying(hosts.alive()) or nodes  # not all that the search began on are left
        layout = retrain_layout(there, settings.gpus_per_worker, batch)
        try:
            return _retrain_once(run, lease, preparation, layout, winner, history, watcher)
        except CrewLost as error:
            losses += 1
            alone = settings.address is None and layout.workers == 1  # this very process
            if alone or losses > settings.max_failures:
                raise SearchError(
                    f"the retraining has no workers: {error}; do it again with "
                    f"tuner resume {shlex.quote(run.where)}"
                ) from error
            watcher.note(f"the retraining begins again: {error}")


def _retrain_once(
    run: Run,
    lease: Lease,
    preparation: Preparation,
    layout: Layout,
    winner: Row,
    history: History,
    watcher: Watcher,
) -> None:
    from tuner.retrain import RETRAINED, retrain

    settings, data = preparation.settings, preparation.data
    spread = f", on {layout.workers} workers" if layout.workers > 1 else ""
    rows_of_all = f"all {data.full_train.num_rows} training rows"
    watcher.stage(f"retraining {winner.trial} on {rows_of_all}{spread}")
    with _scratch(run) as folder:
        retrained = retrain(
            preparation.materials(layout, data.full_train, data.validation),
            winner.hyperparameters,
            layout,
            folder,
            watcher,
            local=settings.address is None,
            check=lease.check,
            handover=None if settings.address is None or run.uri is None else run.place(RETRAINED),
        )
        _export(run, lease, preparation, winner, history, retrained, watcher)


def _export(
    run: Run,
    lease: Lease,
    preparation: Preparation,
    winner: Row,
    history: History,
    trained: Trained,
    watcher: Watcher,
) -> None:
    from tuner.cards import CardFacts
    from tuner.counterparts import score_counterparts
    from tuner.export import export_model

    task, data, base = preparation.task, preparation.data, preparation.base
    place = preparation.settings.data
    more = score_counterparts(task, place, trained.folder, base.tokenizer, data.max_length, watcher)
    watcher.stage("exporting")
    lease.check()
    statuses = [record.status for record in history.records.values()]
    facts = CardFacts(
        base_model=base.name,
        hub_id=base.hub_id,
        finished=statuses.count("finished"),
        stopped=statuses.count("stopped"),
        failed=statuses.count("failed"),
        seconds=history.seconds,
        space=preparation.space.name,
        objective=task.objective,
        direction=preparation.direction,
        selected_on=data.selected_on,
        train_rows=data.train.num_rows,
        selection_rows=data.selection.num_rows,
        full_train_rows=data.full_train.num_rows,
        winner=winner.trial,
        winner_score=float(winner.objective or 0.0),
        majority=data.majority["validation"],
        seed=preparation.settings.seed,
        versions=versions(),
        searched=not preparation.plain,
    )
    export_model(
        trained.folder,
        run,
        task,
        base.tokenizer,
        metrics=trained.report.metrics,
        more=more,
        rows=data.validation.num_rows,
        split="validation",
        hyperparameters=winner.hyperparameters,
        card=facts,
        max_length=data.max_length,
    )


def _exported(run: Run, winner: Row) -> dict[str, Any] | None:
    """The scores of the model exported before; None when there is none of this winner."""
    try:
        scores = scores_of(run.best_folder)
        return scores if scores["hyperparameters"] == winner.hyperparameters else None
    except (UserError, KeyError):
        return None
