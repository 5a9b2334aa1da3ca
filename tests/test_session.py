import os
import subprocess
import sys

import pytest

from tuner.errors import UserError
from tuner.session import ray_session

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
