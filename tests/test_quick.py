"""What must answer at once: reading a large run, and refusing what needs a network."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.journals import Told, journal_of
from tuner.comparisons import Comparison, Comparisons, write_comparisons
from tuner.runs import Run, create_run
from tuner.settings import Settings, write_run_file

HEAVY = {"torch", "transformers", "ray", "datasets", "evaluate", "optuna", "pandas", "scipy"}


@dataclass(frozen=True)
class Ran:
    """A command that ran in a process of its own: what it said, the processor seconds it took, and
    the packages that it had imported."""

    code: int
    out: str
    err: str
    seconds: float
    loaded: frozenset[str]


def command(*arguments: str, **environment: str) -> Ran:
    code = (
        "import sys, time\nfrom tuner.cli import run_guarded\n"
        f"code = run_guarded({list(arguments)!r})\n"
        "print(*{name.partition('.')[0] for name in sys.modules})\n"
        "print(time.process_time())\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
    )
    *out, loaded, seconds = done.stdout.splitlines()
    return Ran(
        done.returncode, "\n".join(out), done.stderr, float(seconds), frozenset(loaded.split())
    )


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of 1,000 trials, a third of them finished and compared."""
    run = create_run(tmp_path_factory.mktemp("storage"), "rte", "big")
    write_run_file(run, Settings(task="rte", trials=1000), {})
    ends = [
        Told("finished", (0.5, 0.6, 0.7)),
        Told("stopped", (0.5, 0.52)),
        Told("stopped", (0.5,)),
    ]
    journal_of(run.journal_file, [ends[number % 3] for number in range(1000)])
    told = [(f"t{n:03d}", 0.5 + n / 2000, n < 900) for n in range(0, 1000, 3)]
    of = {name: Comparison(0.01, 0.68, 0.72, worse, tied) for name, worse, tied in told}
    write_comparisons(run, Comparisons("accuracy", "t000", {}, of))
    return run


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_leaderboard_of_a_thousand_rows_takes_less_than_two_seconds_of_work(
    thousand: Run, form: str
) -> None:
    ran = command("leaderboard", str(thousand.folder), "--format", form)
    assert ran.code == 0, ran.err
    assert ran.out.count("t999") == 1
    assert (form == "json") != (
        "t000 cannot be told from t003, t006, t009, t012, t015 and" in ran.out
    )
    assert not ran.loaded & HEAVY
    assert ran.seconds < 2.0


@pytest.fixture
def no_network() -> dict[str, str]:
    """The environment of a machine whose Hub refuses connections, and that has cached nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # free again when the server closes
    return {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HUB_OFFLINE": "0"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("tune", "--task", "rte"),
        ("tune", "--task", "demo", "--model", "distilbert/distilbert-base-uncased"),
        ("plan", "--task", "rte"),
    ],
    ids=" ".join,
)
def test_a_command_that_needs_the_hub_is_refused_within_two_seconds_of_work(
    arguments: tuple[str, ...], no_network: dict[str, str], tmp_path: Path
) -> None:
    storage = tmp_path / "runs"
    ran = command(*arguments, "--storage", str(storage), HF_HOME=str(tmp_path), **no_network)
    assert ran.code == 2, ran.err
    assert "cannot reach the Hugging Face Hub" in ran.err
    assert ran.err.count("\n") == 1
    assert not storage.exists()
    assert not ran.loaded & HEAVY
    assert ran.seconds < 2.0
