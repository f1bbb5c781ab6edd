"""What a training went through, step by step: the numbers behind its curves."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class Step:
    """One batch."""

    step: int
    loss: float
    learning_rate: float
    seconds: float
    """Since the training began, interruptions not counted."""


@dataclass(frozen=True, slots=True)
class Check:
    """One validation, of the averaged weights."""

    step: int
    loss: float
    mean_iou: float | None
    """Over the classes that occur in the truth; None without labelled pixels."""
    iou: tuple[float | None, ...]
    """Per class; None for a class absent from truth and prediction."""


@dataclass(slots=True)
class History:
    """Grows while the training runs."""

    steps: list[Step] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    def to_json(self) -> str:
        """As the text of history.json."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> History:
        """What `to_json` wrote."""
        content = json.loads(text)
        return cls(
            steps=[Step(**row) for row in content["steps"]],
            checks=[Check(**row | {"iou": tuple(row["iou"])}) for row in content["checks"]],
        )
