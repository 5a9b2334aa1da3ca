"""Runs in an object store are listed, compared and shown in place, and no more of them is read than
it takes."""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path

import pytest

from tests.buckets import Buckets
from tests.test_overview import made
from tuner.cli import run_guarded
from tuner.stores import open_store

NEEDED = {"run.yaml", "journal.jsonl", "best/metrics.json"}


@pytest.fixture
def storage(service: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Two whole runs and a damaged one in a bucket, and nothing of them on this disk."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    uri = f"{service.make()}/runs"
    for name, score in (("one", 0.6), ("two", 0.7)):
        run = made(tmp_path / "up", name, final=score)
        for file in ("predictions/t000.parquet", "best/model.safetensors", "leaderboard.csv"):
            (run.folder / file).parent.mkdir(exist_ok=True)
            (run.folder / file).write_bytes(b"x" * 1_000_000)
    made(tmp_path / "up", "three").settings_file.write_text("")
    open_store(uri).send(tmp_path / "up", "")
    shutil.rmtree(tmp_path / "up")
    return uri


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run_guarded(arguments) == 0
    return capsys.readouterr().out


def copied(folder: Path) -> set[str]:
    """The files that lie in the copies of runs on this disk."""
    return {
        re.sub(r"^read/[^/]+/[^/]+/", "", path.relative_to(folder).as_posix())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_all_runs_of_a_bucket_are_listed_from_the_few_files_that_it_takes(
    storage: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="werkzeug")
    listing = ("leaderboard", "--all", "--storage", storage, "--format", "json")
    found = {entry["run"]: entry for entry in json.loads(printed(capsys, *listing))}
    first = requests(caplog)
    assert list(found) == ["one", "two", "three"]
    assert [found[name]["final"] for name in ("one", "two")] == [0.6, 0.7]
    assert found["two"]["where"] == f"{storage}/two"
    assert "is no run.yaml" in found["three"]["troubles"][0]
    assert copied(tmp_path / "cache") == NEEDED
    assert 0 < len(first) <= 12 * len(found)
    caplog.clear()
    printed(capsys, *listing)
    again = requests(caplog)
    assert not [path for verb, path in again if verb == "GET" and "/runs/one/journal" in path]
    assert len(again) <= 8 * len(found)


def requests(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Verb and path of what the service was asked for."""
    lines = [record.getMessage() for record in caplog.records if record.name == "werkzeug"]
    return [match.groups() for line in lines if (match := re.search(r'"(\w+) (\S+) HTTP', line))]


def test_runs_of_a_bucket_are_compared_and_their_trials_shown(
    storage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(capsys, "leaderboard", f"{storage}/one", f"{storage}/two")
    assert "Not comparable" not in text
    assert "nothing in their settings" in text
    shown = printed(capsys, "show", f"{storage}/two", "t001")
    assert shown.startswith("t001 of two: stopped")
    assert f"tuner logs {storage}/two" not in shown
    assert printed(capsys, "show", "two", "t001", "--storage", storage) == shown
    assert copied(tmp_path / "cache") == NEEDED
