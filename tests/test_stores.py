"""Files at a URI: the same on a folder and on a real S3 service."""

from __future__ import annotations

import gzip
import os
import threading
import time
from pathlib import Path

import pytest

from tests.buckets import SECRET, Buckets
from tuner.connections import patiently
from tuner.errors import TunerError, UserError
from tuner.stores import Store, is_uri, join, open_store, write_file


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, service: Buckets, tmp_path: Path) -> Store:
    where = f"file://{tmp_path}/far" if request.param == "file" else service.make()
    return open_store(f"{where}/some/folder")


def test_what_is_written_is_read_listed_and_removed(store: Store) -> None:
    assert store.read("a") is None
    assert store.entry("a") is None
    assert store.entries() == []
    assert store.folders() == []
    store.write("a", b"one")
    store.write("b/c/d", b"")
    store.write("b/e", b"four")
    store.write("a", b"two!")
    assert store.read("a") == b"two!"
    assert [(entry.name, entry.size) for entry in store.entries()] == [
        ("a", 4),
        ("b/c/d", 0),
        ("b/e", 4),
    ]
    assert [entry.name for entry in store.entries("b")] == ["b/c/d", "b/e"]
    assert store.folders() == ["b"]
    assert store.child("b").read("e") == b"four"
    assert store.child("b").uri == join(store.uri, "b")
    entry = store.entry("a")
    assert entry is not None
    assert abs(entry.modified - time.time()) < 60
    store.remove("b")
    store.remove("a")
    store.remove("never there")
    assert store.entries() == []


def test_folders_go_up_and_come_down_whole(store: Store, tmp_path: Path) -> None:
    here, back = tmp_path / "here", tmp_path / "back"
    (here / "deep" / "er").mkdir(parents=True)
    big = os.urandom(12 << 20)  # more than a part of S3's
    (here / "big").write_bytes(big)
    (here / "deep" / "er" / "small").write_bytes(b"small")
    (here / "empty").touch()
    store.send(here, "up")
    store.fetch("up", back)
    assert (back / "big").read_bytes() == big
    assert sorted(path.relative_to(back).as_posix() for path in back.rglob("*")) == [
        "big",
        "deep",
        "deep/er",
        "deep/er/small",
        "empty",
    ]


def test_what_is_packed_is_kept_as_it_is(store: Store) -> None:
    packed = gzip.compress(b"words")
    store.write("a.csv.gz", packed)
    assert store.read("a.csv.gz") == packed
    assert [(entry.name, entry.size) for entry in store.entries()] == [("a.csv.gz", len(packed))]


def test_a_copy_that_is_brought_up_to_date_is_what_the_store_holds(
    store: Store, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    store.write("m/kept", b"kept")
    store.write("m/changed", b"before")
    store.write("m/gone", b"gone")
    assert store.refresh("m", copy)
    inode = (copy / "kept").stat().st_ino
    store.write("m/changed", b"after!!")
    store.remove("m/gone")
    store.write("m/new", b"new")
    assert store.refresh("m", copy)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == {
        "kept": b"kept",
        "changed": b"after!!",
        "new": b"new",
    }
    assert (copy / "kept").stat().st_ino == inode  # not copied again
    assert store.refresh("m/new", tmp_path / "one")
    assert (tmp_path / "one").read_bytes() == b"new"
    store.remove("m")
    assert not store.refresh("m", copy)
    assert not store.refresh("m/new", tmp_path / "one")
    assert [path for path in tmp_path.glob("**/*") if path.is_file()] == []


def test_a_reader_sees_the_old_file_or_the_new_one(store: Store) -> None:
    states = {b"x", b"long" * 50, b""}
    store.write("a", b"x")
    ending = threading.Event()

    def rewrite() -> None:
        while not ending.is_set():
            for state in states:
                store.write("a", state)
                time.sleep(0.1)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        until = time.monotonic() + 2
        while time.monotonic() < until:
            assert store.read("a") in states
    finally:
        ending.set()
        writer.join()


def test_a_file_is_written_wherever_it_lies(store: Store, tmp_path: Path) -> None:
    write_file(join(store.uri, "x/y"), b"far")
    write_file(join(str(tmp_path), "x/y"), b"near")
    assert store.read("x/y") == b"far"
    assert (tmp_path / "x" / "y").read_bytes() == b"near"


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("ftp://host/x", "not known"),
        ("s3://", "names no bucket"),
        ("s3://b/../x", "has no place"),
        ("s3://b/x?endpoint_override=h", "AWS_ENDPOINT_URL"),
        ("file://host/x", "names another host"),
        ("s3://me:hunter2@b/x", "keep them in the environment"),
        ("s3://me:hun/hunter2@b/x", "keep them in the environment"),
        ("s3://[b/x", "is no URI"),
    ],
)
def test_a_uri_that_cannot_be_used_is_the_users_to_mend(uri: str, why: str) -> None:
    assert is_uri(uri)
    with pytest.raises(UserError, match=why) as caught:
        open_store(uri)
    assert "hunter2" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_the_users_to_mend(service: Buckets) -> None:
    store = open_store("s3://no-such-bucket-anywhere/x")
    with pytest.raises(UserError, match="a cannot be written") as caught:
        store.write("a", b"")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert store.read("a") is None
    assert store.entries() == []


def test_a_service_that_is_away_is_waited_for_within_reason(service: Buckets) -> None:
    store = open_store(service.make())
    store.write("a", b"1")
    service.go_away()
    try:
        began = time.monotonic()
        with pytest.raises(TunerError, match="cannot be read") as caught:
            store.read("a")
        assert time.monotonic() - began < 15
        assert not isinstance(caught.value, UserError)
        assert "\n" not in str(caught.value)
        assert SECRET not in str(caught.value)
    finally:
        service.come_back()
    assert patiently(lambda: store.read("a")) == b"1"


def test_what_the_network_fails_is_tried_again_and_what_the_user_did_is_not() -> None:
    tries: list[int] = []

    def fail(error: TunerError) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise error

    patiently(lambda: fail(TunerError("away")))
    assert len(tries) == 3
    tries.clear()
    with pytest.raises(UserError):
        patiently(lambda: fail(UserError("wrong")))
    assert len(tries) == 1
    with pytest.raises(TunerError):
        patiently(lambda: fail(TunerError("away")), seconds=0.0)
