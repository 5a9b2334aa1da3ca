"""The wheel carries all that the package needs: it runs in an environment outside the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]


def run(*command: str | Path, folder: Path) -> str:
    """What a command in `folder` prints; no path of the checkout is left in its environment."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the checkout's own files without its version history."""
    source = tmp_path_factory.mktemp("source") / "tuner"
    source.mkdir()
    for name in ("tuner", "search_spaces"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(CHECKOUT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source / name)
    built = tmp_path_factory.mktemp("built")
    build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", built, source]
    run(sys.executable, *build, folder=built)
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it. Its dependencies are those of the running Python,
    through a path file: nothing is downloaded, and nothing is installed anywhere else."""
    folder = tmp_path_factory.mktemp("env")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"]
    run(*pip, "--no-index", wheel, folder=folder)
    packages = run(python, "-c", "import site; print(site.getsitepackages()[0])", folder=folder)
    # A path file's folders come after the environment's own, and path files in them are not read:
    # a checkout that is installed for editing in the running Python stays out.
    ours = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    Path(packages.strip(), "dependencies.pth").write_text("\n".join(ours) + "\n")
    return folder


def test_the_wheel_has_every_module_and_search_space_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, inside in (("tuner", "tuner"), ("search_spaces", "tuner/search_spaces")):
        files = [path for path in (CHECKOUT / folder).rglob("*") if path.is_file()]
        wanted = {
            f"{inside}/{path.relative_to(CHECKOUT / folder)}"
            for path in files
            if "__pycache__" not in path.parts
        }
        assert wanted <= names
        names -= wanted
    assert [name for name in names if ".dist-info/" not in name] == []


def test_the_installed_wheel_is_what_runs_and_lists_its_search_spaces(
    environment: Path, tmp_path: Path
) -> None:
    code = "import tuner; print(tuner.__file__)"
    where = Path(run(environment / "bin" / "python", "-c", code, folder=tmp_path).strip())
    assert environment in where.parents
    shown = run(environment / "bin" / "tuner", "spaces", folder=tmp_path)
    for path in (CHECKOUT / "search_spaces").glob("*.yaml"):
        assert f"{path.stem}:" in shown


def test_the_installed_wheel_runs_a_search(environment: Path, tmp_path: Path) -> None:
    tuner = environment / "bin" / "tuner"
    trials = "--trials 2 --slots 2 --set num_train_epochs=1 --fraction 0.1"
    rest = "--task demo --no-retrain --name two"
    shown = run(tuner, "tune", *rest.split(), *trials.split(), folder=tmp_path)
    assert "t000" in shown
    board = run(tuner, "leaderboard", "two", "--format", "json", folder=tmp_path)
    rows = json.loads(board)
    assert sorted(row["trial"] for row in rows) == ["t000", "t001"]
    assert all(row["status"] in ("finished", "stopped") for row in rows)
    assert not (tmp_path / "runs" / "two" / "best").exists()
