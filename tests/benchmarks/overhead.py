"""What a search costs beside its training: the same short trials, run four ways, in one table.

    python tests/benchmarks/overhead.py [--trials 40] [--guide-trials 12]
                                        [--ways tuner,guide,ray,optuna]

tuner    warm slots (this package), ASHA off, so that every trial runs to its end
guide    a `TorchTrainer` per Tune trial, as in Ray's guide to tuning Ray Train:
         https://docs.ray.io/en/latest/train/user-guides/hyperparameter-optimization.html
ray      `Trainer.hyperparameter_search(backend="ray")`
optuna   `Trainer.hyperparameter_search(backend="optuna")`, which runs one trial after another

Each way runs in a fresh process. All train the built-in tiny model on the same tokenised rows of
the task `demo`, one epoch in batches of 16, one evaluation at the end; learning rate and seed are
drawn. One `TrainerCallback` times the steps in every way. tuner evaluates outside the Trainer's own
method, so its evaluation seconds come from the journal.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WAYS = ("tuner", "guide", "ray", "optuna")
EPOCHS, BATCH = 1, 16
LEARNING_RATES = (2e-4, 2e-3)
SEEDS = (1, 40)
SLOTS = 2

LOW, HIGH = LEARNING_RATES
SPACE = f"""\
parameters:
  learning_rate: {{distribution: log_uniform, min: {LOW}, max: {HIGH}}}
  seed: {{distribution: int_uniform, min: {SEEDS[0]}, max: {SEEDS[1]}}}
"""


@dataclass(frozen=True)
class Trial:
    """One trial as its callback saw it. Moments are unix seconds."""

    process: int
    first_step: float
    end: float
    step_seconds: float
    evaluation_seconds: float


@dataclass(frozen=True)
class Outcome:
    """One way, measured. `gaps` are the seconds from a trial's end to the next first step in the
    same slot; `share` is the part of slot time, from each slot's first step on, that is training
    and evaluation steps. `start` and `wall` count from the start of the process."""

    way: str
    trials: int
    slots: int
    start: float
    gaps: tuple[float, ...]
    share: float
    wall: float


# --- the instrument ------------------------------------------------------------------------------


def stamp(folder: str) -> Any:
    """A TrainerCallback that writes a line to `folder` when a training ends."""
    from transformers import TrainerCallback

    class Stamp(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.first = self.end = self.began = 0.0
            self.steps = self.evaluations = 0.0

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.began = time.time()
            self.first = self.first or self.began

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.end = time.time()
            self.steps += self.end - self.began

        def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            before, self.end = self.end, time.time()
            self.evaluations += self.end - before

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            line = {
                "process": os.getpid(),
                "first_step": self.first,
                "end": self.end,
                "step_seconds": self.steps,
                "evaluation_seconds": self.evaluations,
            }
            with open(Path(folder, f"{os.getpid()}.jsonl"), "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    return Stamp()


def stamp_every_trainer(folder: str) -> Any:
    """A hook for Ray's workers: every Trainer made in them carries the stamp. It waits for the
    process to import transformers by itself, so that it costs nothing before."""

    def hook() -> None:
        import importlib.abc
        import importlib.util

        class Watch(importlib.abc.MetaPathFinder):
            def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
                if name != "transformers.trainer":
                    return None
                sys.meta_path.remove(self)
                spec = importlib.util.find_spec(name)
                assert spec is not None
                assert spec.loader is not None
                execute = spec.loader.exec_module

                def and_stamp(module: Any) -> None:
                    execute(module)
                    module.DEFAULT_CALLBACKS.append(stamp(folder).__class__)

                spec.loader.exec_module = and_stamp  # type: ignore[method-assign]
                return spec

        sys.meta_path.insert(0, Watch())

    return hook


# --- the ways ------------------------------------------------------------------------------------


def run_tuner(trials: int, marks: str, folder: str) -> None:
    """Also adds each trial's evaluation seconds, which the journal has, to its mark."""
    import ray

    ray.init(
        address="local",
        include_dashboard=False,
        num_cpus=SLOTS,
        logging_level="ERROR",
        log_to_driver=False,
        runtime_env={"worker_process_setup_hook": stamp_every_trainer(marks)},
    )
    from tuner import Settings, tune
    from tuner.journal import read_history

    space = Path(folder, "space.yaml")
    space.write_text(SPACE)
    result = tune(
        Settings(
            task="demo",
            space=str(space),
            trials=trials,
            scheduler="none",
            rungs=1,
            slots=SLOTS,
            retrain=False,
            storage=folder,
            set={"num_train_epochs": EPOCHS, "per_device_train_batch_size": BATCH},
        )
    )
    history = read_history(result.run.journal_file)
    ended = sorted(
        (record for record in history.records.values() if record.status == "finished"),
        key=lambda record: record.reported_at or 0.0,
    )
    for path in Path(marks).glob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        mine = [r for r in ended if (r.slot or "").rpartition(":")[2] == path.stem]
        for line, record in zip(lines, mine, strict=True):
            seconds = record.scores[-1].eval_seconds
            line["evaluation_seconds"] = seconds
            line["end"] += seconds
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@dataclass(frozen=True)
class Materials:
    """The same rows and the same untrained model, for the other ways."""

    weights: Any
    tokenizer: Any
    train: Any
    selection: Any


def materials() -> Materials:
    """Tokenised once, by the package's own code."""
    from tuner import Settings
    from tuner.preparation import prepare, resolve
    from tuner.progress import Silent

    prepared = prepare(*resolve(Settings(task="demo")), Silent())
    return Materials(
        prepared.base.weights, prepared.base.tokenizer, prepared.data.train, prepared.data.selection
    )


def trainer(given: Materials, folder: str, marks: str, **arguments: Any) -> Any:
    """Hugging Face's Trainer, used as its documentation does."""
    from datasets import Dataset
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    from tuner.models import build_model

    def accuracy(prediction: Any) -> dict[str, float]:
        right = prediction.predictions.argmax(-1) == prediction.label_ids
        return {"accuracy": float(right.mean())}

    def rows(table: Any) -> Any:
        return Dataset(table).remove_columns(["row"])

    return Trainer(
        model_init=lambda *_: build_model(given.weights),
        args=TrainingArguments(
            output_dir=folder,
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=64,
            eval_strategy="epoch",
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            **arguments,
        ),
        train_dataset=rows(given.train),
        eval_dataset=rows(given.selection),
        data_collator=DataCollatorWithPadding(given.tokenizer),
        compute_metrics=accuracy,
        callbacks=[stamp(marks)],
    )


def run_guide(trials: int, marks: str, folder: str) -> None:
    """The drivers of the trials take a core each in Ray's books, which is why it is given four."""
    import ray
    from ray import tune
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    ray.init(address="local", include_dashboard=False, num_cpus=2 * SLOTS, log_to_driver=False)
    given = ray.put(materials())

    def train_fn_per_worker(config: dict[str, Any]) -> None:
        from ray import train

        rates = {"learning_rate": config["learning_rate"], "seed": config["seed"]}
        one = trainer(ray.get(config["materials"][0]), folder, marks, **rates)
        one.train()
        evaluations = [log for log in one.state.log_history if "eval_accuracy" in log]
        train.report({"accuracy": evaluations[-1]["eval_accuracy"]})

    def train_driver_fn(config: dict[str, Any]) -> None:
        name = f"train-{tune.get_context().get_trial_id()}"
        TorchTrainer(
            train_fn_per_worker,
            train_loop_config={**config, "materials": [given]},
            scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
            run_config=RunConfig(name=name, storage_path=folder, callbacks=[TuneReportCallback()]),
        ).fit()

    tune.Tuner(
        train_driver_fn,
        param_space={
            "learning_rate": tune.loguniform(*LEARNING_RATES),
            "seed": tune.randint(*SEEDS),
        },
        tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=SLOTS),
        run_config=tune.RunConfig(name="search", storage_path=folder, verbose=0),
    ).fit()


def run_ray(trials: int, marks: str, folder: str) -> None:
    import ray
    from ray import tune

    ray.init(address="local", include_dashboard=False, num_cpus=SLOTS, log_to_driver=False)
    trainer(materials(), folder, marks).hyperparameter_search(
        hp_space=lambda _: {
            "learning_rate": tune.loguniform(*LEARNING_RATES),
            "seed": tune.randint(*SEEDS),
        },
        compute_objective=lambda metrics: metrics["eval_accuracy"],
        direction="maximize",
        n_trials=trials,
        backend="ray",
        storage_path=folder,
        verbose=0,
    )


def run_optuna(trials: int, marks: str, folder: str) -> None:
    trainer(materials(), folder, marks).hyperparameter_search(
        hp_space=lambda trial: {
            "learning_rate": trial.suggest_float("learning_rate", *LEARNING_RATES, log=True),
            "seed": trial.suggest_int("seed", *SEEDS),
        },
        compute_objective=lambda metrics: metrics["eval_accuracy"],
        direction="maximize",
        n_trials=trials,
        backend="optuna",
    )


# --- the figures ---------------------------------------------------------------------------------


def in_slots(trials: list[Trial], slots: int) -> list[list[Trial]]:
    """The trials of each slot, in order. Where every slot kept its process, the process tells; else
    a trial is taken to follow the one whose slot has been free for longest."""
    ordered = sorted(trials, key=lambda trial: trial.first_step)
    processes = {trial.process for trial in ordered}
    if len(processes) <= slots:
        return [[trial for trial in ordered if trial.process == one] for one in processes]
    lanes: list[list[Trial]] = []
    for trial in ordered:
        free = [lane for lane in lanes if lane[-1].end <= trial.first_step]
        if len(lanes) < slots or not free:
            lanes.append([trial])
        else:
            min(free, key=lambda lane: lane[-1].end).append(trial)
    return lanes


def measure(way: str, trials: int) -> Outcome:
    """Run one way in a fresh process. Raises RuntimeError when a trial is missing."""
    with tempfile.TemporaryDirectory(prefix="ov-") as folder:
        marks = Path(folder, "marks")
        marks.mkdir()
        began = time.time()
        arguments = ["--way", way, "--trials", str(trials), "--folder", folder]
        log = Path(folder, "log")
        with log.open("w") as output:
            done = subprocess.run(
                [sys.executable, __file__, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
            )
        wall = time.time() - began
        seen = [
            Trial(**json.loads(line))
            for path in marks.glob("*.jsonl")
            for line in path.read_text().splitlines()
        ]
        if done.returncode or len(seen) != trials:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
            raise RuntimeError(f"{way}: {len(seen)} of {trials} trials were trained\n{tail}")
    lanes = in_slots(seen, 1 if way == "optuna" else SLOTS)
    gaps = [
        after.first_step - before.end
        for lane in lanes
        for before, after in itertools.pairwise(lane)
    ]
    busy = sum(trial.step_seconds + trial.evaluation_seconds for trial in seen)
    span = sum(lane[-1].end - lane[0].first_step for lane in lanes)
    start = min(trial.first_step for trial in seen) - began
    return Outcome(way, trials, len(lanes), start, tuple(gaps), busy / span, wall)


def seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def table(outcomes: list[Outcome]) -> str:
    """The outcomes as a Markdown table."""
    lines = [
        "| way | trials | slots | start to first step | a trial's end to the next first step: "
        "median (10 % – 90 %) | slot time in steps | whole run | a trial |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in outcomes:
        spread = statistics.quantiles(one.gaps, n=10)
        lines.append(
            f"| {one.way} | {one.trials} | {one.slots} | {seconds(one.start)} "
            f"| {seconds(statistics.median(one.gaps))} "
            f"({seconds(spread[0])} – {seconds(spread[-1])}) "
            f"| {one.share:.1%} | {seconds(one.wall)} | {seconds(one.wall / one.trials)} |"
        )
    return "\n".join(lines)


def machine() -> str:
    """What the figures were taken on."""
    from importlib.metadata import version

    import psutil

    names = ("tuner", "ray", "transformers", "optuna", "torch")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    memory = psutil.virtual_memory().total / 2**30
    load = psutil.getloadavg()[0]
    return f"{psutil.cpu_count()} cores, {memory:.0f} GiB, load {load:.1f} at the start; {versions}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=40, help="trials of each way but guide")
    parser.add_argument("--guide-trials", type=int, default=12, help="trials of guide")
    parser.add_argument("--ways", default=",".join(WAYS), help="which ways, with commas")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        run = {"tuner": run_tuner, "guide": run_guide, "ray": run_ray, "optuna": run_optuna}
        run[given.way](given.trials, str(Path(given.folder, "marks")), given.folder)
        return
    ways = given.ways.split(",")
    if unknown := set(ways) - set(WAYS):
        parser.error(f"unknown ways: {', '.join(sorted(unknown))}; there are {', '.join(WAYS)}")
    if min(given.trials, given.guide_trials) < 4:
        parser.error("a median needs at least 4 trials")
    os.environ.update(
        HF_HUB_OFFLINE="1",
        RAY_USAGE_STATS_ENABLED="0",
        RAY_TRAIN_V2_ENABLED="1",
        TUNE_DISABLE_STRICT_METRIC_CHECKING="1",
    )
    os.environ.pop("RAY_ADDRESS", None)
    print(machine(), flush=True)
    outcomes = []
    for way in ways:
        outcomes.append(measure(way, given.guide_trials if way == "guide" else given.trials))
        print(table(outcomes[-1:]).splitlines()[-1], flush=True)
    print(f"\n{table(outcomes)}")


if __name__ == "__main__":
    main()
