"""How often a tile is looked at for one answer: turned, mirrored, at several scales. Reading it needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from infra.errors import UnusableInput
from models.card import ModelCard

_QUARTERS = 4
_SMALLEST, _LARGEST = 0.5, 2.0


@dataclass(frozen=True, slots=True)
class Looks:
    """What is averaged over, for each model."""

    turned: bool = False
    """The eight symmetries of the square, or the tile as it is."""
    scales: tuple[float, ...] = (1.0,)
    """Magnifications, in quarters: at these, tiles meet on the network's stride as in one whole pass."""

    def __post_init__(self) -> None:
        """Check the scales."""
        for scale in self.scales:
            if not (_SMALLEST <= scale <= _LARGEST and (_QUARTERS * scale).is_integer()):
                raise UnusableInput(f"Scale {scale:g} cannot be used; give quarters from 0.5 to 2, such as 0.75,1,1.5.")
        if not self.scales or len(set(self.scales)) < len(self.scales):
            raise UnusableInput("Scales are given once each, and at least one; such as 0.75,1,1.5.")

    @property
    def plain(self) -> bool:
        """Whether it is one look, as without."""
        return not self.turned and self.scales == (1.0,)

    @property
    def passes(self) -> float:
        """How many times the pixels of a tile pass through a network."""
        return (8 if self.turned else 1) * sum(scale * scale for scale in self.scales)

    def card(self, cards: tuple[ModelCard, ...]) -> ModelCard:
        """The first of the models' cards, as it must be for tiles that are looked at so by all of them.

        Stride, tile, margin and ramp grow where a scale asks for it: what is seen at half the size reaches twice as
        far. The disagreement is not known then.
        """
        first = cards[0]
        if self.plain and len(cards) == 1:
            return first
        stride = math.lcm(*(card.stride for card in cards)) * math.lcm(*(_denominator(s) for s in self.scales))
        wider = max(1.0, 1 / min(self.scales))
        tile = math.ceil(max(card.tile for card in cards) * wider / stride) * stride
        margin, ramp = (
            math.ceil(max(getattr(card, name) / card.tile for card in cards) * tile) for name in ("margin", "ramp")
        )
        return first.model_copy(
            update={"stride": stride, "tile": tile, "margin": margin, "ramp": ramp, "disagreement": None}
        )

    def __str__(self) -> str:
        words = ["eight views"] if self.turned else []
        words += [f"scales {', '.join(f'{s:g}' for s in self.scales)}"] if self.scales != (1.0,) else []
        return "; ".join(words) or "one look"


def _denominator(scale: float) -> int:
    return _QUARTERS // math.gcd(_QUARTERS, round(_QUARTERS * scale))
