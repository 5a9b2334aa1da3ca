"""Files at a URI: an object store (`s3://`, `gs://`) or a folder (`file://`), through `pyarrow.fs`.

A file appears whole or not at all; nothing is ever appended. Knows nothing of runs, nor of what the
files mean. Credentials come from the environment, as the cloud's own tools take them.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from tuner import documents
from tuner.connections import (
    THEIRS,
    at_once,
    connection,
    is_missing,
    patiently,
    words_of,
)
from tuner.credentials import without_credentials
from tuner.errors import TunerError, UserError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

SCHEMES = ("s3", "gs", "file")

_CHUNK = 8 << 20
_TRIES = 10


@dataclass(frozen=True)
class Entry:
    """A file of a store: its name under the store's own URI, bytes, and Unix seconds by the store's
    clock (whole seconds on S3)."""

    name: str
    size: int
    modified: float


def is_uri(text: str | os.PathLike[str]) -> bool:
    """Whether `text` is written as a URI, of whatever scheme, and not as a local path."""
    return "://" in os.fspath(text)


def join(place: str, name: str) -> str:
    """The file or folder `name` in `place`, a local path or a URI."""
    name = name.strip("/")
    return f"{place.rstrip('/')}/{name}" if name else place


def write_file(place: str, data: bytes) -> None:
    """Write a file at a local path or a URI, over the one there was, whole or not at all."""
    if is_uri(place):
        folder, _, name = place.rpartition("/")
        store = open_store(folder)
        patiently(lambda: store.write(name, data))
    else:
        documents.write_bytes(place, data)


def open_store(uri: str) -> Store:
    """The store at `uri`; nothing is read, written or asked yet.

    AWS_ENDPOINT_URL names another S3 service than Amazon's. Raises UserError for a URI that cannot
    be used.
    """
    shown = without_credentials(uri, whole=True)
    if shown != uri:
        raise UserError(
            f"storage {shown} carries a user name or a password; keep them in the environment, "
            "such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    try:
        parts = urlsplit(uri)
    except ValueError as error:  # such as brackets where a host stands
        raise UserError(f"storage {uri}: is no URI ({error}); use s3://BUCKET/FOLDER") from None
    if parts.scheme not in SCHEMES:
        raise UserError(
            f"storage {uri}: {parts.scheme or 'nothing'}:// is not known; use s3://BUCKET/FOLDER, "
            "gs://BUCKET/FOLDER or a folder"
        )
    if parts.query or parts.fragment:
        raise UserError(
            f"storage {uri}: '?' and '#' have no place in a storage's URI; an S3 service's address "
            "goes into AWS_ENDPOINT_URL"
        )
    if parts.scheme == "file" and parts.netloc not in ("", "localhost"):
        raise UserError(f"storage {uri}: names another host; write file:///FOLDER")
    path = parts.path.strip("/")
    if ".." in path.split("/"):
        raise UserError(f"storage {uri}: '..' has no place in a storage's URI; write it out")
    if parts.scheme == "file":
        return Store(f"file:///{path}", "/" + unquote(path))
    if not parts.netloc:
        raise UserError(f"storage {uri}: names no bucket; write {parts.scheme}://BUCKET/FOLDER")
    where = f"{parts.netloc}/{path}".rstrip("/")
    return Store(f"{parts.scheme}://{where}", where)


class Store:
    """A folder at a URI. Names are relative to it, with `/` between their parts.

    Every method raises UserError for what the user can mend (no such bucket, access denied), and
    TunerError for the rest, such as a network that is down; one line, without credentials.
    """

    def __init__(self, uri: str, root: str) -> None:
        self.uri = uri
        self._root = root

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    @property
    def name(self) -> str:
        """The last part of the URI."""
        return self.uri.rstrip("/").rpartition("/")[2]

    @property
    def folder(self) -> Path | None:
        """The local folder that a `file://` URI names; None for an object store."""
        return Path(self._root) if self.uri.startswith("file://") else None

    def child(self, name: str) -> Store:
        """The store at `name` below this one."""
        return Store(join(self.uri, name), self._path(name))

    def read(self, name: str) -> bytes | None:
        """A file's content; None when there is none of that name."""
        content = io.BytesIO()
        return None if self._get(name, content) is None else content.getvalue()

    def write(self, name: str, data: bytes) -> None:
        """Write a file, over the one there was; a reader sees the old one or the new one."""
        with self._told("written", name):
            if self.folder is not None:
                documents.write_bytes(self._path(name), data)
                return
            with self._files.open_output_stream(self._path(name), compression=None) as stream:
                stream.write(data)

    def entry(self, name: str) -> Entry | None:
        """What a listing would say of one file; None when there is none of that name."""
        from pyarrow.fs import FileType

        with self._told("read", name):
            found = self._files.get_file_info(self._path(name))
        if found.type != FileType.File:
            return None
        return Entry(name, int(found.size or 0), (found.mtime_ns or 0) / 1e9)

    def entries(self, prefix: str = "") -> list[Entry]:
        """Every file below the folder `prefix`, at any depth, by name."""
        from pyarrow.fs import FileSelector, FileType

        with self._told("listed", prefix):
            selector = FileSelector(self._path(prefix), allow_not_found=True, recursive=True)
            found = self._files.get_file_info(selector)
        cut = len(self._root.rstrip("/")) + 1
        # A folder of a bucket may be a file of no bytes whose name ends in a slash.
        files = [
            Entry(info.path[cut:], int(info.size or 0), (info.mtime_ns or 0) / 1e9)
            for info in found
            if info.type == FileType.File and not info.path.endswith("/")
        ]
        return sorted(files, key=lambda entry: entry.name)

    def folders(self, prefix: str = "") -> list[str]:
        """The names of the folders right below the folder `prefix`."""
        from pyarrow.fs import FileSelector, FileType

        with self._told("listed", prefix):
            selector = FileSelector(self._path(prefix), allow_not_found=True)
            found = self._files.get_file_info(selector)
        return sorted(info.base_name for info in found if info.type == FileType.Directory)

    def remove(self, prefix: str) -> None:
        """Remove the file `prefix`, or the folder with all in it; nothing there is no error."""
        from pyarrow.fs import FileType

        if not prefix.strip("/"):
            raise ValueError("a store is not removed as a whole")
        path = self._path(prefix)
        with self._told("removed", prefix):
            kind = self._files.get_file_info(path).type
            # Somebody else may have been quicker.
            with contextlib.suppress(FileNotFoundError):
                if kind == FileType.File:
                    self._files.delete_file(path)
                elif kind == FileType.Directory:
                    self._files.delete_dir(path)

    def fetch(self, prefix: str, folder: Path) -> None:
        """Copy every file below the folder `prefix` to the local `folder`, each whole or not."""
        wanted = [(entry, folder / _below(entry.name, prefix)) for entry in self.entries(prefix)]
        at_once(lambda item: self._fetch_one(*item), wanted)

    def refresh(self, name: str, path: Path) -> bool:
        """Make the local `path` what the file or the folder `name` is here, copying only what
        differs in size or time; False, and nothing stays there, when there is none."""
        entry = self.entry(name)
        if entry is not None:
            wanted = {path: entry}
        else:
            wanted = {path / _below(found.name, name): found for found in self.entries(name)}
        here = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        for file in here:
            if file not in wanted:
                file.unlink(missing_ok=True)
        changed = [(entry, file) for file, entry in wanted.items() if not is_same(file, entry)]
        at_once(lambda item: self._fetch_one(*item), changed)
        return bool(wanted)

    def send(self, folder: Path, prefix: str) -> None:
        """Copy every file below the local `folder` to the folder `prefix`."""
        below = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self.send_files(
            {
                below + path.relative_to(folder).as_posix(): path
                for path in folder.rglob("*")
                if path.is_file()
            }
        )

    def send_files(self, files: dict[str, Path]) -> None:
        """Copy local files to the names given. One that is gone meanwhile is passed over."""
        at_once(lambda item: self._send_one(*item), files.items())

    def _fetch_one(self, entry: Entry, path: Path) -> None:
        with self._told(f"copied to {path}", entry.name):
            path.parent.mkdir(parents=True, exist_ok=True)
            partly = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")
            try:
                with open(partly, "wb") as file:
                    found = self._get(entry.name, file)
                if found is not None:  # else it was removed meanwhile
                    os.utime(partly, (found.modified, found.modified))
                    partly.replace(path)
            finally:
                partly.unlink(missing_ok=True)

    def _get(self, name: str, file: IO[bytes]) -> Entry | None:
        """Copy a file as it was at one moment; None when there is none.

        A stream asks for the size first and for so many bytes then, and S3 has no word against a
        new file's being there in between: of a longer one the beginning would be read.
        """
        with self._told("read", name):
            for _ in range(_TRIES):
                file.seek(0)
                file.truncate()
                broken = None
                try:
                    with self._files.open_input_stream(
                        self._path(name), compression=None
                    ) as stream:
                        shutil.copyfileobj(stream, file, _CHUNK)
                except OSError as error:
                    if isinstance(error, FileNotFoundError) or is_missing(error):
                        return None
                    broken = error
                    if "INTERNAL_FAILURE" not in str(error):  # of fewer bytes than asked for
                        raise
                found = self.entry(name)
                if found is None or (broken is None and found.size == file.tell()):
                    return found
            raise broken or OSError("it changes faster than it can be read")

    def _send_one(self, name: str, path: Path) -> None:
        with self._told("written", name):
            try:
                source = open(path, "rb")  # noqa: SIM115 - closed below
            except FileNotFoundError:
                return
            with source:
                if self.folder is not None:
                    documents.write_bytes(self._path(name), source.read())
                    return
                with self._files.open_output_stream(self._path(name), compression=None) as stream:
                    shutil.copyfileobj(source, stream, _CHUNK)

    def _path(self, name: str) -> str:
        return join(self._root, name)

    @property
    def _files(self) -> FileSystem:
        scheme = self.uri.partition("://")[0]
        return connection(scheme, "" if scheme == "file" else self._root.partition("/")[0])

    @contextlib.contextmanager
    def _told(self, what: str, name: str) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, NotImplementedError) as error:
            said = words_of(error)
            mendable = isinstance(error, ValueError) or THEIRS.search(said)
            raise (UserError if mendable else TunerError)(
                f"{join(self.uri, name)} cannot be {what} ({said}); check the URI, the credentials "
                "in the environment and the network"
            ) from error


def _below(name: str, prefix: str) -> str:
    """`name` without the folder `prefix` that it lies in."""
    folder = prefix.strip("/")
    return name[len(folder) + 1 :] if folder else name


def is_same(file: Path, entry: Entry) -> bool:
    try:
        here = file.stat()
    except OSError:
        return False
    return here.st_size == entry.size and abs(here.st_mtime - entry.modified) < 1e-3
