"""Train on a worker of a cluster, as one with a GPU: the worker reads the workspaces and writes the model itself."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from infra.cluster import Cluster, Job
from infra.errors import UnusableInput
from infra.progress import Progress, Silent, Task
from infra.stopping import check
from infra.storage import make_folder
from infra.store import open_store
from tasks.params import TrainParams
from tasks.recipe_file import self_contained
from tasks.train import Trained, train

MARK = "training-{}.job"
"""Names the job to the worker, which must see it."""


def train_elsewhere(
    params: TrainParams, workspaces: list[str], out: Path, *, device: str, cluster: Cluster, progress: Progress
) -> Trained:
    """Send a training to a cluster, and wait for it.

    Raises:
        UnusableInput: as `tasks.train.train`; or the worker does not see the model's folder.
        GeoloomError: the worker died again and again.
    """
    params = self_contained(params)
    if (params.processes or 1) > 1:
        raise UnusableInput(
            f"--processes was {params.processes} and a worker of a cluster trains in one; leave it out."
        )
    make_folder(out)
    mark = out.absolute() / MARK.format(uuid4().hex)
    mark.touch()
    places = [open_store(name).url for name in workspaces]
    progress.note(f"Training on a worker of the cluster; {out} holds its history and its state meanwhile.")
    found: list[tuple[Trained, list[str]]] = []
    try:
        job = Job("train", _train, (params, places, mark, device))
        cluster.run([job], done=lambda _job, result: found.append(result))
    finally:
        mark.unlink(missing_ok=True)
    done, notes = found[0]
    for note in notes:
        progress.note(note)
    return done


class _Stoppable(Silent):
    """Shows nothing, keeps its notes, and ends a training that is no longer wanted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def start(self, name: str, *, total: float, unit: str) -> Task:  # noqa: ARG002 - the Protocol's
        """Begin."""
        return self

    def advance(self, amount: float = 1.0) -> None:  # noqa: ARG002 - the Protocol's
        """After every step."""
        check()

    def say(self, text: str) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Keep it."""
        self.notes.append(text)


def _train(params: TrainParams, workspaces: list[str], mark: Path, device: str) -> tuple[Trained, list[str]]:
    out = mark.parent
    if not mark.is_file():
        raise UnusableInput(
            f"The worker does not see {out} as it is here; give --out on a file system that all machines share."
        )
    params = params.model_copy(update={"processes": 1})
    progress = _Stoppable()
    return train(params, workspaces, out, device=device, progress=progress), progress.notes
