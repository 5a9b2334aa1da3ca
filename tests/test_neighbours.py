"""A search on this machine is told what the others there take, as long as they live."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tuner.neighbours import Search, announced, note, searches

OTHER = Search("rte-first", slots=2, cores=2, gpus=0)

SCRIPT = """
import sys
from tuner.neighbours import Search, announced
with announced(Search("rte-first", slots=2, cores=2, gpus=0)):
    print("here", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No searches but those of the test."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


@contextmanager
def another() -> Iterator[subprocess.Popen[str]]:
    """Another process with a search of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_another_search_is_known_until_its_process_ends(tmp_path: Path) -> None:
    assert searches() == []
    with another() as process:
        (found,) = searches()
        assert (found.run, found.share, found.pid) == (OTHER.run, OTHER.share, process.pid)
        assert searches() == [found]
        process.kill()
        process.wait()
        assert searches() == []
    assert list(tmp_path.rglob("*.json")) == []


def test_a_search_that_ends_is_forgotten(tmp_path: Path) -> None:
    with announced(OTHER):
        assert [found.pid for found in searches()] == [os.getpid()]
    assert searches() == []
    assert list(tmp_path.rglob("*.json")) == []


def test_the_note_names_the_others_and_says_whether_there_is_room() -> None:
    mine = Search("sst2", slots=1, cores=1, gpus=0)
    other = Search("rte-first", slots=2, cores=2, gpus=0, pid=12)
    assert note(mine, [], cores=2, gpus=0) is None
    full = note(mine, [other], cores=2, gpus=0)
    assert full is not None
    assert "rte-first (process 12) has 2 slots on 2 cores" in full
    assert "this one takes 1 slot on 1 core" in full
    assert "--slots" in full
    room = note(mine, [other], cores=4, gpus=0)
    assert room is not None
    assert room.endswith("room for all")
    gpus = note(Search("a", 1, 1, 1.0), [Search("b", 1, 1, 0.5)], cores=9, gpus=1)
    assert gpus is not None
    assert "1 core and 0.5 GPUs" in gpus
    assert "--slots" in gpus


def test_where_nothing_can_be_written_a_search_goes_on_untold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with announced(OTHER):
        assert searches() == []


def test_a_broken_file_is_passed_over(tmp_path: Path) -> None:
    with announced(OTHER):
        (folder,) = tmp_path.iterdir()
        (folder / "1-x.json").write_text("{")
        assert len(searches()) == 1
