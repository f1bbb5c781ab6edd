"""Train the model that geoloom ships: Dubai tiles 1 to 6, by the recipe beside this file.

    python examples/train_default.py OUT [--threads 2] [--device cuda] [--seed 1]

Needs the Dubai data set (docs/data.md) in `GEOLOOM_DATA_DIR`. How long it takes stands in the recipe's first lines. One
that was interrupted goes on when it is run again. Tile 8 is not touched: `benchmarks/report.py` reads it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from flows import steps
from flows.terminal import PlainLines
from infra.settings import settings
from infra.store import open_store
from tasks.label_params import LabelParams
from tasks.params import ClusterParams, IngestParams, RunParams, TrainParams
from tasks.raster.dubai import write_scene

TILES = (1, 2, 3, 4, 5, 6)
RECIPE = Path(__file__).with_name("dubai.toml")


def main() -> None:
    """Bring the tiles in, label them with their truth, train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--seed", type=int, default=0, help="another one makes another model, for an ensemble")
    options = parser.parse_args()
    workspaces = [_labelled(tile, options.out) for tile in TILES]
    params = TrainParams(recipe=str(RECIPE), threads=options.threads, seed=options.seed)
    print(steps.train(params, workspaces, options.out / f"model{options.seed}", run=RunParams(device=options.device),
                      progress=PlainLines()))  # fmt: skip


def _labelled(tile: int, out: Path) -> str:
    """A workspace of the tile with its truth for labels; made once."""
    workspace = str(out / f"tile{tile}")
    if not open_store(workspace).exists("labels.zarr/zarr.json"):
        scene, truth = write_scene(settings().data_dir / "dubai", tile, out / "scenes")
        steps.ingest(IngestParams(scenes=(str(scene),)), workspace, run=ClusterParams(), progress=PlainLines())
        steps.label(LabelParams(method=("truth",), truth=str(truth)), workspace, run=RunParams(), progress=PlainLines())
    return workspace


if __name__ == "__main__":
    main()
