"""Every host is checked before the first trial: the same program, the same storage."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray

import tuner
from tests.clusters import cluster
from tuner import preflight
from tuner.errors import UserError
from tuner.hosts import Host, alive
from tuner.preflight import check_hosts
from tuner.session import ray_session

ALONE = (Host(2, 0, "laptop", "a"),)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Any]:
    """A head and another host."""
    with cluster() as made, ray_session(made.address):
        made.add_node(num_cpus=1)
        yield made


def test_hosts_that_share_the_storage_pass_and_nothing_is_left(tmp_path: Path, hosts: Any) -> None:
    storage = tmp_path / "not" / "there" / "yet"
    check_hosts(alive(), str(storage))
    assert not list(tmp_path.iterdir())
    check_hosts(alive(), f"file://{tmp_path}")
    assert not list(tmp_path.iterdir())


def test_a_host_with_another_version_is_named(
    tmp_path: Path, hosts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuner, "__version__", "99.1")
    with pytest.raises(UserError) as error:
        check_hosts(alive(), str(tmp_path))
    told = str(error.value)
    assert alive()[1].name in told
    assert "and the driver has tuner 99.1, torch " in told
    assert "\n" not in told
    assert not list(tmp_path.iterdir())


def test_storage_that_is_full_is_refused_before_ray_is_asked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"GiB free, and 1048576\.0 GiB are needed"):
        check_hosts(ALONE, str(tmp_path / "runs"), needed=2**50)
    assert not list(tmp_path.iterdir())


def test_a_single_host_is_asked_nothing(tmp_path: Path) -> None:
    """Not even Ray: there is none with a host of that key."""
    check_hosts(ALONE, str(tmp_path), needed=1)


def test_a_host_that_does_not_answer_is_named(
    tmp_path: Path, hosts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "PATIENCE", 5.0)
    ghost = Host(1, 0, "ghost", "0" * 56)
    with pytest.raises(UserError, match=r"^ghost (cannot run a task|did not answer)"):
        check_hosts((*alive(), ghost), str(tmp_path))
    assert not list(tmp_path.iterdir())


@contextmanager
def host_with_its_own(folder: Path, address: str) -> Iterator[None]:
    """One more host, which sees an empty disk of its own where others see `folder`."""
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
    join = f"{os.path.dirname(sys.executable)}/ray start --address={address} --num-cpus=1 --block"
    mounted = f"mount -t tmpfs none {folder} && exec {join} --object-store-memory=80000000"
    with (folder.parent / "host.log").open("w") as log:
        process = subprocess.Popen([*apart, "sh", "-c", mounted], stdout=log, stderr=log)
    try:
        until = time.monotonic() + 60
        while len(alive()) < 3:
            assert process.poll() is None, (folder.parent / "host.log").read_text()
            assert time.monotonic() < until
            time.sleep(0.2)
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and namespaces"
)
def test_storage_that_is_not_shared_is_an_error_that_names_the_host(
    tmp_path: Path, hosts: Any
) -> None:
    storage = tmp_path / "runs"
    storage.mkdir()
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], check=False).returncode:
        pytest.skip("namespaces cannot be made here")
    with host_with_its_own(storage, hosts.address), pytest.raises(UserError) as error:
        check_hosts(alive(), str(storage))
    told = str(error.value)
    assert told.startswith(f"storage {storage} cannot serve every host: ")
    assert "does not see what the driver writes there; pass --storage" in told
    assert alive()[1].name in told
    assert not list(storage.iterdir())
    assert ray.is_initialized()
