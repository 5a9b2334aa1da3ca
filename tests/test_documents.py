"""Small files are whole or not there, and YAML reads as people mean it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tuner.documents import (
    YamlLoader,
    parse_document,
    plain,
    read_document,
    read_scalar,
    read_yaml,
    write_bytes,
    write_json,
    write_text,
    write_yaml,
)
from tuner.errors import UserError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6),
        ("-2E5", -2e5),
        ("3.", 3.0),
        (".5", 0.5),
        ("4", 4),
        ("010", 10),
        ("0x10", 16),
        ("true", True),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2026-11-20", "2026-11-20"),
        ("1e-6x", "1e-6x"),
        ("'1e-6'", "1e-6"),
        ("null", None),
        ("~", None),
        ("e5", "e5"),
    ],
)
def test_scalars_mean_what_they_look_like(text: str, value: object) -> None:
    read = yaml.load(f"key: {text}", YamlLoader)["key"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("a: &x 1\nb: *x", "my.yaml:2:", "alias"),
        ("a: 1\nb: 2\na: 3", "my.yaml:3:", "a is given twice (first in line 1)"),
        ("a: 1\nb: {c: 1,\n c: 2}", "my.yaml:3:", "c is given twice"),
        ("a: 1\nb: [1", "my.yaml:2:", "expected"),
        ("a: !!python/object/apply:os.system [ls]", "my.yaml:1:", "tag"),
        ("a: 1\nb: !!int x", "my.yaml", "cannot be read"),
        ("a: 1\n---\nb: 2", "my.yaml:2:", "another document"),
        ("? [1]\n: 2", "my.yaml:1:", "key"),
        ("a: \x00", "my.yaml", "special characters"),
        ("[" * 3000, "my.yaml", "nested too deeply"),
        ("a: " + "9" * 5000, "my.yaml", "cannot be read"),
    ],
)
def test_what_is_not_plain_data_is_refused_by_file_and_line(
    text: str, where: str, what: str
) -> None:
    with pytest.raises(UserError) as caught:
        parse_document(text, "my.yaml")
    assert str(caught.value).startswith(where)
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_key_and_item_knows_its_line() -> None:
    document = parse_document("a:\n  b: 1\n  c:\n  - x\n  - {d: 2}\n", "f")
    assert document.where("a") == "f:1"
    assert document.where("a", "c", 1) == "f:5"
    assert document.where("a", "c", 1, "d") == "f:5"
    assert document.where("a", "missing", "deeper") == "f:1"
    assert parse_document("", "f").where("a") == "f"


def test_files_that_cannot_be_read_are_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"a: \xe9")
    for path in (tmp_path, tmp_path / "none", tmp_path / ("x" * 300), tmp_path / "latin"):
        with pytest.raises(UserError, match=r"read|UTF-8"):
            read_document(path)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_yaml(tmp_path / "f") == {"a": 1}


@pytest.mark.parametrize("text", ["a: b", "[1, 2]", "- a", "*x", "{", "a: *x"])
def test_a_scalar_that_is_none_is_text(text: str) -> None:
    assert read_scalar(text) == text


TRICKY = {
    "float": 1e-6,
    "whole": 3.0,
    "texts": [
        "1e-6",
        "no",
        "010",
        "2026-11-20",
        "null",
        "",
        "1:30",
        "ü",
        "a: b",
        "0o7",
        "two\nlines",
    ],
    "nothing": None,
    "truth": True,
    "deep": {"list": [{"a": 1}, {"a": 1}]},
}


def test_yaml_that_was_written_reads_the_same_here_and_elsewhere(tmp_path: Path) -> None:
    write_yaml(tmp_path / "f", TRICKY)
    assert read_yaml(tmp_path / "f") == TRICKY
    assert yaml.safe_load((tmp_path / "f").read_text()) == TRICKY


def test_the_same_value_twice_is_written_twice(tmp_path: Path) -> None:
    shared = {"a": [1]}
    write_yaml(tmp_path / "f", {"x": shared, "y": shared})
    assert read_yaml(tmp_path / "f") == {"x": shared, "y": shared}


def test_json_has_null_where_a_number_is_not_finite(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    value = {"nan": float("nan"), "deep": [float("inf"), numpy.float32(0.5), numpy.int64(3)]}
    write_json(tmp_path / "f", value)
    assert json.loads((tmp_path / "f").read_text()) == {"nan": None, "deep": [None, 0.5, 3]}


def test_plain_data_is_made_of_plain_types_only() -> None:
    numpy = pytest.importorskip("numpy")
    made = plain({"a": (1, Path("x")), "b": numpy.float64(2.0), "c": True})
    assert made == {"a": [1, "x"], "b": 2.0, "c": True}
    assert type(made["b"]) is float
    with pytest.raises(TypeError, match="not plain data"):
        plain({"a": object()})


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "f", "old")
    with pytest.raises(TypeError):
        write_bytes(tmp_path / "f", "no bytes")  # type: ignore[arg-type]
    assert (tmp_path / "f").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_file_has_the_rights_that_the_user_gives_new_files(tmp_path: Path) -> None:
    write_text(tmp_path / "f", "x")
    (tmp_path / "g").touch()
    assert (tmp_path / "f").stat().st_mode == (tmp_path / "g").stat().st_mode


WRITER = """
import sys
from tuner.documents import write_bytes
number = 0
while True:
    number += 1
    write_bytes(sys.argv[1], bytes([number % 256]) * 300_000)
    print(number, flush=True)
"""


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "f"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE, env=environment
        )
        assert writer.stdout is not None
        for _ in range(5):
            writer.stdout.readline()
        time.sleep(0.003)  # somewhere within a write; any moment will do
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        data = file.read_bytes()
        assert len(data) == 300_000
        assert len(set(data)) == 1
