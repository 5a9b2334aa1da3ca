"""The files of cluster/: what reads them takes them, and what they run exists."""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.scripts.scripts import cli
from typer.main import get_command

PROJECT = Path(__file__).parent.parent
CLUSTER = PROJECT / "cluster"
LAUNCHED = ["cluster.yaml", "aws.yaml", "gcp.yaml"]
CLOUDS = ["aws.yaml", "gcp.yaml"]
COMMANDS = ("initialization", "setup", "head_setup", "worker_setup")
STARTS = ("head_start_ray", "worker_start_ray")
RAY = re.search(r"^ray==(\S+)$", (PROJECT / "constraints.txt").read_text(), re.MULTILINE)
SCHEMA = json.loads((Path(__file__).parent / "rayjob_schema.json").read_text())
FREE_FORM = {"nodeSelector", "rayStartParams", "requests", "limits"}
"""Where Kubernetes takes any key."""


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((CLUSTER / name).read_text())


def commands(name: str, *kinds: str) -> list[str]:
    file = read(name)
    return [
        line for kind in kinds or COMMANDS + STARTS for line in file.get(f"{kind}_commands", ())
    ]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher reads paths from where it is called, and that is cluster/."""
    monkeypatch.chdir(CLUSTER)


@pytest.mark.parametrize("name", LAUNCHED)
def test_ray_s_launcher_takes_the_file(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(read(name))
    validate_config(config)
    for mounted in config["file_mounts"].values():
        # The token is made by the user; all else is the project's own.
        if not mounted.endswith("auth_token"):
            assert Path(mounted).expanduser().exists(), mounted


@pytest.mark.parametrize("name", LAUNCHED)
def test_every_command_is_one_that_the_hosts_shell_can_read(name: str) -> None:
    from ray.autoscaler._private.command_runner import _with_interactive

    for command in commands(name):
        # The launcher wraps a command in parentheses, in which a comment would never end.
        wrapped = shlex.split(_with_interactive(command)[-1])[0]
        read = subprocess.run(["bash", "-n", "-c", wrapped], capture_output=True, text=True)
        assert read.returncode == 0, f"{command}: {read.stderr}"


@pytest.mark.parametrize("name", CLOUDS)
def test_the_set_up_hands_every_later_command_the_storage_the_token_mode_and_the_path(
    name: str, tmp_path: Path
) -> None:
    profile = [line for line in commands(name, "setup") if ".tuner-profile" in line]
    for command in profile * 2:  # a second `ray up` runs them again
        subprocess.run(["bash", "-c", command], check=True, env={"HOME": str(tmp_path)})
    assert (tmp_path / ".bashrc").read_text().count("profile") == 1
    told = subprocess.run(
        ["bash", "-c", "source ~/.bashrc; echo $TUNER_STORAGE $RAY_AUTH_MODE $PATH"],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    storage, mode, path = told.stdout.split()
    assert re.fullmatch(r"(s3|gs)://my-bucket/runs", storage)
    assert mode == "token"
    assert path == f"{tmp_path}/venv/bin:/usr/bin:/bin"


@pytest.mark.parametrize("name", LAUNCHED)
def test_the_token_is_mounted_and_nothing_listens_beyond_the_cluster(name: str) -> None:
    text, file = (CLUSTER / name).read_text(), read(name)
    assert any(place.endswith("auth_token") for place in file["file_mounts"])
    assert "RAY_AUTH_MODE=token" in text
    assert "0.0.0.0" not in text
    assert re.search(r"RAY_AUTH_TOKEN=|AKIA|PRIVATE KEY", text) is None
    assert "RAY_health_check_failure_threshold" in text


def test_git_never_sees_a_token() -> None:
    if not (PROJECT / ".git").exists():
        pytest.skip("not a git checkout")
    for file in ("cluster/auth_token", "auth_token", "cluster/key.pem"):
        assert subprocess.run(["git", "check-ignore", "-q", file], cwd=PROJECT).returncode == 0


def spot(node: dict[str, Any]) -> bool:
    market = node.get("InstanceMarketOptions", {}).get("MarketType")
    return market == "spot" or node.get("scheduling", {}).get("provisioningModel") == "SPOT"


@pytest.mark.parametrize("name", CLOUDS)
def test_the_driver_s_host_stays_and_the_gpus_are_on_spot_hosts_that_shut_down_idle(
    name: str,
) -> None:
    file = read(name)
    types = file["available_node_types"]
    head = types.pop(file["head_node_type"])
    assert not spot(head["node_config"])
    assert head["resources"] == {"CPU": 0}
    assert all(spot(kind["node_config"]) for kind in types.values())
    assert 0 < file["idle_timeout_minutes"] <= 10
    assert file["provider"]["cache_stopped_nodes"] is False
    assert any("spot.py" in line for line in commands(name, "worker_start_ray"))


def programs(line: str) -> Iterator[list[str]]:
    """The programs that a shell line runs, each with its arguments."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set(";&|<>()"):
            while words and re.fullmatch(r"\w+=.*", words[0]):
                words.pop(0)
            if words:
                yield words
            words = []
        else:
            words.append(word)


def check_program(words: list[str]) -> int:
    """How many of our programs and of Ray's these are, with the ones that Ray is to run there;
    raises where one would not take its options."""
    name, *arguments = words
    if name == "python" and re.fullmatch(r"(.*/)?tune\.py", arguments[0] if arguments else ""):
        name, arguments = "tuner", ["tune", *arguments[1:]]
    if name == "tuner":
        from tuner.cli import app

        group: Any = get_command(app)
    elif name == "ray":
        group = cli
    else:
        return 0
    while hasattr(group, "commands"):
        name, *arguments = arguments
        group = group.commands[name]
    said = group.make_context(name, list(arguments)).params
    if group is cli.commands["exec"]:
        return 1 + sum(check_program(there) for there in programs(said["cmd"]))
    if group is cli.commands["submit"]:
        return 1 + check_program(["python", said["script"], *said["script_args"]])
    if "entrypoint" in said:
        return 1 + check_program(list(said["entrypoint"]))
    return 1


@pytest.mark.parametrize("name", LAUNCHED)
def test_ray_has_every_command_and_option_that_the_file_runs(name: str) -> None:
    ran = [words for line in commands(name, *STARTS) for words in programs(line)]
    assert sum(check_program(words) for words in ran) >= 4


def test_a_command_that_does_not_exist_would_be_found() -> None:
    lines = ["ray start --hed", "tuner nosuch", "python tune.py --task rte --nosuch 1"]
    lines += ["ray exec c.yaml 'tuner nosuch'", "ray submit c.yaml tune.py --nosuch 1"]
    for line in [*lines, "ray job submit -- tuner nosuch"]:
        with pytest.raises(Exception, match=r"nosuch|hed|KeyError"):
            check_program(next(programs(line)))


def test_ray_submit_swallows_no_option_of_tune() -> None:
    from tuner.cli import app

    def options(command: Any) -> set[str]:
        return {option for parameter in command.params for option in parameter.opts}

    ours: Any = get_command(app)
    shared = options(ours.commands["tune"]) & options(cli.commands["submit"])
    assert shared == set()


def readme_commands() -> list[str]:
    """The lines of the indented blocks of cluster/README.md."""
    text = (CLUSTER / "README.md").read_text().replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.startswith("    ")]


def test_every_command_of_the_readme_exists_with_its_options() -> None:
    ran = [words for line in readme_commands() for words in programs(line)]
    assert sum(check_program(words) for words in ran) >= 20


def test_every_file_that_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (CLUSTER / "README.md").read_text())
    local = [link for link in links if "://" not in link]
    assert local
    for link in local:
        assert (CLUSTER / link).exists(), link


def job() -> dict[str, Any]:
    return read("kubernetes.yaml")


def test_the_rayjob_is_one_by_kuberay_s_reference() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(job(), SCHEMA, cls=jsonschema.Draft202012Validator)


def places(value: Any, inside: str = "") -> Iterator[tuple[dict[str, Any], str]]:
    """Every key that the schema has a say about, with the mapping that it stands in."""
    if isinstance(value, dict):
        for key in list(value):
            if inside not in FREE_FORM:
                yield value, key
            yield from places(value[key], key)
    elif isinstance(value, list):
        for item in value:
            yield from places(item, inside)


def test_a_mistyped_field_is_no_rayjob() -> None:
    count = len(list(places(job())))
    assert count > 60
    for number in range(count):
        wrong = copy.deepcopy(job())
        mapping, key = list(places(wrong))[number]
        mapping[key + "x"] = mapping.pop(key)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, SCHEMA, cls=jsonschema.Draft202012Validator)


def test_the_rayjob_runs_a_search_with_tokens_and_gpus_and_ends_its_cluster() -> None:
    spec = job()["spec"]
    cluster = spec["rayClusterSpec"]
    assert check_program(shlex.split(spec["entrypoint"]))
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["backoffLimit"] == 0
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["enableInTreeAutoscaling"] is True
    (group,) = cluster["workerGroupSpecs"]
    assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    (worker,) = group["template"]["spec"]["containers"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
    (head,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    assert "nvidia.com/gpu" not in head["resources"]["limits"]
    assert head["env"] == worker["env"]
    # A pod has the time that its own farewell takes.
    environment = {variable["name"]: variable["value"] for variable in worker["env"]}
    stays = float(environment["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
    assert stays < group["template"]["spec"]["terminationGracePeriodSeconds"]


def test_one_version_of_ray_everywhere() -> None:
    assert RAY is not None
    assert job()["spec"]["rayClusterSpec"]["rayVersion"] == RAY[1]
    base = re.search(r"^FROM rayproject/ray:([^-]+)-py3\d+-gpu$", dockerfile(), re.MULTILINE)
    assert base is not None
    assert base[1] == RAY[1]


def dockerfile() -> str:
    return (CLUSTER / "Dockerfile").read_text()


def test_the_image_holds_what_the_rayjob_runs_and_what_the_package_is_built_from() -> None:
    workdir = re.search(r"^WORKDIR (\S+)$", dockerfile(), re.MULTILINE)[1]
    copied: dict[str, str] = {}
    for line in re.findall(r"^COPY --chown=\S+ (.+)$", dockerfile(), re.MULTILINE):
        *sources, target = line.split()
        for source in sources:
            assert (PROJECT / source).exists(), source
            copied[
                os.path.normpath(
                    f"{workdir}/{target}/{source}" if target == "./" else f"{workdir}/{target}"
                )
            ] = source
    script = shlex.split(job()["spec"]["entrypoint"])[1]
    assert copied[script] == "cluster/tune.py"
    import tomllib

    package = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    needed = ["pyproject.toml", package["project"]["readme"], "LICENSE", "tuner"]
    needed += package["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert set(needed) <= set(copied.values())
    assert "cluster" in package["project"]["optional-dependencies"]
    for name in CLOUDS:
        assert set(needed) <= {
            os.path.normpath(CLUSTER / mounted).removeprefix(f"{PROJECT}/")
            for mounted in read(name)["file_mounts"].values()
        }
