"""How far a plan is off: `tuner plan --probe`, then `tuner tune` with the same options.

One line a search:

    python tests/benchmarks/plan.py [--trials 20] [--seeds 0,1] [--schedulers none,asha]
                                    [-- OPTION ...]

Each command runs in a fresh process. OPTIONs are handed to both; the default is the built-in task
and model on two slots with few rows, so that trials are short. "search" are the journal's seconds,
from the start of the slots to the last event; an error is (estimated - took) / took. With
`--scheduler none` nothing is left to chance but the draws after the tenth trial; with ASHA the plan
cannot know which trials will be stopped.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tuner.forecast import Estimate, spent
from tuner.headings import duration
from tuner.journal import read_history
from tuner.runs import Run
from tuner.settings import read_run_file

SHORT = "--task demo --fraction 0.25 --slots 2".split()


@dataclass(frozen=True)
class Outcome:
    """One plan and its run. Seconds; `probe` is what the plan itself took."""

    scheduler: str
    seed: int
    probe: float
    estimated: float
    took: float
    epochs: float
    epochs_spent: float
    inside: bool

    @property
    def error(self) -> float:
        return (self.estimated - self.took) / self.took

    @property
    def line(self) -> str:
        cells = (
            self.scheduler,
            str(self.seed),
            duration(self.probe),
            duration(self.estimated),
            duration(self.took),
            f"{100 * self.error:+.0f} %",
            f"{self.epochs:.1f}",
            f"{self.epochs_spent:.1f}",
            "yes" if self.inside else "no",
        )
        return "| " + " | ".join(cells) + " |"


def measure(options: list[str], scheduler: str, seed: int, folder: Path) -> Outcome:
    """Plan, run, compare."""
    name = f"{scheduler}-{seed}"
    chosen = [*options, "--scheduler", scheduler, "--seed", str(seed), "--storage", str(folder)]
    began = time.monotonic()
    _tuner("plan", *chosen, "--probe")
    probe = time.monotonic() - began
    _tuner("tune", *chosen, "--no-retrain", "--name", name)
    run = Run(folder / name)
    estimate = Estimate.read(read_run_file(run).facts["estimate"])
    assert estimate is not None
    assert estimate.seconds is not None
    real = spent(read_history(run.journal_file))
    return Outcome(
        scheduler,
        seed,
        probe,
        estimate.seconds,
        real.seconds,
        estimate.epochs,
        real.epochs,
        estimate.low - 0.05 <= real.epochs <= estimate.high + 0.05,
    )


def _tuner(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tuner", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"tuner {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--schedulers", default="none,asha")
    parser.add_argument("options", nargs="*")
    given = parser.parse_args()
    options = [*(given.options or SHORT), "--trials", str(given.trials)]
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}"
    )
    print(f"tuner plan {' '.join(options)}\n")
    print(
        "| scheduler | seed | planning | estimated | search | error | epochs | spent | in range |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="tuner-bench-") as folder:
        for scheduler in given.schedulers.split(","):
            for seed in map(int, given.seeds.split(",")):
                outcomes.append(measure(options, scheduler, seed, Path(folder)))
                print(outcomes[-1].line, flush=True)
    off = statistics.median(abs(outcome.error) for outcome in outcomes)
    print(f"\nmedian error {100 * off:.0f} % of {len(outcomes)} searches")


if __name__ == "__main__":
    main()
