"""A push to the Hub: every file arrives, no token is shown, and refusals come in a line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.fake_hub import FakeHub, serving

TOKEN, READS, UNKNOWN = ("hf_" + word * 4 for word in ("secretSecret", "readRead", "strange"))
REPOSITORY = "someone/name"
OLDER = {"onnx/model.onnx.data": b"of an older model", "photo.png": b"someone's own"}
CARD = b"---\nlicense: mit\n---\n# A model\n"
FILES = {
    "README.md": CARD,
    "config.json": b"{}",
    "model.safetensors": b"weights" * 1000,
    "onnx/model.onnx": b"graph" * 1000,
}
CASES: dict[str, tuple[dict[str, str], list[str]]] = {
    "no name": ({}, ["alone"]),
    "no token": ({"HF_TOKEN": ""}, [REPOSITORY]),
    "no hub": ({"HF_ENDPOINT": "http://127.0.0.1:1"}, [REPOSITORY]),
    "offline": ({"HF_HUB_OFFLINE": "1"}, [REPOSITORY]),
    "unknown": ({"HF_TOKEN": UNKNOWN}, [REPOSITORY]),
    "reads": ({"HF_TOKEN": READS}, [REPOSITORY]),
    "not theirs": ({}, ["other/name"]),
    "public": ({}, ["someone/public", "--private"]),
    "done": ({}, [REPOSITORY, "--private"]),
}
# The Hub's library reads its settings when it is imported: all of this is one process of its own.
SCRIPT = """
import contextlib, io, json, os, sys, time
from tuner.cli import run_guarded
best, cases = sys.argv[1], json.loads(sys.argv[2])
before = dict(os.environ)
for name, (variables, arguments) in cases.items():
    os.environ.update(before | variables)
    out, err = io.StringIO(), io.StringIO()
    began = time.monotonic()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_guarded(["export", best, "--push", *arguments])
    print(json.dumps([name, code, out.getvalue(), err.getvalue(), time.monotonic() - began]))
"""


@dataclass(frozen=True)
class Said:
    """What a push ended with, what it printed, how many seconds it took."""

    code: int
    out: str
    err: str
    seconds: float


@dataclass(frozen=True)
class Pushed:
    """Every case, in that order, on one hub."""

    hub: FakeHub
    said: dict[str, Said]
    everything: str


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushed]:
    folder = tmp_path_factory.mktemp("pushed")
    best = folder / "best"
    for name, content in FILES.items():
        (best / name).parent.mkdir(parents=True, exist_ok=True)
        (best / name).write_bytes(content)
    (best / ".leftover").write_text("of a process that died")
    (best / "evaluation.json").write_text("texts of rows, which stay here")
    with serving(FakeHub({TOKEN: "write", READS: "read"}, dict(OLDER))) as hub:
        variables = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN}
        # Xet's store is no server of ours: the upload goes by git-LFS.
        variables |= {"HF_HUB_DISABLE_XET": "1", "HF_HOME": str(folder / "hf")}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(best), json.dumps(CASES)],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        told = [json.loads(line) for line in done.stdout.splitlines()]
        said = {name: Said(*rest) for name, *rest in told}
        yield Pushed(hub, said, done.stdout + done.stderr)


def test_every_file_arrives_and_only_an_older_models_go(pushed: Pushed) -> None:
    said = pushed.said["done"]
    assert said.code == 0, said
    assert pushed.hub.files == {**FILES, "photo.png": OLDER["photo.png"]}
    assert said.out.splitlines()[0] == f"pushed     {pushed.hub.url}/{REPOSITORY}"
    assert "pushing 4 files, 0.0 MB, to someone/name as someone\n" in said.err


def test_a_token_travels_in_its_header_and_is_shown_nowhere(pushed: Pushed) -> None:
    for token in (TOKEN, READS, UNKNOWN):
        assert token not in pushed.everything
        for line, headers, body in pushed.hub.heard:
            others = {
                name: value for name, value in headers.items() if name.lower() != "authorization"
            }
            assert token not in line + str(others)
            assert token.encode() not in body
    # Where the bytes go is another's server: it gets no token.
    sent = [headers for line, headers, _ in pushed.hub.heard if "/blob/" in line]
    assert sent
    assert not any("authorization" in map(str.lower, headers) for headers in sent)


def test_a_repository_is_made_private_when_that_is_asked_for(pushed: Pushed) -> None:
    made = [json.loads(body) for line, _, body in pushed.hub.heard if "repos/create" in line]
    assert [it["name"] for it in made] == ["name", "public", "name"]
    assert {it.get("visibility") for it in made[1:]} == {"private"}
    assert "visibility" not in made[0]


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("no name", "write USER/NAME"),
        ("no token", "there is no token; set HF_TOKEN"),
        ("no hub", "cannot reach the Hugging Face Hub at http://127.0.0.1:1"),
        ("offline", "HF_HUB_OFFLINE is set"),
        ("unknown", "the Hub does not take the token (401: "),
        ("reads", "the token may only read"),
        ("not theirs", "the Hub refuses the repository (403: You don't have the rights"),
        ("public", "it exists and is public"),
    ],
)
def test_what_is_refused_is_said_in_a_line_and_soon(pushed: Pushed, case: str, words: str) -> None:
    said = pushed.said[case]
    assert said.code == 2, said
    assert words in said.err.splitlines()[-1]
    assert said.err.count("\n") <= 2, "what is being done, and why that ends"
    assert said.seconds < 30
    assert not said.out
