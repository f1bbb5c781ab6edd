"""The pictures of an evaluation's page: maps to swipe between, the worst places, every cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tasks.page import embedded
from tasks.raster.classes import IGNORE, ClassMap
from tasks.raster.grid import Window, crop_to, grown, whole
from tasks.raster.ground import Ground
from tasks.raster.picture import EMPTY, class_picture, coloured_pictures, scene_picture
from tasks.score_results import Results
from tasks.workspace import Workspace

SHOWN = 12
"""Places that the page shows."""
_SIDE, _SMALL = 1100, 240
_SQUARES = 80
"""At most so many squares a side: more would be smaller than what can be pointed at."""
_RIGHT, _WRONG = (225, 232, 225), (200, 40, 40)

Read: TypeAlias = Callable[[Window], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Pictures:
    """Draws, as HTML that needs no other file."""

    workspace: Workspace
    predicted: Read
    """Class ids of a window, as they were scored."""
    true: Read
    classes: ClassMap

    def swipe(self) -> str:
        """Two pictures of the whole scene, one over the other up to where the pointer is."""
        window = whole(self.workspace.grid)
        palette = self.classes.palette()
        palette[IGNORE] = EMPTY

        def colour(ids: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
            return [palette[ids[..., 0]], palette[ids[..., 1]], _errors(ids[..., 0], ids[..., 1])]

        drawn = coloured_pictures(
            lambda part: np.stack([self.predicted(part), self.true(part)], axis=-1), colour, window, side=_SIDE
        )
        pictures = dict(zip(("map", "truth", "wrong"), map(embedded, drawn), strict=True))
        pictures["scene"] = embedded(scene_picture(self.workspace.cube(), window, side=_SIDE), kind="jpeg")
        options = [
            "".join(f"<option{' selected' if name == chosen else ''}>{name}</option>" for name in pictures)
            for chosen in ("map", "truth")
        ]
        images = "".join(f'<img class="{side}" alt="{side} picture">' for side in ("below", "above"))
        sources = "".join(f'<img hidden id="picture-{name}" src="{data}" alt="">' for name, data in pictures.items())
        return (
            f"{sources}<div class=choice><label>left <select id=left>{options[0]}</select></label>"
            f"<label>right <select id=right>{options[1]}</select></label></div>"
            f"<div class=swipe>{images}<div class=handle></div>"
            '<input type=range min=0 max=100 value=50 step=0.1 aria-label="where the pictures meet"></div>'
            f"<script>{_SCRIPT}</script>{self._legend()}"
        )

    def worst(self, results: Results) -> str:
        """The cells with most wrong pixels."""
        cells, shape = results.cells, (self.workspace.grid.shape[0], self.workspace.grid.shape[1])
        ground, cube = Ground(self.workspace.grid, self.workspace.control), self.workspace.cube()
        worst = cells.worst(SHOWN)
        if not worst:
            return "<p>No pixel is wrong.</p>"
        found = []
        for rank, (cell, wrong) in enumerate(worst, 1):
            window = crop_to(grown(cells.window(cell), 16), shape)
            pictures = (
                ("scene", scene_picture(cube, window, side=_SMALL), "jpeg"),
                ("map", class_picture(self.predicted, window, classes=self.classes, side=_SMALL), "png"),
                ("truth", class_picture(self.true, window, classes=self.classes, side=_SMALL), "png"),
            )
            x, y = ground.place(np.array([[(axis.start + axis.stop) / 2 for axis in window[::-1]]]))[0]
            images = "".join(f'<img src="{embedded(p, kind=kind)}" alt="{name}">' for name, p, kind in pictures)
            found.append(
                f"<figure>{images}<figcaption>{rank}. {wrong:.0%} wrong at {x:.7g}, {y:.7g}: "
                f"{escape(_mistakes(results, cell))}</figcaption></figure>"
            )
        return (
            f"<p>Cells of {cells.side}² pixels with most wrong pixels: scene, map, truth.</p>"
            f"<div class=places>{''.join(found)}</div>"
        )

    def every_cell(self, results: Results) -> str:
        """The share of wrong pixels of every cell, as a picture of the scene."""
        cells = results.cells
        labelled, wrong = cells.labelled_and_wrong()
        pooled = -(-max(labelled.shape) // _SQUARES)
        labelled, wrong = (_pooled(counts, pooled) for counts in (labelled, wrong))
        side = pooled * cells.side
        rows, cols = labelled.shape
        scale = max(min(640 // max(rows, cols), 24), 2)
        squares = "".join(
            f'<rect x="{c}" y="{r}" width="1" height="1" fill="rgba(200,60,40,{wrong[r, c] / labelled[r, c]:.3f})">'
            f"<title>row {r * side}, column {c * side}: {wrong[r, c] / labelled[r, c]:.1%} wrong</title></rect>"
            for r, c in zip(*np.nonzero(labelled), strict=True)
        )
        return (
            f'<h3>Every cell</h3><svg class=heat viewBox="0 0 {cols} {rows}" width="{cols * scale}" role="img" '
            f'aria-label="share of wrong pixels by place"><rect class=frame width="{cols}" height="{rows}"/>'
            f"{squares}</svg>"
        )

    def _legend(self) -> str:
        swatches = "".join(
            f'<span><i style="background:#{"".join(f"{v:02x}" for v in c.colour)}"></i>{escape(c.name)}</span>'
            for c in self.classes.classes
        )
        return f"<p class=legend>{swatches}</p>"


def _pooled(counts: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """(row, column) sums of squares of so many cells a side."""
    rows, cols = (np.arange(0, n, side) for n in counts.shape)
    total: NDArray[np.int64] = np.add.reduceat(np.add.reduceat(counts, rows, axis=0), cols, axis=1)
    return total


def _errors(predicted: NDArray[np.uint8], true: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(..., 3): right pixels pale, wrong ones red, those that do not count white."""
    known = (predicted != IGNORE) & (true != IGNORE)
    colours = np.array([EMPTY, _RIGHT, _WRONG], np.uint8)
    found: NDArray[np.uint8] = colours[known.astype(np.uint8) + (known & (predicted != true))]
    return found


def _mistakes(results: Results, cell: tuple[int, int]) -> str:
    """The commonest confusions of a cell."""
    counts = results.cells.counts[cell].copy()
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:2]
    pairs = [np.unravel_index(n, counts.shape) for n in order if counts.flat[n]]
    return ", ".join(f"{results.classes[int(t)]} called {results.classes[int(p)]}" for t, p in pairs)


_SCRIPT = """
(() => {
  const box = document.querySelector('.swipe'), [below, above] = box.querySelectorAll('img');
  const range = box.querySelector('input'), handle = box.querySelector('.handle');
  const show = () => {
    above.src = document.getElementById('picture-' + document.getElementById('left').value).src;
    below.src = document.getElementById('picture-' + document.getElementById('right').value).src;
    above.style.clipPath = `inset(0 ${100 - range.value}% 0 0)`;
    handle.style.left = range.value + '%';
  };
  for (const one of [range, document.getElementById('left'), document.getElementById('right')])
    one.addEventListener('input', show);
  show();
})();
"""
STYLE = """
.swipe { position: relative; line-height: 0; border: 1px solid #ccc; overflow: hidden }
.swipe img { width: 100%; image-rendering: auto } .swipe img.above { position: absolute; inset: 0 }
.swipe .handle { position: absolute; top: 0; bottom: 0; width: 2px; background: #fff; box-shadow: 0 0 3px #000 }
.swipe input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize }
.swipe:focus-within .handle { background: #3b5bdb }
.choice { display: flex; justify-content: space-between; margin: .3rem 0 }
.legend span { margin-right: 1.2rem; white-space: nowrap }
.legend i { display: inline-block; width: 1em; height: 1em; margin-right: .4em; vertical-align: -.15em;
  border: 1px solid #999 }
.places { display: grid; grid-template-columns: repeat(auto-fill, minmax(30rem, 1fr)); gap: 1rem }
.places img { width: 32.5%; margin-right: .8% }
svg.heat .frame { fill: #f7f7f7; stroke: #bbb; stroke-width: .03 }
"""
