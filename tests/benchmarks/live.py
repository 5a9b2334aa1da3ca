"""Live searches with a default and with what it was chosen over, for about the same epochs.

    python tests/benchmarks/live.py FOLDER --model DIR --glue DIR [--seeds 1,2,3] [--task stsb]

`replay.py` plays searches over trials that lie there; these are run, each in a fresh process, on
the same rows as the pool's. A search whose run in FOLDER has ended is read and not run again, and
one that was cut short goes on, so that this may be stopped at any time. One line a search:

- **epochs**: what all its trials were trained for, in epochs of the search's rows;
- **best**: the best score of a finished trial on the selection rows; **at equal epochs**: the best
  that it had when it had spent what the shortest search of the same seed did;
- **final**: the winner, retrained on all training rows, on the validation rows.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from pool import ROWS
from replay import SPACE

from tuner.forecast import spent
from tuner.history import Direction, History
from tuner.hyperparameters import EPOCHS
from tuner.journal import read_history
from tuner.runs import Run
from tuner.tasks import direction, find_task

SEARCHES = {
    "default": "--rungs 2 --trials 12",
    "three rungs": "--rungs 3 --trials 22",
    "finalists": "--rungs 2 --trials 9 --finalists 2 --reseeds 1",
    "no stopping": "--scheduler none --trials 8",
}
"""Options that cost about the same by `tuner plan`."""


@dataclass(frozen=True)
class Outcome:
    """What a search came to; `way` is the best finished score after so many epochs, as it grew."""

    search: str
    seed: int
    epochs: float
    way: list[tuple[float, float]]
    final: float

    def at(self, epochs: float) -> float:
        """The best finished score when so many epochs were spent; NaN before the first."""
        scores = [score for when, score in self.way if when <= epochs + 1e-6]
        return scores[-1] if scores else math.nan


def way(history: History, better: Direction) -> list[tuple[float, float]]:
    """After each trial that finished: the epochs spent so far, and the best score."""
    sign = 1.0 if better == "max" else -1.0
    reached: dict[str, float] = {}
    best, found = -math.inf, []
    for trial, score, status in history.results:
        record = history.records[trial]
        reached[trial] = float(record.configuration[EPOCHS]) * score.progress
        if status == "finished" and record.reseed_of is None:
            best = max(best, sign * score.objective)
            found.append((sum(reached.values()), sign * best))
    return found


def outcome(run: Run, search: str, seed: int, task: str) -> Outcome:
    objective = find_task(task).objective
    history = read_history(run.journal_file)
    told = json.loads((run.folder / "best" / "metrics.json").read_text())
    return Outcome(
        search,
        seed,
        spent(history).epochs,
        way(history, direction(objective)),
        told["metrics"][objective],
    )


def ended(run: Run) -> bool:
    return (run.folder / "best" / "metrics.json").exists()


def search(run: Run, options: str, seed: int, args: argparse.Namespace) -> None:
    """Run a search to its end, or go on with it; what it says goes into a file beside its
    folder."""
    with open(args.folder / f"{run.folder.name}.log", "a") as log:
        subprocess.run(
            command(run, options, seed, args),
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
            check=True,
        )


def command(run: Run, options: str, seed: int, args: argparse.Namespace) -> list[str]:
    tuner = [sys.executable, "-m", "tuner"]
    if run.folder.exists():
        return [*tuner, "resume", str(run.folder)]
    rows = [f"--{name.replace('_', '-')}={value}" for name, value in ROWS.items()]
    return [
        *(*tuner, "tune", "--task", args.task, "--data", args.glue, "--model", args.model),
        *("--space", SPACE, "--precision", "bf16", "--slots", "2", *rows, *options.split()),
        *("--seed", str(seed), "--name", run.folder.name, "--storage", str(args.folder)),
    ]


def table(outcomes: list[Outcome]) -> str:
    lines = [
        "| seed | search | epochs | best | at equal epochs | final |",
        "| ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for seed in sorted({one.seed for one in outcomes}):
        mine = [one for one in outcomes if one.seed == seed]
        equal = min(one.epochs for one in mine)
        for one in mine:
            lines.append(
                f"| {seed} | {one.search} | {one.epochs:.1f} | {one.at(math.inf):.3f} | "
                f"{one.at(equal):.3f} at {equal:.1f} | {one.final:.3f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the runs are kept")
    parser.add_argument("--model", required=True, help="a pretrained encoder's folder")
    parser.add_argument("--glue", required=True, help="GLUE's files")
    parser.add_argument("--task", default="stsb")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--searches", nargs="+", default=list(SEARCHES), choices=SEARCHES)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for seed in map(int, args.seeds.split(",")):
        for name in args.searches:
            run = Run(args.folder / f"{args.task}-{name.replace(' ', '-')}-{seed}")
            if not ended(run):
                print(f"{run.folder.name}: {SEARCHES[name]}", flush=True)
                search(run, SEARCHES[name], seed, args)
            outcomes.append(outcome(run, name, seed, args.task))
    print(table(outcomes))


if __name__ == "__main__":
    main()
