"""The commands that look at a workspace, tidy it and take out what it holds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from flows import steps
from flows.show import Show
from infra.errors import UnusableInput

Workspace = Annotated[str, Parameter(help="The workspace: a folder, or s3://bucket/prefix.")]
Cog = Annotated[bool, Parameter(help="As a cloud-optimized GeoTIFF.")]


def export(workspace: Workspace, *, cog: Cog = False, show: Show = Show()) -> None:
    """Write a workspace's cube as products/scene.tif, for what reads no Zarr."""
    with show.speak("export") as (outcome, progress):
        if not cog:
            raise UnusableInput("Say in which form the cube shall be exported: --cog.")
        outcome.outputs["scene"] = steps.export(workspace, progress=progress).scene
        outcome.lines += outcome.outputs.values()


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
