"""The commands that look at a workspace, tidy it and take out what it holds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from flows import steps
from flows.show import Show
from infra.errors import UnusableInput
from tasks.label_params import ReviewParams

Workspace = Annotated[str, Parameter(help="The workspace: a folder, or s3://bucket/prefix.")]
Cog = Annotated[
    bool, Parameter(help="The cube as a cloud-optimized GeoTIFF, products/scene.tif, for what reads no Zarr.")
]
Levels = Annotated[bool, Parameter(help="The cube at 1/2, 1/4, ... of its size, beside it, for viewers of Zarr.")]

Catalogue = Annotated[str, Parameter(name="--out", help="Where collection.json goes: a folder, or s3://bucket/prefix.")]


def export(workspace: Workspace, *, cog: Cog = False, levels: Levels = False, show: Show = Show()) -> None:
    """Write a workspace's cube in forms that others read."""
    with show.speak("export") as (outcome, progress):
        if not cog and not levels:
            raise UnusableInput("Say in which form the cube shall be exported: --cog, --levels or both.")
        if cog:
            outcome.outputs["scene"] = steps.export_cog(workspace, progress=progress).place
        if levels:
            outcome.outputs["levels"] = steps.export_levels(workspace, progress=progress).place
        outcome.lines += outcome.outputs.values()


def collect(workspaces: list[str], /, *, out: Catalogue, show: Show = Show()) -> None:
    """Write a STAC collection of the maps in several workspaces, as of a series of runs."""
    with show.speak("collect") as (outcome, _):
        done = steps.collect(workspaces, out)
        outcome.outputs["collection"] = done.collection
        outcome.counts["items"] = done.items
        outcome.lines.append(f"{done.collection}: {done.items} maps")


def review(workspace: Workspace, params: Annotated[ReviewParams, Parameter(name="*")] = ReviewParams(), *,
           show: Show = Show()) -> None:  # fmt: skip
    """Look at labels: a GeoPackage of doubtful places and of objects to correct, and a report."""
    with show.speak("review") as (outcome, progress):
        done = steps.review(params, workspace, progress=progress)
        outcome.outputs |= done.products
        outcome.counts |= {"places": done.places, "quality": done.quality.to_json()}
        outcome.lines += [f"{done.places:,} doubtful places", *done.products.values()]


def status(workspace: Workspace, *, show: Show = Show()) -> None:
    """Say what is done in a workspace, and who is at work there."""
    with show.speak("status") as (outcome, _):
        found = steps.status(workspace)
        outcome.counts |= asdict(found)
        outcome.lines += found.lines()


def clean(workspace: Workspace, *, show: Show = Show()) -> None:
    """Remove what a workspace no longer needs."""
    with show.speak("clean") as (outcome, progress):
        outcome.counts |= asdict(steps.clean(workspace, progress=progress))
