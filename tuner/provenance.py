"""What a run was made with: library versions and the revision of the user's own code.

Reads what is installed without importing it.
"""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

LIBRARIES = ("tuner", "torch", "transformers", "ray", "optuna", "datasets", "accelerate")


def versions() -> dict[str, str]:
    """The version of Python and of each library by name, those left out that are not installed."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_revision(folder: str | Path = ".") -> str | None:
    """The commit checked out in `folder`, with `-dirty` after it when tracked files were changed.

    None where there is no git, no repository or no answer within two seconds. Holds nothing of the
    remote's address, which may carry a token.
    """
    command = ["git", "-C", os.fspath(folder), "describe", "--always", "--dirty"]
    try:
        answer = subprocess.run(
            [*command, "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=2,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
