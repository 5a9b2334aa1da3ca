"""What the search itself costs at scale: trials that sleep instead of training, on the same slots.

    python tests/benchmarks/scale.py sleep --trials 1000 --seconds 10 --slots 100
    python tests/benchmarks/scale.py sleep --trials 10000 --seconds 1 --slots 16
    python tests/benchmarks/scale.py hosts --trials 48 --seconds 4 --hosts 1,2,3
    python tests/benchmarks/scale.py hosts --real --trials 48 --hosts 1,2
    python tests/benchmarks/scale.py tpe --sizes 100,1000,10000

sleep    the driver's book-keeping: time beside the theoretical minimum (trials x seconds / slots),
         memory of the driver, and where its time goes
hosts    the same search on several hosts of one logical CPU each (raylets on this machine)
tpe      what drawing and telling one trial costs after so many others, by Optuna's TPE, at random

Every measurement runs in a fresh process. Sleeping trials begin in one moment, when the last slot
is up, and are timed from there to the last trial's end.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

DRAWS = ("random", "tpe")
SPACE = "default"

# --- where the driver's time goes ----------------------------------------------------------------

PLACES = {
    "tuner/journal.py": "journal",
    "tuner/history.py": "journal",
    "tuner/study.py": "study",
    "tuner/scheduler.py": "judge",
    "tuner/leaderboard.py": "leaderboard",
    "tuner/progress.py": "progress lines",
    "tune/logger/": "Tune's loggers",
    "tune/execution/experiment_state.py": "Tune's state file",
    "tune/analysis/": "Tune's analysis",
    "tune/search/": "Tune: making a trial",
    "execution/_internal/actor_manager.py": "Tune: actors",
    "tune/experiment/trial.py": "Tune: trial",
    "tune/execution/tune_controller.py": "Tune: control",
    "ray/tune/": "Tune: the rest",
    "ray/": "Ray",
}
"""A sample counts for the innermost frame of the stack whose file is named here."""

WAITING = "waiting for slots"


class Profile:
    """Samples of what the main thread does, a hundred a second."""

    EVERY = 0.01

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._ended = threading.Event()
        self._main = threading.main_thread().ident
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        while not self._ended.wait(self.EVERY):
            frame = sys._current_frames().get(self._main or 0)
            self.counts[place(frame)] += 1

    @property
    def shares(self) -> dict[str, float]:
        """The share of the time by place, the largest first."""
        total = sum(self.counts.values())
        return {name: count / total for name, count in self.counts.most_common()}

    def __enter__(self) -> Profile:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()


def place(frame: Any) -> str:
    """What a stack is busy with."""
    found = None
    while frame is not None:
        file, function = frame.f_code.co_filename, frame.f_code.co_name
        if file.endswith("_private/worker.py") and function == "wait":
            return WAITING
        if found is None or found == "Ray":
            for part, name in PLACES.items():
                if part in file:
                    found = name
                    break
        frame = frame.f_back
    return found or "the rest"


# --- sleeping trials -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Slept:
    """One search over sleeping trials. Seconds count from the moment when all slots are up: `wall`
    to the last trial's end, `whole` to the end of the search. `idle` are the median and the 90th
    percentile of the seconds from a trial's end to the next one's beginning in its slot. Memory is
    MiB: the driver's before the search and at its most, and a slot's."""

    trials: int
    seconds: float
    slots: int
    reports: int
    draws: str
    minimum: float
    wall: float
    whole: float
    starting: float
    idle: tuple[float, float]
    cpu: float
    before: float
    peak: float
    slot: float
    files: int
    shares: dict[str, float]


def sleep(given: argparse.Namespace, folder: Path, slots: int) -> Slept:
    """Run one search in this process; Ray runs already. Raises RuntimeError when it goes wrong."""
    from tests.sleeping import Gate, SleepingPlan, read_notes
    from tuner import study
    from tuner.journal import Journal, read_history
    from tuner.ledger import Ledger
    from tuner.progress import Lines
    from tuner.resources import Layout
    from tuner.runs import create_run
    from tuner.scheduler import Judge
    from tuner.search import run_search
    from tuner.slots import SlotPlan
    from tuner.spaces import load_space
    from tuner.upkeep import LeaderboardFiles

    if given.draws == "random":
        study.RANDOM_AFTER = 0
    gate, notes = Gate(folder / "gate", slots), folder / "notes"
    run = create_run(str(folder), "sleep", "run")
    before, began = most_memory(), time.time()
    cpu = time.process_time()
    with Journal.open(run.journal_file) as journal, (folder / "lines").open("w") as stream:
        drawing = study.Study(
            run.optuna_file, run.name, load_space(SPACE), "max", given.seed, [], slots
        )
        lines = Lines(stream)
        lines.aim("accuracy", "max")
        ledger = Ledger(
            journal,
            drawing,
            Judge(given.rungs, "max", asha=False),
            (lines, LeaderboardFiles(run, "max")),
            objective="accuracy",
            direction="max",
            planned=given.trials,
            slots=slots,
            seconds=None,
            attempts=1,
        )
        plan = SlotPlan(
            SleepingPlan(given.seconds, gate, notes),
            rungs=given.rungs,
            checkpoints=str(run.checkpoints_folder),
            checkpoint_every=600.0,
        )
        with Profile() as profile:
            run_search(ledger, plan, Layout(slots, 1, 1.0, 0.0, 1), run.search_folder.absolute())
        ended = time.time()
    history = read_history(run.journal_file)
    opened = gate.opened
    finished = [record for record in history.records.values() if record.status == "finished"]
    if opened is None or len(finished) != given.trials:
        raise RuntimeError(f"{len(finished)} of {given.trials} trials finished")
    seen = read_notes(notes)
    if any(note.heavy for note in seen):
        raise RuntimeError("a slot has imported torch or transformers")
    gaps = sorted(gap for note in seen for gap in note.idle)
    return Slept(
        trials=given.trials,
        seconds=given.seconds,
        slots=slots,
        reports=given.rungs,
        draws=given.draws,
        minimum=-(-given.trials // slots) * given.seconds,
        wall=max(record.reported_at or 0.0 for record in finished) - opened,
        whole=ended - opened,
        starting=opened - began,
        idle=(statistics.median(gaps), gaps[int(0.9 * len(gaps))]),
        cpu=time.process_time() - cpu,
        before=before,
        peak=most_memory(),
        slot=statistics.median(note.resident for note in seen),
        files=sum(len(names) for _, _, names in os.walk(run.folder)),
        shares=profile.shares,
    )


def most_memory() -> float:
    """The most that this process ever held in memory, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def sleep_table(outcomes: list[Slept]) -> str:
    lines = [
        "| trials | slots | a trial | reports a trial | minimum | all slots up to last trial's end "
        "| over the minimum | to the end of the search | end of a trial to the next: median, 90 % "
        "| driver: CPU | driver: memory | a slot: memory | files |",
        "| --- " * 13 + "|",
    ]
    lines += [
        f"| {o.trials:,} | {o.slots} | {o.seconds:g} s | {o.reports} | {o.minimum:.0f} s "
        f"| {o.wall:.1f} s | {o.wall / o.minimum - 1:+.1%} | {o.whole:.1f} s "
        f"| {o.idle[0] * 1000:.0f} ms, {o.idle[1] * 1000:.0f} ms | {o.cpu:.0f} s "
        f"| {o.before:.0f} → {o.peak:.0f} MiB | {o.slot:.0f} MiB | {o.files:,} |"
        for o in outcomes
    ]
    return "\n".join(lines)


def shares_text(outcome: Slept) -> str:
    told = [f"{name} {share:.1%}" for name, share in outcome.shares.items() if share >= 0.001]
    return "the driver's time: " + ", ".join(told)


# --- hosts ---------------------------------------------------------------------------------------


@contextmanager
def hosts(count: int) -> Iterator[None]:
    """Raylets of one logical CPU each on this machine, with this process connected to them."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    for _ in range(count - 1):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    try:
        ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


def train(trials: int, folder: Path) -> dict[str, float]:
    """One search with trials that train: the tiny model on the task `demo`, ASHA off, all of them
    equally long. Seconds from the first trial taken to the last one's end."""
    from tuner import Settings, tune
    from tuner.journal import read_history

    space = folder / "space.yaml"
    space.write_text(
        "parameters:\n"
        "  learning_rate: {distribution: log_uniform, min: 2e-4, max: 2e-3}\n"
        "  seed: {distribution: int_uniform, min: 1, max: 40}\n"
    )
    result = tune(
        Settings(
            task="demo",
            space=str(space),
            trials=trials,
            scheduler="none",
            retrain=False,
            storage=str(folder),
            set={"num_train_epochs": 6, "per_device_train_batch_size": 16},
        )
    )
    records = list(read_history(result.run.journal_file).records.values())
    if any(record.status != "finished" for record in records):
        raise RuntimeError("a trial did not finish")
    scores = [record.last for record in records if record.last is not None]
    begun = min(
        (r.reported_at or 0.0) - s.total_seconds for r, s in zip(records, scores, strict=True)
    )
    return {
        "wall": max(record.reported_at or 0.0 for record in records) - begun,
        "seconds": statistics.mean(score.total_seconds for score in scores),
    }


def hosts_table(outcomes: list[dict[str, float]]) -> str:
    first = outcomes[0]
    lines = [
        "| hosts | trials | a trial | wall | speed-up | efficiency |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in outcomes:
        speedup = first["hosts"] * first["wall"] / one["wall"]
        lines.append(
            f"| {one['hosts']:.0f} | {one['trials']:.0f} | {one['seconds']:.1f} s "
            f"| {one['wall']:.1f} s | {speedup:.2f} | {speedup / one['hosts']:.1%} |"
        )
    return "\n".join(lines)


# --- Optuna --------------------------------------------------------------------------------------


def drawing(size: int, draws: str, folder: Path, repeats: int = 20) -> dict[str, float]:
    """CPU milliseconds that drawing and telling one trial take after `size` others, medians."""
    from tuner import study
    from tuner.history import Record, Score
    from tuner.spaces import load_space

    study.RANDOM_AFTER = 0 if draws == "random" else sys.maxsize
    space = load_space(SPACE)
    records = [done(f"t{number:03d}", number, space) for number in range(size)]
    began = time.process_time()
    drawer = study.Study(folder / "optuna.journal", "s", space, "max", 0, records, 2)
    opening = time.process_time() - began
    asks, tells = [], []
    for _ in range(repeats):
        began = time.process_time()
        name, configuration, _ = drawer.draw()
        asked = time.process_time()
        score = Score(9, 9, 9, 0.5, 0.5)
        drawer.tell(Record(name, 0, configuration, status="finished", scores=[score]))
        told = time.process_time()
        asks.append(asked - began)
        tells.append(told - asked)
    return {
        "opening": opening,
        "ask": 1000 * statistics.median(asks),
        "tell": 1000 * statistics.median(tells),
    }


def done(name: str, number: int, space: Any) -> Any:
    """A finished trial of the space, as the journal tells it."""
    import random

    from tuner.history import Record, Score

    rng = random.Random(number)
    configuration = space.complete(space.sample(rng))
    scores = [Score(level, level, 9, rng.random(), 0.5) for level in (1, 3, 9)]
    return Record(name, number, configuration, status="finished", scores=scores)


def drawing_table(outcomes: list[dict[str, Any]]) -> str:
    lines = [
        "| trials before | draws | opening the study | a draw | telling a result |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one['size']:,} | {one['draws']} | {one['opening']:.2f} s | {one['ask']:.1f} ms "
        f"| {one['tell']:.1f} ms |"
        for one in outcomes
    ]
    return "\n".join(lines)


# --- a measurement, in a process of its own ------------------------------------------------------

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # A hundred processes that start at once on a few cores are slow, not broken.
    "RAY_worker_register_timeout_seconds": "900",
    "RAY_memory_monitor_refresh_ms": "0",
    "PYTHONPATH": str(ROOT),  # of the slots, too
}


def one(given: argparse.Namespace) -> dict[str, Any]:
    """The measurement that `given` asks this process for."""
    folder = Path(given.folder)
    if given.what == "tpe":
        return drawing(given.size, given.draws, folder)
    if given.what == "hosts":
        with hosts(given.host):
            if given.real:
                measured = train(given.trials, folder)
            else:
                slept = sleep(given, folder, given.host)
                measured = {"wall": slept.wall, "seconds": slept.seconds}
            return {"hosts": given.host, "trials": given.trials, **measured}
    import ray

    ray.init(
        address="local",
        include_dashboard=False,
        num_cpus=given.slots,
        object_store_memory=2**28,
        logging_level="ERROR",
        log_to_driver=False,
    )
    return asdict(sleep(given, folder, given.slots))


def measure(**given: Any) -> dict[str, Any]:
    """Run one measurement in a fresh process. Raises RuntimeError when it fails."""
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        asked = Path(folder, "asked.json")
        asked.write_text(json.dumps({**given, "folder": folder}))
        log = Path(folder, "log")
        with log.open("w") as output:
            finished = subprocess.run(
                [sys.executable, __file__, "one", str(asked)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**{k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}, **ENVIRONMENT},
            )
        answer = Path(folder, "answer.json")
        if finished.returncode or not answer.is_file():
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
            raise RuntimeError(f"the measurement failed\n{tail}")
        outcome: dict[str, Any] = json.loads(answer.read_text())
        return outcome


def machine() -> str:
    """What the figures were taken on."""
    from importlib.metadata import version

    import psutil

    versions = ", ".join(f"{name} {version(name)}" for name in ("tuner", "ray", "optuna"))
    memory = psutil.virtual_memory().total / 2**30
    load = psutil.getloadavg()[0]
    return f"{psutil.cpu_count()} cores, {memory:.0f} GiB, load {load:.1f} at the start; {versions}"


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ways = parser.add_subparsers(dest="what", required=True)
    way = ways.add_parser("sleep")
    way.add_argument("--slots", type=int, default=16)
    sleeping = [way, ways.add_parser("hosts")]
    for way, trials, seconds in zip(sleeping, (1000, 48), (1.0, 4.0), strict=True):
        way.add_argument("--trials", type=int, default=trials)
        way.add_argument("--seconds", type=float, default=seconds, help="a trial's length")
        way.add_argument("--rungs", type=int, default=1, help="reports a trial")
        way.add_argument("--draws", choices=DRAWS, default="random")
        way.add_argument("--seed", type=int, default=0)
    sleeping[1].add_argument("--hosts", type=numbers, default=[1, 2, 3])
    sleeping[1].add_argument("--real", action="store_true", help="train instead of sleeping")
    way = ways.add_parser("tpe")
    way.add_argument("--sizes", type=numbers, default=[100, 1000, 10000])
    ways.add_parser("one").add_argument("asked", type=Path)
    given = parser.parse_args()
    if given.what == "one":
        asked = json.loads(given.asked.read_text())
        outcome = one(argparse.Namespace(**asked))
        Path(asked["folder"], "answer.json").write_text(json.dumps(outcome))
        return
    print(machine(), flush=True)
    if given.what == "sleep":
        slept = Slept(**measure(**vars(given)))
        print(f"\n{sleep_table([slept])}\n\n{shares_text(slept)}")
    elif given.what == "hosts":
        counts = vars(given).pop("hosts")
        print("\n" + hosts_table([measure(**vars(given), host=count) for count in counts]))
    else:
        outcomes = [
            {"size": size, "draws": draws, **measure(what="tpe", size=size, draws=draws)}
            for size in given.sizes
            for draws in DRAWS
        ]
        print("\n" + drawing_table(outcomes))


if __name__ == "__main__":
    main()
