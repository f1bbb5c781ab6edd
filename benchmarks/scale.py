"""docs/scale.md: what a country takes, from the constants that the other benchmarks measured.

    python -m benchmarks.scale

Reads bench/results/{lanes,memory,scheduler}.json, and gpu.json where there is one; run those first. Prices are the
inputs below: change them, run again.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from benchmarks.page import ROOT, load_result, number, table
from tasks.raster.assign import assign
from tasks.raster.tiling import cut_scene

PAGE = ROOT / "docs" / "scale.md"


@dataclass(frozen=True, slots=True)
class Input:
    """A number that is assumed, not measured."""

    value: float
    unit: str
    why: str


INPUTS = {
    "pixels": Input(1e13, "pixels", "a country of 900,000 km² at 0.3 m, once"),
    "classes": Input(6, "classes", "the default class map"),
    "hours": Input(24, "h", "how long it may take"),
    "core_hour": Input(0.04, "$", "a core of a general-purpose cloud machine with 4 GB, on demand"),
    "gpu_hour": Input(3.00, "$", "a data-centre GPU of 2024-2025 with its share of the machine, on demand"),
    "gb_month": Input(0.023, "$", "object storage, standard class"),
    "write": Input(5e-6, "$", "a PUT or LIST request"),
    "read": Input(4e-7, "$", "a GET request"),
    "writes_s": Input(3500, "/s", "PUT requests that one prefix of an object store takes"),
    "head_gb": Input(16, "GB", "memory of the machine that the flow runs on"),
}
"""Prices as the large clouds' public lists had them in 2025, rounded, in US dollars, without traffic out of the region:
assumptions, not quotes. They decide the money below and nothing else."""
PLANES = 4
"""Of the products that were measured: three probabilities and the classes."""
MARGIN_OF_SAFETY = 0.5
"""Share of the flow's machine that sharing out may fill."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The constants that were measured."""

    tile: int
    step: int
    """Pixels from one tile to the next."""
    block: int
    lane_s: float
    """Of one CPU lane for a tile."""
    gpu_s: float | None
    """Of one GPU for a tile; None where there was none."""
    gpu: str
    ingest_s: float
    """Of one core for a million pixels."""
    mosaic_s: float
    """Of one process for a million pixels of one plane of a product."""
    cube_bytes: float
    """Of the cube for a pixel of three bands."""
    probability_bytes: float
    """For a pixel and class."""
    product_bytes: float
    process_mb: float
    """What a process takes beyond its imports, at the largest scene."""
    plan_s: float
    """Of the flow's process for a block, before the start."""
    plan_mb: float
    hand_out_s: dict[str, float]
    """Of the flow's process for a block, by kind of cluster."""

    @classmethod
    def read(cls, out: Path) -> Measured:
        """From the results of the other benchmarks."""
        lanes, memory, scheduler = (load_result(out, name) for name in ("lanes", "memory", "scheduler"))
        gpu = load_result(out, "gpu") if (out / "results" / "gpu.json").is_file() else {}
        runs = sorted(memory["runs"], key=lambda run: run["size"])
        largest = {(r["step"], r["cluster"]): r for r in runs}
        ingest, predict, mosaic = (largest[step, "lanes"] for step in ("ingest", "predict", "mosaic"))
        pixels = ingest["size"] ** 2
        some = next(iter(scheduler["forms"].values()))
        return cls(
            tile=scheduler["tile"],
            step=scheduler["tile"] - 2 * scheduler["margin"] - scheduler["ramp"],
            block=scheduler["block"],
            lane_s=lanes["seconds_a_tile"]["one lane"],
            gpu_s=gpu.get("seconds_a_tile"),
            gpu=str(gpu.get("gpu", "")),
            ingest_s=2 * ingest["seconds"] / (pixels / 1e6),  # two lanes
            mosaic_s=mosaic["seconds"] / (PLANES * pixels / 1e6),
            cube_bytes=1e6 * ingest["stored_mb"]["cube.zarr"] / pixels,
            probability_bytes=1e6 * mosaic["stored_mb"]["probability.zarr"] / pixels / (PLANES - 1),
            product_bytes=1e6 * mosaic["stored_mb"]["products"] / pixels / PLANES,
            process_mb=max(predict["main_mb"], predict["worker_mb"]) + predict["held_mb"],
            plan_s=some["plan_seconds"] / some["blocks"],
            plan_mb=some["plan_mb"] / some["blocks"],
            hand_out_s={name: form["seconds"] / form["blocks"] for name, form in scheduler["forms"].items()},
        )


def main() -> None:
    """Compute and write the page."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--out", type=Path, default=Path("bench"))
    words.add_argument("--page", type=Path, default=PAGE)
    options = words.parse_args()
    text = write(Measured.read(options.out))
    options.page.write_text(text)
    print(text)


def write(found: Measured) -> str:
    """The page."""
    given = {name: one.value for name, one in INPUTS.items()}
    pixels, seconds = given["pixels"], given["hours"] * 3600
    tiles, blocks = pixels / found.step**2, pixels / found.block**2
    handed = _handed(found)

    mosaic_s = found.mosaic_s * (given["classes"] + 1)
    around_h = (found.ingest_s + mosaic_s) * pixels / 1e6 / 3600
    kinds: dict[str, tuple[float, float]] = {"CPU lanes": (found.lane_s, given["core_hour"])}
    if found.gpu_s is not None:
        kinds[f"GPUs ({found.gpu})"] = (found.gpu_s, given["gpu_hour"])
    network = [
        (name, number(s), f"{tiles * s / 3600:,.0f}", f"{tiles * s / seconds:,.0f}", f"{tiles * s / 3600 * price:,.0f}")
        for name, (s, price) in kinds.items()
    ]
    around = ("cores around it: ingest, mosaic", "", f"{around_h:,.0f}", f"{around_h / given['hours']:,.0f}")
    work = [*network, (*around, f"{around_h * given['core_hour']:,.0f}")]

    stored = {
        "cube.zarr": found.cube_bytes * pixels,
        "probability.zarr": found.probability_bytes * given["classes"] * pixels,
        "products": found.product_bytes * (given["classes"] + 1) * pixels,
    }
    bytes_rows = [
        (name, number(size / 1e12), f"{size / 1e9 * given['gb_month']:,.0f}") for name, size in stored.items()
    ]
    writes = blocks * (
        3 + 4 + 2 * handed
    )  # cube: image, valid, ledger; prediction: pixels, ledger, two looks at the lease
    reads = blocks * (16 + 2 * handed)
    requests = [
        ("writes and listings", f"{writes:,.0f}", f"{writes * given['write']:,.0f}", number(writes / seconds)),
        ("reads", f"{reads:,.0f}", f"{reads * given['read']:,.0f}", number(reads / seconds)),
    ]
    limits, maps = _limits(found, blocks, writes, given)
    first = min(limits, key=lambda row: row[2])
    return "\n".join(
        [
            "# Scale",
            "",
            "Written by `python -m benchmarks.scale` from what the other benchmarks measured "
            "([benchmarks.md](benchmarks.md) says on which machine). No number here is typed by hand but the inputs.",
            "",
            f"{INPUTS['pixels'].why.capitalize()}: {pixels:,.0f} pixels, {tiles:,.0f} tiles of {found.tile} px, "
            f"{found.step} px apart, {blocks:,.0f} blocks of {found.block} px, {handed:.1f} strips from each block to "
            "its neighbours.",
            "",
            "## Inputs",
            "",
            *table(("assumed", "", "what it is"), [(n, f"{i.value:g} {i.unit}", i.why) for n, i in INPUTS.items()]),
            "",
            "Prices are of public lists of 2025, rounded, without traffic out of the region: assumptions, not quotes.",
            "",
            "## Work",
            "",
            *table(("", "s a tile", "hours", f"at work for {given['hours']:g} h", "$"), work),
            "",
            f"A process takes {found.process_mb:,.0f} MB whatever the scene's size: libraries, a tiny network and its "
            "blocks; a real network's activations come on top, as `geoloom predict --plan` says.",
            "",
            "## Bytes",
            "",
            *table(("", "TB", "$ a month"), bytes_rows),
            "",
            *table(("requests to an object store", "in all", "$", "a second"), requests),
            "",
            "## Where it stops first",
            "",
            *table(
                ("what is one of a kind in a run", "a block costs", "blocks that one run can have"),
                [(name, cost, f"{most:,.0f}") for name, cost, most in limits],
            ),
            "",
            f"In {given['hours']:g} hours the first to give way is {first[0]}: at {first[2]:,.0f} blocks, which are "
            f"{first[2] * found.block**2 / pixels:.1%} of the country. So it takes at least {maps:,.0f} maps, each a "
            "workspace with a run of its own; they share neither ledger nor lease nor the process that hands out.",
            "",
            *_feeding(found),
            "",
        ]
    )


def _handed(found: Measured) -> float:
    """Strips that a block inside a scene hands to its neighbours, from the tile engine's own rule."""
    size = 8 * found.block
    overlap = found.tile - found.step
    tiling = cut_scene(
        (size, size), tile=found.tile, margin=overlap // 4, ramp=overlap // 2, stride=32, shard=found.block
    )
    works = assign(tiling, list(tiling.blocks()), {})
    strips = [len(to) - (work.block in to) for work in works for to in work.tiles.values()]
    return sum(strips) / len(works)


def _limits(
    found: Measured, blocks: float, writes: float, given: dict[str, float]
) -> tuple[list[tuple[str, str, float]], float]:
    """What only one process or one prefix does in a run, and the most blocks that it can serve; maps that it takes."""
    seconds = given["hours"] * 3600
    slowest = max(found.hand_out_s.values())
    write_s = found.mosaic_s * (given["classes"] + 1) * found.block**2 / 1e6
    room_mb = MARGIN_OF_SAFETY * given["head_gb"] * 1e3
    limits = [
        ("the flow's memory for the shares of all blocks", f"{1e3 * found.plan_mb:.1f} KB", room_mb / found.plan_mb),
        ("the process that writes the GeoTIFFs", f"{number(write_s)} s", seconds / write_s),
        ("the flow's time to hand out blocks over Dask", f"{1e3 * slowest:.1f} ms", seconds / slowest),
        (
            "one prefix of the object store",
            f"{writes / blocks:.0f} writes",
            given["writes_s"] * seconds / (writes / blocks),
        ),
    ]
    least = min(most for _, _, most in limits)
    return limits, max(1.0, -(-blocks // least))


def _feeding(found: Measured) -> list[str]:
    """How many workers one run can keep busy."""
    tiles = (found.block / found.step) ** 2
    slowest = max(found.hand_out_s.values())
    lines = []
    for name, s in (("CPU lanes", found.lane_s), (f"GPUs ({found.gpu})", found.gpu_s)):
        if s is not None:
            lines.append(
                f"One run hands out a block every {1e3 * slowest:.1f} ms, and a block keeps one of the {name} busy for "
                f"{number(tiles * s)} s: one run feeds {tiles * s / slowest:,.0f} {name}. "
                "For more, run more maps at a time."
            )
    return lines


if __name__ == "__main__":
    main()
