"""Who a driver is: a process of somebody's on a host, and whether it still lives.

Knows the kernel's own books (/proc, where there is one); nothing of runs.
"""

from __future__ import annotations

import getpass
import json
import os
import secrets
import socket
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """A driver: a random `id`, who and where it is. `machine` tells kernels and pid namespaces
    apart that call themselves the same, `born` a process from a later one of the same number."""

    id: str
    user: str
    host: str
    pid: int
    machine: str
    born: str | None
    since: float

    def __str__(self) -> str:
        return f"{self.user}@{self.host} (process {self.pid})"

    @property
    def is_near(self) -> bool:
        """Whether its process can be looked at from here."""
        return self.machine == _machine()

    @property
    def is_dead(self) -> bool:
        """Whether it has surely ended."""
        return self.is_near and not _lives(self.pid, self.born)

    def written(self) -> bytes:
        """The lease as a file."""
        return (json.dumps(asdict(self), indent=2) + "\n").encode()


def myself() -> Owner:
    """This process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        user = str(os.getuid())
    pid = os.getpid()
    host = socket.gethostname()
    return Owner(secrets.token_hex(8), user, host, pid, _machine(), _born(pid), time.time())


def read_owner(data: bytes | None) -> Owner | None:
    """Who stands in a lease. A broken one belongs to somebody unknown, who is silent soon."""
    if data is None:
        return None
    try:
        said = Owner(**json.loads(data))
        return replace(said, pid=int(said.pid), since=float(said.since))
    except (ValueError, TypeError):
        return Owner("?", "somebody", "unknown", 0, "?", None, 0.0)


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on; none where there is no such file."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _born(pid: int) -> str | None:
    """When a process began, in the kernel's own count."""
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 else None


def _lives(pid: int, born: str | None) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # another user's
    fields = _stat(pid)
    if fields and fields[0] in "ZX":
        return False  # it has ended, and its parent has not looked yet
    return born is None or _born(pid) in (None, born)
