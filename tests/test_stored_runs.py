"""A run in a store, with nothing else to go by: its driver is killed and its host's disk is lost,
another host ends it, and a third one reads it. Real drivers, a real S3, the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.buckets import Buckets, buckets
from tests.glue_files import write_rte
from tests.test_resume import PATIENCE, TUNE, finish, kill_after, whole
from tuner.journal import read_history
from tuner.stores import Store, open_store


@dataclass
class Host:
    """A host of its own as far as its disk goes."""

    folder: Path
    service: Buckets
    files: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        self.folder.mkdir(exist_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "tuner", *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={
                **os.environ,
                **self.service.environment,
                "TUNER_CACHE": str(self.cache),
                "PYTHONPATH": str(Path(__file__).parents[1]),
            },
        )
        self.processes.append(process)
        return process

    def working_copy(self) -> Path:
        until = time.monotonic() + PATIENCE
        while not (found := list(self.cache.glob("runs/*/r"))):
            assert time.monotonic() < until
            assert self.processes[-1].poll() is None, self.processes[-1].communicate()[0]
            time.sleep(0.05)
        return found[0]


@dataclass(frozen=True)
class Story:
    """What the tests look at: the run's store, its journal when the first host was lost (on that
    host's disk and in the store), what the second driver printed, and a third host."""

    store: Store
    written: bytes
    kept: bytes
    output: str
    reader: Host


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with buckets() as service:
        disks, files = tmp_path_factory.mktemp("disks"), write_rte(tmp_path_factory.mktemp("glue"))
        uri = f"{service.make()}/runs"
        store = open_store(f"{uri}/r")
        first, second, third = (Host(disks / name, service, files) for name in ("1", "2", "3"))
        driver = first.start(*TUNE, "--slots", "1", "--data", str(files), "--storage", uri)
        journal = first.working_copy() / "journal.jsonl"
        written = kill_after(driver, journal, "finished", "stopped")
        kept = store.read("journal.jsonl") or b""
        shutil.rmtree(first.folder)
        output = finish(second.start("resume", f"{uri}/r"))
        yield Story(store, whole(written), kept, output, third)


def test_the_store_has_the_journal_but_for_its_last_two_seconds(story: Story) -> None:
    assert story.kept.endswith(b"\n")
    assert story.written.startswith(story.kept)
    lost = [json.loads(line)["time"] for line in story.written[len(story.kept) :].splitlines()]
    assert not lost or lost[-1] - lost[0] < 2.0


def test_another_host_ends_the_run_with_exactly_the_planned_trials(
    story: Story, tmp_path: Path
) -> None:
    content = story.store.read("journal.jsonl")
    assert content is not None
    assert content.startswith(story.kept)
    (tmp_path / "journal.jsonl").write_bytes(content)
    history = read_history(tmp_path / "journal.jsonl")
    assert list(history.records) == ["t000", "t001", "t002", "t003"]
    assert all(record.done for record in history.records.values())
    assert history.reason == "complete"
    assert f"run        {story.store.uri}" in story.output


def test_the_store_holds_all_that_a_run_leaves(story: Story, tmp_path: Path) -> None:
    names = {entry.name for entry in story.store.entries()}
    tops = {name.partition("/")[0] for name in names}
    assert {
        "run.yaml",
        "journal.jsonl",
        "leaderboard.json",
        "comparisons.json",
        "best",
        "predictions",
    } <= tops
    # Losers, the retraining, the drivers and the hosts' checks leave nothing behind.
    assert not {name for name in names if name.startswith(("checkpoints/", ".", "lease"))}
    rows = json.loads(story.store.read("leaderboard.json") or b"")
    finished = {row["trial"] for row in rows if row["status"] == "finished"}
    assert {f"predictions/{trial}.parquet" for trial in finished} <= names
    metrics = json.loads(story.store.read("best/metrics.json") or b"")
    assert metrics["hyperparameters"] == rows[0]["hyperparameters"]


def test_a_third_host_reads_the_leaderboard_and_takes_a_copy(story: Story) -> None:
    rows = json.loads(story.store.read("leaderboard.json") or b"")
    above = story.store.uri.removesuffix("/r")
    for arguments in ([story.store.uri], ["--storage", above]):
        printed = finish(story.reader.start("leaderboard", *arguments, "--format", "json"))
        assert json.loads(printed) == rows
    copied = finish(story.reader.start("leaderboard", story.store.uri, "--fetch"))
    assert "copied to runs/r" in copied
    assert json.loads(finish(story.reader.start("leaderboard", "r", "--format", "json"))) == rows


def test_a_third_host_predicts_with_the_exported_model(story: Story) -> None:
    rows = story.reader.folder / "rows.jsonl"
    rows.write_text('{"sentence1": "a b", "sentence2": "a"}\n')
    arguments = ("--input", "rows.jsonl", "--output", "out.tsv")
    finish(story.reader.start("predict", story.store.uri, *arguments))
    assert len((story.reader.folder / "out.tsv").read_text().splitlines()) == 2
