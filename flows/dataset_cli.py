"""The command line's `geoloom dataset`: data sets and annotation formats, in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from flows import dataset_steps
from flows.show import Show
from flows.workspace_cli import Workspace
from tasks.dataset_params import Dataset, DatasetExportParams, DatasetImportParams, Format
from tasks.params import ClusterParams

dataset_app = App(name="dataset", help="Data sets and annotation formats, in and out.")

Flat = Parameter(name="*")
Folder = Annotated[Path, Parameter(help="The folder that holds it, as it was unpacked.")]
Into = Annotated[Path, Parameter(name="--out", help="The data set's folder, which is empty or not there.")]
Workspaces = Annotated[str, Parameter(name="--out", help="Where workspaces go: a folder, or s3://bucket/prefix.")]
Across = Annotated[ClusterParams, Flat]


@dataset_app.command(name="export")
def export_dataset(
    workspace: Workspace, params: Annotated[DatasetExportParams, Flat], *, out: Into, show: Show = Show()
) -> None:
    """Write a workspace's labels as pictures and annotations."""
    with show.speak("dataset export") as (outcome, progress):
        done = dataset_steps.export_dataset(params, workspace, out, progress=progress)
        outcome.outputs["dataset"] = done.folder
        outcome.counts["pictures"] = done.pictures
        outcome.lines.append(f"{done.folder}: {done.pictures} pictures, {params.format}")


@dataset_app.command(name="import")
def import_dataset(
    name: Annotated[Format | Dataset, Parameter(help="A format, or a published data set.")],
    folder: Folder,
    /,
    params: Annotated[DatasetImportParams, Flat] = DatasetImportParams(),
    *,
    out: Workspaces,
    run: Across = ClusterParams(),
    show: Show = Show(),
) -> None:
    """Make a labelled workspace of every scene of a data set."""
    with show.speak("dataset import") as (outcome, progress):
        done = dataset_steps.import_dataset(name, folder, out, params, run=run, progress=progress)
        outcome.outputs["workspaces"] = done.workspaces
        outcome.counts |= {"workspaces": len(done.workspaces), "kept": done.kept}
        outcome.lines.append(f"{out}: {len(done.workspaces)} workspaces, of which {done.kept} were there already")
        outcome.without(done.left_out)
