"""A run.yaml in which a value is of another type than it was written with: what reads it says so in
a line, and shows all else of the run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.journals import Told, journal_of
from tuner.cli import run_guarded
from tuner.commands.boards import board
from tuner.dossier import dossier, lines
from tuner.entries import entry_of
from tuner.errors import UserError
from tuner.facts import _Facts
from tuner.forecast import Estimate
from tuner.page.reading import read_report
from tuner.runs import Run
from tuner.settings import Settings, read_run_file
from tuner.views import view

TRIALS = (Told(), Told("stopped", (0.5, 0.55)))

WRONG: tuple[Any, ...] = (3, -1, 0.5, True, "seven", "7", [], ["x", 3], {}, {"x": [1]}, {"x": "y"})


def _paths() -> Iterator[tuple[str, ...]]:
    for name in Settings.model_fields:
        yield "settings", name
    for name, field in _Facts.model_fields.items():
        yield (name,)
        part = next(
            (kind for kind in field.annotation.__args__ if hasattr(kind, "model_fields")), None
        )
        for inner in getattr(part, "model_fields", ()):
            yield name, inner
    yield ("settings",)
    yield from (("data", "majority", "selection"), ("data", "majority", "selection", "accuracy"))
    yield from (("data", "fingerprints", "train"), ("estimate", "low"), ("versions", "torch"))


PATHS = list(_paths())


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run beside the one whose run.yaml the tests write."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("odd", "good"):
        run = Run(folder / name)
        run.folder.mkdir()
        journal_of(run.journal_file, TRIALS)
        write(run, (), None)
    return folder


def write(run: Run, path: tuple[str, ...], value: Any) -> None:
    content: dict[str, Any] = {"settings": {"task": "rte"}, "task": {"name": "rte"}}
    inner = content
    for step in path[:-1]:
        inner = inner.setdefault(step, {})
    if path:
        inner[path[-1]] = value
    run.settings_file.write_text(json.dumps(content, indent=1))  # JSON is YAML


@pytest.mark.parametrize("path", PATHS, ids=".".join)
def test_a_value_of_a_wrong_type_is_told_of_or_does_no_harm(
    storage: Path, path: tuple[str, ...]
) -> None:
    run = Run(storage / "odd")
    refused = 0
    for value in WRONG:
        write(run, path, value)
        try:
            read_run_file(run)
        except UserError as error:
            refused += 1
            said = str(error)
            assert said.startswith(f"{run.settings_file}:"), value
            assert path[-1] in said or path == ("settings",), value
            assert "\n" not in said
            (trouble,) = view(run).troubles
            assert trouble == f"run.yaml cannot be used: {said}"
            continue
        seen = view(run)
        assert seen.troubles == (), value
        entry_of(seen)
        assert "t000" in board(run)
        assert lines(dossier(run, "t000"))
        assert read_report(run).plain_data()
    assert refused >= 4 or path in (("settings", "set"), ("space",), ("versions",)), refused


@pytest.mark.parametrize(
    "content", ["[1, 2]", "text", "3", "settings: 3", "settings: [task]", "1: 2\nsettings: {}"]
)
def test_a_file_of_another_form_is_read_by_all_commands_without_a_traceback(
    storage: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    run = Run(storage / "odd")
    run.settings_file.write_text(content)
    assert run_guarded(["leaderboard", str(run.folder)]) == 0
    assert "t000" in capsys.readouterr().out
    if "{}" not in content:
        assert run_guarded(["resume", str(run.folder)]) == 2


def test_an_estimate_that_lacks_a_number_is_none() -> None:
    whole = Estimate(4, 2, 8.0, 6.0, 9.0, 5.0, 9.0, 9.0, False, 4.0).plain()
    assert Estimate.read(whole) is not None
    assert Estimate.read({**whole, "low": None}) is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("data",), 3),
        (("data",), [1]),
        (("task",), "rte"),
        (("model",), 7),
        (("data", "selection_rows"), "1,000"),
        (("settings", "trials"), {}),
    ],
)
def test_every_command_tells_of_it(
    storage: Path, capsys: pytest.CaptureFixture[str], path: tuple[str, ...], value: Any
) -> None:
    odd, good = Run(storage / "odd"), Run(storage / "good")
    write(odd, path, value)
    named = f"{odd.settings_file}:"
    for command in (["resume"], ["evaluate"], ["export"], ["predict", "--split", "test"]):
        to = ["--output", "x.csv"] if command[0] == "predict" else []
        assert run_guarded([*command, str(odd.folder), *to]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"tuner: {named}")
        assert said.count("\n") == 1
        assert f"{'.'.join(path).removeprefix('settings.')}: " in said
    for arguments in (
        ["leaderboard", str(odd.folder)],
        ["leaderboard", "--all", "--storage", str(storage)],
        ["leaderboard", str(odd.folder), str(good.folder)],
        ["show", str(odd.folder), "t000"],
    ):
        assert run_guarded(arguments) == 0
        told = capsys.readouterr()
        assert named in told.out + told.err, arguments
        assert "t000" in told.out
    assert run_guarded(["report", str(odd.folder)]) == 0
    assert run_guarded(["report", "--all", "--storage", str(storage)]) == 0
    for page in (odd.folder / "report.html", storage / "report.html"):
        assert str(odd.settings_file) in page.read_text(encoding="utf-8")
