"""Data sets in and out, each step with the workspace that it holds: what the command line calls.

Heavy libraries load inside, as in `flows/steps.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from flows import steps
from tasks.dataset_params import ChipSetParams, DatasetExportParams, DatasetImportParams
from tasks.params import ClusterParams, IngestParams

if TYPE_CHECKING:
    from infra.progress import Progress
    from tasks.dataset_check import CheckedChips
    from tasks.dataset_chips import MadeChips
    from tasks.dataset_export import ExportedDataset


@dataclass(slots=True)
class ImportedDataset:
    """What an import made."""

    workspaces: dict[str, str] = field(default_factory=dict)
    """Name to place of each."""
    kept: int = 0
    """Workspaces that an earlier run had finished."""
    left_out: list[str] = field(default_factory=list)
    """Why each picture or scene that could not be used could not."""


def export_dataset(params: DatasetExportParams, workspace: str, out: Path, *, progress: Progress) -> ExportedDataset:
    """A workspace's labels as a data set."""
    from infra.lease import hold

    store = steps.open_workspace_store(workspace)
    with hold(store, command="dataset export"):
        from tasks.dataset_export import export_dataset as step

        return step(params, store, out, progress=progress)


def import_dataset(
    name: str, folder: Path, out: str, params: DatasetImportParams, *, run: ClusterParams, progress: Progress
) -> ImportedDataset:
    """A data set as workspaces: what cannot be used is left out and named where there are others."""
    from infra.errors import UnusableInput, UnusableScene
    from infra.lease import hold
    from infra.store import open_store
    from tasks.dataset_import import import_labels, is_imported, open_dataset, prepared

    dataset = open_dataset(name, folder, params)
    done = ImportedDataset(left_out=list(dataset.annotations.left_out))
    for scene in dataset.scenes:
        store = open_store(f"{out}/{scene.name}")
        try:
            with hold(store, command="dataset import") as lease:
                if is_imported(dataset, scene, store):
                    done.kept += 1
                else:
                    with prepared(dataset, scene, store) as raster:
                        ingest = IngestParams(
                            scenes=(raster,), classes=dataset.classes.names, nodata=dataset.annotations.nodata
                        )
                        steps.ingest(ingest, store.url, run=run, progress=progress)
                        import_labels(dataset, scene, store, grip=lease.grip, progress=progress)
        except UnusableScene as error:
            done.left_out.append(f"{scene.name}: {error}")
            progress.note(f"Left out: {scene.name}: {error}")
            continue
        done.workspaces[scene.name] = store.url
    if not done.workspaces:
        raise UnusableInput(f"Nothing of the data set in {folder} can be used: {' '.join(done.left_out[:3])}")
    if dataset.about.rest == "unknown" and params.rest == "ignore":
        progress.note(
            f"This data set knows {', '.join(dataset.about.known)} only: all its other pixels are ignored (255) until "
            "something completes them. To train on it alone, import it with --rest other."
        )
    return done


def make_chips(params: ChipSetParams, workspaces: list[str], out: Path, *, progress: Progress) -> MadeChips:
    """Labelled workspaces as chips in splits that share no place."""
    from infra.lease import hold
    from infra.store import open_store
    from tasks.dataset_chips import make_chips as step
    from tasks.dataset_chips import plan_chips, require_free

    require_free(out)
    plan = plan_chips(params, workspaces, progress=progress)
    with hold(open_store(out), command="dataset chips"):
        return step(params, plan, out, progress=progress)


def check_chips(paths: list[Path], *, progress: Progress) -> CheckedChips:
    """Whether the splits of data sets share a place or pixels."""
    from tasks.dataset_check import check_chips as step

    return step(paths, progress=progress)
