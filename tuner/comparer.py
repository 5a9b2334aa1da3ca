"""Draws for the trials of a run and compares them: for a driver as they finish, for a reader where
what the run keeps is not whole.

Reads predictions; what a comparison says is `tuner.comparisons`'s business.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace

from tuner.comparisons import (
    Comparison,
    Comparisons,
    compare,
    kept_comparisons,
    names_of,
    write_comparisons,
)
from tuner.connections import at_once
from tuner.errors import TunerError
from tuner.history import Direction, History
from tuner.leases import is_held
from tuner.ranking import ranked
from tuner.runs import Run

FEW = 300
"""So many configurations, the best, are compared where it must not take long. None of them is told
from the leader more easily than among all: the best of many lie closer together."""

_SLICE = 200
"""So many trials are read and drawn for at a time: about a second's work."""


def comparisons_of(
    run: Run,
    history: History,
    objective: str,
    direction: Direction,
    *,
    fetch: bool = False,
    most: int | None = None,
) -> Comparisons:
    """The comparisons of a run's finished trials: those kept, where they are whole, else drawn anew
    from the predictions.

    A reader draws for the best `FEW` configurations, which takes a second, and what it found is
    kept in the run's folder for the next one, beside what was known of the others. It draws nothing
    where a driver is at the run, who will soon have done it, or where the run lies in a store. The
    driver itself reads its run's predictions with `fetch`, also from a store, those of the best
    `most` configurations (None: all), and keeps what is found where it sees fit.
    """
    kept, entrants = kept_comparisons(run, objective), ranked(history, direction)
    if run.uri is not None and not fetch:
        return kept
    most = most if fetch else FEW
    if kept.covers(entrants, most) and not _come(run, kept):
        return kept
    if not fetch and is_held(run):
        return kept
    found = Comparer(run, objective, direction).update(history, most=most)
    if found.trouble is not None:
        return replace(kept, trouble=kept.trouble or found.trouble)
    if not fetch:
        with contextlib.suppress(OSError):
            write_comparisons(run, found)
    return replace(found, trouble=kept.trouble)


def _come(run: Run, kept: Comparisons) -> bool:
    """Whether predictions that could not be read have come, or changed, since."""
    return any(_size(run, name) != size for name, size in kept.unread.items())


def _size(run: Run, name: str) -> int:
    try:
        if (store := run.store) is not None:
            entry = store.entry(f"{run.predictions_folder.name}/{name}.parquet")
            return entry.size if entry is not None else 0
        return (run.predictions_folder / f"{name}.parquet").stat().st_size
    except (OSError, TunerError):
        return 0


class Comparer:
    """Keeps a run's comparisons up to date as trials finish: what was drawn stays in memory. Of
    trials that nothing is drawn for stands what the run kept of them."""

    def __init__(self, run: Run, objective: str, direction: Direction) -> None:
        from tuner.draws import Draws

        self._draws = Draws(objective)
        self._run = run
        self._objective = objective
        self._direction = direction
        self._unread: dict[str, int] = {}
        self._kept = kept_comparisons(run, objective)

    def update(
        self,
        history: History,
        *,
        most: int | None = None,
        again: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> Comparisons:
        """The comparisons of the trials that have finished; of no new ones but those of the best
        `most` configurations, and of no more once `stop` says so.

        `again` looks for predictions once more that could not be read, also in a store. Raises
        nothing: whatever is wrong with predictions is a trouble of what is returned.
        """
        try:
            entrants = ranked(history, self._direction)
            names = [name for entrant in entrants[:most] for name in names_of(entrant)]
            fresh = [name for name in names if self._is_news(name, again)]
            for start in range(0, len(fresh), _SLICE):
                if stop():
                    break
                self._read(fresh[start : start + _SLICE])
            found = compare(entrants, self._draws, self._objective, self._direction)
            known = self._known(self._kept.holds(entrants), bool(found.of))
            lacking = {n: size for n, size in self._kept.unread.items() if n not in found.of}
            unread = lacking | self._unread
            undrawn = frozenset(known.keys() - found.of.keys() - unread.keys())
            return replace(found, of={**known, **found.of}, unread=unread, undrawn=undrawn)
        except Exception as error:
            kind = "" if isinstance(error, TunerError) else f"{type(error).__name__}: "
            said = " ".join(f"{kind}{error}".split())
            return Comparisons(self._objective, trouble=f"trials cannot be compared: {said}")

    def _known(self, holds: bool, drawn: bool) -> dict[str, Comparison]:
        """What the run kept of trials, save those whose predictions are there and cannot be used.

        It is what each says by itself where what was kept no longer `holds`, and also where its
        predictions are gone and others were `drawn` for: these were compared without it.
        """
        kept, alone = self._kept.of, self._kept.alone.of
        gone = {name for name, size in self._unread.items() if not size}
        usable = (name for name in kept if name in gone or name not in self._unread)
        return {n: alone[n] if not holds or (drawn and n in gone) else kept[n] for n in usable}

    def _is_news(self, name: str, again: bool) -> bool:
        if name in self._draws or name not in self._unread:
            return name not in self._draws
        # To ask a store again and again has its price.
        return again or (self._run.uri is None and _size(self._run, name) != self._unread[name])

    def _read(self, names: Iterable[str]) -> None:
        """Draw for trials whose predictions can be read, and remember those whose cannot."""
        from tuner.draws import read_predictions

        contents = at_once(self._content, names) if self._run.store else map(self._content, names)
        read = list(contents)
        said = {name: read_predictions(content) for name, content in read if content}
        self._draws.take({name: found for name, found in said.items() if found is not None})
        for name, content in read:
            self._unread.pop(name, None)
            if name not in self._draws:
                self._unread[name] = len(content)

    def _content(self, name: str) -> tuple[str, bytes]:
        """A trial's predictions as they are stored; empty where there are none."""
        file, store = self._run.predictions_folder / f"{name}.parquet", self._run.store
        try:
            if store is not None:
                return name, store.read(f"{file.parent.name}/{file.name}") or b""
            return name, file.read_bytes()
        except (OSError, TunerError):
            return name, b""
