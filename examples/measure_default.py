"""Choose the shipped model's tile, margin and ramp again, and write them into its model.json.

    python examples/measure_default.py OUT

In windows of 1536 pixels of Dubai tiles 4 to 6; `benchmarks/seams.py` compares on 4096 x 4096 pixels of them.
Needs the Dubai data set (docs/data.md) in `GEOLOOM_DATA_DIR`.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from flows import steps
from flows.terminal import PlainLines
from infra.settings import settings
from infra.store import open_store
from models.checkpoint import save_card
from models.predictor import load_predictor
from tasks.disagreement import choose_seams
from tasks.model import find_model
from tasks.params import ClusterParams, IngestParams
from tasks.raster.dubai import write_scene
from tasks.workspace import open_workspace

TILES = (4, 5, 6)
"""The largest: seams are told of by many tiles meeting."""


def main() -> None:
    """Bring the tiles in, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out: Path = parser.parse_args().out
    folder, progress, cubes = find_model("default"), PlainLines(), []
    for tile in TILES:
        scene, _ = write_scene(settings().data_dir / "dubai", tile, out / "scenes")
        workspace = str(out / f"tile{tile}")
        steps.ingest(IngestParams(scenes=(str(scene),)), workspace, run=ClusterParams(), progress=progress)
        cubes.append(open_workspace(open_store(workspace)).cube())
    predictor = load_predictor(folder)
    seams = choose_seams(predictor, cubes, tile=predictor.card.tile)
    print(seams)
    save_card(folder, predictor.card.model_copy(update={"dtype": cubes[0].dtype.name} | asdict(seams)))


if __name__ == "__main__":
    main()
