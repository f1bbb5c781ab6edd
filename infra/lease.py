"""The lease: of all runs that want to write into a workspace, one does.

A lease is a numbered file, `lease/NUMBER.json`, made only where it is not there yet: that is atomic on a local disk and
in object stores alike, where replacing on a condition is not. The highest number holds. Its holder rewrites
`lease/NUMBER.beat` with a growing counter, and writes `lease/NUMBER.released` when it is done.

A newcomer takes the next number. It may do so when the newest is released; when its process is seen to be gone, on the
same machine; or when its counter has stood still for `SILENCE_S` of the newcomer's own time (no clocks are compared).
A holder that was thought dead (a laptop asleep, a network gone) and wakes finds a higher number: `check` before every
shard and every entry of the ledger keeps it from writing.

The newest `.json` is never removed, so that no number is given twice; older ones go when a newer holder has begun.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event, Lock, Thread

from infra.errors import WorkspaceBusy
from infra.holder import Holder
from infra.store import Store

BEAT_S = 1.0
SILENCE_S = 30.0
"""Silence after which a holder on another machine counts as dead."""
LOOK_S = 0.25
FAREWELL_S = 5.0
"""How long a holder that ends waits for its release to be written; after that it is tried on in the background."""

KEY = re.compile(r"lease/(\d+)\.(json|beat|released)")


@dataclass(frozen=True, slots=True)
class Grip:
    """What workers carry of a lease. Picklable."""

    store: Store
    number: int

    def check(self) -> None:
        """Make sure that the workspace is still this run's: one listing of a few names.

        Raises:
            WorkspaceBusy: another run has taken it over.
        """
        # Asking for the next number alone would not do: a run that slept through two others would not find it.
        newest, _ = _newest(self.store)
        if newest != self.number:
            raise WorkspaceBusy(
                f"{self.store.url} was taken over by {_read(self.store, newest)}, so this run stops; "
                "run the same command again when the other has ended."
            )


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write into a workspace."""

    store: Store
    number: int
    secret: str
    heart: _Heart | None = field(default=None, repr=False, compare=False)
    """None where the lease is another process's."""

    @property
    def token(self) -> str:
        """What a step in another process gives to `hold(under=...)`."""
        return f"{self.number}:{self.secret}"

    @property
    def grip(self) -> Grip:
        """What workers carry."""
        return Grip(self.store, self.number)

    def check(self) -> None:
        """Make sure that the workspace is still this run's.

        Raises:
            WorkspaceBusy: another run has taken it over.
        """
        self.grip.check()


@contextmanager
def hold(store: Store, *, command: str, under: str | None = None) -> Iterator[Lease]:
    """Hold a workspace; who comes second leaves at once, or in a few seconds where the holder is on another machine.

    Within a process, a hold inside another (of the same thread or not) gives the same lease, which ends with the last.

    Args:
        store: the workspace's; a folder is made where there is none.
        command: what holds it, as users know it: `predict`.
        under: the token of a lease held by another process, which this one works for; it is neither renewed nor ended.

    Raises:
        WorkspaceBusy: another run holds it, or the run that this one works for holds it no longer.
        UnwritableOutput: it cannot be written.
    """
    held = _HELD.setdefault((os.getpid(), store.url), _Held())
    with held.lock:
        if under is not None:
            borrowed = _borrow(store, under)
            held.lease = held.lease or borrowed
        elif held.lease is None:
            held.lease = _take(store, command)
        else:
            held.lease.check()
        lease = held.lease
        held.count += 1
    try:
        yield lease
    finally:
        with held.lock:
            held.count -= 1
            if not held.count:
                held.lease = None
                if lease.heart is not None:
                    lease.heart.stop()


def holder(store: Store) -> Holder | None:
    """Who holds a workspace, as far as can be told in a few seconds; None where nobody alive does. Changes nothing."""
    number, is_held = _newest(store)
    if is_held and _lives(store, number, patience=3 * BEAT_S):
        return _read(store, number)
    return None


@dataclass(slots=True)
class _Held:
    """What this process holds of one workspace."""

    lock: Lock = field(default_factory=Lock)
    lease: Lease | None = None
    count: int = 0


_HELD: dict[tuple[int, str], _Held] = {}
"""By process, because a forked one holds nothing, and by URL."""


class _Heart:
    """Shows that a lease's holder lives, from a thread, and tells when it is done."""

    def __init__(self, store: Store, number: int) -> None:
        self._store, self._number = store, number
        self._done = Event()
        self._thread = Thread(target=self._run, name=f"lease-{number}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Release the lease."""
        self._done.set()
        self._thread.join(FAREWELL_S)

    def _run(self) -> None:
        count = 0
        while not self._done.wait(BEAT_S):
            count += 1
            if self._write("beat", b"%d" % count) is None:
                return
        while self._write("released", b"") is False:  # who comes next would find a living process
            time.sleep(BEAT_S)

    def _write(self, kind: str, data: bytes) -> bool | None:
        """Whether it was written; None where the lease is gone and nothing is to be written any more."""
        try:
            if not self._store.exists(_key(self._number)):
                return None
            # A beat need not outlive a power loss, and must not wait for whatever else goes to the disk.
            self._store.write(_key(self._number, kind), data, durable=kind == "released")
        except Exception:  # noqa: BLE001 - whatever it is, it may pass, and a heart that stops loses the run
            return False
        return True


def _take(store: Store, command: str) -> Lease:
    me = Holder.here(command)
    while True:
        number, is_held = _newest(store)
        if is_held:
            lives = _lives(store, number, patience=SILENCE_S)
            if lives is None:
                continue
            if lives:
                raise WorkspaceBusy(
                    f"{store.url} is in use by {_read(store, number)}; wait until that has ended, or stop it, "
                    "and run the same command again."
                )
        mine = number + 1
        # Where an answer was lost and the question repeated, what is there already is ours.
        if not store.create(_key(mine), me.packed()) and store.read(_key(mine)) != me.packed():
            continue
        if _newest(store)[0] == mine:
            break
        store.delete([_key(mine)])  # others have come and gone since we looked, and taken this number's file with them
    return _begin(store, mine, me, after_death=is_held)


def _begin(store: Store, number: int, me: Holder, *, after_death: bool) -> Lease:
    try:
        store.write(_key(number, "beat"), b"0", durable=False)
    except BaseException:
        with suppress(Exception):
            store.delete([_key(number)])
        raise
    lease = Lease(store, number, me.token, _Heart(store, number))
    try:
        store.delete([key for key, n, _ in _list(store) if n < number])
        if after_death:
            store.sweep()
    except BaseException:
        if lease.heart is not None:
            lease.heart.stop()
        raise
    return lease


def _borrow(store: Store, token: str) -> Lease:
    number, is_held = _newest(store)
    secret = _read(store, number).token
    if not is_held or token != f"{number}:{secret}":
        raise WorkspaceBusy(
            f"{store.url} is no longer held by the run that this step belongs to; run the whole command again."
        )
    return Lease(store, number, secret)


def _lives(store: Store, number: int, *, patience: float) -> bool | None:
    """Whether the holder of the newest lease lives; None where meanwhile it has released it, or is not the newest."""
    who = _read(store, number)
    if who.is_this_process():  # a lease that it could not release, unless it holds it by another way to the same place
        return who.token in {held.lease.secret for held in list(_HELD.values()) if held.lease is not None}
    lives = who.lives()
    if lives is not None:
        return lives
    began = time.monotonic()
    first = store.read(_key(number, "beat"))
    while True:
        time.sleep(LOOK_S)
        beat = store.read(_key(number, "beat"))
        if _newest(store) != (number, True):
            return None
        if beat != first:
            return True
        if time.monotonic() - began > patience:
            return False


def _newest(store: Store) -> tuple[int, bool]:
    """The highest number and whether it is held; 0 where there never was a lease."""
    kinds: dict[int, set[str]] = {}
    for _, number, kind in _list(store):
        kinds.setdefault(number, set()).add(kind)
    newest = max((n for n, k in kinds.items() if "json" in k), default=0)
    return newest, newest > 0 and "released" not in kinds[newest]


def _list(store: Store) -> list[tuple[str, int, str]]:
    """Key, number and kind of everything that leases are made of."""
    found = [KEY.fullmatch(key) for key in store.keys("lease")]
    return [(m[0], int(m[1]), m[2]) for m in found if m]


def _read(store: Store, number: int) -> Holder:
    return Holder.parse(store.read(_key(number)))


def _key(number: int, kind: str = "json") -> str:
    return f"lease/{number}.{kind}"
