"""Whether the Hub answers is found out at once, through proxies, and without heavy libraries."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tuner.errors import UserError
from tuner.hub import probe_hub


@pytest.fixture(autouse=True)
def plain_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No offline mode, no proxy, no other endpoint, whatever the machine is set to."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("HF_", "TRANSFORMERS_")):
            monkeypatch.delenv(name)


@contextlib.contextmanager
def server(answer: bytes | None) -> Iterator[tuple[int, list[bytes]]]:
    """A server on a port of its own that says `answer` to whatever it hears; None: says nothing."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    caller, _ = listening.accept()
                    if answer is None:
                        held.append(caller)
                        continue
                    with caller:
                        heard.append(caller.recv(4096))
                        caller.sendall(answer)

        held: list[socket.socket] = []
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1], heard
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        for caller in held:
            caller.close()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def test_a_hub_that_accepts_a_connection_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(b"") as (port, _):
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        probe_hub()


def test_a_hub_that_refuses_is_an_error_with_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = f"http://127.0.0.1:{closed_port()}"
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(UserError, match=f"cannot reach.*{re.escape(endpoint)}.*refused") as caught:
        probe_hub()
    for way_out in ("--data DIR", "--model DIR", "HF_HUB_OFFLINE=1"):
        assert way_out in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_nobody_knows_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://nowhere.invalid")
    with pytest.raises(UserError, match=r"nowhere.invalid"):
        probe_hub()


def test_an_endpoint_that_is_no_url_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "huggingface")
    with pytest.raises(UserError, match="not a URL"):
        probe_hub()


def test_a_proxy_is_asked_for_the_hub_with_the_users_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(b"HTTP/1.1 200 OK\r\n\r\n") as (port, heard):
        monkeypatch.setenv("https_proxy", f"http://ann:s%40@127.0.0.1:{port}")
        probe_hub()
    assert heard[0].startswith(b"CONNECT huggingface.co:443 ")
    assert b"Proxy-Authorization: Basic YW5uOnNA\r\n" in heard[0]


def test_a_proxy_that_refuses_the_hub_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(b"HTTP/1.1 403 Forbidden\r\n\r\n") as (port, _):
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        with pytest.raises(UserError, match="403"):
            probe_hub()


def test_a_proxy_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(None) as (port, _):
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{port}")
        with pytest.raises(UserError, match=r"no answer|timed out"):
            probe_hub(seconds=0.2)


def test_no_proxy_is_used_for_hosts_that_need_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(b"") as (port, _):
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
        with pytest.raises(UserError, match="refused"):
            probe_hub()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        probe_hub()


def test_offline_the_local_cache_is_looked_at_and_nothing_contacted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    probe_hub()
    with pytest.raises(UserError, match=r"nyu-mll/glue is not in the local cache.*--data DIR"):
        probe_hub("nyu-mll/glue")
    with pytest.raises(UserError, match=r"org/model is not in the local cache.*--model DIR"):
        probe_hub(None, "org/model")
    (tmp_path / "datasets" / "nyu-mll___glue").mkdir(parents=True)
    (tmp_path / "hub" / "models--org--model").mkdir(parents=True)
    probe_hub("nyu-mll/glue", "org/model")
    # A relative one is no place for caches: specifications.freedesktop.org/basedir-spec
    monkeypatch.delenv("HF_HOME")
    for caches, place in (("caches", tmp_path / ".cache"), (str(tmp_path), tmp_path)):
        monkeypatch.setenv("XDG_CACHE_HOME", caches)
        monkeypatch.setenv("HOME", str(tmp_path))
        with pytest.raises(UserError) as caught:
            probe_hub("nyu-mll/glue")
        assert f"({place}/huggingface/datasets/nyu-mll___glue)" in str(caught.value)


def test_probing_and_reading_files_imports_nothing_heavy() -> None:
    command = "import sys, tuner.hub, tuner.sources; "
    command += "print({'torch', 'transformers', 'datasets', 'pandas', 'ray'} & set(sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "set()"
