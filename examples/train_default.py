"""Train the model that geoloom ships: Dubai tiles 1 to 6, an hour on two cores.

    python examples/train_default.py OUT [--minutes 57] [--threads 1]

Needs the Dubai data set (docs/data.md) in `GEOLOOM_DATA_DIR`. Tile 8 is not touched: `benchmarks/report.py` reads it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from flows import steps
from flows.terminal import PlainLines
from infra.settings import settings
from tasks.label_params import LabelParams
from tasks.params import ClusterParams, IngestParams, RunParams, TrainParams
from tasks.raster.dubai import write_scene

TILES = (1, 2, 3, 4, 5, 6)


def main() -> None:
    """Bring the tiles in, label them with their truth, train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=57)
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()
    progress = PlainLines()
    workspaces = []
    for tile in TILES:
        scene, truth = write_scene(settings().data_dir / "dubai", tile, options.out / "scenes")
        workspace = str(options.out / f"tile{tile}")
        steps.ingest(IngestParams(scenes=(str(scene),)), workspace, run=ClusterParams(), progress=progress)
        steps.label(LabelParams(method=("truth",), truth=str(truth)), workspace, run=RunParams(), progress=progress)
        workspaces.append(workspace)
    recipe = TrainParams(steps=3000, minutes=options.minutes, weights="float16", threads=options.threads, tile=512)
    print(steps.train(recipe, workspaces, options.out / "model", run=RunParams(), progress=progress))


if __name__ == "__main__":
    main()
