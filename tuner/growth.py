"""How many slots a search has while it runs: as many as fit on the hosts that are there now.

Asks Ray about its hosts and tells the ledger; knows nothing of Tune or of how a trial trains.
"""

from __future__ import annotations

import time

from tuner import hosts
from tuner.ledger import Ledger
from tuner.orphans import remove_orphans
from tuner.resources import Layout, room

EVERY = 1.0
"""Seconds between two looks at the hosts."""

PATIENCE = 600.0
"""Seconds without room for a single slot after which a search gives up."""


def wanted(layout: Layout, there: tuple[hosts.Host, ...], grow: bool, trials: int) -> int:
    """How many slots to ask an autoscaler for; 0 where there is none, or it can add nothing."""
    ever = hosts.at_most(there)
    if ever == there:
        return 0
    return trials if grow and ever is None else min(layout.slots, trials)


class Growth:
    """Follows the hosts. `most` bounds the slots (None: only the hosts do); `wanted` is how many an
    autoscaler is asked for (0: there is none)."""

    def __init__(
        self,
        ledger: Ledger,
        layout: Layout,
        *,
        most: int | None,
        wanted: int,
    ) -> None:
        self._ledger = ledger
        self._layout = layout
        self._most = most
        self._wanted = wanted
        self._asked = 0
        self._looked = -EVERY
        self._roomless: float | None = None

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Pickled as None, as the ledger is."""
        return type(None), ()

    def look(self, now: bool = False) -> None:
        """Tell the ledger how many slots there is room for; at most once a second, unless `now`."""
        clock = time.monotonic()
        if not now and clock < self._looked + EVERY:
            return
        self._looked = clock
        layout = self._layout
        if layout.workers > 1:  # a slot that was lost may have left its worker group's cores taken
            remove_orphans()
        there = tuple(
            host
            for host in hosts.staying(hosts.alive())
            if host.cpus >= layout.cpus and host.gpus >= layout.gpus
        )
        slots = room(there, layout)
        if self._most is not None:
            slots = min(slots, self._most)
        self._ledger.room(slots, f"{len(there)} host{'' if len(there) == 1 else 's'}")
        self._ask(min(self._wanted, self._ledger.left))
        self._wait(slots, clock)

    def _wait(self, slots: int, clock: float) -> None:
        if slots:
            self._roomless = None
            return
        if self._roomless is None:
            self._roomless = clock
        if clock - self._roomless >= PATIENCE and self._ledger.reason is None:
            self._ledger.give_up(f"no host had room for a slot in {PATIENCE / 60:g} minutes")

    def _ask(self, slots: int) -> None:
        if slots != self._asked:
            self._asked = slots
            hosts.ask_for(slots, self._layout)

    def end(self) -> None:
        """Take back what was asked of the autoscaler, and what lost slots have left behind."""
        self._ask(0)
        if self._layout.workers > 1:
            remove_orphans()
