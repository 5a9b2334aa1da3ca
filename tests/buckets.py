"""A real S3 service on loopback for tests: moto's server, its state in this process."""

from __future__ import annotations

import itertools
import logging
import os
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it has a line for every request

SECRET = "the-secret-key-of-nobody"
_NUMBERS = itertools.count()


class Buckets:
    """The service: buckets are made in it, and it can be away for a while."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._server: ThreadedMotoServer | None = None
        self.come_back()

    @property
    def environment(self) -> dict[str, str]:
        """How a process finds the service, and nothing of this machine's own set-up."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def make(self) -> str:
        """The URI of a new bucket."""
        name = f"bucket-{os.getpid()}-{next(_NUMBERS)}"
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/{name}", method="PUT")
        urllib.request.urlopen(request, timeout=10).close()
        return f"s3://{name}"

    def go_away(self) -> None:
        """Stop answering; what was stored stays."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def come_back(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._server.start()


@contextmanager
def buckets() -> Iterator[Buckets]:
    """An S3 service while the block runs, named in the environment."""
    service = Buckets()
    before = {name: os.environ.get(name) for name in service.environment}
    os.environ.update(service.environment)
    try:
        yield service
    finally:
        service.go_away()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
