"""Tell Ray when the cloud is about to take this host away, so that its trials keep a checkpoint.

Runs beside Ray on a spot host: `python spot.py aws|gcp`. It asks the cloud's metadata service
every few seconds and, on a notice, runs `ray drain-node` for this host. Standard library only.
"""

from __future__ import annotations

import argparse
import fcntl
import http.client
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

SERVICES = {
    "aws": "http://169.254.169.254",
    "gcp": "http://metadata.google.internal",
}
GCP_NOTICE = 30.0
"""Seconds between a notice and the end; EC2's notice names the time itself."""


def ask(url: str, headers: dict[str, str], method: str = "GET") -> str | None:
    """What the service answers; None where it has nothing to say (404) or cannot be reached."""
    try:
        request = urllib.request.Request(url, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=2.0) as answer:
            return str(answer.read().decode())
    except (OSError, http.client.HTTPException):
        return None


def aws_notice(service: str) -> float | None:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html"""
    lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    token = ask(f"{service}/latest/api/token", lifetime, "PUT")
    if token is None:
        return None
    headers = {"X-aws-ec2-metadata-token": token}
    said = ask(f"{service}/latest/meta-data/spot/instance-action", headers)
    if said is None:
        return None
    return (datetime.fromisoformat(json.loads(said)["time"]) - datetime.now(UTC)).total_seconds()


def gcp_notice(service: str) -> float | None:
    """https://cloud.google.com/compute/docs/instances/create-use-spot"""
    headers = {"Metadata-Flavor": "Google"}
    said = ask(f"{service}/computeMetadata/v1/instance/preempted", headers)
    return GCP_NOTICE if said is not None and said.strip() == "TRUE" else None


NOTICES = {"aws": aws_notice, "gcp": gcp_notice}


def drain(seconds: float) -> bool:
    """Whether Ray took the notice for this host."""
    command = ["ray", "drain-node", "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
    command += ["--reason-message", "the cloud takes this host away"]
    command += ["--deadline-remaining-seconds", str(max(0, int(seconds)))]
    return subprocess.run(command, check=False).returncode == 0


def watch(notice: Callable[[str], float | None], service: str, every: float) -> None:
    """Return once Ray knows of the notice."""
    while True:
        seconds = notice(service)
        if seconds is not None:
            print(f"the cloud takes this host away in {seconds:.0f} s", flush=True)
            if drain(seconds):
                return
        time.sleep(every)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("cloud", choices=sorted(SERVICES))
    options.add_argument("--service", metavar="URL", help="the metadata service, where unusual")
    options.add_argument("--every", metavar="SECONDS", type=float, default=3.0)
    chosen = options.parse_args()
    with open(Path(tempfile.gettempdir()) / "tuner-spot.lock", "w") as lock:
        try:
            # `ray up` starts this once more on a host that it updates; one is enough.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("spot.py runs on this host already")
        watch(NOTICES[chosen.cloud], chosen.service or SERVICES[chosen.cloud], chosen.every)


if __name__ == "__main__":
    main()
