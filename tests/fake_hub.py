"""As much of the Hugging Face Hub as an upload asks for, on this machine.

It answers `whoami`, the making of a repository, and an upload by git-LFS (not by Xet), and keeps
what it was sent.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class FakeHub:
    """`tokens` are those it knows, with their roles; `files` are those of its one repository,
    `someone/name`, and `heard` is every request: its line, headers and body. A repository
    `someone/public` is public."""

    tokens: dict[str, str]
    files: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    heard: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    """The hub at `hub.url` while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Nothing."""

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def do_PUT(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            hub.heard.append((self.requestline, dict(self.headers), body))
            path = urlsplit(self.path).path
            role = hub.tokens.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))
            if role is None and not path.startswith("/blob/"):
                self._send(401, {"error": "Invalid credentials in Authorization header"})
            else:
                self._send(*_reply(hub, path, body, role))

        def _send(self, status: int, value: Any) -> None:
            text = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def _reply(hub: FakeHub, path: str, body: bytes, role: str | None) -> tuple[int, Any]:
    if path.startswith("/blob/"):
        hub.blobs[path.removeprefix("/blob/")] = body
        return 200, {}
    said = [json.loads(line) for line in body.splitlines()] if body.strip() else [{}]
    if path == "/api/whoami-v2":
        return 200, {"name": "someone", "auth": {"accessToken": {"role": role}}}
    if path == "/api/repos/create":
        if said[0]["organization"] != "someone":
            return 403, {"error": "You don't have the rights to create a model under this name"}
        return 200, {"url": f"{hub.url}/someone/{said[0]['name']}"}
    if path == "/api/validate-yaml":
        return 200, {"errors": [], "warnings": []}
    if path.endswith("/objects/batch"):
        return 200, {
            "transfer": "basic",
            "objects": [_upload(hub, it) for it in said[0]["objects"]],
        }
    if "/preupload/" in path:
        return 200, {"files": [_mode(file["path"]) for file in said[0]["files"]]}
    if "/tree/" in path:
        return 200, [{"type": "file", "path": name, "size": 1, "oid": "0"} for name in hub.files]
    if "/commit/" in path:
        for line in said:
            _commit(hub, line["key"], line["value"])
        commit = "1" * 40
        return 200, {"commitUrl": f"{hub.url}/someone/name/commit/{commit}", "commitOid": commit}
    if not path.startswith("/api/models/someone/"):
        return 404, {"error": "Repository not found"}
    return 200, {
        "id": "someone/name",
        "private": not path.endswith("/public"),
        "siblings": [{"rfilename": name} for name in hub.files],
    }


def _upload(hub: FakeHub, wanted: dict[str, Any]) -> dict[str, Any]:
    return {**wanted, "actions": {"upload": {"href": f"{hub.url}/blob/{wanted['oid']}"}}}


def _mode(path: str) -> dict[str, Any]:
    large = path.endswith((".safetensors", ".onnx"))
    return {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}


def _commit(hub: FakeHub, key: str, value: dict[str, Any]) -> None:
    if key == "file":
        hub.files[value["path"]] = base64.b64decode(value["content"])
    elif key == "lfsFile":
        hub.files[value["path"]] = hub.blobs[value["oid"]]
    elif key == "deletedFile":
        del hub.files[value["path"]]
