"""Label: class labels for a cube, window by window."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infra.errors import UnusableInput
from infra.progress import Progress, counting
from infra.storage import replacing
from tasks.labelers import Labeler, TruthLabeler
from tasks.params import LabelParams
from tasks.raster import grid as grids
from tasks.raster.classes import IGNORE
from tasks.raster.labels import create_labels
from tasks.raster.truth import file_fingerprint, open_truth
from tasks.raster.vectors import read_shapes
from tasks.workspace import Workspace, open_workspace

FILE_OF = {"truth": "truth", "vectors": "prompts", "few-shot": "examples"}
"""The option that names the file which each method starts from."""


@dataclass(frozen=True, slots=True)
class LabelledScene:
    """What a labelling made."""

    labels: str
    shares: dict[str, float]
    """Share of the valid pixels that each class got."""
    labelled: float
    """Share of the valid pixels that got any."""


def label(params: LabelParams, out: Path, *, device: str, progress: Progress) -> LabelledScene:
    """Label a workspace's cube.

    Raises:
        UnusableInput: no cube, a file that cannot be used, an unknown class, or weights that are not there.
        UnwritableOutput: the labels cannot be written.
    """
    workspace = open_workspace(out)
    cube = workspace.cube()
    source = getattr(params, FILE_OF[params.method])
    if source is None:
        raise UnusableInput(f"Labelling with {params.method} needs a file; give it with --{FILE_OF[params.method]}.")
    labeler = _labeler(params, workspace, source, device=device, progress=progress)

    counts = np.zeros(len(workspace.classes), np.int64)
    valid_count = 0
    windows = list(grids.windows((cube.grid.shape[0], cube.grid.shape[1]), labeler.window))
    with replacing(workspace.labels_path) as path:
        group = create_labels(
            path,
            cube.grid,
            classes=workspace.classes.names,
            made_by=params.method,
            sources=[file_fingerprint(source)],
            from_truth=params.method == "truth" or params.from_truth,
            cube=cube.fingerprint,
        )
        with counting(progress, "label", total=len(windows), unit="windows") as bar:
            for window in windows:
                valid = np.asarray(cube.valid[window], dtype=bool)
                if valid.any():
                    found = labeler(window)
                    kept = np.where(valid, found.label, np.uint8(IGNORE))
                    group["label"][window] = kept  # type: ignore[index]
                    group["instance"][window] = np.where(kept == IGNORE, 0, found.instance)  # type: ignore[index]
                    group["confidence"][window] = np.where(kept == IGNORE, 255, found.confidence)  # type: ignore[index]
                    counts += np.bincount(kept[kept != IGNORE], minlength=len(counts))
                    valid_count += int(valid.sum())
                bar.advance()
        if not counts.sum():
            raise UnusableInput(
                f"{source} labels no pixel that has data in the scene; check that both are of the same place."
            )
    share = counts / max(valid_count, 1)
    shares = dict(zip(workspace.classes.names, (float(s) for s in share), strict=True))
    return LabelledScene(str(workspace.labels_path), shares, float(share.sum()))


def _labeler(params: LabelParams, workspace: Workspace, source: str, *, device: str, progress: Progress) -> Labeler:
    grid, classes = workspace.grid, workspace.classes
    if params.method == "vectors":
        from tasks.sam_labelers import VectorLabeler

        shapes = read_shapes(source, grid, classes, vector_class=params.vector_class, road_width=params.road_width)
        return VectorLabeler(params, workspace.cube(), shapes, device=device, progress=progress)
    truth = open_truth(
        source,
        grid,
        classes,
        names=params.truth_classes,
        vector_class=params.vector_class,
        road_width=params.road_width,
    )
    if params.method == "truth":
        return TruthLabeler(truth)
    from tasks.sam_labelers import FewShotLabeler

    return FewShotLabeler(params, workspace.cube(), truth, device=device, progress=progress)
