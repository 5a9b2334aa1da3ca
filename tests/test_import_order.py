"""A module imports only names before its own; only the command line prints; reading stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tuner

PACKAGE = Path(tuner.__file__).parent

ORDER = """
errors collection rules throttle credentials addresses disks documents connections stores places
tables frames strata splits shelves runs owners swaps claims leases neighbours hyperparameters
provenance forms facts settings demo tasks metrics intervals hub labels glue folders origins drafts
sources columns custom reading checks duplicates tokens cache data tiny layers models bases
parameters ranges spaces kinds scores history journal ranking finalists draws ties comparisons
comparer leaderboard formats shortfall upkeep headings sheets ordering cells rendering views
standing entries overview comparing sidebyside live progress triallog batches mailbox losses
arguments training checkpoints materials ranks trials preemption checkpointing scoring attempts
bench resources preparation portrait description session hosts preflight study statements ledger
scheduler slots crews orphans growth search retrain plain inputs answers predict evaluation
scorecard grading counterparts cards export portable upload submission meter identity mirror
keeping forecast probe plan outlook page endings eventfiles tracking trackers stages results
finish pipeline logs options curves repeating dossier commands cli
""".split()

OUTSIDE_THE_ORDER = {"__init__", "__main__"}

HEAVY = {
    "torch",
    "transformers",
    "ray",
    "datasets",
    "evaluate",
    "optuna",
    "pandas",
    "scipy",
    "sklearn",
}
"""What a command that only reads must not import."""


def modules() -> list[str]:
    """The package's modules; those below a folder as `folder/module`."""
    found = (path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py"))
    return sorted(str(path) for path in found if str(path) not in OUTSIDE_THE_ORDER)


def noun(module: str) -> str:
    """What a module is called in the order: its folder's name where it lies in one."""
    return module.partition("/")[0]


def imported_modules(source: str) -> set[str]:
    """The modules of the package that a source imports, at any depth: also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "tuner":
            names = [f"tuner.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [node.module or ""]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("tuner.")}
    return found


def test_every_module_has_its_place_in_the_order() -> None:
    assert {noun(module) for module in modules()} <= set(ORDER)
    assert len(ORDER) == len(set(ORDER))


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_names_before_its_own(module: str) -> None:
    place = ORDER.index(noun(module))
    before = set(ORDER[: place + 1 if "/" in module else place])
    imported = imported_modules((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    imported -= {"__version__"}
    assert imported <= before, f"{module} imports {sorted(imported - before)}"


def test_imports_inside_functions_are_seen() -> None:
    assert imported_modules(
        "def f():\n    from tuner.cli import main\n    import tuner.search\n"
    ) == {
        "cli",
        "search",
    }


@pytest.mark.parametrize(
    "module", [name for name in modules() if noun(name) not in ("commands", "cli")]
)
def test_nothing_but_the_command_line_prints(module: str) -> None:
    tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [
        f"line {call.lineno}"
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "print"
    ]


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after `code`."""
    script = f"{code}\nimport sys\nprint('loaded', *sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_importing_the_package_and_its_settings_loads_nothing_heavy() -> None:
    assert not loaded_by("import tuner; tuner.Settings(task='demo')") & HEAVY


def test_the_command_line_loads_nothing_heavy() -> None:
    assert not loaded_by("import tuner.cli") & HEAVY


def test_reading_runs_and_trials_loads_nothing_heavy() -> None:
    assert not loaded_by("import tuner.sidebyside, tuner.dossier, tuner.overview") & HEAVY


@pytest.mark.parametrize(
    "command",
    ["tasks", "spaces", "tune --help", "leaderboard nosuch", "logs nosuch t0", "report nosuch"],
)
def test_a_command_that_only_reads_loads_nothing_heavy(command: str, tmp_path: Path) -> None:
    code = (
        f"import os; os.chdir({str(tmp_path)!r})\n"
        "from tuner.cli import run_guarded\n"
        f"run_guarded({command.split()!r})"
    )
    assert not loaded_by(code) & HEAVY
