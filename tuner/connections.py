"""The way to an object store: connections, what is said when one fails, trying again, several files
at a time.

Credentials come from the environment, as the cloud's own tools take them, and are never said. Knows
nothing of what is read or written.
"""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from tuner.credentials import masked
from tuner.errors import TunerError, UserError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

AT_ONCE = 8
"""Files that are copied at the same time."""

_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_ASKED = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", *_SECRETS)
"""The environment variables that decide which connection a store has."""


THEIRS = re.compile(
    r"NO_?SUCH_?BUCKET|ACCESS_?DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE|EXPIRED|"
    r"MISSING_AUTHENTICATION|HTTP status 40[0134]|PERMISSION_?DENIED|UNAUTHENTICATED|credentials|"
    r"does not exist|Permission denied|Not a directory|Read-only file system|No space left",
    re.IGNORECASE,
)
"""What a store says when the one who named it can mend it; all else is the network's or its own."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def patiently(act: Callable[[], Result], seconds: float = 60.0) -> Result:
    """What `act` returns; while the network fails it, it is tried again for so many seconds."""
    until, pause = time.monotonic() + seconds, 0.5
    while True:
        try:
            return act()
        except UserError:
            raise
        except TunerError:
            if time.monotonic() + pause > until:
                raise
        time.sleep(pause)
        pause = min(2 * pause, 8.0)


def at_once(act: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Call `act` on every item, some at a time; the first error counts."""
    items = list(items)
    if len(items) < 2:
        return [act(item) for item in items]
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="store") as pool:
        return list(pool.map(act, items))


def connection(scheme: str, bucket: str) -> FileSystem:
    """The connection for all stores of a bucket, as long as the environment says the same."""
    return _open(scheme, bucket, tuple(os.environ.get(name) for name in _ASKED))


@functools.lru_cache(maxsize=8)
def _open(scheme: str, bucket: str, asked: tuple[str | None, ...]) -> FileSystem:
    from pyarrow import fs

    if scheme == "file":
        return fs.LocalFileSystem()
    if scheme == "gs":
        # Google's client would try for a quarter of an hour.
        return fs.GcsFileSystem(retry_time_limit=timedelta(seconds=15))
    said = dict(zip(_ASKED, asked, strict=True))
    endpoint = said["AWS_ENDPOINT_URL_S3"] or said["AWS_ENDPOINT_URL"]
    region = said["AWS_REGION"] or said["AWS_DEFAULT_REGION"]
    options: dict[str, Any] = {}
    if endpoint:
        parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        options = {
            "scheme": parts.scheme,
            "endpoint_override": parts.netloc.rpartition("@")[2] + parts.path.rstrip("/"),
        }
    elif region is None:
        region = fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(
        region=region or "us-east-1",
        connect_timeout=5.0,
        request_timeout=20.0,
        # A small file is then one request, and there all at once.
        allow_delayed_open=True,
        **options,
    )


def is_missing(error: OSError) -> bool:
    """Whether a store's error says that there is no such file."""
    # Without the right to list a bucket, S3 says of a missing file that access is denied.
    return "NO_SUCH_KEY" in str(error) or "Path does not exist" in str(error)


def words_of(error: Exception) -> str:
    """The error's own words, in a line of bearable length, without what must not be shown."""
    text = masked(" ".join(str(getattr(error, "strerror", None) or error).split()))
    return text if len(text) <= 300 else text[:299] + "…"
