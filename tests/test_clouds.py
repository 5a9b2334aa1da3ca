"""The clouds' parts that run here: AWS against a server of its API, and a spot host's notice."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from tuner.hosts import launched_at_most
from tuner.resources import Node

CLUSTER = Path(__file__).parent.parent / "cluster"
REGION = "us-west-2"


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An account on a server of AWS's API, and a home for the key that the launcher makes."""
    from moto.server import ThreadedMotoServer

    monkeypatch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    # The server's state is this process's: an account of an earlier test lacks the policies.
    urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"", timeout=10).close()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    monkeypatch.chdir(CLUSTER)
    yield
    server.stop()


def resolve(value: Any, made: dict[str, str]) -> Any:
    """A template's value with its references to what is `made` already put in."""
    if isinstance(value, list):
        return [resolve(item, made) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Ref"}:
        return made[value["Ref"]]
    if set(value) == {"Fn::GetAtt"}:
        return made[".".join(value["Fn::GetAtt"])]
    if set(value) == {"Fn::Sub"}:
        return re.sub(r"\$\{([^}]+)\}", lambda name: made[name[1]], value["Fn::Sub"])
    return {key: resolve(item, made) for key, item in value.items()}


def make_account(bucket: str) -> None:
    """Make what aws-account.yaml describes, through the calls that CloudFormation makes of it."""
    import boto3

    iam, made = boto3.client("iam"), {"Bucket": bucket}
    template = yaml.safe_load((CLUSTER / "aws-account.yaml").read_text())
    for name, resource in template["Resources"].items():
        wanted = resolve(resource["Properties"], made)
        match resource["Type"]:
            case "AWS::S3::Bucket":
                boto3.client("s3", region_name="us-east-1").create_bucket(
                    Bucket=wanted["BucketName"]
                )
                made |= {name: bucket, f"{name}.Arn": f"arn:aws:s3:::{bucket}"}
            case "AWS::IAM::ManagedPolicy":
                document = json.dumps(wanted["PolicyDocument"])
                policy = iam.create_policy(PolicyName=name, PolicyDocument=document)
                made[name] = policy["Policy"]["Arn"]
            case "AWS::IAM::Role":
                document = json.dumps(wanted["AssumeRolePolicyDocument"])
                role = wanted["RoleName"]
                answer = iam.create_role(RoleName=role, AssumeRolePolicyDocument=document)
                made |= {name: role, f"{name}.Arn": answer["Role"]["Arn"]}
                for arn in wanted["ManagedPolicyArns"]:
                    iam.attach_role_policy(RoleName=role, PolicyArn=arn)
                for policy in wanted.get("Policies", ()):
                    document = json.dumps(policy["PolicyDocument"])
                    iam.put_role_policy(
                        RoleName=role, PolicyName=policy["PolicyName"], PolicyDocument=document
                    )
            case "AWS::IAM::InstanceProfile":
                profile = wanted["InstanceProfileName"]
                iam.create_instance_profile(InstanceProfileName=profile)
                for role in wanted["Roles"]:
                    iam.add_role_to_instance_profile(InstanceProfileName=profile, RoleName=role)


def test_the_account_and_the_launcher_make_a_head_that_stays_and_workers_on_spot(
    aws: None,
) -> None:
    import boto3

    make_account("my-bucket")
    head, worker = launched()
    instances = {
        instance["InstanceId"]: instance
        for reservation in boto3.client("ec2").describe_instances()["Reservations"]
        for instance in reservation["Instances"]
    }
    assert "InstanceLifecycle" not in instances[head]
    assert instances[worker]["InstanceLifecycle"] == "spot"
    assert instances[head]["IamInstanceProfile"]["Arn"].endswith("/tuner-head")
    assert instances[worker]["IamInstanceProfile"]["Arn"].endswith("/tuner-worker")


@pytest.mark.parametrize(("name", "host"), [("aws.yaml", Node(4, 1)), ("gcp.yaml", Node(8, 1))])
def test_a_search_reads_on_the_head_which_hosts_it_may_ask_for(
    name: str, host: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.autoscaler._private.util import prepare_config

    monkeypatch.chdir(CLUSTER)
    config = prepare_config(yaml.safe_load((CLUSTER / name).read_text()))
    assert launched_at_most(config) == (host,) * config["max_workers"]


def launched() -> tuple[str, str]:
    """The ids of the head and of a worker, started by Ray's launcher as aws.yaml says."""
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.util import prepare_config, validate_config
    from ray.autoscaler.tags import TAG_RAY_NODE_KIND

    config = yaml.safe_load((CLUSTER / "aws.yaml").read_text())
    for kind in config["available_node_types"].values():
        kind["node_config"]["ImageId"] = "ami-12c6146b"  # one that the server knows
    config = bootstrap_aws(prepare_config(config))
    validate_config({key: value for key, value in config.items() if key != "head_node"})
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    types = config["available_node_types"]
    for name, kind in (("head", "head"), ("gpu_worker", "worker")):
        provider.create_node(dict(types[name]["node_config"]), {TAG_RAY_NODE_KIND: kind}, 1)
    (head,) = provider.non_terminated_nodes({TAG_RAY_NODE_KIND: "head"})
    (worker,) = provider.non_terminated_nodes({TAG_RAY_NODE_KIND: "worker"})
    return head, worker


class Metadata(BaseHTTPRequestHandler):
    """What the clouds' metadata services answer. `end` is when the host is taken away."""

    end: datetime | None = None

    def do_PUT(self) -> None:
        known = self.path == "/latest/api/token"
        self.answer("a-token" if known else None)

    def do_GET(self) -> None:
        taken = type(self).end
        if self.path == "/latest/meta-data/spot/instance-action":
            trusted = self.headers["X-aws-ec2-metadata-token"] == "a-token"
            said = taken and {"action": "terminate", "time": f"{taken:%Y-%m-%dT%H:%M:%SZ}"}
            self.answer(json.dumps(said) if said and trusted else None)
        elif self.path == "/computeMetadata/v1/instance/preempted":
            trusted = self.headers["Metadata-Flavor"] == "Google"
            self.answer(("TRUE" if taken else "FALSE") if trusted else None)
        else:
            self.answer(None)

    def answer(self, text: str | None) -> None:
        self.send_response(404 if text is None else 200)
        self.end_headers()
        self.wfile.write((text or "").encode())

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def metadata() -> Iterator[tuple[str, type[Metadata]]]:
    handler = type("Handler", (Metadata,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler
    finally:
        server.shutdown()


@pytest.mark.parametrize(("cloud", "seconds"), [("aws", 120), ("gcp", 30)])
def test_a_notice_of_the_cloud_is_told_with_the_seconds_that_are_left(
    cloud: str, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(CLUSTER)
    import spot

    with metadata() as (service, host):
        assert spot.NOTICES[cloud](service) is None
        host.end = datetime.now(UTC) + timedelta(seconds=120)
        assert spot.NOTICES[cloud](service) == pytest.approx(seconds, abs=3)
    assert spot.NOTICES[cloud](service) is None  # nobody answers: no reason to leave


class Slot:
    """Takes a processor, and waits."""

    def ready(self) -> bool:
        return True


def test_ray_knows_of_the_end_before_it_comes(tmp_path: Path) -> None:
    import ray
    from ray.cluster_utils import Cluster

    from tuner.preemption import draining

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    watchers: list[subprocess.Popen[str]] = []
    try:
        ray.init(cluster.address, log_to_driver=False)
        # A node with nothing to do leaves as soon as it is told.
        slot = ray.remote(num_cpus=1)(Slot).remote()
        assert ray.get(slot.ready.remote())
        with metadata() as (service, host):
            options = ["aws", "--service", service, "--every", "0.1"]
            environment = {**os.environ, "RAY_ADDRESS": cluster.address, "TMPDIR": str(tmp_path)}
            environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
            for _ in range(2):
                watchers.append(
                    subprocess.Popen(
                        [sys.executable, CLUSTER / "spot.py", *options],
                        env=environment,
                        stderr=subprocess.PIPE,
                        text=True,
                    )
                )
                time.sleep(0.5)
            # One watches; the other one goes.
            assert watchers[1].wait(timeout=10) == 1
            assert watchers[0].poll() is None
            assert not draining()
            end = datetime.now(UTC) + timedelta(seconds=60)
            host.end = end
            assert watchers[0].wait(timeout=30) == 0
        ((_, deadline),) = draining().items()
        assert deadline == pytest.approx(end.timestamp(), abs=5)
    finally:
        for watcher in watchers:
            watcher.kill()
            watcher.communicate()
        ray.shutdown()
        cluster.shutdown()
