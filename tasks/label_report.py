"""What a review found out, as numbers and as a page for people."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import shapely
from pydantic import JsonValue

from models.metrics import Scores
from tasks.charts import STYLE as CHARTS
from tasks.charts import reliability_chart
from tasks.page import embedded, page, table
from tasks.raster.cube import Cube
from tasks.raster.doubts import Place
from tasks.raster.grid import crop_to, grown
from tasks.raster.ground import Ground
from tasks.raster.overlaps import MATCH, SizeScore
from tasks.raster.picture import scene_picture
from tasks.raster.reliability import Reliability
from tasks.raster.review_style import WHY

SHOWN = 24
"""Places that the page shows."""
SIDE = 200
"""Pixels a side of their pictures."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Labels in numbers."""

    classes: tuple[str, ...]
    pixels: tuple[int, ...]
    """Of each class."""
    objects: tuple[int, ...]
    """Of each class; 0 for `other`."""
    made_by: str
    scores: Scores | None
    """By pixels, against a reference where there is one."""
    sizes: dict[int, dict[str, SizeScore]]
    """By class id and size of objects."""
    reliability: Reliability | None

    def to_json(self) -> dict[str, JsonValue]:
        """The same as plain JSON, None for NaN."""
        document: dict[str, Any] = {
            "classes": list(self.classes),
            "made_by": self.made_by,
            "pixels": list(self.pixels),
            "objects": list(self.objects),
        }
        if self.scores is not None:
            document["scores"] = self.scores.to_json()
        if self.sizes:
            document["sizes"] = {
                self.classes[klass]: {size: _size_json(score) for size, score in sizes.items()}
                for klass, sizes in self.sizes.items()
            }
        if self.reliability is not None:
            document["confidence"] = {
                "calibration_error": _number(self.reliability.error),
                "auroc": _number(self.reliability.separation),
                "bins": [
                    {"pixels": b.pixels, "confidence": b.confidence, "accuracy": b.accuracy}
                    for b in self.reliability.bins()
                ],
            }
        return document


def report_page(quality: Quality, cube: Cube, places: list[Place], ground: Ground) -> str:
    """An HTML page that needs no other file.

    Args:
        quality: the numbers.
        cube: the scene's pixels.
        places: worst first; the first `SHOWN` are shown.
        ground: of its grid.
    """
    parts = ["<h1>Labels</h1>", f"<p>Made by: {escape(quality.made_by)}.</p>", _class_table(quality)]
    if quality.sizes:
        parts += [f"<h2>By size of objects</h2><p>{_SIZES}</p>", _size_table(quality)]
    if quality.reliability is not None:
        parts += ["<h2>Can the confidence be believed?</h2>", _reliability(quality.reliability)]
    parts.append("<h2>Where to look first</h2>")
    parts.append(
        f"<p>{escape(_LEGEND)}</p><div class=places>{''.join(_thumbnails(cube, places[:SHOWN], quality, ground))}</div>"
        if places
        else "<p>No place is in doubt.</p>"
    )
    return page("labels", parts, style=_STYLE)


def _class_table(quality: Quality) -> str:
    head = ["class", "pixels", "objects"] + (["precision", "recall", "IoU"] if quality.scores else [])
    rows = []
    total = max(sum(quality.pixels), 1)
    for n, name in enumerate(quality.classes):
        row = [name, f"{quality.pixels[n] / total:.1%}", f"{quality.objects[n]:,}" if n else ""]
        if quality.scores is not None:
            row += [_text(v[n]) for v in (quality.scores.precision, quality.scores.recall, quality.scores.iou)]
        rows.append(row)
    return table(head, rows)


def _size_table(quality: Quality) -> str:
    rows = [
        [quality.classes[klass], size, f"{s.objects:,}", f"{s.labelled:,}", *map(_text, (s.precision, s.recall, s.iou))]
        for klass, sizes in quality.sizes.items()
        for size, s in sizes.items()
        if s.objects or s.labelled
    ]  # fmt: skip
    return table(["class", "size", "in the reference", "labelled", "precision", "recall", "mean IoU"], rows)


def _reliability(found: Reliability) -> str:
    return (
        f"<p>Expected calibration error {_text(found.error)}; AUROC of telling wrong from right "
        f"{_text(found.separation)}.</p>{reliability_chart(found.bins())}"
    )


def _thumbnails(cube: Cube, places: list[Place], quality: Quality, ground: Ground) -> list[str]:
    found = []
    for rank, place in enumerate(places, 1):
        x0, y0, x1, y1 = place.outline.bounds
        more = int(max(x1 - x0, y1 - y0) / 2) + 16
        window = (slice(int(y0), int(np.ceil(y1))), slice(int(x0), int(np.ceil(x1))))
        rows, cols = crop_to(grown(window, more), (cube.grid.shape[0], cube.grid.shape[1]))
        picture = scene_picture(cube, (rows, cols), side=SIDE)
        height, width = picture.shape[:2]
        scale = width / (cols.stop - cols.start), height / (rows.stop - rows.start)
        outline = shapely.transform(place.outline, lambda xy, r=rows, c=cols, s=scale: (xy - [c.start, r.start]) * s)
        where = ground.place(np.array([place.outline.representative_point().coords[0]]))[0]
        colour = "#{:02x}{:02x}{:02x}".format(*WHY[place.why][1])
        found.append(
            f'<figure><svg viewBox="0 0 {width} {height}" width="{SIDE}">'
            f'<image href="{embedded(picture)}" width="{width}" height="{height}"/>'
            f'<path d="{_path(outline)}" fill="none" stroke="{colour}" stroke-width="2"/></svg>'
            f"<figcaption>{rank}. {place.why}: {escape(quality.classes[place.klass])}, "
            f"confidence {place.confidence:.2f}<br>at {where[0]:.6g}, {where[1]:.6g}</figcaption></figure>"
        )
    return found


def _path(outline: shapely.Geometry) -> str:
    rings = [ring for part in shapely.get_parts(outline) for ring in (part.exterior, *part.interiors)]
    return " ".join("M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in ring.coords) + "Z" for ring in rings)


def _size_json(score: SizeScore) -> dict[str, JsonValue]:
    return {
        "objects": score.objects,
        "found": score.found,
        "labelled": score.labelled,
        "right": score.right,
        "precision": _number(score.precision),
        "recall": _number(score.recall),
        "iou": _number(score.iou),
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def _text(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


_SIZES = (
    "An object is found where one of the labels covers it with an intersection over union above "
    f"{MATCH:g}. Small objects have less than 32², medium ones less than 96² pixels."
)
_LEGEND = "; ".join(f"{why}: {text}" for why, (text, _) in WHY.items()) + "."
_STYLE = f"""
.places {{ display: flex; flex-wrap: wrap; gap: 1rem }}
.places figure {{ width: 200px }}
{CHARTS}"""
