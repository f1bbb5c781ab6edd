"""A data set of chips as a page for people: what it is, where its splits lie, what is in them, and samples."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tasks.chip_plan import ChipSetPlan
from tasks.page import embedded, page, table
from tasks.raster.class_chart import SPLIT_COLOURS
from tasks.raster.classes import IGNORE
from tasks.raster.picture import EMPTY, rgb_bands, to_rgb
from tasks.workspace import forgetting_damage

MAPS, MAP = 12, 300
"""Scenes that are drawn, the largest first, and pixels a side of their maps."""
SAMPLES, SIDE = 2, 168
"""Chips of each class and split that are shown, and pixels a side of their pictures."""
VEIL = 0.55
"""How much of a label's colour lies over the picture."""


def chip_page(plan: ChipSetPlan, document: dict[str, Any], chart: bytes) -> str:
    """An HTML page that needs no other file.

    Args:
        plan: of the data set.
        document: its dataset.json.
        chart: of its classes, PNG.
    """
    drawn = base64.b64encode(chart).decode()
    parts = [
        "<h1>Data set of chips</h1>",
        _introduction(plan, document),
        "<h2>Where the splits lie</h2>",
        _legend(plan),
        f"<div class=maps>{''.join(_maps(plan))}</div>",
        "<h2>Classes</h2>",
        f'<img class=chart src="data:image/png;base64,{drawn}" alt="Bars of each class\'s share of each split; the '
        'table below has the numbers.">',
        _class_table(plan, document),
        "<h2>Pixels of the training split</h2>",
        _band_table(document),
        "<h2>Samples</h2>",
        "<p>Of each class and split the chips in which it meets others most evenly: the picture, and its labels over "
        "it. What has no label stays uncoloured.</p>",
        *_samples(plan),
    ]
    return page("data set of chips", parts, style=_STYLE)


def _introduction(plan: ChipSetPlan, document: dict[str, Any]) -> str:
    resolutions = sorted({f"{w['resolution']:.3g}" for w in document["workspaces"] if w["resolution"]})
    how = (
        f"square blocks of {plan.block} x {plan.block} chips, each in one split"
        if plan.block
        else "whole scenes, each in one split"
    )
    facts = [
        ("Chips", f"{len(plan):,} of {plan.chip} x {plan.chip} pixels, {document['dtype']}"),
        ("Bands", ", ".join(document["bands"])),
        ("Metres a pixel", ", ".join(resolutions) or "not known"),
        ("Scenes", ", ".join(f"{w['name']} ({w['chips']:,})" for w in document["workspaces"])),
        ("Labels", "; ".join(sorted({w["labels"] for w in document["workspaces"]}))),
        ("Splits", f"{how}; seed {document['seed']}; {plan.apart:,} chips left out for a gap of a chip between splits"),
        ("Whose, and licence", "; ".join(document["attribution"]) or "not stated by the scenes; find out before use"),
    ]
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    return f"<dl>{rows}</dl>"


def _legend(plan: ChipSetPlan) -> str:
    counts = np.bincount(plan.split, minlength=len(plan.splits))
    entries = (
        f'<li><span class=swatch style="background:{SPLIT_COLOURS[n]}"></span>{split}: {counts[n]:,} chips '
        f"({counts[n] / len(plan):.1%})</li>"
        for n, split in enumerate(plan.splits)
    )
    return f"<ul class=legend>{''.join(entries)}</ul>"


def _maps(plan: ChipSetPlan) -> Iterator[str]:
    """Each scene with its chips, in its pixels."""
    order = sorted(range(len(plan.scenes)), key=lambda n: (-int(np.prod(plan.scenes[n].shape)), n))
    largest = max(max(plan.scenes[n].shape) for n in order)
    for number in order[:MAPS]:
        scene, mine = plan.scenes[number], plan.scene == number
        height, width = scene.shape
        scale = MAP / largest if max(scene.shape) * 4 > largest else MAP / 4 / max(scene.shape)
        paths = "".join(
            f'<path d="{_runs(plan.corner[mine & (plan.split == n)], plan.chip)}" fill="{SPLIT_COLOURS[n]}"/>'
            for n in range(len(plan.splits))
        )
        counts = np.bincount(plan.split[mine], minlength=len(plan.splits))
        told = ", ".join(f"{count:,} {split}" for split, count in zip(plan.splits, counts, strict=True) if count)
        yield (
            f'<figure><svg viewBox="0 0 {width} {height}" width="{width * scale:.0f}" height="{height * scale:.0f}" '
            f'role="img" aria-label="{escape(scene.name)}: chips of {escape(told or "no split")}">'
            f'<rect width="{width}" height="{height}"/>{paths}</svg>'
            f"<figcaption>{escape(scene.name)}, {width:,} x {height:,} pixels<br>{told or 'no chip'}</figcaption>"
            "</figure>"
        )
    if len(order) > MAPS:
        yield f"<p>and {len(order) - MAPS} smaller scenes</p>"


def _runs(corners: NDArray[np.int64], chip: int) -> str:
    """Chips side by side as one bar, so that many cost little."""
    path: list[str] = []
    at, row, length = 0, -1, 0
    for r, c in [*corners.tolist(), (-1, -1)]:
        if r == row and c == at + length:
            length += chip
            continue
        if length:
            path.append(f"M{at} {row}h{length}v{chip}h-{length}z")
        row, at, length = r, c, chip
    return "".join(path)


def _class_table(plan: ChipSetPlan, document: dict[str, Any]) -> str:
    totals = plan.totals()
    rows = [
        [name, *(f"{totals[n, k]:,}" for n in range(len(plan.splits))), f"{document['class_weights'][name]:.3f}"]
        for k, name in enumerate(plan.classes.names)
    ]
    return table(
        ["class", *(f"pixels in {split}" for split in plan.splits), "weight"],
        rows,
        caption="The weight is what 'geoloom train' gives a class: it falls with the square root of its frequency in "
        "the training split.",
    )


def _band_table(document: dict[str, Any]) -> str:
    bands = document["statistics"]["bands"]
    percents = list(next(iter(bands.values()))["percentiles"])
    head = ["band", "mean", "std", "minimum", *(f"{p} %" for p in percents), "maximum"]
    rows = [
        [
            name,
            *(_number(band[key]) for key in ("mean", "std", "minimum")),
            *(_number(band["percentiles"].get(p)) for p in percents),
            _number(band["maximum"]),
        ]
        for name, band in bands.items()
    ]
    return table(head, rows, caption="Valid pixels only; no pixel of validation or test is among them.")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _samples(plan: ChipSetPlan) -> Iterator[str]:
    shares = plan.pixels / np.maximum(plan.pixels.sum(axis=1, keepdims=True), 1)
    shown: set[int] = set()
    for klass, one in enumerate(plan.classes.classes):
        if not plan.pixels[:, klass].any():
            continue
        colour = "#{:02x}{:02x}{:02x}".format(*one.colour)
        yield f'<h3><span class=swatch style="background:{colour}"></span>{escape(one.name)}</h3><div class=samples>'
        for n, split in enumerate(plan.splits):
            mine = np.flatnonzero((plan.split == n) & (plan.pixels[:, klass] > 0))
            worth = shares[mine, klass] * (1 - shares[mine, klass])
            order = [int(c) for c in mine[np.argsort(-worth, kind="stable")]]
            best = ([c for c in order if c not in shown] or order)[:SAMPLES]
            shown.update(best)
            yield f"<section><h4>{split}</h4>" + "".join(_sample(plan, c, shares[c]) for c in best)
            yield "</section>" if best else f"<p>No chip of {split} shows it.</p></section>"
        yield "</div>"


def _sample(plan: ChipSetPlan, chip: int, shares: NDArray[np.float64]) -> str:
    names = plan.classes.names
    most = [k for k in np.argsort(-shares, kind="stable")[:3] if shares[k] >= 0.005]  # noqa: PLR2004 - what rounds to 1 %
    told = ", ".join(f"{names[k]} {shares[k]:.0%}" for k in most)
    both = embedded(_beside(plan, chip), kind="jpeg")
    return (
        f'<figure><img src="{both}" width="{2 * SIDE + 4}" height="{SIDE}" alt="A chip and its labels: {escape(told)}">'
        f"<figcaption>{escape(plan.name(chip))}<br>{escape(told)}</figcaption></figure>"
    )


def _beside(plan: ChipSetPlan, chip: int) -> NDArray[np.uint8]:
    """The picture and the labels over it, side by side; (y, x, 3) uint8."""
    scene, (row, col) = plan.scenes[plan.scene[chip]], plan.corner[chip].tolist()
    window = (slice(row, row + plan.chip), slice(col, col + plan.chip))
    bands = rgb_bands(scene.cube.bands)
    with forgetting_damage(scene.workspace.store):
        image, valid = scene.cube.read(window, bands=bands)
    picture = to_rgb(image, [scene.cube.statistics[b] for b in bands])
    picture[~valid] = EMPTY
    label = scene.label(window, valid)
    known = (label != IGNORE)[..., None]
    veiled = np.where(known, picture * (1 - VEIL) + plan.classes.palette()[label] * VEIL, picture).round()
    sized = [_sized(one) for one in (picture, veiled.astype(np.uint8))]
    between = np.full((SIDE, 4, 3), 255, np.uint8)
    return np.concatenate([sized[0], between, sized[1]], axis=1)


def _sized(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    shrinks = picture.shape[0] > SIDE
    how = Image.Resampling.BOX if shrinks else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), how))


_STYLE = """
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem } dt { color: #555 } dd { margin: 0 }
.legend { list-style: none; padding: 0; display: flex; gap: 2rem }
.swatch { display: inline-block; width: .9em; height: .9em; margin-right: .5em; border: 1px solid #888 }
.maps { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: flex-end }
svg rect { fill: #eceef2; stroke: #999; vector-effect: non-scaling-stroke }
.chart { width: 100%; max-width: 56rem }
.samples { display: grid; grid-template-columns: repeat(3, 1fr); gap: 1rem }
.samples figure { margin-bottom: .8rem } .samples img { max-width: 100%; height: auto }
h3 { margin: 1.6rem 0 .2rem } h4 { margin: .4rem 0; color: #555; font-weight: 600 }
"""
