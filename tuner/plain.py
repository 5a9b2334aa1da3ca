"""Plain training, without a search: one configuration on all training rows, scored on validation at
the end of every epoch.

It keeps the same records as a search of one trial. Knows nothing of Optuna, nor of the export.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tuner import checkpoints, hosts
from tuner.errors import CrewLost, Preempted, Unwritable, UserError
from tuner.headings import duration
from tuner.history import Record, Score
from tuner.hyperparameters import BATCH, EPOCHS, SEED
from tuner.ledger import Ledger
from tuner.mailbox import Order, Report
from tuner.parameters import Fields
from tuner.preparation import Preparation
from tuner.progress import Watcher
from tuner.ranges import shown
from tuner.resources import Layout, Node, retrain_layout
from tuner.retrain import RETRAINED, Trained, train
from tuner.runs import Run
from tuner.spaces import load_space


def one_point(preparation: Preparation, fields: Fields) -> Preparation:
    """The preparation with a space of one configuration, which its settings then hold in full.

    What `--set` leaves open comes from the space's first start point, and the seed from `--seed`;
    a note says so. Raises UserError when that is not enough.
    """
    space, settings = preparation.space, preparation.settings
    start = space.start[0] if space.start else {}
    found = {**space.complete(start), **settings.set}
    missing = [parameter.name for parameter in space.searched if parameter.name not in found]
    if missing:
        raise UserError(
            f"the space {space.name} has no start point to take {', '.join(missing)} from; "
            f"pass --set {missing[0]}=VALUE, or another --space"
        )
    found.setdefault(SEED, settings.seed)
    point = load_space(str(settings.space), fields, found)
    taken = [f"{name} {shown(found[name])}" for name in found if name not in settings.set]
    note = f"not set, but chosen here: {', '.join(taken)}; --set NAME=VALUE changes one"
    return replace(
        preparation,
        space=point,
        settings=settings.model_copy(update={"set": point.fixed}),
        warnings=(*preparation.warnings, *([note] if taken else ())),
        plain=True,
    )


def train_alone(
    ledger: Ledger,
    run: Run,
    preparation: Preparation,
    nodes: tuple[Node, ...],
    folder: Path,
    watcher: Watcher,
    check: Callable[[], None],
) -> Trained | None:
    """Have the ledger's one trial trained on every device, and all that is reported written down.

    Returns the model, under `folder`; None when the training failed, was interrupted or gave up. It
    begins again, from its newest checkpoint, when a worker is lost, as often as `--max-failures`
    says. `check` as for `retrain.train`. Raises Unwritable as that does, with the ledger closed.
    """
    losses, settings = 0, preparation.settings
    while isinstance(record := ledger.next(), Record):
        there = hosts.staying(hosts.alive()) or nodes
        layout = spread_over(there, preparation)
        ledger.taken(record.name)
        try:
            return _train(ledger, record, run, preparation, layout, folder, watcher, check)
        except CrewLost as error:
            why = f"the training was cut off: {error}"
            ledger.lost(record.name, str(error), isinstance(error, Preempted))
            losses += not isinstance(error, Preempted)
            alone = settings.address is None and layout.workers == 1  # this very process
            if alone or losses > settings.max_failures:
                ledger.give_up(why, record.name)
            else:
                watcher.note(why)
        except Unwritable:
            ledger.stop("lost")
            ledger.close()
            raise
        except KeyboardInterrupt:
            ledger.stop("interrupted")
            return None
    return None


def spread_over(nodes: tuple[Node, ...], preparation: Preparation) -> Layout:
    """The workers of the one training: as a retraining's."""
    batch = int(preparation.space.fixed[BATCH])
    return retrain_layout(nodes, preparation.settings.gpus_per_worker, batch)


def _train(
    ledger: Ledger,
    record: Record,
    run: Run,
    preparation: Preparation,
    layout: Layout,
    folder: Path,
    watcher: Watcher,
    check: Callable[[], None],
) -> Trained | None:
    settings, data = preparation.settings, preparation.data
    workers = f", on {layout.workers} workers" if layout.workers > 1 else ""
    watcher.stage(f"training on all {data.full_train.num_rows:,} training rows{workers}")
    slot = f"{socket.gethostname()}:{os.getpid()}"
    epochs = math.ceil(float(record.configuration[EPOCHS]))

    def hear(report: Report) -> None:
        before = [score for score in record.scores if score.step < report.step]
        ledger.result(report, slot)
        if report.kind != "failed":
            watcher.say(epoch_line(report, before[-1] if before else Score(), epochs))

    trained = train(
        preparation.materials(layout, data.full_train, data.validation),
        Order(
            record.name,
            dict(record.configuration),
            rungs=0,
            training_rows=data.validation.num_rows,
            checkpoints=f"{run.place(run.checkpoints_folder.name)}/{record.name}",
            checkpoint_every=settings.checkpoint_every,
            predictions=f"{run.place(run.predictions_folder.name)}/{record.name}.parquet",
            log=f"{run.place(run.logs_folder.name)}/{record.name}.log",
        ),
        layout,
        folder,
        watcher,
        run=run.where,
        local=settings.address is None,
        hear=hear,
        check=check,
        handover=None if settings.address is None or run.uri is None else run.place(RETRAINED),
    )
    hear(trained.report)
    checkpoints.sweep(run.place(run.checkpoints_folder.name), {record.name})
    return trained if trained.report.kind == "end" else None


def epoch_line(report: Report, before: Score, epochs: int) -> str:
    """What an epoch came to; `before` is the score at the end of the one before it, an empty one
    where there is none."""
    train = [f"loss {report.train_loss:.4f}", *_listed(report.train_metrics)]
    validation = [f"loss {report.loss:.4f}", *_listed(report.metrics)]
    trained = report.train_seconds - before.train_seconds
    scored = report.eval_seconds - before.eval_seconds
    return (
        f"epoch {report.level} of {epochs}: train {', '.join(train)}; "
        f"validation {', '.join(validation)}; "
        f"{duration(trained)} training, {duration(scored)} scoring"
    )


def _listed(metrics: dict[str, float]) -> list[str]:
    return [f"{name} {value:.4f}" for name, value in metrics.items()]
