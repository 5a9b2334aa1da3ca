"""Who drives a run: one driver at a time, on this host or another, by a lease in the run's folder.

Between drivers of one host the lease is exact: a file that only one can make, and a process that is
alive or not. Between hosts it rests on the driver's renewing it, and on the storage's own clock:
one that was silent for `STALE` seconds counts as gone. In a folder that hosts share, a new lease is
still made by one driver only. An object store cannot promise that, so whoever writes a lease there
waits and reads it back: of two drivers that come at the same moment the later writer wins, and
should one of them take more than `SETTLE` seconds from its look to its write, both drive until the
other's next renewal, `RENEW_EVERY` seconds at most. A driver that was overruled finds out at its
next renewal, and before it writes again when it could not renew in time. Knows files and clocks,
nothing of what a driver does.
"""

from __future__ import annotations

import contextlib
import shlex
import threading
import time
from collections.abc import Callable, Iterator

from tuner.claims import Claim, FolderClaim, StoreClaim
from tuner.disks import MEND
from tuner.errors import SearchError, TunerError, UserError
from tuner.owners import Owner, myself
from tuner.runs import Run

RENEW_EVERY = 5.0
"""Seconds between two renewals."""

STALE = 60.0
"""Seconds without a renewal after which a driver of another host counts as gone."""

SETTLE = 2.0
"""Seconds after which a lease that was written where two can write at once is read back."""

HANDOVER = RENEW_EVERY + 3.0
"""Seconds that a driver gets to find out that it was overruled, before another goes on."""

_TRUST = RENEW_EVERY + 1.0
"""Seconds for which a renewal is believed in without looking again: fewer than `HANDOVER`, so that
nothing is written on trust once another driver goes on."""

_ATTEMPTS = 3


class Lease:
    """The right to drive a run, as long as nobody else took it."""

    def __init__(
        self,
        run: Run,
        owner: Owner,
        places: list[Claim],
        lost: Callable[[str], None] | None,
    ) -> None:
        self._run = run
        self.owner = owner
        self._places = places
        self._tell = lost
        self._lost: str | None = None
        self._looking = threading.Lock()
        self._ended = threading.Event()
        self._seen = [_clock()] * len(places)
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> str | None:
        """Why this driver must stop; None while it need not."""
        return self._lost

    def check(self) -> None:
        """Before a write to the run's folder. Raises SearchError when another driver has the run.

        A storage that does not answer is no reason to stop: nothing can be written there, either.
        """
        self._look(self._places[:1], _TRUST)
        if self._lost is not None:
            raise SearchError(self._lost)

    def is_ours(self) -> bool:
        """Before a write to the run's store: whether it is known, not only believed, to be ours."""
        return self._look(self._places, _TRUST) and self._lost is None

    def _keep(self) -> None:
        while not self._ended.wait(RENEW_EVERY):
            self._look(self._places, 0.0, renew=True)
            if self._lost is not None:
                return

    def _look(self, places: list[Claim], older: float, renew: bool = False) -> bool:
        """Read the leases last seen `older` seconds ago or more; False when one cannot be."""
        known = True
        for number, place in enumerate(places):
            if _clock() - self._seen[number] < older:
                continue
            with self._looking:
                began = _clock()
                if self._lost is not None or began - self._seen[number] < older:
                    continue
                try:
                    found = place.read()
                    if found is not None and found.id == self.owner.id:
                        if renew:
                            place.renew(self.owner)
                        self._seen[number] = began
                        continue
                except (OSError, TunerError):
                    known = False
                    continue
                self._lost = self._reason(found)
            if self._tell is not None:
                self._tell(self._lost)
        return known

    def _reason(self, found: Owner | None) -> str:
        by = f"taken over by {found}" if found is not None else "released (its lease is gone)"
        return (
            f"the run {self._run.name} was {by}; this driver stopped, and what it did since is "
            "not kept"
        )

    def end(self) -> None:
        """Stop renewing, and give the run free unless it is another's already."""
        self._ended.set()
        self._thread.join()
        self._look(self._places, 0.0)
        for place in self._places:
            with contextlib.suppress(OSError, TunerError), place.alone():
                found = place.read()
                if found is not None and found.id == self.owner.id:
                    place.remove()


def _clock() -> float:
    """Seconds that go on while the machine sleeps, where there are such."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@contextlib.contextmanager
def hold(
    run: Run, take_over: bool = False, lost: Callable[[str], None] | None = None
) -> Iterator[Lease]:
    """Be the run's only driver while the block runs.

    Raises UserError when another driver has the run and `take_over` is False. With it, the other
    one is overruled, and gets some seconds to find out. Should this one be overruled, `lost` is
    told why, in a thread of its own, and whatever the block then ends with becomes a SearchError
    that says so.
    """
    mine = myself()
    places = _places(run)
    taken: list[Claim] = []
    try:
        for place in places:
            _take(run, place, mine, take_over)
            taken.append(place)
    except BaseException as error:
        for place in taken:
            with contextlib.suppress(OSError, TunerError):
                place.remove()
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise UserError(f"{run.folder} cannot be written ({reason}); {MEND}") from None
        raise
    lease = Lease(run, mine, places, lost)
    try:
        yield lease
    except BaseException as error:
        lease.end()
        if lease.lost is not None:
            raise SearchError(lease.lost) from error
        raise
    lease.end()
    if lease.lost is not None:
        raise SearchError(lease.lost)


def _places(run: Run) -> list[Claim]:
    """Where a run's lease lies: its folder, or its store and the working copy on this disk."""
    if run.store is None:
        return [FolderClaim(run)]
    return [FolderClaim(run, ".working.json"), StoreClaim(run.store)]


def _take(run: Run, place: Claim, mine: Owner, take_over: bool) -> None:
    for _ in range(_ATTEMPTS):
        with place.alone():
            found = place.read()
            wait = _patience(run, place, found, take_over)
            if not place.write(mine, new=found is None):
                continue
        if not wait:
            return
        time.sleep(wait)
        now = place.read()
        if now is not None and now.id == mine.id:
            return
    raise UserError(
        f"the run {run.name} is wanted by several drivers at once; try again when the others "
        "have stopped"
    )


def _patience(run: Run, place: Claim, found: Owner | None, take_over: bool) -> float:
    """Seconds from writing a lease, over another one if one was `found`, to reading it back: 0
    where nobody else can have come between. Raises UserError when it may not be written over."""
    if found is None or found.is_dead:
        return 0.0 if place.exact else SETTLE
    silent = max(0.0, place.now() - place.modified())
    if silent >= STALE and not found.is_near:
        return SETTLE
    if take_over:
        return HANDOVER
    begun = time.strftime("%Y-%m-%d %H:%M", time.localtime(found.since))
    alone = "" if found.is_near else f" (silent for {STALE:.0f} s, it counts as gone)"
    where = shlex.quote(run.where)
    raise UserError(
        f"the run {run.name} is being driven by {found} since {begun}, last heard of "
        f"{silent:.0f} s ago{alone}; wait for it to end, stop it, or take the run from it: "
        f"tuner resume {where} --take-over"
    )


def is_held(run: Run) -> bool:
    """Whether a driver is at the run now, told without writing anything: for drivers of other hosts
    this host's clock must do."""
    try:
        place = _places(run)[-1]
        found = place.read()
        if found is None or found.is_dead:
            return False
        return found.is_near or time.time() - place.modified() < STALE
    except (OSError, TunerError):
        return False
