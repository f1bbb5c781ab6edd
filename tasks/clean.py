"""Clean: what a workspace holds and nobody will ask for again is removed."""

from __future__ import annotations

from dataclasses import dataclass

from infra.lease import Grip
from infra.ledger import Ledger
from infra.progress import Progress
from infra.store import Store
from tasks.workspace import PREDICT, open_workspace


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What was removed."""

    strips: int
    embeddings: int


def clean(store: Store, *, grip: Grip, progress: Progress) -> Cleaned:
    """Remove what killed runs left, strips into blocks that are done (of `--keep-strips`), and SAM's embeddings.

    Strips into blocks that are not done stay: they are tiles that need not be run again.

    Raises:
        UnusableInput: it is not a workspace.
    """
    open_workspace(store)
    grip.check()
    store.sweep()
    done = Ledger(store, PREDICT).done()
    gone = [key for key in store.keys("strips") if key.split("/")[1] in done]
    store.delete(gone)
    windows = store.keys("embeddings")
    store.delete_all("embeddings")
    progress.note(f"Removed {len(gone)} strips, {len(windows)} embeddings and what killed runs had left.")
    return Cleaned(len(gone), len(windows))
