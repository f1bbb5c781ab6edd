"""The command line's `geoloom dataset`: data sets and annotation formats, in and out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from flows import dataset_steps
from flows.show import Show
from flows.workspace_cli import Workspace
from tasks.dataset_params import ChipSetParams, Dataset, DatasetExportParams, DatasetImportParams, Format
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


@dataset_app.command(name="chips")
def make_chips(
    workspaces: list[str],
    /,
    *,
    out: Into,
    params: Annotated[ChipSetParams, Flat] = ChipSetParams(),
    show: Show = Show(),
) -> None:
    """Cut labelled workspaces into chips, in splits that share no place."""
    with show.speak("dataset chips") as (outcome, progress):
        done = dataset_steps.make_chips(params, workspaces, out, progress=progress)
        outcome.outputs |= {"dataset": done.folder, "page": f"{done.folder}/index.html"}
        outcome.counts |= {"chips": done.chips, "kept": done.kept}
        told = ", ".join(f"{count:,} {split}" for split, count in done.chips.items())
        outcome.lines.append(f"{done.folder}: {told} chips{', finished before' if done.kept else ''}")


@dataset_app.command(name="check")
def check_chips(data_sets: list[Path], /, *, show: Show = Show()) -> None:
    """Say whether chips of different splits share a place or pixels: of folders, or of chips.parquet files."""
    with show.speak("dataset check") as (outcome, progress):
        done = dataset_steps.check_chips(data_sets, progress=progress)
        outcome.counts |= asdict(done)
        told = ", ".join(f"{count:,} {split}" for split, count in done.chips.items())
        clean = "No copies and no shared pixels found" if done.without_place else "Nothing leaks"
        outcome.lines.append(f"{clean} between the splits: {told}")
        if done.without_place:
            outcome.lines.append(
                f"{done.without_place:,} chips do not say where they lie: overlaps between them are seen only where "
                "their pixels are exactly the same."
            )
