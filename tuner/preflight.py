"""What every host must be able to do before the first trial: run this very program, and see, write
and rename in the same storage as the driver.

Knows Ray and the storage; nothing of trials. A local folder that one host alone uses is only
checked for space.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tuner.errors import TunerError, UserError
from tuner.hosts import Host
from tuner.shelves import free_bytes
from tuner.stores import is_uri, open_store

PATIENCE = 120.0
"""Seconds that a host gets to answer. The first task on a host starts a process there."""

_SAME = ("tuner", "torch", "transformers")
"""Packages that must be of one version everywhere, or trials would depend on where they ran."""

_DRIVERS = "driver"


@dataclass(frozen=True)
class Finding:
    """What a host found: its versions, and the first thing that its storage could not do."""

    versions: dict[str, str | None]
    storage: str | None


def check_hosts(hosts: Sequence[Host], storage: str, needed: int = 0) -> None:
    """Check every host against the driver, and the folder or URI `storage` from each; of a folder
    `needed` bytes must be free.

    Raises UserError naming the hosts where something is amiss. What was written is removed.
    """
    _check_space(storage, needed)
    if len(hosts) < 2:
        return
    probe = _Probe(storage)
    try:
        _begin(probe)
        found = _ask(hosts, probe, needed)
        _compare(hosts, [finding.versions for finding in found])
        _judge(hosts, probe, [finding.storage for finding in found])
    finally:
        probe.remove()


def _begin(probe: _Probe) -> None:
    try:
        probe.write(_DRIVERS)
    except OSError as error:
        raise UserError(
            f"storage {os.path.dirname(probe.place)} cannot be written ({error.strerror}); choose "
            "another --storage"
        ) from None


def _check_space(storage: str, needed: int) -> None:
    if (said := _lacking(storage, needed)) is not None:
        raise UserError(
            f"storage {storage} {said}, for a checkpoint and the exported model; free some, or "
            "choose another --storage"
        )


def _lacking(storage: str, needed: int) -> str | None:
    free = free_bytes(storage)
    return (
        None
        if free is None or free >= needed
        else f"has {_gib(free)} free, and {_gib(needed)} are needed"
    )


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


class _Probe:
    """A folder of its own in the storage, in which the driver and every host leave a file."""

    def __init__(self, storage: str) -> None:
        here = storage if is_uri(storage) else os.path.abspath(os.path.expanduser(storage))
        self.place = f"{here.rstrip('/')}/.preflight-{uuid.uuid4().hex[:12]}"
        self._made = [] if is_uri(storage) else _missing(Path(here))

    def write(self, name: str) -> None:
        """Write the file of `name`, under another name first. Raises TunerError or OSError."""
        if is_uri(self.place):
            open_store(self.place).write(name, name.encode())
            return
        folder = Path(self.place)
        if name == _DRIVERS:
            # A host that does not see it must not make one of its own.
            folder.mkdir(parents=True)
        (folder / f"{name}.writing").write_bytes(name.encode())
        (folder / f"{name}.writing").rename(folder / name)

    def sees(self, name: str) -> bool:
        """Whether what was written under `name` can be read here."""
        if is_uri(self.place):
            return open_store(self.place).read(name) == name.encode()
        try:
            return (Path(self.place) / name).read_bytes() == name.encode()
        except FileNotFoundError:
            return False

    def remove(self) -> None:
        """Leave nothing behind, not even a storage folder that was not there before."""
        if is_uri(self.place):
            store, _, name = self.place.rpartition("/")
            open_store(store).remove(name)
            return
        shutil.rmtree(self.place, ignore_errors=True)
        for folder in reversed(self._made):
            try:
                folder.rmdir()
            except OSError:  # it has been put to use meanwhile
                return


def _missing(folder: Path) -> list[Path]:
    return [path for path in (*reversed(folder.parents), folder) if not path.exists()]


_UNSEEN = "does not see what the driver writes there"


def look_around(probe: _Probe, name: str, needed: int) -> Finding:
    """What the host that this runs on finds."""
    try:
        storage = None if probe.sees(_DRIVERS) else _UNSEEN
        if storage is None:
            probe.write(name)
            storage = _lacking(probe.place, needed)
    except (OSError, TunerError) as error:
        storage = getattr(error, "strerror", None) or str(error)
    return Finding(_versions(), storage)


def _versions() -> dict[str, str | None]:
    from tuner import __version__

    found: dict[str, str | None] = {"tuner": __version__}
    for package in _SAME[1:]:
        try:
            found[package] = version(package).partition("+")[0]
        except PackageNotFoundError:
            found[package] = None
    return found


def _ask(hosts: Sequence[Host], probe: _Probe, needed: int) -> list[Finding]:
    """What each host found. Raises UserError naming those that did not answer as they should."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task: Any = ray.remote(look_around)
    asked = [
        task.options(
            num_cpus=0,
            max_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(host.key, soft=False),
        ).remote(probe, host.key, needed)
        for host in hosts
    ]
    ray.wait(asked, num_returns=len(asked), timeout=PATIENCE)
    found, amiss = [], {}
    for host, answer in zip(hosts, asked, strict=True):
        try:
            found.append(ray.get(answer, timeout=0))
        except ray.exceptions.GetTimeoutError:
            amiss[host.name] = f"did not answer within {PATIENCE:g} seconds"
        except ray.exceptions.RayError as error:
            amiss[host.name] = _reason(error)
    if amiss:
        cure = "see to them"
        if any(said.startswith(_WITHOUT_TUNER) for said in amiss.values()):
            cure = "install the same version of tuner on every host of the cluster"
        raise UserError(f"{_grouped(amiss)}; {cure}, then start again")
    return found


_WITHOUT_TUNER = "cannot import tuner"


def _reason(error: BaseException) -> str:
    text = str(error)
    if "ModuleNotFoundError" in text or "ImportError" in text:
        line = next(line for line in text.splitlines() if "Error" in line)
        return f"{_WITHOUT_TUNER} ({line.strip()[:200]})"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"cannot run a task ({lines[-1][:200] if lines else type(error).__name__})"


def _compare(hosts: Sequence[Host], found: Sequence[dict[str, str | None]]) -> None:
    ours, amiss = _versions(), {}
    for host, versions in zip(hosts, found, strict=True):
        other = [
            f"{package} {versions.get(package) or 'not at all'}"
            for package in _SAME
            if versions.get(package) != ours[package]
        ]
        if other:
            amiss[host.name] = f"has {', '.join(other)}"
    if amiss:
        wanted = ", ".join(f"{package} {ours[package]}" for package in _SAME)
        raise UserError(
            f"{_grouped(amiss)}, and the driver has {wanted}; install the driver's versions on "
            "every host, then start again"
        )


def _judge(hosts: Sequence[Host], probe: _Probe, storage: Sequence[str | None]) -> None:
    amiss = {host.name: said for host, said in zip(hosts, storage, strict=True) if said is not None}
    for host in hosts:
        if host.name not in amiss and not probe.sees(host.key):
            amiss[host.name] = "writes where the driver does not see it"
    if amiss:
        where = os.path.dirname(probe.place)
        raise UserError(
            f"storage {where} cannot serve every host: {_grouped(amiss)}; pass --storage a folder "
            "that every host has mounted, or an object store such as s3://BUCKET/FOLDER"
        )


def _grouped(amiss: dict[str, str]) -> str:
    """`a and b: reason, c: another`."""
    reasons: dict[str, list[str]] = {}
    for host, reason in amiss.items():
        reasons.setdefault(reason, []).append(host)
    return "; ".join(f"{', '.join(names)} {reason}" for reason, names in reasons.items())
