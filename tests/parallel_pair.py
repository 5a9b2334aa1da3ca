"""One of two gloo workers that run a list of trials together; `test_parallel.py` starts the pair.

Writes what this rank saw of every trial to rank-N.pickle in the folder it is given.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from tests import toy
from tuner import attempts, bench, checkpointing, mailbox
from tuner.checkpoints import noted_bound
from tuner.errors import CrewLost, Preempted
from tuner.mailbox import LocalMailbox, Order
from tuner.preemption import Notice
from tuner.training import Feed

SGD = {"optim": "sgd", "max_grad_norm": 0.0, "learning_rate": 0.1, "seed": 3}

LARGE = {**SGD, "num_train_epochs": 1, "per_device_train_batch_size": 64}
SMALL = {**SGD, "num_train_epochs": 2, "per_device_train_batch_size": 7}

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "classification": ({"rows": 5003}, LARGE),
    "regression": ({"rows": 5003, "regression": True}, {**LARGE, "learning_rate": 0.02}),
    "accumulation": ({"rows": 5003, "most_tokens": 150}, LARGE),
    "smoothing": ({"rows": 64}, {**SMALL, "label_smoothing_factor": 0.2}),
    "layers": ({"rows": 64}, {**SMALL, "layerwise_lr_decay": 0.3, "classifier_dropout": 0.0}),
    "one row left": ({"rows": 15}, SMALL),
    "one row left, accumulated": ({"rows": 15, "most_tokens": 24}, SMALL),
}
"""Name: the toy materials' arguments and the configuration."""


class Watched:
    """The models that were built and the rows that were fed, seen from outside."""

    def __init__(self) -> None:
        self.models: list[Any] = []
        self.fed: list[int] = []
        build, feed = attempts.build_model, Feed.__getitem__

        def watched_build(weights: Any, **shape: Any) -> Any:
            self.models.append(build(weights, **shape))
            return self.models[-1]

        def watched_feed(data: Feed, part: Any) -> Any:
            self.fed.extend(part.rows.tolist())
            return feed(data, part)

        attempts.build_model = watched_build  # type: ignore[assignment]
        Feed.__getitem__ = watched_feed  # type: ignore[method-assign]

    def weights(self) -> dict[str, np.ndarray[Any, Any]]:
        return {name: t.numpy().copy() for name, t in self.models[-1].state_dict().items()}

    def forget(self) -> None:
        self.models.clear()
        self.fed.clear()


def run_case(watched: Watched, name: str) -> dict[str, Any]:
    """Reports, weights at the end, and rows fed, of one case on however many workers there are."""
    materials, configuration = CASES[name]
    watched.forget()
    reports: list[mailbox.Report] = []
    table = bench.Bench(toy.toy_materials(**materials))
    table.run(Order(name, configuration), reports.append, toy.go)
    return {
        "reports": reports,
        "numbers": toy.numbers(reports),
        "weights": watched.weights(),
        "fed": list(watched.fed),
    }


def resume(folder: Path) -> dict[str, Any]:
    """A trial with dropout run through, and run with an interruption at its second rung."""
    order = Order(
        "resumed",
        {"learning_rate": 1e-3, "num_train_epochs": 3, "per_device_train_batch_size": 8},
        checkpoints=str(folder / "checkpoints"),
        checkpoint_every=0.0,
        log=str(folder / "logs" / "resumed.log"),
    )
    materials = toy.toy_materials(dropout=0.1)
    through: list[mailbox.Report] = []
    bench.Bench(materials).run(order, through.append, toy.go)
    broken: list[mailbox.Report] = []
    words = iter(["go"])

    def interrupted() -> Any:
        try:
            return next(words)
        except StopIteration:
            raise KeyboardInterrupt from None

    with suppress(KeyboardInterrupt):
        bench.Bench(materials).run(order, broken.append, interrupted)
    kept = sorted(path.name for path in (folder / "checkpoints").iterdir())
    again: list[mailbox.Report] = []
    bench.Bench(materials).run(order, again.append, toy.go)
    return {
        "through": toy.numbers(through),
        "broken": toy.numbers(broken),
        "again": toy.numbers(again),
        "kept": kept,
        "left": (folder / "checkpoints").exists(),
        "logs": [path.name for path in (folder / "logs").glob("*.log")],
    }


def preempted(folder: Path) -> dict[str, Any]:
    """A trial with dropout run through, and one that both leave when rank 1's host is told to go:
    in the midst of a trial, again before the first step, and then no more."""
    checkpointing.WORTH_SAVING = 0.0
    order = Order(
        "preempted",
        {"learning_rate": 1e-3, "num_train_epochs": 3, "per_device_train_batch_size": 8},
        checkpoints=str(folder / "preempted"),
    )
    materials = toy.toy_materials(dropout=0.1)
    through: list[mailbox.Report] = []
    bench.Bench(materials).run(order, through.append, toy.go)
    told, said = [], []
    reports: list[mailbox.Report] = []
    for looks in (6, 0):
        left = iter([None] * looks)
        notice = Notice("a host") if dist.get_rank() == 1 else None
        table = bench.Bench(materials, notice=lambda: next(left, notice))  # noqa: B023
        try:
            table.run(order, reports.append, toy.go)
        except Preempted as error:
            said.append(str(error))
        told.append(sorted(path.name for path in (folder / "preempted").iterdir()))
    bench.Bench(materials).run(order, reports.append, toy.go)
    return {
        "through": toy.numbers(through),
        "reports": toy.numbers(reports),
        "said": said,
        "kept": told,
    }


def failures(watched: Watched) -> dict[str, Any]:
    """Trials that fail on all workers alike, between two that do not, through the mailbox."""
    bench.HEARTBEAT = 0.05
    box = LocalMailbox()
    reports: list[mailbox.Report] = []
    built = attempts.build_model

    def narrow(weights: Any) -> Any:
        model = built(weights)
        forward = model.forward

        def limited(**inputs: Any) -> Any:
            if model.training and len(inputs["input_ids"]) > 2:
                raise torch.OutOfMemoryError("no room for more than two rows")
            return forward(**inputs)

        model.forward = limited
        return model

    def answer() -> None:
        for trial, changes in (
            ("good", {}),
            ("diverged", {"learning_rate": 1e30}),
            ("wrong", {"lr_scheduler_type": "no such schedule"}),
            ("stopped", {}),
            ("memory", {}),
            ("good again", {}),
        ):
            attempts.build_model = narrow if trial == "memory" else built
            box.give(Order(trial, {**SMALL, **changes}))
            while (report := box.next_report(120)) is not None:
                reports.append(report)
                if report.kind != "rung":
                    break
                box.say("stop" if trial == "stopped" else "go")
                if trial == "stopped":
                    break
        box.close()

    if dist.get_rank() == 0:
        thread = threading.Thread(target=answer)
        thread.start()
        bench.work(box, toy.toy_materials(rows=30))
        thread.join()
    else:
        # This rank is not told which trial comes: it counts the models that are built for it.
        count = iter(range(100))

        def built_here(weights: Any) -> Any:
            return narrow(weights) if next(count) in (3, 4) else built(weights)

        attempts.build_model = built_here
        bench.work(None, toy.toy_materials(rows=30))
    attempts.build_model = built
    return {"reports": reports, "numbers": toy.numbers(reports)}


def failing_alone(folder: Path) -> dict[str, Any]:
    """What becomes of both when one worker runs out of memory in the middle of a trial."""
    bench.SHORT = timedelta(seconds=2)
    built = attempts.build_model

    def poisoned(weights: Any) -> Any:
        model = built(weights)
        forward, calls = model.forward, iter(range(1000))

        def failing(**inputs: Any) -> Any:
            if next(calls) == 3:
                raise torch.OutOfMemoryError("only here")
            return forward(**inputs)

        model.forward = failing
        return model

    table = bench.Bench(toy.toy_materials(rows=30))
    if dist.get_rank() == 1:
        attempts.build_model = poisoned
    kept = str(folder / "alone")
    said = "went on"
    try:
        order = Order("alone", SMALL, checkpoints=kept, log=str(folder / "logs" / "alone.log"))
        table.run(order, lambda report: None, toy.go)
    except CrewLost as error:
        said = str(error)
    log = "alone.log" if dist.get_rank() == 0 else "alone.rank1.log"
    return {"said": said, "bound": noted_bound(kept), "log": (folder / "logs" / log).read_text()}


def main(folder: Path, rank: int, port: str) -> None:
    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE="2",
        LOCAL_RANK=str(rank),
        LOCAL_WORLD_SIZE="2",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=port,
    )
    dist.init_process_group("gloo", timeout=timedelta(seconds=90))
    watched = Watched()
    seen: dict[str, Any] = {name: run_case(watched, name) for name in CASES}
    seen["resume"] = resume(folder)
    seen["preempted"] = preempted(folder)
    seen["failures"] = failures(watched)
    seen["alone"] = failing_alone(folder)
    (folder / f"rank-{rank}.pickle").write_bytes(pickle.dumps(seen))
    os._exit(0)  # the group is broken on purpose: nothing is left to take down in order


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
