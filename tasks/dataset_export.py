"""Export of a workspace's labels as a data set: pictures of a size, and their annotations in one of several formats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.errors import UnusableInput
from infra.progress import Progress, counting
from infra.stopping import check
from infra.store import Store, open_store, require_room
from tasks.dataset_params import DatasetExportParams
from tasks.made_labels import open_made_labels
from tasks.raster.annotations.formats import FORMATS
from tasks.raster.annotations.picture import About, Annotation, Picture
from tasks.raster.annotations.places import write_picture, write_place
from tasks.raster.cube import Cube
from tasks.raster.grid import Window, windows
from tasks.raster.picture import rgb_bands, to_rgb
from tasks.raster.shards import read_shards
from tasks.workspace import Workspace, forgetting_damage, open_workspace


@dataclass(frozen=True, slots=True)
class ExportedDataset:
    """What an export made."""

    folder: str
    pictures: int


def export_dataset(params: DatasetExportParams, store: Store, out: Path, *, progress: Progress) -> ExportedDataset:
    """Write a workspace's labels and its scene as a data set, a picture at a time.

    Raises:
        UnusableInput: no finished labels, or the folder holds something.
        UnwritableOutput: it cannot be written.
    """
    workspace = open_workspace(store)
    cube, made = workspace.cube(), open_made_labels(workspace)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UnusableInput(f"{out} is not an empty folder; choose another one for the data set.")
    about = _about(workspace, made.about)
    style = FORMATS[params.format]
    shape = (cube.grid.shape[0], cube.grid.shape[1])
    parts = list(windows(shape, params.size))
    scene = store.url.rstrip("/").rpartition("/")[2] or "scene"
    digits = len(str(max(shape)))

    def name(window: Window) -> str:
        rows, cols = window
        return scene if len(parts) == 1 else f"{scene}_{rows.start:0{digits}d}_{cols.start:0{digits}d}"

    target = open_store(out.parent)
    require_room(target, 4 * shape[0] * shape[1])
    with target.publishing(out.name) as folder:
        (folder / style.images).mkdir(parents=True, exist_ok=True)
        writer = style.write(folder, about)
        with counting(progress, "export", total=len(parts), unit="pictures") as bar, forgetting_damage(store):
            for window in parts:
                check()
                picture = _write(cube, window, folder / style.images / f"{name(window)}.{params.pictures}", scene)
                writer.add(picture, Annotation(*(read_shards(made.group[n], window) for n in _ARRAYS)))  # type: ignore[arg-type]
                bar.advance()
        writer.close()
    return ExportedDataset(str(out), len(parts))


_ARRAYS = ("label", "instance", "confidence")


def _about(workspace: Workspace, attributes: dict[str, Any]) -> About:
    classes = tuple(attributes["classes"])
    known = tuple(attributes.get("known", classes))
    return About(classes, known, workspace.owners, attributes.get("rest", "other"), ours=True)


def _write(cube: Cube, window: Window, path: Path, scene: str) -> Picture:
    """Write a window of the scene as a picture, and where it lies."""
    bands = rgb_bands(cube.bands)
    image, valid = cube.read(window, bands=bands)
    at = (window[0].start, window[1].start)
    picture = Picture(path.stem, path, (valid.shape[0], valid.shape[1]), scene, cube.grid, at)
    write_picture(path, to_rgb(image, [cube.statistics[b] for b in bands]), valid)
    write_place(path, picture.grid)
    return picture
