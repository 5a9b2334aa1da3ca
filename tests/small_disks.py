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
    def read_only(self, folder: Path | None = None) -> Iterator[None]:
        """While the block runs, nobody may write there, root included: on all of it, or in a
        folder of it alone."""
        if folder is None:
            lock, unlock = (
                f"mount -o remount,ro '{self.mount}'",
                f"mount -o remount,rw '{self.mount}'",
            )
        else:
            place = self.mount / folder.relative_to(self.folder)
            lock = f"mount --bind '{place}' '{place}' && mount -o remount,bind,ro '{place}'"
            unlock = f"umount '{place}'"
        self.run(lock)
        try:
            yield
        finally:
            self.run(unlock)

    def run(self, command: str) -> None:
        """Run a command where the disk is mounted."""
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
        disk.run(f"mount -t tmpfs -o size=4m tmpfs '{mount}'")
        yield disk
    finally:
        shell.kill()
        shell.communicate()
