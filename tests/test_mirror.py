"""A run in a store: what a driver writes on its disk is there too, and what a lost host can cost.

Against a real S3 service; drivers are killed with SIGKILL.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.buckets import Buckets
from tuner import mirror
from tuner.errors import TunerError, UserError
from tuner.journal import Journal
from tuner.mirror import JOURNAL_EVERY, catch_up, copy_to, mirrored, work_on
from tuner.runs import Run, check_free, create_run, find_run, list_runs
from tuner.stores import Store, open_store


@pytest.fixture
def storage(service: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mirror, "FILES_EVERY", 0.2)
    monkeypatch.setattr(mirror, "FOLDERS_EVERY", 0.2)
    return f"{service.make()}/runs"


def ours() -> bool:
    return True


def store_of(run: Run) -> Store:
    assert run.uri is not None
    return open_store(run.uri)


def until(condition: Callable[[], bool], seconds: float = 20.0) -> float:
    """Wait for it; the seconds that it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it never came"
        time.sleep(0.02)
    return time.monotonic() - began


def filled(run: Run, created: str = "2026-11-20T10:00:00+00:00") -> Run:
    run.settings_file.write_text(f"created: '{created}'\nsettings: {{}}\n")
    return run


def model(run: Run, **files: str) -> None:
    shutil.rmtree(run.best_folder, ignore_errors=True)
    run.best_folder.mkdir()
    for name, text in files.items():
        (run.best_folder / name.replace("_", ".")).write_text(text)


def other_host(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """From here on, this is a host with another disk."""
    monkeypatch.setenv("TUNER_CACHE", str(folder))


def test_a_line_of_the_journal_is_in_the_store_within_two_seconds(storage: str) -> None:
    run = create_run(storage, "rte")
    store = store_of(run)
    with mirrored(run, ours), Journal.open(run.journal_file) as journal:
        waits = []
        for number in range(4):
            journal.append("note", text=f"line {number}")
            content = run.journal_file.read_bytes()
            waits.append(until(lambda: store.read("journal.jsonl") == content))  # noqa: B023
            time.sleep(0.1 * number)
    assert max(waits) < 2.0
    assert JOURNAL_EVERY < 2.0


def test_when_the_driver_ends_everything_is_in_the_store(storage: str) -> None:
    run = filled(create_run(storage, "rte"))
    with mirrored(run, ours):
        pass
    with mirrored(run, ours):  # and the journal is there however late its last line came
        (run.search_folder / "t000").mkdir(parents=True)
        (run.search_folder / "t000" / "result.json").write_text("{}")
        (run.folder / ".hidden").write_text("x")
        (run.folder / ".retraining-1").mkdir()
        (run.folder / ".retraining-1" / "model").write_text("x")
        model(run, config_json="{}", metrics_json="{}")
        run.leaderboard_file("csv").write_text("trial\n")
        run.journal_file.write_bytes(b'{"event":"ended"}\n{"event":"torn')
    assert [entry.name for entry in store_of(run).entries()] == [
        "best/config.json",
        "best/metrics.json",
        "journal.jsonl",
        "leaderboard.csv",
        "run.yaml",
        "search/t000/result.json",
    ]
    assert store_of(run).read("journal.jsonl") == b'{"event":"ended"}\n'


def test_a_new_model_replaces_the_old_one_in_the_store(storage: str) -> None:
    run = filled(create_run(storage, "rte"))
    with mirrored(run, ours):
        model(run, metrics_json="1", config_json="1", old_safetensors="1")
        until(lambda: store_of(run).read("best/metrics.json") == b"1")
        assert store_of(run).read("best/old.safetensors") == b"1"
        model(run, metrics_json="22", config_json="22")
        until(lambda: store_of(run).read("best/metrics.json") == b"22")
        # The scores are the last to come: whoever sees them sees the whole model.
        assert store_of(run).read("best/config.json") == b"22"
        assert store_of(run).read("best/old.safetensors") is None


def test_a_driver_without_the_lease_writes_nothing(storage: str) -> None:
    run = filled(create_run(storage, "rte"))

    def drive() -> None:
        run.journal_file.write_bytes(b'{"event":"note"}\n')
        time.sleep(2 * JOURNAL_EVERY)
        raise ValueError("overruled")

    with pytest.raises(ValueError, match="overruled"), mirrored(run, lambda: False):
        drive()
    assert store_of(run).entries() == []


def test_a_store_that_is_away_for_a_while_costs_nothing(storage: str, service: Buckets) -> None:
    run = filled(create_run(storage, "rte"))
    notes: list[str] = []
    with mirrored(run, ours, notes.append), Journal.open(run.journal_file) as journal:
        journal.append("note", text="before")
        until(lambda: store_of(run).read("journal.jsonl") == run.journal_file.read_bytes())
        service.go_away()
        try:
            journal.append("note", text="meanwhile")
            until(lambda: len(notes) == 1)
        finally:
            service.come_back()
        until(lambda: store_of(run).read("journal.jsonl") == run.journal_file.read_bytes())
        until(lambda: len(notes) == 2)
    assert "takes no files" in notes[0]
    assert "takes files again" in notes[1]


def test_an_end_that_cannot_be_copied_is_said_with_the_way_out(
    storage: str, service: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "PATIENCE", 0.0)
    run = filled(create_run(storage, "rte"))
    try:
        with pytest.raises(TunerError, match=f"tuner resume {run.uri}") as caught:  # noqa: SIM117
            with mirrored(run, ours):
                service.go_away()
    finally:
        service.come_back()
    assert "\n" not in str(caught.value)
    assert str(run.folder) in str(caught.value)


DRIVER = """
import pathlib, sys, time
from tuner.journal import Journal
from tuner.mirror import mirrored
from tuner.runs import Run
run = Run(pathlib.Path(sys.argv[1]), sys.argv[2])
with mirrored(run, lambda: True), Journal.open(run.journal_file) as journal:
    while True:
        journal.append("note", text="x" * 100)
        time.sleep(0.01)
"""


def test_a_lost_host_costs_the_last_two_seconds_of_the_journal_at_most(
    storage: str, service: Buckets
) -> None:
    run = filled(create_run(storage, "rte"))
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(run.folder), str(run.uri)],
        env={
            **os.environ,
            **service.environment,
            "PYTHONPATH": str(Path(__file__).parents[1]),
        },
    )
    try:
        until(lambda: (store_of(run).read("journal.jsonl") or b"").count(b"\n") > 100)
        time.sleep(0.7)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    written = run.journal_file.read_bytes()
    kept = store_of(run).read("journal.jsonl")
    assert kept is not None
    assert kept.endswith(b"\n")
    assert written.startswith(kept)
    whole = written[len(kept) : written.rfind(b"\n") + 1]
    lost = [json.loads(line)["time"] for line in whole.splitlines()]
    assert not lost or lost[-1] - lost[0] < 2.0


def test_the_longer_journal_of_this_disk_is_kept(storage: str) -> None:
    run = filled(create_run(storage, "rte", "r"))
    with mirrored(run, ours):
        run.journal_file.write_bytes(b'{"event":"a"}\n')
    run.journal_file.write_bytes(b'{"event":"a"}\n{"event":"b"}\n{"torn')
    again = work_on(find_run(storage, "r"))
    catch_up(again)
    assert again == run
    assert run.journal_file.read_bytes().startswith(b'{"event":"a"}\n{"event":"b"}\n')


def test_the_store_counts_where_another_host_went_on(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = filled(create_run(storage, "rte", "r"))
    with mirrored(first, ours):
        first.journal_file.write_bytes(b'{"event":"a"}\n')
    first.journal_file.write_bytes(b'{"event":"a"}\n{"event":"lost"}\n')
    model(first, metrics_json="1", config_json="1")

    with monkeypatch.context() as elsewhere:
        other_host(elsewhere, tmp_path / "other")
        second = work_on(find_run(storage, "r"))
        assert second.folder != first.folder
        catch_up(second)
        assert second.journal_file.read_bytes() == b'{"event":"a"}\n'
        assert second.settings_file.read_bytes() == first.settings_file.read_bytes()
        with mirrored(second, ours):
            model(second, metrics_json="2")
            second.journal_file.write_bytes(b'{"event":"a"}\n{"event":"b"}\n')

    catch_up(first)
    assert first.journal_file.read_bytes() == b'{"event":"a"}\n{"event":"b"}\n'
    assert [path.name for path in first.best_folder.iterdir()] == ["metrics.json"]
    (aside,) = first.folder.glob(".*.journal.jsonl")
    assert aside.read_bytes() == b'{"event":"a"}\n{"event":"lost"}\n'


def test_what_trackers_were_told_of_is_known_wherever_the_run_goes_on(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = filled(create_run(storage, "rte", "r"))
    told = first.tracked_folder / "mlflow.txt"
    with mirrored(first, ours):
        told.parent.mkdir(parents=True)
        told.write_text("t000\nt001\n")
    told.write_text("t000\nt001\nt002\n")  # and the host went away

    with monkeypatch.context() as elsewhere:
        other_host(elsewhere, tmp_path / "other")
        second = work_on(find_run(storage, "r"))
        catch_up(second)
        there = second.tracked_folder / "mlflow.txt"
        assert there.read_text() == "t000\nt001\n"
        with mirrored(second, ours):
            there.write_text("t000\nt001\nt003\n")

    catch_up(first)
    assert told.read_text() == "t000\nt001\nt003\nt002\n"


@pytest.mark.parametrize("left", [{}, {"config_json": "1"}, {"metrics_json": "0"}])
def test_a_model_that_did_not_reach_the_store_is_kept_and_goes_up(
    storage: str, left: dict[str, str]
) -> None:
    """The store has nothing of it, or a part, or an older one."""
    run = filled(create_run(storage, "rte", "r"))
    with mirrored(run, ours):
        run.journal_file.write_bytes(b'{"event":"ended"}\n')
    for name, text in left.items():
        store_of(run).write(f"best/{name.replace('_', '.')}", text.encode())
    model(run, metrics_json="1", config_json="1", model_safetensors="1")
    catch_up(run)
    with mirrored(run, ours):
        pass
    assert {entry.name for entry in store_of(run).entries("best")} == {
        "best/config.json",
        "best/metrics.json",
        "best/model.safetensors",
    }
    assert store_of(run).read("best/metrics.json") == b"1"


def test_a_journal_that_cannot_be_read_here_costs_the_store_nothing(storage: str) -> None:
    run = filled(create_run(storage, "rte", "r"))
    notes: list[str] = []
    with contextlib.suppress(TunerError), mirrored(run, ours, notes.append):
        run.journal_file.write_bytes(b'{"event":"a"}\n')
        until(lambda: store_of(run).read("journal.jsonl") == b'{"event":"a"}\n')
        run.journal_file.unlink()
        run.journal_file.mkdir()
        until(lambda: bool(notes))
        raise TunerError("enough")
    assert "cannot be read" in notes[0]
    assert store_of(run).read("journal.jsonl") == b'{"event":"a"}\n'
    with pytest.raises(TunerError, match="cannot be read"):
        catch_up(run)


def test_copies_that_have_no_place_are_the_users_to_mend(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = filled(create_run(storage, "rte", "r"))
    with mirrored(run, ours):
        pass
    (tmp_path / "file").touch()
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "file" / "x"))
    for act in (lambda: find_run(storage, "r"), lambda: create_run(storage, "rte")):
        with pytest.raises(UserError, match="TUNER_CACHE"):
            act()
    with pytest.raises(TunerError, match=r"cannot be copied to .*Not a directory"):
        copy_to(run, tmp_path / "file")


def test_a_model_that_came_from_the_store_does_not_go_up_again(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = filled(create_run(storage, "rte", "r"))
    with mirrored(run, ours):
        model(run, metrics_json="1", model_safetensors="1")
    before = store_of(run).entry("best/model.safetensors")
    other_host(monkeypatch, tmp_path / "other")
    run = work_on(find_run(storage, "r"))
    catch_up(run)
    time.sleep(1.1)  # S3 tells whole seconds
    with mirrored(run, ours):
        run.journal_file.write_bytes(b'{"event":"a"}\n')
    assert store_of(run).entry("best/model.safetensors") == before
    assert store_of(run).read("journal.jsonl") == b'{"event":"a"}\n'


def test_runs_in_a_store_are_made_once_and_found_by_name_by_uri_and_as_the_newest(
    storage: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="there is no run in s3://"):
        find_run(storage)
    for name, created in (("b", "2026-11-20T10:00:00+00:00"), ("a", "2026-11-20T11:00:00+00:00")):
        run = filled(create_run(storage, "rte", name), created)
        with mirrored(run, ours):
            run.journal_file.write_bytes(b'{"event":"x"}\n')
    assert [run.name for run in list_runs(storage)] == ["b", "a"]
    assert find_run(storage).name == "a"
    found = find_run(storage, "b")
    assert (found.name, found.uri) == ("b", f"{storage}/b")
    assert find_run("elsewhere", f"{storage}/b/") == found
    assert found.journal_file.read_bytes() == b'{"event":"x"}\n'
    with pytest.raises(UserError, match=rf"already exists in {storage}.*tuner resume {storage}/b"):
        create_run(storage, "rte", "b")
    with pytest.raises(UserError, match="already exists"):
        check_free(storage, "b")
    check_free(storage, "c")
    # Two drivers of this disk that begin at once do not get in each other's way.
    fresh = [create_run(storage, "rte") for _ in range(2)]
    assert len({run.folder for run in fresh}) == 2
    assert all(run.name.startswith("rte-") and run.folder.is_dir() for run in fresh)
    for which in ("nosuch", f"{storage}/nosuch", "x" * 300, ""):
        with pytest.raises(UserError, match="there is no run"):
            find_run(storage, which)
    # What a reader has at hand follows the store.
    store_of(found).remove("journal.jsonl")
    store_of(found).remove("run.yaml")
    assert [run.name for run in list_runs(storage)] == ["a"]


def test_a_run_that_only_began_here_can_be_gone_on_with(storage: str) -> None:
    run = filled(create_run(storage, "rte", "r"))
    store_of(run).write("lease.json", b"{}")
    assert work_on(find_run(storage, f"{storage}/r")) == run


def test_a_storage_that_takes_no_files_is_refused_before_anything_is_made(
    service: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"storage s3://no-such-bucket-here/x.* cannot be written"):
        create_run("s3://no-such-bucket-here/x", "rte")
    assert not (tmp_path / "cache").exists()


def test_a_copy_beside_is_made_and_brought_up_to_date(storage: str, tmp_path: Path) -> None:
    run = filled(create_run(storage, "rte", "r"))
    with mirrored(run, ours):
        run.journal_file.write_bytes(b'{"event":"a"}\n')
    store_of(run).write("predictions/t000.parquet", b"p")
    store_of(run).write("checkpoints/t001/checkpoint-1/model", b"c")
    store_of(run).write("lease.json", b"{}")
    copy = copy_to(find_run(storage, "r"), tmp_path / "runs")
    assert copy == Run(tmp_path / "runs" / "r")
    names = {path.name for path in copy.folder.iterdir()}
    assert names == {"run.yaml", "journal.jsonl", "predictions"}
    with mirrored(run, ours):
        run.journal_file.write_bytes(b'{"event":"a"}\n{"event":"b"}\n')
    assert copy_to(find_run(storage, "r"), tmp_path / "runs").journal_file.read_bytes() == (
        b'{"event":"a"}\n{"event":"b"}\n'
    )
    copy.journal_file.write_bytes(b'{"event":"mine"}\n')
    with pytest.raises(UserError, match="move it out of the way"):
        copy_to(find_run(storage, "r"), tmp_path / "runs")
