import os
import subprocess
import sys

import pytest

from tuner.errors import UserError
from tuner.session import ray_session

LOCAL = """
import ray
from tuner.session import ray_session
with ray_session() as nodes:
    print(len(nodes), int(nodes[0].cpus), ray.nodes()[0]["NodeManagerAddress"])
print(ray.is_initialized())
"""


def test_a_local_ray_listens_on_loopback_only_whatever_ray_address_says():
    script = LOCAL.replace("import ray\n", "", 1).replace(
        "with ray_session", "import os; os.environ['RAY_ADDRESS'] = '203.0.113.1:6379'\nwith ray_session"
    ).replace("    print(len", "    import ray\n    print(len", 1)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    hosts, cores, address = done.stdout.splitlines()[-2].split()
    assert (hosts, int(cores)) == ("1", os.cpu_count())
    assert address == "127.0.0.1"
    assert done.stdout.splitlines()[-1] == "False"


def test_an_address_where_no_cluster_answers_is_the_users_error():
    with pytest.raises(UserError, match=r"--address 127\.0\.0\.1:1"), ray_session("127.0.0.1:1"):
        pass
