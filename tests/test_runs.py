"""Runs are made once, and found by what people call them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tuner.errors import UserError
from tuner.provenance import git_revision, versions
from tuner.runs import Run, check_free, create_run, find_run, list_runs


def made(storage: Path, name: str, created: str | None = None) -> Run:
    run = create_run(storage, "rte", name)
    run.settings_file.write_text(f"created: '{created}'\n" if created else "settings: {}\n")
    return run


def test_fresh_names_never_collide(tmp_path: Path) -> None:
    runs = [create_run(tmp_path, "rte") for _ in range(4)]
    assert len({run.folder for run in runs}) == 4
    assert all(run.name.startswith("rte-") and run.folder.is_dir() for run in runs)


def test_a_task_that_is_a_file_gives_a_tidy_name(tmp_path: Path) -> None:
    assert create_run(tmp_path, "../my data/Sentiment (v2).yaml").name.startswith("Sentiment-v2-")


def test_a_name_that_is_taken_is_refused_with_the_way_to_go_on(tmp_path: Path) -> None:
    create_run(tmp_path, "rte", "mine")
    with pytest.raises(UserError, match=r"already exists.*tuner resume /.*mine"):
        create_run(tmp_path, "rte", "mine")
    with pytest.raises(UserError, match="already exists"):
        check_free(tmp_path, "mine")
    check_free(tmp_path, "yours")


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "x" * 300, "a b", "a\nb", "-x", "é"])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="run name"):
        create_run(tmp_path, "rte", name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "which", ["none", "x" * 300, "../../none", "\0", "", "a\nb", "~nosuchuser/x"]
)
def test_a_run_that_is_not_there_is_the_users_to_mend(tmp_path: Path, which: str) -> None:
    made(tmp_path, "mine")
    with pytest.raises(UserError) as caught:
        find_run(tmp_path, which)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_misspelt_run_is_suggested(tmp_path: Path) -> None:
    made(tmp_path, "rte-first")
    with pytest.raises(UserError, match="did you mean 'rte-first'"):
        find_run(tmp_path, "rte-frist")


def test_a_run_is_found_by_name_by_path_and_as_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = tmp_path / "runs"
    newest = made(storage, "a-newest", "2026-11-20T10:00:01+00:00")
    oldest = made(storage, "z-oldest", "2026-11-20T11:00:00+02:00")
    assert find_run(storage) == newest
    assert find_run(storage, "z-oldest") == oldest
    assert find_run("elsewhere", str(oldest.folder)) == oldest
    monkeypatch.chdir(oldest.folder)
    assert find_run("elsewhere", ".").name == "z-oldest"


def test_half_made_folders_do_not_hide_the_runs(tmp_path: Path) -> None:
    first = made(tmp_path, "first", "2026-11-20T10:00:00+00:00")
    last = create_run(tmp_path, "rte", "second")
    event = {"event": "session", "time": 4e9}
    last.journal_file.write_text(json.dumps(event) + "\n")
    broken = made(tmp_path, "broken")
    broken.settings_file.write_bytes(b"created: yesterday\xff")
    os.utime(broken.settings_file, (1, 1))
    create_run(tmp_path, "rte", "empty")
    (tmp_path / "a file").write_text("x")
    assert list_runs(tmp_path) == [broken, first, last]
    with pytest.raises(UserError, match="is no run"):
        find_run(tmp_path, "empty")


def test_no_storage_means_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "none") == []
    with pytest.raises(UserError, match="there is no run in"):
        find_run(tmp_path / "none")


@pytest.mark.parametrize("storage", ["file", "file/below", "x" * 300, "s3://me:secret@bucket/x"])
def test_a_storage_that_is_no_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="storage") as caught:
        create_run(storage, "rte")
    assert "secret" not in str(caught.value)


def test_versions_name_python_and_what_is_installed() -> None:
    found = versions()
    assert found["python"] == sys.version.split()[0]
    assert {"torch", "transformers", "ray", "optuna"} <= set(found)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_revision_says_whether_files_were_changed(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *identity, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init")
    assert git_revision(tmp_path) is None
    (tmp_path / "f").write_text("1")
    git("add", "f")
    git("commit", "-m", "one")
    git("tag", "-a", "v1", "-m", "one")
    head = git("rev-parse", "HEAD")
    assert git_revision(tmp_path) == head
    (tmp_path / "f").write_text("2")
    assert git_revision(tmp_path) == f"{head}-dirty"
    assert git_revision(tmp_path / "none") is None
