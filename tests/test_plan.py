"""`tuner plan`: nothing is started, what is certain is exact, and a run is compared with it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.test_commands import Said, command
from tuner.forecast import Estimate, spent
from tuner.journal import read_history
from tuner.outlook import comparison, outlook
from tuner.plan import FOLDER, Plan, disk, plan, this_host
from tuner.resources import Node, lay_out
from tuner.runs import Run
from tuner.session import ray_session
from tuner.settings import Settings, read_run_file

SPACE = """\
parameters:
  learning_rate: {distribution: log_uniform, min: 1e-4, max: 2e-3}
  num_train_epochs: {min: 1, max: 2}
  per_device_train_batch_size: {values: [16, 32, 64]}
"""
OPTIONS = "--task demo --fraction 0.1 --trials 4 --scheduler none --slots 2 --no-retrain".split()


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("planned")


@pytest.fixture(scope="module")
def options(storage: Path) -> list[str]:
    space = storage / "small.yaml"
    space.write_text(SPACE)
    return [*OPTIONS, "--space", str(space), "--storage", str(storage / "runs")]


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Node, ...]]:
    """One Ray for what must have one."""
    with ray_session() as nodes:
        yield nodes


@pytest.fixture(scope="module")
def planned(options: list[str], hosts: tuple[Node, ...]) -> Said:
    """A plan whose pace was timed on a slot."""
    return command("plan", *options, "--probe", "--price-per-slot-hour", "10")


@pytest.fixture(scope="module")
def run(planned: Said, options: list[str], storage: Path) -> tuple[Run, Said]:
    """The run that was planned, and what it said."""
    assert planned.code == 0, planned.err
    done = command("tune", *options, "--name", "real")
    return Run(storage / "runs" / "real"), done


def test_a_plan_starts_nothing_and_writes_nothing(options: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom tuner.cli import run_guarded\n"
        f"code = run_guarded(['plan', *{options!r}, '--storage', 'runs'])\n"
        "ray = sys.modules.get('ray')\n"
        "print(code, ray is not None and ray.is_initialized())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
        check=True,
    )
    *lines, last = done.stdout.splitlines()
    assert last == "0 False"
    assert list(tmp_path.iterdir()) == []
    told = "\n".join(lines)
    for said in ("learning_rate", "4, 2 at a time", "exactly", "--probe", "are free"):
        assert said in told
    assert "slot-hours" not in told


def test_the_planned_steps_and_evaluations_are_those_of_the_run(
    planned: Said, run: tuple[Run, Said]
) -> None:
    folder, done = run
    assert done.code == 0, done.err
    history = read_history(folder.journal_file)
    real = spent(history)
    estimate = Estimate.read(read_run_file(folder).facts["estimate"])
    assert estimate is not None
    assert estimate.exact
    assert (estimate.steps, estimate.evaluations) == (real.steps, real.evaluations)
    assert estimate.epochs == pytest.approx(real.epochs)
    assert f"{real.steps:,.0f} steps, {real.evaluations:.0f} evaluations, exactly" in planned.out
    # The schedules differ, so that their sum is no accident.
    assert len({record.last.total_steps for record in history.records.values()}) > 1


def test_a_run_takes_the_estimate_over_and_its_end_compares(
    planned: Said, run: tuple[Run, Said], storage: Path
) -> None:
    folder, done = run
    (kept,) = (storage / "runs" / FOLDER).iterdir()
    facts = read_run_file(folder).facts
    assert facts["estimate"] == json.loads(kept.read_text())
    assert facts["estimate"]["seconds"] > 0
    history = read_history(folder.journal_file)
    lines = comparison(facts, history)
    assert lines[0].startswith("epochs ")
    assert " estimated (" in lines[1]
    assert "\n".join(lines) in done.out
    assert f"{spent(history).epochs:.1f} spent" in done.out
    assert "slot-hours on 2 slots" in planned.out
    assert "at 10 a slot-hour" in planned.out


def test_a_run_of_other_settings_has_an_estimate_of_its_own(
    planned: Said, options: list[str]
) -> None:
    assert planned.code == 0, planned.err
    again = command("plan", *options)
    assert "slot-hours" in again.out  # the same settings, so the pace that was kept
    for change in (["--trials", "5"], ["--seed", "1"], ["--slots", "1"], ["--fraction", "0.3"]):
        other = command("plan", *options, *change)
        assert other.code == 0, other.err
        assert "slot-hours" not in other.out


def test_a_run_needs_no_more_disk_than_planned(
    options: list[str], run: tuple[Run, Said], storage: Path
) -> None:
    folder, _ = run
    took = sum(f.stat().st_size for f in folder.folder.rglob("*") if f.is_file())
    settings = read_run_file(folder).settings
    disk = plan(settings.model_copy(update={"storage": str(storage / "runs")})).disk
    assert took <= disk.kept <= disk.running
    assert disk.kept < 3 * took
    assert disk.free is not None


def test_what_tune_refuses_plan_refuses(options: list[str], run: tuple[Run, Said]) -> None:
    for change, told in (
        (["--slots", "64"], "64"),
        (["--name", "real"], "already exists"),
        (["--set", "learning_rte=1e-3"], "learning_rate"),
        (["--task", "nosuch"], "nosuch"),
        (["--seed", "7", "--price-per-slot-hour", "2"], "add --probe"),
        (["--price-per-slot-hour", "-1"], "price"),
    ):
        done = command("plan", *options, *change)
        assert done.code == 2, (change, done.out)
        assert told in done.err.splitlines()[-1]


def test_this_host_is_what_ray_finds_on_it(hosts: tuple[Node, ...]) -> None:
    assert hosts == (this_host(),)


@pytest.fixture(scope="module")
def made() -> Plan:
    """A plan of three trials on this machine, to be varied."""
    return plan(Settings(task="demo", trials=3, slots=1, fraction=0.1))


@pytest.mark.parametrize(
    ("nodes", "changes", "said"),
    [
        (
            [Node(4, 0)],
            {"slots": "auto", "trials": 20},
            "4 at a time: a slot takes 1 core, and thi",
        ),
        ([Node(4, 0)], {"slots": 2, "trials": 20}, "2 at a time: as --slots asks; 4 would fit"),
        ([Node(4, 0)], {"slots": 4, "trials": 20}, "as --slots asks, and no more would fit"),
        ([Node(0, 0)], {"slots": 4, "trials": 20}, "4 at a time: as --slots asks\n"),
        ([Node(4, 0)], {"slots": "auto", "trials": 3}, "3 at a time: there are no more trials; 4"),
        (
            [Node(8, 1), Node(8, 1)],
            {"slots": "auto", "trials": 20},
            "2 at a time: a slot takes 1 GPU and a core, and the 2 hosts have 16 cores and 2 GPUs",
        ),
        (
            [Node(2, 0)] * 2,
            {"slots": "auto", "trials": 20, "workers_per_trial": 2},
            "2 at a time: a slot takes 2 workers of 1 core each, and the 2 hosts have 4 cores",
        ),
    ],
)
def test_a_plan_says_how_many_run_at_once_and_why_not_more(
    made: Plan, nodes: list[Node], changes: dict[str, object], said: str
) -> None:
    settings = Settings(**{**made.preparation.settings.plain(), **changes})
    layout = lay_out(
        tuple(nodes),
        slots=None if settings.slots == "auto" else settings.slots,
        workers=settings.workers_per_trial,
        bounded=False,
    )
    varied = replace(
        made,
        preparation=replace(made.preparation, settings=settings),
        nodes=tuple(nodes),
        layout=layout,
        now=layout.slots,
        search=replace(made.search, trials=settings.trials, slots=layout.slots),
    )
    assert said in "\n".join(outlook(varied))
    growing = "\n".join(outlook(replace(varied, now=1)))
    assert "(1 until more hosts have come)" in growing


def test_a_plan_says_what_the_finalists_add(made: Plan) -> None:
    assert "finalists" not in "\n".join(outlook(made))
    varied = replace(made, search=replace(made.search, finalists=2, reseeds=3))
    told = "\n".join(outlook(varied))
    assert "the best 2 configurations run again under 3 new seeds each: 6 full schedules" in told
    settings = made.preparation.settings.model_copy(update={"finalists": 2, "reseeds": 3})
    more = replace(made.preparation, settings=settings)
    assert disk(more, made.layout).kept > made.disk.kept
