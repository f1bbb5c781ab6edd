"""Which chips a training sees: those of each step, and those that it is validated on."""

from __future__ import annotations

import numpy as np

from models.chips import Chips, Draw
from models.paste import pasted
from models.ranks import Rank
from tasks.params import TrainParams
from tasks.raster.chips import Corner, draw_chips
from tasks.recent_cells import RecentCells
from tasks.train_fields import Field

VALIDATION_CHIPS = 48


def drawer(params: TrainParams, fields: list[Field], rank: Rank) -> Draw:
    """Chips of a step as a function of its number alone, so that a resumed training sees what it would have seen.

    Of several processes each draws its own share of what one would draw.
    """
    plans, recent = [f.plan for f in fields], RecentCells()

    def draw(step: int) -> Chips:
        rng = np.random.default_rng([params.seed, step])
        drawn = draw_chips(plans, params.batch, rng, balanced=params.draw == "classes")
        # What is pasted may come from any chip of the batch: each process then reads them all.
        own = drawn if params.augment.paste else drawn[rank.number :: rank.count]
        parts = [
            fields[i].read([corner for number, corner in own if number == i], fields[i].plan.side, recent=recent)
            for i in sorted({number for number, _ in own})
        ]
        chips = Chips.join(parts)
        if params.augment.paste:
            chips = pasted(chips, share=params.augment.paste, rng=rng).part(slice(rank.number, None, rank.count))
        return chips

    return draw


def validation_of(fields: list[Field], chip: int) -> list[Chips]:
    """Validation chips in batches of eight at most: about `VALIDATION_CHIPS`, evenly of each scene, and of each one."""
    total = sum(len(f.plan.validation) for f in fields)
    chosen: list[tuple[Field, Corner]] = []
    for field in fields:
        own = field.plan.validation
        count = min(len(own), max(1, VALIDATION_CHIPS * len(own) // max(total, 1)))
        chosen += [(field, own[n * len(own) // count]) for n in range(count)]
    recent = RecentCells()
    singles = [f.read([corner], chip, recent=recent) for f, corner in chosen]
    return [Chips.join(singles[i : i + 8]) for i in range(0, len(singles), 8)]
