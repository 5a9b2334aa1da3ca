import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tuner.errors import UserError
from tuner.session import ray_session, running_cluster

LOCAL = """
import os
os.environ["RAY_ADDRESS"] = "203.0.113.1:6379"
from tuner.session import ray_session
with ray_session() as nodes:
    import ray
    print(len(nodes), int(nodes[0].cpus), ray.nodes()[0]["NodeManagerAddress"])
print(ray.is_initialized())
"""


def test_a_local_ray_listens_on_loopback_only_whatever_ray_address_says():
    command = [sys.executable, "-c", LOCAL]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    there, after = done.stdout.splitlines()[-2:]
    assert there == f"1 {os.cpu_count()} 127.0.0.1"
    assert after == "False"


def test_an_address_where_no_cluster_answers_is_the_users_error():
    with pytest.raises(UserError, match=r"--address 127\.0\.0\.1:1"), ray_session("127.0.0.1:1"):
        pass


def test_a_ray_client_is_no_place_to_drive_a_search_from():
    with pytest.raises(UserError, match="cannot be driven"), ray_session("ray://127.0.0.1:1"):
        pass


def recorded(folder: Path, address: str) -> None:
    """What `ray start` leaves on a host."""
    (folder / "ray").mkdir()
    (folder / "ray" / "ray_current_cluster").write_text(address)


def test_a_host_is_part_of_a_cluster_while_the_one_that_ray_recorded_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert running_cluster() is None
    with socket.create_server(("127.0.0.1", 0)) as answering:
        recorded(tmp_path, f"127.0.0.1:{answering.getsockname()[1]}")
        assert running_cluster() == "auto"
    assert running_cluster() is None


def test_a_submitted_job_runs_on_the_cluster_that_ray_names(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert running_cluster() == "auto"
    with pytest.raises(UserError, match="--address auto: no Ray cluster"), ray_session("auto"):
        pass
