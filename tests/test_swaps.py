"""A folder is in its place whole or not at all, also where a process is killed meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tuner.swaps import beside, clear, restore


class Killed(BaseException):
    """As good as a kill: nothing is put back after it."""


def put(final: Path, text: str) -> None:
    with beside(final) as fresh:
        (fresh / "inner").mkdir()
        (fresh / "inner" / "file").write_text(text)


def held(final: Path) -> tuple[str, list[str]]:
    return (final / "inner" / "file").read_text(), sorted(os.listdir(final.parent))


def killed_while_swapping(final: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write `final` anew, and be killed when the old one has gone and the new one is not there."""
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        if target == final:
            raise Killed
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename)
        with pytest.raises(Killed):
            put(final, text)


def test_a_folder_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    final = tmp_path / "best"
    put(final, "one")
    put(final, "two")
    assert held(final) == ("two", ["best"])


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    final = tmp_path / "best"
    put(final, "one")
    with pytest.raises(ZeroDivisionError), beside(final):
        raise ZeroDivisionError
    assert held(final) == ("one", ["best"])


def test_what_a_kill_between_two_renames_put_aside_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = tmp_path / "best"
    put(final, "one")
    for again in (lambda: restore(final), lambda: clear(final)):
        killed_while_swapping(final, "two", monkeypatch)
        assert not final.exists()
        again()
        assert held(final) == ("one", ["best"])
    assert not restore(final)
    killed_while_swapping(final, "two", monkeypatch)
    put(final, "three")
    assert held(final) == ("three", ["best"])


def test_a_reader_that_puts_the_old_one_back_meanwhile_does_not_stop_the_swap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = tmp_path / "best"
    put(final, "one")
    real = os.rename
    met: list[Path] = []

    def rename(source: Path, target: Path) -> None:
        if target == final and not met:
            met.append(source)
            real(tmp_path / ".best.old", final)
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename)
        put(final, "two")
    assert met
    assert held(final) == ("two", ["best"])


def test_half_written_folders_go(tmp_path: Path) -> None:
    final = tmp_path / "best"
    put(final, "one")
    (tmp_path / ".best.0123abcd").mkdir()
    (tmp_path / ".other").mkdir()
    clear(final)
    assert held(final) == ("one", [".other", "best"])
