"""How long `tuner leaderboard` takes on a run of many trials, and where the time goes.

    python tests/benchmarks/listing.py [--trials 10000] [--repeats 3]

The journal is written by the real `Journal`: three of ten trials finish, the others are stopped at
the first or the second rung. Beside it lies comparisons.json, as a driver leaves it: a standard
error, an interval and a probability for every finished trial; a copy of the run without it shows
what reading these costs. Each format is timed as a command in a fresh process whose output goes to
a pipe; reading, ranking and rendering are timed in this process. Seconds, medians of CPU (user and
system) and of wall-clock time: on a machine that does nothing else they are about the same.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.journals import Told, journal_of
from tuner.comparer import comparisons_of
from tuner.comparisons import Comparison, Comparisons, write_comparisons
from tuner.history import History
from tuner.journal import read_history
from tuner.leaderboard import rows
from tuner.ranking import ranked
from tuner.rendering import FORMATS, render
from tuner.runs import Run
from tuner.settings import Settings, write_run_file
from tuner.views import view


def make_run(storage: Path, trials: int) -> Run:
    """A run of so many trials, with their comparisons."""
    draw = random.Random(0)
    told = []
    for _ in range(trials):
        status, count = draw.choice([("finished", 3)] * 3 + [("stopped", 2), ("stopped", 1)] * 3)
        configuration = {
            "learning_rate": 10 ** draw.uniform(-5, -3),
            "num_train_epochs": draw.randint(1, 6),
            "seed": draw.randint(1, 40),
            "per_device_train_batch_size": draw.choice([8, 16, 32]),
        }
        values = tuple(draw.random() for _ in range(count))
        told.append(Told(status, values, draw.random(), None, 10.0, configuration))
    run = Run(storage / "compared" / "many")
    run.folder.mkdir(parents=True)
    os.fsync = lambda descriptor: None  # the journal's, which this is no measure of
    journal_of(run.journal_file, told)
    write_run_file(run, Settings(task="demo", trials=trials), {"task": {"name": "demo"}})
    write_comparisons(run, compared(read_history(run.journal_file), draw))
    return run


def compared(history: History, draw: random.Random) -> Comparisons:
    """Comparisons of all finished trials."""
    entrants = ranked(history, "max")
    of = {}
    for entrant in entrants:
        score, error = entrant.mean, draw.uniform(0.005, 0.02)
        worse = None if entrant is entrants[0] else draw.random()
        low, high = score - 1.96 * error, score + 1.96 * error
        tied = None if worse is None else worse < 0.95
        of[entrant.record.name] = Comparison(error, low, high, worse, tied)
    return Comparisons("accuracy", entrants[0].record.name, {}, of)


def timed(act: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median CPU and wall-clock seconds, children included."""
    cpu, wall = [], []
    for _ in range(repeats):
        before, began = _cpu(), time.perf_counter()
        act()
        cpu.append(_cpu() - before)
        wall.append(time.perf_counter() - began)
    return statistics.median(cpu), statistics.median(wall)


def _cpu() -> float:
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def command(*arguments: str) -> Callable[[], object]:
    line = [sys.executable, "-m", "tuner", *arguments]
    return lambda: subprocess.run(line, check=True, capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load:.1f}")
    print(f"{options.trials:,} trials\n")
    print("| what | CPU | wall clock |\n| --- | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder), options.trials)
        bare = Run(Path(folder, "bare", "many"))
        shutil.copytree(run.folder, bare.folder)
        bare.comparisons_file.unlink()
        history = read_history(run.journal_file)
        found = comparisons_of(run, history, "accuracy", "max")
        board = rows(history, "max", found)
        assert sum(row.objective_se is not None for row in board) == len(found.of) > 0
        heading = view(run).heading
        parts: dict[str, Callable[[], object]] = {
            "read the journal": lambda: read_history(run.journal_file),
            "read the comparisons": lambda: comparisons_of(run, history, "accuracy", "max"),
            "rank": lambda: rows(history, "max", found),
        }
        for form in FORMATS:
            parts[f"render {form}"] = lambda form=form: render(board, form, heading)
        parts["`tuner --version`"] = command("--version")
        for form in FORMATS:
            parts[f"`tuner leaderboard --format {form}`"] = command(
                "leaderboard", str(run.folder), "--format", form
            )
        parts["`tuner leaderboard`, without comparisons"] = command("leaderboard", str(bare.folder))
        storage = str(run.folder.parent)
        parts["`tuner leaderboard --all`"] = command("leaderboard", "--all", "--storage", storage)
        both = (str(run.folder), str(bare.folder))
        parts["`tuner leaderboard A B`"] = command("leaderboard", *both)
        parts["`tuner show RUN t009`"] = command("show", str(run.folder), "t009")
        for name, act in parts.items():
            cpu, wall = timed(act, options.repeats)
            print(f"| {name} | {cpu:.2f} s | {wall:.2f} s |", flush=True)


if __name__ == "__main__":
    main()
