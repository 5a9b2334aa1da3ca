"""What Ray and its launcher say of hosts, read without a cluster."""

from pathlib import Path

import pytest
import yaml

from tuner import growth
from tuner.hosts import Host, at_most, launched_at_most, staying
from tuner.resources import Layout, Node

HEAD = Host(4, 0, "head", "a")
WORKER = Host(8, 1, "worker", "b")
CONFIGURATION = {
    "max_workers": 3,
    "head_node_type": "head",
    "available_node_types": {
        "head": {"resources": {"CPU": 4}, "max_workers": 0},
        "small": {"resources": {"CPU": 2}, "max_workers": 5},
        "gpu": {"resources": {"CPU": 8, "GPU": 1}, "min_workers": 0, "max_workers": 2},
    },
}
SSH = {
    "max_workers": 2,
    "head_node_type": "local.cluster.node",
    "available_node_types": {"local.cluster.node": {"node_config": {}, "resources": {}}},
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBERAY_GEN_RAY_START_CMD", raising=False)
    return tmp_path


def launch(home: Path, configuration: object) -> None:
    (home / "ray_bootstrap_config.yaml").write_text(yaml.safe_dump(configuration))


def test_without_an_autoscaler_there_is_what_there_is():
    assert at_most((HEAD, WORKER)) == (HEAD, WORKER)
    assert growth.wanted(Layout(2, 1, 1, 0, 1), (HEAD,), grow=True, trials=9) == 0


def test_an_autoscaler_may_add_hosts_up_to_its_limits(home: Path):
    assert launched_at_most(CONFIGURATION) == (Node(8, 1), Node(8, 1), Node(2, 0))
    launch(home, CONFIGURATION)
    # One of the two with a GPU is there already.
    assert at_most((HEAD, WORKER)) == (HEAD, WORKER, Node(8, 1), Node(2, 0))


def test_hosts_reached_by_ssh_are_there_or_they_are_not(home: Path):
    launch(home, SSH)
    assert at_most((HEAD, WORKER)) == (HEAD, WORKER)


@pytest.mark.parametrize("broken", ["", "a: [", "a: b", "available_node_types: 3"])
def test_a_launcher_that_cannot_be_read_gives_no_limit(home: Path, broken: str):
    (home / "ray_bootstrap_config.yaml").write_text(broken)
    assert at_most((HEAD,)) is None


def test_kubernetes_does_not_say_how_far_its_autoscaler_goes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KUBERAY_GEN_RAY_START_CMD", "ray start --head --block")
    assert at_most((HEAD,)) == (HEAD,)
    monkeypatch.setenv("KUBERAY_GEN_RAY_START_CMD", "ray start --head --no-monitor --block")
    assert at_most((HEAD,)) is None
    layout = Layout(1, 1, 1, 0, 1)
    assert growth.wanted(layout, (HEAD,), grow=True, trials=9) == 9
    assert growth.wanted(layout, (HEAD,), grow=False, trials=9) == 1


def test_no_more_is_asked_of_an_autoscaler_than_there_are_trials(home: Path):
    launch(home, CONFIGURATION)
    layout = Layout(12, 1, 1, 0, 1)
    assert growth.wanted(layout, (HEAD,), grow=True, trials=40) == 12
    assert growth.wanted(layout, (HEAD,), grow=True, trials=5) == 5


def test_a_host_that_is_about_to_go_does_not_count():
    going = Host(8, 0, "spot", "c", leaving=True)
    assert staying((HEAD, going)) == (HEAD,)
