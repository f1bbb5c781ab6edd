"""The ledger: which units of a step are finished, told by the names of small entries alone.

An entry is written after its unit's results are durable, and is one key, `ledger/STEP/UNIT.FINGERPRINT.json`, or
`.short.json` where the unit is done but for tiles that failed. So one listing says what is done, and nothing is read.

An entry vouches for results, so it has to go before they change: forget a unit, then overwrite its results, then record
it anew. `forget` lists the whole step: call it once for all units that are to be redone, not once for each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from infra.store import Store

NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished unit."""

    unit: str
    """Its name within the step: letters, digits, `_` and `-`."""
    fingerprint: str
    """Of everything its results depend on; letters and digits."""
    checksum: str
    """Of its results."""
    short: bool = False
    """It is done, but for tiles that failed."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the step wants to know of it later; JSON."""

    def __post_init__(self) -> None:
        for part in (self.unit, self.fingerprint):
            _named(part)


@dataclass(frozen=True, slots=True)
class Ledger:
    """A step's ledger in a workspace's store."""

    store: Store
    step: str

    def __post_init__(self) -> None:
        _named(self.step)

    def record(self, entry: Entry) -> None:
        """Write that a unit is finished; durable when this returns. Its results have to be durable already.

        Of a unit recorded both whole and short with one fingerprint, the later record stands. Entries of other
        fingerprints stay: forget them before the unit's results are overwritten.
        """
        data = json.dumps(asdict(entry), indent=1, ensure_ascii=False, allow_nan=False).encode()
        self.store.write(self._key(entry.unit, entry.fingerprint, short=entry.short), data)
        self.store.delete([self._key(entry.unit, entry.fingerprint, short=not entry.short)])

    def done(self) -> dict[str, str]:
        """Fingerprints of the units that are finished and whole.

        A unit with entries of two fingerprints is not among them: no one can say whose results it has.
        """
        return self._sure(short=False)

    def short(self) -> dict[str, str]:
        """Fingerprints of the units that are finished but for tiles that failed."""
        return self._sure(short=True)

    def has(self, unit: str, fingerprint: str) -> bool:
        """Whether one unit is finished and whole with this fingerprint; without a listing."""
        whole, short = (self._key(unit, fingerprint, short=short) for short in (False, True))
        return self.store.exists(whole) and not self.store.exists(short)

    def read(self, unit: str, fingerprint: str) -> Entry | None:
        """A unit's entry; None where there is none, or a damaged one."""
        return _parsed(self.store.read(self._key(unit, fingerprint, short=True))) or _parsed(
            self.store.read(self._key(unit, fingerprint, short=False))
        )

    def entries(self) -> list[Entry]:
        """All entries that are not damaged, by unit."""
        found = map(_parsed, self.store.read_many([key for key, *_ in self._list()]))
        return [entry for entry in found if entry is not None]

    def forget(self, units: Iterable[str]) -> None:
        """Remove every entry of these units; it has to come before their results are overwritten."""
        gone = set(units)
        if gone:
            self.store.delete([key for key, unit, _, _ in self._list() if unit in gone])

    def forget_all(self) -> None:
        """Remove every entry of the step."""
        self.store.delete_all(f"ledger/{self.step}")

    def _key(self, unit: str, fingerprint: str, *, short: bool) -> str:
        return f"ledger/{self.step}/{_named(unit)}.{_named(fingerprint)}{'.short' if short else ''}.json"

    def _list(self) -> Iterator[tuple[str, str, str, bool]]:
        """Key, unit, fingerprint and shortness of every entry, by key."""
        for key in self.store.keys(f"ledger/{self.step}"):
            match key.rpartition("/")[2].split("."):
                case [unit, fingerprint, "json"]:
                    yield key, unit, fingerprint, False
                case [unit, fingerprint, "short", "json"]:
                    yield key, unit, fingerprint, True
                case _:
                    pass  # not ours

    def _sure(self, *, short: bool) -> dict[str, str]:
        found: dict[str, str] = {}
        lacking: set[str] = set()
        doubtful: set[str] = set()
        for _, unit, fingerprint, is_short in self._list():
            if found.setdefault(unit, fingerprint) != fingerprint:
                doubtful.add(unit)
            if is_short:
                lacking.add(unit)
        return {u: f for u, f in found.items() if (u in lacking) == short and u not in doubtful}


def _parsed(data: bytes | None) -> Entry | None:
    try:
        return None if data is None else Entry(**json.loads(data))
    except (ValueError, TypeError):
        return None


def _named(part: str) -> str:
    if not NAME.fullmatch(part):
        raise ValueError(f"{part!r} cannot stand in the ledger; use letters, digits, '_' and '-' only.")
    return part
