"""A pool of real trials, each trained to its end, for `replay.py` to play searches with.

    python tests/benchmarks/pool.py train FOLDER --model DIR --glue DIR --imdb FILE [--part 0/2]
    python tests/benchmarks/pool.py gather FOLDER

`train` writes a small file a trial into FOLDER and passes over those that lie there, so that it may
be stopped at any time; run it once per core, with the parts 0/2 and 1/2 on two. `gather` puts them
together as `pool.parquet` beside this script, a row a trial:

- `task`, `configuration` (its number: the same on every task), `repeat` (0 to 3: seeds), and the
  hyperparameters under their own names; `rows`: how many it was trained on;
- `step`, `objective`, `loss`: lists over the points where the trial was scored on the selection
  rows: the ends of its epochs and 1/9, 1/3 and all of its schedule; `epoch_steps` and `total_steps`
  in optimizer steps;
- `logits` (selection rows x outputs, flat, half precision) and `labels`: the selection rows at the
  end; `final`: the task's objective on the validation rows, `majority` that of the constant answer;
- `seconds`: what training took, on one core.

The trials are the product's own: its data, its batches, its loop, its scores.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from replay import POOL, RUNGS, SPACE

from tuner.attempts import Attempt
from tuner.hyperparameters import SEED, Rung, epoch_ends, rungs
from tuner.mailbox import Order, Report
from tuner.materials import Materials
from tuner.preparation import Preparation, prepare, resolve
from tuner.progress import Silent
from tuner.ranks import Ranks
from tuner.scoring import Scored, Scorer
from tuner.settings import Settings
from tuner.spaces import load_space
from tuner.training import quieten
from tuner.trials import Trial

TASKS = ("stsb", "qqp", "imdb")

ROWS: dict[str, Any] = {"train_rows": 2500, "eval_rows": 1000, "fraction": 0.24}
"""600 rows to train on, 500 held out to select on, 1,000 validation rows."""


@dataclass(frozen=True)
class Place:
    """Which trial of the pool: its task, its configuration's number and its seed's."""

    task: str
    configuration: int
    repeat: int

    @property
    def file(self) -> str:
        return f"{self.task}-c{self.configuration:02d}-s{self.repeat}.parquet"


def configurations(count: int) -> list[dict[str, Any]]:
    """The start points of the space, then random draws from it; no seeds yet."""
    space = load_space(SPACE)
    rng = random.Random(0)
    drawn = [dict(point) for point in space.start]
    while len(drawn) < count:
        drawn.append(space.sample(rng))
    return [
        {name: value for name, value in space.complete(point).items() if name != SEED}
        for point in drawn[:count]
    ]


def settings_of(task: str, args: argparse.Namespace) -> Settings:
    """What a search on these rows would be started with."""
    common = {**ROWS, "model": args.model, "space": SPACE, "precision": "bf16"}
    if task != "imdb":
        return Settings(task=task, data=args.glue, **common)
    return Settings(
        data=args.imdb,
        text=("review",),
        label="sentiment",
        split={"train": "0:35000", "validation": "35000:40000", "test": "40000:"},
        max_length=64,
        **common,
    )


class PoolTrial(Trial):
    """A trial that is scored at the ends of its epochs and at the rungs of its schedule."""

    def rungs(self) -> tuple[Rung, ...]:
        steps = {rung.step for rung in (*epoch_ends(self.steps, self.epoch), *_rungs(self.steps))}
        return tuple(Rung(level, step) for level, step in enumerate(sorted(steps), 1))


def _rungs(steps: int) -> tuple[Rung, ...]:
    return rungs(steps, RUNGS)


class PoolAttempt(Attempt):
    """An attempt that also scores the validation rows once it has reached its end."""

    validation: Scorer
    final: Scored

    def _conclude(self) -> None:
        super()._conclude()
        self.final = self.validation.score(self.trainer, 0)


class Pool:
    """One task's rows and base model, and how one of its trials is run."""

    def __init__(self, task: str, args: argparse.Namespace) -> None:
        self.preparation: Preparation = prepare(*resolve(settings_of(task, args)), Silent())
        data = self.preparation.data
        self.materials = Materials(
            weights=self.preparation.base.weights,
            train=data.train,
            selection=data.selection,
            metrics=self.preparation.task.metrics,
            regression=self.preparation.task.regression,
            precision="bf16",
        )
        self.validation = Scorer(replace(self.materials, selection=data.validation), Ranks())

    def run(self, place: Place, configuration: dict[str, Any]) -> pa.Table:
        objective = self.preparation.task.objective
        seed = random.Random(f"{place.configuration}:{place.repeat}").randint(1, 10_000)
        said: list[Report] = []
        with TemporaryDirectory() as folder:
            predictions = str(Path(folder, "predictions.parquet"))
            order = Order(
                place.file, {**configuration, SEED: seed}, rungs=RUNGS, predictions=predictions
            )
            trial = PoolTrial(order, workers=1, most=self.materials.most_rows)
            attempt = PoolAttempt(trial, self.materials, Ranks(), said.append, lambda: "go", False)
            attempt.validation = self.validation
            attempt.run()
            stored = pq.read_table(predictions)
        final = self.validation.metrics(attempt.final)[objective]
        logits = np.array(stored["logits"].to_pylist(), np.float16)
        return pa.Table.from_pylist(
            [
                {
                    "task": place.task,
                    "configuration": place.configuration,
                    "repeat": place.repeat,
                    **order.configuration,
                    "rows": self.materials.train.num_rows,
                    "step": [report.step for report in said],
                    "objective": [report.metrics[objective] for report in said],
                    "loss": [report.loss for report in said],
                    "epoch_steps": trial.epoch,
                    "total_steps": trial.steps,
                    "logits": logits.ravel().tolist(),
                    "labels": stored["label"].to_pylist(),
                    "final": final,
                    "majority": self.preparation.data.majority["validation"][objective],
                    "seconds": trial.clock.seconds["train"],
                }
            ],
        )


def train(args: argparse.Namespace) -> None:
    quieten()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    args.folder.mkdir(parents=True, exist_ok=True)
    part, parts = (int(number) for number in args.part.split("/"))
    drawn = configurations(args.configurations)
    places = [
        Place(task, number, repeat)
        for repeat in range(args.seeds)
        for number in range(len(drawn))
        for task in args.tasks
    ]
    pool = cache(lambda task: Pool(task, args))
    mine = [place for place in places[part::parts] if not (args.folder / place.file).exists()]
    began = time.monotonic()
    for done, place in enumerate(mine, 1):
        table = pool(place.task).run(place, drawn[place.configuration])
        near = args.folder / f".{place.file}"
        pq.write_table(table, near)
        near.rename(args.folder / place.file)
        left = (time.monotonic() - began) / done * (len(mine) - done) / 60
        score = table["objective"][0][-1].as_py()
        final = table["final"][0].as_py()
        print(
            f"{place.file}: {score:.4f} selected on, {final:.4f} in the end; "
            f"{done} of {len(mine)}, about {left:.0f} min left",
            flush=True,
        )


def gather(args: argparse.Namespace) -> None:
    files = sorted(args.folder.glob("*.parquet"))
    if not files:
        sys.exit(f"{args.folder} holds no trial")
    table = pa.concat_tables([pq.read_table(file) for file in files], promote_options="permissive")
    halves = table["logits"].combine_chunks()
    logits = pa.ListArray.from_arrays(
        halves.offsets, pa.array(halves.values.to_numpy().astype(np.float16), pa.float16())
    )
    table = table.set_column(table.column_names.index("logits"), "logits", logits)
    pq.write_table(table, args.output, compression="zstd", compression_level=19)
    print(f"{table.num_rows} trials, {args.output.stat().st_size / 1e6:.1f} MB: {args.output}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train")
    training.add_argument("folder", type=Path)
    training.add_argument("--model", required=True, help="a pretrained encoder's folder")
    training.add_argument("--glue", required=True, help="GLUE's files")
    training.add_argument("--imdb", required=True, help="the reviews: review, sentiment")
    training.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    training.add_argument("--configurations", type=int, default=24)
    training.add_argument("--seeds", type=int, default=4)
    training.add_argument("--part", default="0/1", help="k/n: every n-th trial, from the k-th")
    training.set_defaults(act=train)
    gathering = commands.add_parser("gather")
    gathering.add_argument("folder", type=Path)
    gathering.add_argument("--output", type=Path, default=POOL)
    gathering.set_defaults(act=gather)
    args = parser.parse_args()
    args.act(args)


if __name__ == "__main__":
    main()
