"""The flow that writes a prediction as GeoTIFFs."""

from __future__ import annotations

from prefect import flow

from flows import prefect_tasks as tasks
from flows.artifacts import begin_progress, end_progress, share_out, show_map
from tasks.params import MosaicParams


@flow(name="mosaic-scene")
def mosaic_scene(out: str, params: MosaicParams = MosaicParams()) -> dict[str, str]:
    """Write classes.tif and probability.tif, and what else is asked for.

    Args:
        out: The workspace's folder.
        params: Which products.
    """
    progress = begin_progress(f"mosaic {out}")
    products = tasks.mosaic(params, out, share_out(progress, 1)[0])
    if "classes" in products:
        show_map(tasks.draw(out, None), list(products.values()))
    end_progress(progress)
    return products


if __name__ == "__main__":
    mosaic_scene.serve()
