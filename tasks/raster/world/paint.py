"""A sheet of the picture: polygons become class and colour, then texture, shadow, light, blur and noise.

All noise fields are functions of absolute pixel coordinates, and polygons are filled in absolute coordinates, so that
a pixel is the same in whatever window it is painted. Sheets only bound the memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tasks.raster.world.district import district
from tasks.raster.world.fill import fill
from tasks.raster.world.lattice import SPACING, outline
from tasks.raster.world.noise import field, hashes, key
from tasks.raster.world.shapes import ROOF, VEGETATION, Shapes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tasks.raster.world.geometry import Outline

SHEET = 512
"""Side of the largest window painted at once, pixels."""
REACH = 0.62
"""How far a district reaches beyond its lattice square, in squares: warp 0.34, jitter 0.13, curved avenues."""
BEYOND = 72.0
"""How far anything stands or throws its shadow beyond its district's outline: a tower's 60, and a tree's crown."""
SHADOW = np.array([0.40, 0.44, 0.53], np.float32)
HAZE = np.array([9, 11, 14], np.float32)

Window = tuple[slice, slice]


def places(seed: int, rows: slice, cols: slice, *, scale: float) -> list[tuple[int, int]]:
    """The districts that can reach a window of pixels, in painting order."""
    unit = SPACING * scale
    return [
        (i, j)
        for j in range(int((rows.start / unit - REACH) // 1) - 1, int((rows.stop / unit + REACH) // 1) + 1)
        for i in range(int((cols.start / unit - REACH) // 1) - 1, int((cols.stop / unit + REACH) // 1) + 1)
        if reaches(outline(seed, i, j), rows, cols, scale=scale)
    ]


def reaches(edge: Outline, rows: slice, cols: slice, *, scale: float) -> bool:
    """Whether anything of a district, its shadows and avenues included, can touch a window."""
    xs, ys = [p[0] * scale for p in edge], [p[1] * scale for p in edge]
    far = BEYOND * scale
    across = min(xs) - far < cols.stop and max(xs) + far > cols.start
    return bool(across and min(ys) - far < rows.stop and max(ys) + far > rows.start)


def within(shapes: list[Shapes], rows: slice, cols: slice, *, scale: float) -> Shapes:
    """The polygons that touch a window of pixels, in pixel coordinates, ordered by layer."""
    kept = []
    for part in shapes:
        bounds = part.bounds * scale
        near = (bounds[:, 0] < cols.stop) & (bounds[:, 2] > cols.start)
        near &= (bounds[:, 1] < rows.stop) & (bounds[:, 3] > rows.start)
        kept.append(near)
    layers = np.concatenate([part.layers[near] for part, near in zip(shapes, kept, strict=True)])
    order = np.argsort(layers, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    xys, owners, sizes, done = [], [], [], 0
    for part, near in zip(shapes, kept, strict=True):
        number = np.cumsum(near) - 1 + done
        rings = near[part.owners]
        size = np.diff(np.append(part.starts, len(part.xy)))
        xys.append(part.xy[np.repeat(rings, size)] * scale)
        owners.append(place[number[part.owners[rings]]])
        sizes.append(size[rings])
        done += int(near.sum())
    size = np.concatenate(sizes)
    return Shapes(
        np.concatenate(xys),
        np.cumsum(size) - size,
        np.concatenate(owners),
        np.zeros((0, 4)),
        layers[order],
        np.concatenate([p.labels[near] for p, near in zip(shapes, kept, strict=True)])[order],
        np.concatenate([p.looks[near] for p, near in zip(shapes, kept, strict=True)])[order],
    )


def paint_sheet(seed: int, rows: slice, cols: slice, *, scale: float) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A window without the rim.

    Returns:
        image (3, h, w) uint8 red, green, blue; label (h, w) uint8.
    """
    wide = slice(rows.start - 1, rows.stop + 1), slice(cols.start - 1, cols.stop + 1)
    corner = (wide[0].start, wide[1].start)
    size = (wide[0].stop - wide[0].start, wide[1].stop - wide[1].start)
    near = [district(seed, i, j) for i, j in places(seed, *wide, scale=scale)]
    ground = within([d.ground for d in near], *wide, scale=scale)
    index = np.zeros(size, np.int32)
    count = len(ground.labels)
    rings = (ground.xy, ground.starts, ground.owners)
    fill(index, rings, values=np.arange(1, count + 1, dtype=np.int32), corner=corner)
    shades = within([d.shadows for d in near], *wide, scale=scale)
    dark = np.zeros(size, np.int32)
    rings = (shades.xy, shades.starts, shades.owners)
    fill(dark, rings, values=np.ones(len(shades.labels), np.int32), corner=corner)
    meadow = np.array([[104, 108, 72, 0.06, 0.08, 0.09, 0.09, 1.0, 0, 0, 0]], np.float32)
    looks = np.concatenate([meadow, ground.looks])
    label = np.concatenate([[np.uint8(VEGETATION)], ground.labels])[index]
    low = np.concatenate([[True], ground.layers < ROOF])
    colour = textured(seed, wide, index=index, looks=looks)
    colour *= np.where(((dark > 0) & low[index])[..., None], SHADOW, np.float32(1))
    light = 1 + 0.05 * field(key(seed, "light"), 1601, *wide) + 0.025 * field(key(seed, "light"), 411, *wide)
    colour *= light.astype(np.float32)[..., None]
    colour += HAZE
    image = exposed(seed, rows, cols, colour=colour)
    return image, label[1:-1, 1:-1]


def textured(seed: int, wide: Window, *, index: NDArray[np.int32], looks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each pixel's colour before shadow and light, (h, w, 3) float32."""
    look = looks[index]
    rows, cols = np.arange(wide[0].start, wide[0].stop), np.arange(wide[1].start, wide[1].stop)
    white = (hashes(key(seed, "fine"), rows, cols) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - 1
    level = 1 + look[..., 3] * white
    level += look[..., 4] * field(key(seed, "grain"), 3, *wide) * np.float32(1.3)
    level += look[..., 5] * field(key(seed, "patch"), 11, *wide)
    drift = field(key(seed, "drift"), 41, *wide) + np.float32(0.7) * field(key(seed, "drift"), 27, *wide)
    level += look[..., 6] * np.float32(0.85) * drift
    striped = np.flatnonzero(looks[:, 10])
    if len(striped):
        some = np.zeros(len(looks), bool)
        some[striped] = True
        y, x = np.nonzero(some[index])
        k = index[y, x]
        phase = (x + cols[0]) * looks[k, 8].astype(np.float64) + (y + rows[0]) * looks[k, 9].astype(np.float64)
        wave = np.abs(phase - np.floor(phase) - 0.5) * 4 - 1
        level[y, x] += (looks[k, 10] * wave).astype(np.float32)
    colour = look[..., :3] * level[..., None]
    dry = look[..., 7] * (field(key(seed, "dry"), 73, *wide) + 0.6 * field(key(seed, "dry"), 19, *wide)).astype(
        np.float32
    )
    colour += dry[..., None] * np.array([15, 4, 3], np.float32)
    return np.asarray(colour, np.float32)


def exposed(seed: int, rows: slice, cols: slice, *, colour: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The lens's blur (1 2 1 both ways), the sensor's noise, rounding; the one pixel around is used up."""
    soft = colour[:-2] + colour[2:] + 2 * colour[1:-1]
    soft = soft[:, :-2] + soft[:, 2:] + 2 * soft[:, 1:-1]
    z = hashes(key(seed, "sensor"), np.arange(rows.start, rows.stop), np.arange(cols.start, cols.stop))
    out = np.empty((3, *z.shape), np.uint8)
    for band in range(3):
        # Two 10-bit parts: a triangular spread of about 2 grey levels.
        spread = ((z >> np.uint64(20 * band)) & np.uint64(1023)).astype(np.float32)
        spread += ((z >> np.uint64(20 * band + 10)) & np.uint64(1023)).astype(np.float32)
        grey = (
            soft[..., band] * np.float32(1 / 16) + (spread - np.float32(1023)) * np.float32(5 / 1023) + np.float32(0.5)
        )
        out[band] = np.clip(grey, 0, 255)
    return out
