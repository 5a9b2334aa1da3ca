"""A run whose files are damaged: the leaderboard, its page and `show` have what is whole, say what
is not, and nothing of it ends in a traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import pages
from tests.journals import Told
from tests.predictions import right_on, write_predictions
from tuner.cli import run_guarded
from tuner.commands.boards import board
from tuner.dossier import as_json, dossier, lines
from tuner.page.captions import captions
from tuner.page.reading import read_report
from tuner.runs import Run
from tuner.views import view

TRIALS = (
    Told(values=(0.5, 0.6, 0.8)),
    Told(values=(0.5, 0.6, 0.7)),
    Told("stopped", (0.5,)),
    Told("failed", (0.5,), error="no room"),
    Told("running", (0.5,)),
)

ODD: tuple[Any, ...] = (None, 10**400, "x", [1], float("nan"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose journal the tests write; all else of it is whole."""
    return made(tmp_path_factory.mktemp("runs"))


def made(storage: Path) -> Run:
    """A run with predictions, comparisons and a final model; its run.yaml is read in no time."""
    run = pages.make_run(storage, "odd", TRIALS, winner=0)
    run.settings_file.write_text("settings: {task: sst2}\n")
    labels = np.arange(20) % 2
    for trial, right in (("t000", 16), ("t001", 14)):
        write_predictions(
            run.predictions_folder, trial, right_on(np.arange(20) < right, labels), labels
        )
    board(run)  # writes comparisons.json
    return run


@pytest.fixture(scope="module")
def whole(run: Run) -> bytes:
    return run.journal_file.read_bytes()


def read(run: Run) -> list[str]:
    """Read by all its readers; what is said of it that is not whole."""
    text = board(run)
    told = [line for line in text.splitlines() if line.startswith("Not whole: ")]
    page = read_report(run)
    json.dumps(page.plain_data(), allow_nan=False)
    assert captions(page)
    said = [line for line in page.heading if line.startswith("Not whole: ")]
    assert said == [line for line in told if "comparisons" not in line], "made anew at once"
    if " t000 " in text:
        found = dossier(run, "t000")
        json.dumps(as_json(found), allow_nan=False)
        assert lines(found)
    return told


def events(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


def written(run: Run, told: list[Mapping[str, Any]]) -> None:
    run.journal_file.write_text("".join(json.dumps(event) + "\n" for event in told))


FIELDS = (
    *("event", "time", "trial", "slot", "planned", "number", "configuration", "start_point"),
    *("reseed_of", "level", "step", "total_steps", "progress", "objective", "loss", "metrics"),
    *("train_loss", "train_seconds", "total_seconds", "error", "effective_batch_size", "workers"),
    *("warning", "halvings", "text", "reason", "pid", "finalists"),
)


@pytest.mark.parametrize("field", FIELDS)
def test_a_journal_with_a_field_of_any_type_or_without_it_is_shown_as_far_as_it_goes(
    run: Run, whole: bytes, field: str
) -> None:
    told = events(whole)
    place = next((n for n, event in enumerate(told) if field in event and n), 3)
    without = {name: value for name, value in told[place].items() if name != field}
    for event in (without, *({**without, field: odd} for odd in ODD)):
        written(run, [*told[:place], event, *told[place + 1 :]])
        assert len(read(run)) <= 1, event


@pytest.mark.parametrize("objective", [None, float("nan"), float("inf"), 1e308, 0.5])
def test_scores_that_are_none_are_shown_as_such(
    run: Run, whole: bytes, objective: float | None
) -> None:
    for metrics in ({}, {"accuracy": None}, {"accuracy": "x"}, {"f1": 0.5}):
        told = [
            {**event, "metrics": metrics, "objective": objective} if "objective" in event else event
            for event in events(whole)
        ]
        written(run, told)
        assert len(read(run)) <= 1


def _lines(content: bytes) -> Iterator[bytes]:
    lines_ = content.splitlines(keepends=True)
    middle = len(lines_) // 2
    for odd in (b"\x00\n", b"{}\n", b"[]\n", b"null\n", b'{"event":"new"}\n', b"\xff\n", b"\n"):
        yield b"".join([*lines_[:middle], odd, *lines_[middle:]])
    for at in (0, 1, 2, middle, -1):
        yield b"".join([*lines_[:at], lines_[at], *lines_[at:]])  # twice
    for cut in range(0, len(content), len(content) // 11):
        yield content[:cut]
    yield content.replace(b"\n", b"\r\n")
    yield content[::-1]
    yield b"[" * 3_000 + b"\n" + content


def test_lines_that_are_torn_doubled_or_nothing_are_told_of(run: Run, whole: bytes) -> None:
    for content in _lines(whole):
        run.journal_file.write_bytes(content)
        assert len(read(run)) <= 1, content[:80]


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "a folder": _folder,
    "half": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "nested": lambda file: file.write_bytes(b"[" * 3_000),
    "binary": lambda file: file.write_bytes(bytes(range(256))),
}
FILES = {
    "journal.jsonl": {"empty"},  # a search that has not begun
    "comparisons.json": {"a folder"},  # as good as none
    "best/metrics.json": set(),
    "best/evaluation.json": set(DAMAGES),
    "predictions/t000.parquet": set(DAMAGES),
}
"""What is damaged, and the damages that are no trouble of the run."""


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_damaged_leaves_the_rest_to_be_shown(
    tmp_path: Path, run: Run, whole: bytes, name: str, damage: str
) -> None:
    run.journal_file.write_bytes(whole)
    odd = Run(Path(shutil.copytree(run.folder, tmp_path / "odd")))
    if name.startswith("predictions"):
        odd.comparisons_file.unlink()
    DAMAGES[damage](odd.folder / name)
    told = " ".join(read(odd))
    assert (name.split("/")[-1] in told) == (damage not in FILES[name])
    if name.startswith("predictions"):
        assert "how sure the scores of t000 are is not known" in board(odd)
    if name != "journal.jsonl":
        assert len(view(odd).rows) == len(TRIALS)


def test_every_command_ends_in_a_line_where_there_is_no_journal_to_read(
    tmp_path: Path, run: Run, whole: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    run.journal_file.write_bytes(whole)
    odd = Run(Path(shutil.copytree(run.folder, tmp_path / "odd")))
    _folder(odd.journal_file)
    for arguments, code in (
        (["leaderboard", str(odd.folder)], 0),
        (["show", str(odd.folder), "t000"], 2),
        (["report", str(odd.folder)], 0),
        (["report", "--all", "--storage", str(tmp_path)], 0),
        (["leaderboard", "--all", "--storage", str(tmp_path)], 0),
    ):
        assert run_guarded(arguments) == code
        said = capsys.readouterr()
        assert said.err.count("\n") == (code == 2)
        assert "the journal cannot be read" in said.out + said.err or "report" in arguments


@pytest.mark.parametrize(
    ("part", "odd"),
    [
        ("metrics", {"accuracy": "x"}),
        ("metrics", {"accuracy": [1]}),
        ("metrics", {"accuracy": 10**400}),
        ("intervals", {"accuracy": ["a", "b"]}),
        ("baseline", {"metrics": {"accuracy": "x"}}),
        ("labels", []),
        ("confusion", [[1], [1]]),
        ("worst", [{"row": 1, "label": "a", "prediction": "b", "probability": "x"}]),
    ],
)
def test_an_evaluation_with_odd_values_is_left_off_the_page(
    tmp_path: Path, run: Run, whole: bytes, part: str, odd: object
) -> None:
    run.journal_file.write_bytes(whole)
    assert read_report(run).final is not None
    damaged = Run(Path(shutil.copytree(run.folder, tmp_path / "odd")))
    file = damaged.best_folder / "evaluation.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), part: odd}))
    page = read_report(damaged)
    assert page.final is None
    assert "t000" in page.verdict[0]
