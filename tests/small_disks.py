"""A file system of a few MB of its own that can be filled and made read-only.

It is mounted in a namespace of its own and goes with the process that holds that. Only root can
have one; elsewhere whoever asks for it is skipped.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class SmallDisk:
    """`folder` leads there from this process; `shell` is the one in the disk's namespace."""

    folder: Path
    mount: Path
    shell: subprocess.Popen[str]

    def fill(self) -> None:
        """Leave not a byte."""
        with contextlib.suppress(OSError), open(self.folder / ".filler", "wb", 0) as file:
            while True:
                file.write(b"x" * 4096)

    def free(self) -> None:
        """Take the filler away."""
        (self.folder / ".filler").unlink(missing_ok=True)

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """While the block runs, not a byte is free."""
        self.fill()
        try:
            yield
        finally:
            self.free()

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """While the block runs, nobody may write, root included."""
        self._run(f"mount -o remount,ro '{self.mount}'")
        try:
            yield
        finally:
            self._run(f"mount -o remount,rw '{self.mount}'")

    def _run(self, command: str) -> None:
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        print(f"{command} && echo done || echo failed", file=self.shell.stdin, flush=True)
        if self.shell.stdout.readline() != "done\n":
            pytest.skip(f"a small file system needs root and namespaces: {command!r} failed")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 4 MB."""
    if os.geteuid() != 0:
        pytest.skip("a small file system needs root")
    mount = tmp_path / "disk"
    mount.mkdir()
    shell = subprocess.Popen(
        ["unshare", "--mount", "sh"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        disk = SmallDisk(Path(f"/proc/{shell.pid}/root{mount}"), mount, shell)
        disk._run(f"mount -t tmpfs -o size=4m tmpfs '{mount}'")
        yield disk
    finally:
        shell.kill()
        shell.communicate()
