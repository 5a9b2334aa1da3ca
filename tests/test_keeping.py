"""Disks that are full, read-only or lost half-way: training goes on where it can, what was there
stays, and the rest is an error of one line that names the path."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from tokenizers import Tokenizer

from tests.journals import Told, journal_of
from tests.small_disks import SmallDisk, small_disk
from tests.test_bench import CONFIGURATION, run
from tests.test_export import BEST, DEMO, FACTS, LIMIT, export, texts, trained
from tests.toy import go, numbers, toy_materials
from tuner import attempts, documents
from tuner.bases import load_base
from tuner.bench import Bench
from tuner.checkpoints import newest
from tuner.cli import run_guarded
from tuner.disks import refusal
from tuner.errors import TunerError, Unwritable, UserError
from tuner.export import export_model
from tuner.formats import write_leaderboard
from tuner.journal import Journal, read_history
from tuner.keeping import check_room, check_room_left, kept, room_note
from tuner.leaderboard import rows
from tuner.mailbox import Word
from tuner.models import build_model
from tuner.runs import Run, create_run
from tuner.training import save_model

__all__ = ["small_disk"]

FULL = "No space left on device"
READ_ONLY = "Read-only file system"


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(toy_materials(dropout=0.1))


def files(folder: Path) -> dict[str, bytes]:
    """Everything below a folder, hidden files too."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".filler"
    }


# --- what a disk says -----------------------------------------------------------------------------


def test_a_refusal_is_known_whichever_library_says_it(small_disk: SmallDisk) -> None:
    import torch

    large = torch.zeros(1 << 18)
    file = small_disk.folder / "file"
    ways: list[Callable[[], Any]] = [
        lambda: documents.write_bytes(file, b"x" * 9999),
        lambda: save_file({"weight": large}, file),
        lambda: torch.save(large, file),
        lambda: torch.save({"state": [large]}, file),
        lambda: Tokenizer.from_str(_tokenizer()).save(str(file)),
    ]
    with small_disk.full():
        for write in ways:
            with pytest.raises(Exception) as caught:  # noqa: PT011 - each library has its own
                write()
            assert refusal(caught.value) is not None, repr(caught.value)
            file.unlink(missing_ok=True)
    with small_disk.read_only():
        for write in ways:
            with pytest.raises(Exception) as caught:  # noqa: PT011
                write()
            assert refusal(caught.value) is not None, repr(caught.value)
    for error in (ValueError("no"), FileNotFoundError(errno.ENOENT, "No such file", "x")):
        assert refusal(error) is None


def _tokenizer() -> str:
    base = load_base("tiny", DEMO, texts)
    text: str = base.tokenizer.backend_tokenizer.to_str()
    return text


def test_an_error_of_a_small_file_names_its_path_and_the_old_one_stays(
    small_disk: SmallDisk,
) -> None:
    file = small_disk.folder / "file.json"
    documents.write_json(file, {"old": True})
    before = files(small_disk.folder)
    with small_disk.full(), pytest.raises(OSError, match=r"file\.json"):
        documents.write_json(file, {"new": "x" * 9999})
    assert files(small_disk.folder) == before


# --- while trials run -----------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_a_trial_goes_on_without_the_checkpoint_that_cannot_be_written_and_says_so(
    bench: Bench, small_disk: SmallDisk, trouble: str
) -> None:
    checkpoints = small_disk.folder / "checkpoints"
    order: dict[str, Any] = {
        "checkpoints": str(checkpoints),
        "checkpoint_every": 0.0,
        "predictions": str(small_disk.folder / "predictions" / "t0.parquet"),
    }
    undisturbed = numbers(run(bench))
    disk = small_disk.full() if trouble == "full" else small_disk.read_only()
    reached = 0

    def word() -> Word:
        nonlocal reached
        reached += 1
        if reached == 1:
            disk.__enter__()
        return go()

    try:
        with pytest.warns(UserWarning, match="no checkpoint is kept at step"):
            reports = run(bench, word, **order)
        assert numbers(reports) == undisturbed
        assert reports[0].warning is None
        assert f"at step 9: {checkpoints}" in (reports[1].warning or "")
        said = FULL if trouble == "full" else READ_ONLY
        assert f"cannot be written ({said})" in (reports[1].warning or "")
        assert "t0.parquet cannot be written" in (reports[-1].warning or "")
    finally:
        disk.__exit__(None, None, None)


def test_the_checkpoint_before_is_still_the_newest_and_the_disk_is_given_back(
    bench: Bench, small_disk: SmallDisk
) -> None:
    checkpoints = small_disk.folder / "checkpoints"
    reached = 0
    steps = []

    def word() -> Word:
        nonlocal reached
        reached += 1
        found = newest(str(checkpoints))
        steps.append(found and found[1].step)
        if reached == 1:
            small_disk.fill()
            return "go"
        return "leave"

    with pytest.warns(UserWarning, match="no checkpoint is kept"):
        run(bench, word, checkpoints=str(checkpoints), checkpoint_every=0.0)
    assert steps[0] is not None
    assert steps == [steps[0]] * 2
    assert not (checkpoints / "writing").exists()
    small_disk.free()
    again = run(bench, go, checkpoints=str(checkpoints))
    assert numbers(again) == numbers(run(bench))


def test_a_warning_is_in_the_trials_row(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "journal.jsonl") as journal:
        journal.append("session", planned=1, slots=1)
        journal.append("drawn", trial="t000", number=0, configuration=CONFIGURATION)
        journal.append("taken", trial="t000")
        journal.append("report", trial="t000", step=1, total_steps=9, warning="no checkpoint")
        journal.append("finished", trial="t000", step=9, total_steps=9, objective=0.5)
    (row,) = rows(read_history(tmp_path / "journal.jsonl"), "max")
    assert (row.status, row.warning, row.error) == ("finished", "no checkpoint", None)


# --- the run's own files --------------------------------------------------------------------------


def test_a_journal_on_a_full_disk_keeps_its_lines_and_takes_nothing_more(
    small_disk: SmallDisk,
) -> None:
    path = small_disk.folder / "journal.jsonl"
    with Journal.open(path) as journal:
        journal.append("session", planned=9, slots=1)
        small_disk.fill()
        with pytest.raises(TunerError, match=rf"journal.jsonl: cannot write .*{FULL}") as caught:  # noqa: PT012
            for number in range(1000):
                journal.append("drawn", trial=f"t{number}", number=number, configuration={})
        assert f"tuner resume {small_disk.folder}" in str(caught.value)
        whole = path.read_bytes()
        small_disk.free()
        # What this process knows is ahead of the file: a line after it would tell of a trial that
        # was never drawn.
        with pytest.raises(TunerError, match="cannot write the journal"):
            journal.append("taken", trial="t0")
    assert path.read_bytes() == whole
    assert all(json.loads(line) for line in whole.splitlines())
    with Journal.open(path) as journal:
        drawn = len(journal.history.records)
        journal.append("drawn", trial="fresh", number=drawn, configuration={})
    assert read_history(path).records.keys() >= {"fresh"}


def test_a_leaderboard_that_cannot_be_written_leaves_the_older_files(
    small_disk: SmallDisk,
) -> None:
    run = create_run(small_disk.folder, "demo", "run")
    journal_of(run.journal_file, [Told()])
    table = rows(read_history(run.journal_file), "max")
    write_leaderboard(run, table)
    before = files(run.folder)
    with small_disk.full(), pytest.raises(OSError, match=FULL):
        write_leaderboard(run, table * 50)
    assert files(run.folder) == before


# --- models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_an_export_that_the_disk_does_not_take_keeps_the_older_model(
    small_disk: SmallDisk, tmp_path: Path, trouble: str
) -> None:
    best = export(small_disk.folder)
    base = load_base("tiny", DEMO, texts)
    weights = trained(base, tmp_path / "trained")
    before = files(best.parent)
    disk = small_disk.full() if trouble == "full" else small_disk.read_only()
    with disk, pytest.raises(Unwritable) as caught:
        export_model(
            weights,
            Run(best.parent),
            DEMO,
            base.tokenizer,
            metrics={"accuracy": 0.1},
            rows=1,
            split="validation",
            hyperparameters=BEST,
            card=FACTS,
            max_length=LIMIT,
        )
    said = FULL if trouble == "full" else READ_ONLY
    assert str(caught.value).startswith(
        f"{best} cannot be written ({said}); what was there is kept"
    )
    assert f"tuner resume {best.parent}" in str(caught.value)
    assert files(best.parent) == before
    assert [path.name for path in best.parent.iterdir()] == ["best"]


def test_a_trained_model_that_the_disk_does_not_take_is_an_error_that_names_the_path(
    small_disk: SmallDisk,
) -> None:
    model = build_model(toy_materials().weights)
    folder = small_disk.folder / "model"
    save_model(model, str(folder))
    before = files(small_disk.folder)
    with small_disk.full(), pytest.raises(Unwritable, match=rf"model cannot be written .*{FULL}"):
        save_model(model, str(folder))
    assert files(small_disk.folder) == before


def test_a_trained_model_that_cannot_be_saved_is_no_failure_and_its_checkpoint_stays(
    bench: Bench, small_disk: SmallDisk, tmp_path: Path
) -> None:
    order: dict[str, Any] = {
        "rungs": 1,
        "save_to": str(small_disk.folder / "model"),
        "checkpoints": str(tmp_path / "t0"),
        "checkpoint_every": 0.0,
        "log": str(tmp_path / "t0.log"),
    }
    with small_disk.full():
        report = run(bench, **order)[-1]
    assert report.kind == "unsaved"
    assert f"model cannot be written ({FULL})" in (report.error or "")
    assert "unsaved at step" in (tmp_path / "t0.log").read_text()
    found = newest(str(tmp_path / "t0"))
    assert found is not None
    small_disk.free()
    with pytest.MonkeyPatch.context() as patch:
        steps: list[int] = []
        after = attempts.Attempt._after_step
        patch.setattr(
            attempts.Attempt,
            "_after_step",
            lambda self, step, control: (steps.append(step), after(self, step, control))[1],
        )
        assert run(bench, **order)[-1].kind == "end"
    assert steps[0] == found[1].step + 1
    assert (small_disk.folder / "model" / "model.safetensors").is_file()


# --- before anything starts -----------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run_guarded(arguments) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_storage_that_is_read_only_is_refused_before_anything_is_read(
    small_disk: SmallDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    (small_disk.folder / "runs").mkdir()
    storage = str(small_disk.folder / "runs")
    with small_disk.read_only():
        said = refused(capsys, "tune", "--task", "demo", "--storage", storage)
    assert "cannot be written; choose another --storage" in said


def test_a_run_that_cannot_go_on_where_it_lies_is_refused(
    small_disk: SmallDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    run = create_run(small_disk.folder, "demo", "mine")
    journal_of(run.journal_file, [Told()])
    with small_disk.read_only():
        assert f"{run.folder} cannot be written" in refused(capsys, "resume", str(run.folder))
    run.best_folder.mkdir()
    with small_disk.read_only(run.best_folder):
        said = refused(capsys, "resume", str(run.folder))
    assert f"{run.best_folder} cannot be written, and the run mine goes on there" in said


def test_too_little_room_is_told_in_bytes(small_disk: SmallDisk) -> None:
    check_room(str(small_disk.folder / "runs"), 1 << 20)
    with pytest.raises(UserError, match=r"has \d\.\d MiB free, and 2\.0 GiB are needed"):
        check_room(str(small_disk.folder / "runs"), 2 << 30)
    with pytest.raises(Unwritable, match="then go on with: tuner resume"):
        check_room_left(Run(small_disk.folder), 2 << 30)
    assert room_note(10, None) is None
    assert room_note(10, 10) is None
    assert "its trial goes on without" in (room_note(3 << 20, 2 << 20) or "")


def test_a_run_that_could_not_begin_leaves_nothing_and_one_that_has_says_how_to_go_on(
    tmp_path: Path,
) -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "file"))
    fresh = create_run(tmp_path, "demo", "fresh")
    with pytest.raises(UserError, match=rf"file cannot be written \({FULL}\).*--storage"):  # noqa: SIM117
        with kept(fresh, fresh=True):
            raise error
    assert not fresh.folder.exists()
    begun = create_run(tmp_path, "demo", "begun")
    journal_of(begun.journal_file, [Told()])
    with pytest.raises(Unwritable, match=r"what the run has is kept: .*tuner resume .*begun"):  # noqa: SIM117
        with kept(begun, fresh=True):
            raise error
    assert begun.journal_file.exists()
    with pytest.raises(ZeroDivisionError), kept(begun):
        raise ZeroDivisionError


def test_predictions_that_the_disk_does_not_take_are_an_error_of_one_line(
    small_disk: SmallDisk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = export(tmp_path)
    source = tmp_path / "rows.csv"
    source.write_text("sentence1,sentence2\n" + "the key,the box\n" * 500)
    output = small_disk.folder / "out.csv"
    with small_disk.full():
        code = run_guarded(["predict", str(best), "--input", str(source), "--output", str(output)])
    said = capsys.readouterr().err.splitlines()[-1]
    assert code == 1
    assert said.startswith(f"tuner: {output}: {FULL}; ")
    assert not output.exists()
