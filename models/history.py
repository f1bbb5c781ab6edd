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
    gradient_norm: float | None = None
    """Before it is clipped; None in an older history."""


@dataclass(frozen=True, slots=True)
class Check:
    """One validation, of the averaged weights."""

    step: int
    loss: float
    mean_iou: float | None
    """Over the classes that occur in the truth; None without labelled pixels."""
    iou: tuple[float | None, ...]
    """Per class; None for a class absent from truth and prediction."""

    def __str__(self) -> str:
        return f"IoU {'-' if self.mean_iou is None else f'{self.mean_iou:.3f}'}"


@dataclass(slots=True)
class History:
    """Grows while the training runs."""

    steps: list[Step] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    @property
    def best(self) -> Check | None:
        """The first of the validations with the best mean IoU; None where none has one."""
        scored = [check for check in self.checks if check.mean_iou is not None]
        return max(scored, key=lambda check: check.mean_iou or 0.0, default=None)

    def stalled(self, patience: int | None) -> bool:
        """Whether so many validations have passed since the best."""
        if patience is None or self.best is None:
            return False
        return len(self.checks) - 1 - self.checks.index(self.best) >= patience

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
