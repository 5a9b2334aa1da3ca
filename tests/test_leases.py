"""A run has one driver: on this host, between hosts, in a store; and one that was overruled stops.

Drivers are real processes wherever one is killed or stopped.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.buckets import Buckets
from tests.test_resume import start
from tuner import leases
from tuner.cli import run_guarded
from tuner.errors import SearchError, UserError
from tuner.journal import Journal
from tuner.leases import hold, is_held
from tuner.owners import Owner, myself
from tuner.runs import Run
from tuner.stores import open_store

QUICK = {"RENEW_EVERY": 0.3, "_TRUST": 0.5, "HANDOVER": 2.0, "SETTLE": 0.5}
"""The lease's own seconds, for tests: their order is the same."""

DRIVER = """
import pathlib, sys, time
from tests.buckets import Buckets, buckets
from tests.test_resume import start
from tuner import leases
from tuner.errors import TunerError
from tuner.journal import Journal
from tuner.runs import Run
vars(leases).update(eval(sys.argv[2]))
run = Run(pathlib.Path(sys.argv[1]))
try:
    with leases.hold(run, lost=lambda text: print("lost", flush=True)) as lease:
        with Journal.open(run.journal_file, lease.check) as journal:
            print("held", flush=True)
            while True:
                journal.append("note", text="x")
                time.sleep(0.01)
except TunerError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in QUICK.items():
        monkeypatch.setattr(leases, name, seconds)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run's folder."""
    (tmp_path / "one").mkdir()
    return Run(tmp_path / "one")


@pytest.fixture(params=["file", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a run is to lie in a store."""
    if request.param == "file":
        return f"file://{tmp_path}/store/one"
    return f"{request.getfixturevalue('service').make()}/store/one"


def working_copy(uri: str, tmp_path: Path, name: str = "copy") -> Run:
    """The run as one host has it."""
    (tmp_path / name / "one").mkdir(parents=True)
    return Run(tmp_path / name / "one", uri)


@contextmanager
def driver(run: Run, **seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Another process that drives the run, appending to its journal as fast as it can."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(run.folder), repr({**QUICK, **seconds})],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def elsewhere(name: str = "x") -> Owner:
    """A driver of another host."""
    return replace(myself(), id=name, user="ann", host="there", pid=7, machine="another")


def lease_of(run: Run, owner: Owner, silent: float = 0.0) -> Path:
    """Put a lease into the run's folder that was renewed so many seconds ago."""
    file = run.folder / "lease.json"
    file.write_bytes(owner.written())
    os.utime(file, (time.time() - silent,) * 2)
    return file


# --- on one host ---------------------------------------------------------------------------------


def test_a_run_has_one_driver_and_is_free_at_once_when_that_is_killed(run: Run) -> None:
    with driver(run) as other:
        assert is_held(run)
        with pytest.raises(UserError) as refused, hold(run):
            pass
        assert f"(process {other.pid}) since " in str(refused.value)
        assert f"tuner resume {run.folder} --take-over" in str(refused.value)
        other.kill()
        other.wait()
        assert not is_held(run)
        with hold(run), pytest.raises(UserError, match=f"process {os.getpid()}"), hold(run):
            pass
    assert not is_held(run)
    with hold(run):
        pass
    assert not (run.folder / "lease.json").exists()


def test_a_process_that_only_has_the_dead_ones_number_holds_nothing(run: Run) -> None:
    lease_of(run, replace(myself(), born="1"))
    assert not is_held(run)
    with hold(run):
        pass


class Unlocked(Run):
    """A run in a folder that hosts share and whose locks they do not."""

    @property
    def lock_file(self) -> Path:
        return self.folder / f".lock-{threading.get_ident()}"


@pytest.mark.parametrize(
    ("kind", "left"),
    [(Run, "nothing"), (Run, "a dead driver's lease"), (Unlocked, "nothing")],
)
def test_of_drivers_that_come_at_once_one_gets_the_run(
    run: Run, kind: type[Run], left: str
) -> None:
    count, held, refused = 8, [], []
    start, wait = threading.Barrier(count), threading.Barrier(count)

    def come() -> None:
        start.wait()
        try:
            with hold(kind(run.folder)) as lease:
                held.append(lease.owner.id)
                wait.wait()
        except UserError:
            refused.append(1)
            wait.wait()

    for _ in range(10):
        if left != "nothing":
            lease_of(run, replace(myself(), born="1"))
        threads = [threading.Thread(target=come) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(held), len(refused)) == (1, count - 1)
        held.clear()
        refused.clear()


def test_a_folder_that_cannot_be_written_is_the_users_to_mend(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"gone cannot be written \("),
        hold(Run(tmp_path / "gone")),
    ):
        pass


# --- taking over ---------------------------------------------------------------------------------


@pytest.mark.parametrize("asleep", [False, True])
def test_a_driver_that_was_overruled_writes_nothing_more(
    run: Run, quick: None, asleep: bool
) -> None:
    """Also one that was stopped, and that wants to write before it would renew its lease."""
    with driver(run, RENEW_EVERY=600 if asleep else QUICK["RENEW_EVERY"]) as old:
        while not run.journal_file.stat().st_size:
            time.sleep(0.01)
        if asleep:
            old.send_signal(signal.SIGSTOP)
        with hold(run, take_over=True) as lease, Journal.open(run.journal_file) as journal:
            journal.append("session", planned=1, slots=1)
            taken = run.journal_file.read_bytes()
            old.send_signal(signal.SIGCONT)
            said, _ = old.communicate(timeout=30)
            lease.check()
            assert run.journal_file.read_bytes() == taken
    told, error = said.splitlines()
    assert told == "lost"
    assert error.startswith(f"SearchError the run one was taken over by {lease.owner}")
    assert not is_held(run)


def lose(run: Run, told: list[str]) -> None:
    """Hold the run, lose its lease, and end by Ctrl-C."""
    with hold(run, lost=told.append) as lease:
        (run.folder / "lease.json").unlink()
        while not told:
            time.sleep(0.01)
        with pytest.raises(SearchError, match="released"):
            lease.check()
        assert not lease.is_ours()
        raise KeyboardInterrupt


def test_a_lease_that_is_gone_is_lost(run: Run, quick: None) -> None:
    """Whoever took it may have ended in the meantime."""
    told: list[str] = []
    with pytest.raises(SearchError, match="released"):
        lose(run, told)
    assert len(told) == 1


def test_an_error_of_a_driver_that_keeps_its_lease_stays_what_it_is(run: Run) -> None:
    with pytest.raises(ZeroDivisionError), hold(run):
        _ = 1 / 0
    assert not (run.folder / "lease.json").exists()


def test_the_lease_is_renewed(run: Run, quick: None) -> None:
    with hold(run):
        file = run.folder / "lease.json"
        os.utime(file, (0, 0))
        until = time.monotonic() + 10
        while not file.stat().st_mtime and time.monotonic() < until:
            time.sleep(0.01)
        assert file.stat().st_mtime > time.time() - 5


def test_resume_tells_of_the_other_driver_and_how_to_take_over(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run.settings_file.write_text("created: now\nsettings: {}\n")
    before = sorted(run.folder.iterdir())
    lease = lease_of(run, elsewhere())
    assert run_guarded(["resume", str(run.folder)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "ann@there (process 7)" in said
    assert "--take-over" in said
    assert json.loads(lease.read_bytes())["id"] == "x"
    assert {*run.folder.iterdir()} - {*before} <= {lease, run.lock_file}


# --- between hosts -------------------------------------------------------------------------------


def test_a_driver_of_another_host_counts_as_gone_after_a_minute_of_silence(
    run: Run, quick: None
) -> None:
    lease_of(run, elsewhere(), silent=50)
    with pytest.raises(UserError, match=r"ann@there .* last heard of 5\d s ago"), hold(run):
        pass
    assert is_held(run)
    lease_of(run, elsewhere(), silent=61)
    assert not is_held(run)
    with hold(run):
        pass


def test_a_living_driver_of_this_host_never_counts_as_gone(run: Run) -> None:
    lease_of(run, myself(), silent=3600)
    assert is_held(run)
    with pytest.raises(UserError, match="3600 s ago"), hold(run):
        pass


def test_of_two_that_write_over_a_stale_lease_the_first_gives_way(run: Run, quick: None) -> None:
    """On hosts that cannot lock each other out: the other's lease is what is read back."""
    lease_of(run, elsewhere(), silent=61)

    def come_between() -> None:
        while b"there" in (run.folder / "lease.json").read_bytes():
            time.sleep(0.001)
        lease_of(run, replace(elsewhere("y"), host="third"))

    between = threading.Thread(target=come_between)
    between.start()
    with pytest.raises(UserError, match="ann@third"), hold(run):
        pass
    between.join()


@pytest.mark.parametrize("torn", [b"", b"{", b"[]", b'{"id": 1}', b"\xff"])
def test_a_lease_that_cannot_be_read_is_somebodys_until_it_is_old(run: Run, torn: bytes) -> None:
    file = run.folder / "lease.json"
    file.write_bytes(torn)
    with pytest.raises(UserError, match="somebody@unknown"), hold(run):
        pass


def test_looking_whether_a_run_is_held_writes_nothing(run: Run) -> None:
    lease_of(run, elsewhere())
    before = [(path.name, path.stat().st_mtime_ns) for path in sorted(run.folder.iterdir())]
    assert is_held(run)
    after = [(path.name, path.stat().st_mtime_ns) for path in sorted(run.folder.iterdir())]
    assert after == before


# --- in a store ----------------------------------------------------------------------------------


def test_a_run_in_a_store_has_one_driver_whatever_the_working_copies(
    uri: str, tmp_path: Path, quick: None
) -> None:
    run, store = working_copy(uri, tmp_path), open_store(uri)
    with hold(run) as lease:
        assert json.loads(store.read("lease.json") or b"")["id"] == lease.owner.id
        assert lease.is_ours()
        other = working_copy(uri, tmp_path, "another")
        assert is_held(other)
        with pytest.raises(UserError, match=f"tuner resume {uri} --take-over"), hold(other):
            pass
        assert [path.name for path in other.folder.iterdir()] == [".lock"]
    assert not is_held(run)
    assert store.entries() == []


def test_a_driver_of_a_store_that_is_silent_by_its_clock_counts_as_gone(
    uri: str, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, store = working_copy(uri, tmp_path), open_store(uri)
    store.write("lease.json", elsewhere().written())
    with pytest.raises(UserError, match="ann@there"), hold(run):
        pass
    monkeypatch.setattr(leases, "STALE", 1.5)
    time.sleep(2.6)  # some stores keep whole seconds
    assert not is_held(run)
    with hold(run):
        pass


def overrule(old_run: Run, new_run: Run) -> None:
    """Hold one run by two drivers, one after the other."""
    told: list[str] = []
    with hold(old_run, lost=told.append) as old, hold(new_run, take_over=True) as new:
        # When the new one goes on, the old one knows already.
        assert len(told) == 1
        assert not old.is_ours()
        assert new.is_ours()
        with pytest.raises(SearchError, match="taken over"):
            old.check()


def test_a_driver_of_a_store_that_was_overruled_finds_out(
    uri: str, tmp_path: Path, quick: None
) -> None:
    with pytest.raises(SearchError, match="taken over"):
        overrule(working_copy(uri, tmp_path), working_copy(uri, tmp_path, "another"))


def test_a_store_that_does_not_answer_stops_the_mirror_but_not_the_search(
    service: Buckets, tmp_path: Path, quick: None
) -> None:
    with hold(working_copy(f"{service.make()}/one", tmp_path)) as lease:
        service.go_away()
        try:
            time.sleep(0.8)
            assert not lease.is_ours()
            lease.check()
        finally:
            service.come_back()
        assert lease.is_ours()


# --- a whole run ---------------------------------------------------------------------------------


def test_a_run_that_is_taken_over_in_mid_training_ends_at_once_and_leaves_all_as_it_was(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path / "one")
    long = ("--task", "demo", "--slots", "1", "--rungs", "1", "--set", "num_train_epochs=4000")
    old = start(tmp_path, "tune", *long, "--name", "one")
    try:
        until = time.monotonic() + 240
        while not (run.journal_file.exists() and b'"taken"' in run.journal_file.read_bytes()):
            assert old.poll() is None, old.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.1)
        before = run.journal_file.read_bytes()
        with hold(run, take_over=True):
            said, _ = old.communicate(timeout=60)
            assert old.returncode == 1
            last = said.splitlines()[-1]
            assert last.startswith(f"tuner: the run one was taken over by {myself()};")
            assert run.journal_file.read_bytes() == before
    finally:
        old.kill()
        old.communicate()
