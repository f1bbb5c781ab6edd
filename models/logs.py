"""A training's curves in TensorBoard or MLflow, while it runs: what stands in its history, as those tools read it.

A resumed training goes on in the same log. What was logged after the last state is learnt again, so that a log either
takes such steps back (TensorBoard) or is told of them once a state holds them (MLflow). What a log lacks of the steps
before, it is told from the history: a log may be asked for later, or have been lost for a while.

Nothing here stops a training that has begun: a log that cannot be written any more is given up, and that is told.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from infra.errors import UnusableInput, UnwritableOutput
from models.history import Check, History, Step

LOGS = ("tensorboard", "mlflow")
"""What is known, each by the name of the package that it needs and of the extra that brings it."""
EVERY = 10
"""Steps from one that is logged to the next."""


@dataclass(frozen=True, slots=True)
class Point:
    """One number of a curve."""

    name: str
    """`loss`, `validation/iou/road`."""
    step: int
    value: float
    seconds: float
    """Since the training began, interruptions not counted."""


class Writer(Protocol):
    """One kind of log; whatever goes wrong is raised."""

    def begin(self, recipe: Mapping[str, str], past: Sequence[Point], *, seconds: float, resumed: bool) -> None:
        """Open the log at the place of a training that is `seconds` old, and tell it what it lacks of the past."""

    def write(self, points: Sequence[Point]) -> None:
        """Add to the curves."""

    def keep(self) -> None:
        """What was written so far will not be learnt again."""

    def finish(self, curves: Path) -> None:
        """Add the PNG of the curves; the training is at its end."""

    def close(self, *, failed: bool) -> None:
        """Let go of the log."""


class Logs:
    """All logs of a training; without any, it does nothing."""

    def __init__(
        self,
        writers: Mapping[str, Writer] | None = None,
        *,
        recipe: Mapping[str, Any] | None = None,
        classes: Sequence[str] = (),
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._writers, self._recipe, self._classes = dict(writers or {}), _flat(recipe or {}), classes
        self._tell, self._seconds = tell, 0.0

    def begin(self, history: History, *, seconds: float, resumed: bool) -> None:
        """Open all logs where a training goes on that has this history and is so many seconds old.

        Raises:
            UnwritableOutput: one cannot be opened; nothing has been learnt yet, and nothing is lost.
        """
        if not self._writers:
            return
        self._seconds = seconds
        past = [point for step in history.steps for point in _of_step(step)]
        for check in history.checks:
            past += self._of_check(check, history.steps[check.step - 1].seconds)
        for name, writer in self._writers.items():
            try:
                writer.begin(self._recipe, past, seconds=seconds, resumed=resumed)
            except Exception as error:
                raise UnwritableOutput(
                    f"The log of {name} cannot be opened ({_said(error)}); mend that, or train without --logs {name}."
                ) from error

    def follow(self, history: History) -> None:
        """Tell of a history's last step, if it is one of every ten, and of the validation after it."""
        if not self._writers:
            return
        last = history.steps[-1]
        points = _of_step(last)
        if history.checks and history.checks[-1].step == last.step:
            points += self._of_check(history.checks[-1], last.seconds)
        self._seconds = last.seconds
        if points:
            self._each(lambda writer: writer.write(points))

    def saved(self) -> None:
        """Tell that a state holds all steps so far."""
        self._each(lambda writer: writer.keep())

    def finish(self, scores: Mapping[str, Any], curves: Path, *, step: int) -> None:
        """Tell of the scores of the model that is kept and of the curves as a picture."""
        points = list(self._scores("final", scores.get("mean_iou"), scores.get("iou", {}), step, self._seconds))

        def end(writer: Writer) -> None:
            writer.write(points)
            writer.finish(curves)

        self._each(end)

    def close(self, *, failed: bool) -> None:
        """Let go of all logs."""
        self._each(lambda writer: writer.close(failed=failed))
        self._writers.clear()

    def _each(self, do: Callable[[Writer], None]) -> None:
        for name, writer in list(self._writers.items()):
            try:
                do(writer)
            except Exception as error:  # noqa: BLE001 - whatever a log's library raises costs the log, not the training
                del self._writers[name]
                with suppress(Exception):
                    writer.close(failed=True)
                self._tell(
                    f"The log of {name} cannot be written any more ({_said(error)}): the training goes on without it, "
                    "and the same command again would complete it."
                )

    def _of_check(self, check: Check, seconds: float) -> Iterator[Point]:
        yield Point("validation/loss", check.step, check.loss, seconds)
        iou = dict(zip(self._classes, check.iou, strict=True))
        yield from self._scores("validation", check.mean_iou, iou, check.step, seconds)

    @staticmethod
    def _scores(
        what: str, mean: float | None, iou: Mapping[str, float | None], step: int, seconds: float
    ) -> Iterator[Point]:
        for name, value in {"mean_iou": mean, **{f"iou/{name}": value for name, value in iou.items()}}.items():
            if value is not None:
                yield Point(f"{what}/{name}", step, value, seconds)


def _of_step(step: Step) -> list[Point]:
    if step.step != 1 and step.step % EVERY:
        return []
    values = {"loss": step.loss, "learning_rate": step.learning_rate, "gradient_norm": step.gradient_norm}
    return [Point(name, step.step, value, step.seconds) for name, value in values.items() if value is not None]


def require_logs(names: Sequence[str]) -> None:
    """Check that logs are known and their packages installed.

    Raises:
        UnusableInput: one is not.
    """
    for name in names:
        if name not in LOGS:
            raise UnusableInput(f"There is no log '{name}'; give --logs {' or '.join(LOGS)}, or both.")
        if importlib.util.find_spec(name) is None:
            raise UnusableInput(
                f"--logs {name} needs the package {name}, which is not installed; run pip install 'geoloom[{name}]'."
            )


@contextmanager
def open_logs(
    names: Sequence[str],
    folder: Path,
    *,
    recipe: Mapping[str, Any],
    classes: Sequence[str],
    tell: Callable[[str], None],
) -> Iterator[Logs]:
    """Logs of a training for as long as the block runs.

    Args:
        names: of `LOGS`; those that `require_logs` lets pass.
        folder: the model's.
        recipe: options of the training, tables within tables.
        classes: names in the order of ids.
        tell: told in one sentence where a log is given up.
    """
    writers: dict[str, Writer] = {}
    if "tensorboard" in names:
        from models.log_tensorboard import TensorBoard

        writers["tensorboard"] = TensorBoard(folder)
    if "mlflow" in names:
        from models.log_mlflow import MLflow

        writers["mlflow"] = MLflow(folder)
    logs = Logs(writers, recipe=recipe, classes=classes, tell=tell)
    try:
        yield logs
    except BaseException:
        logs.close(failed=True)
        raise
    logs.close(failed=False)


def _flat(table: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """`{"loss": {"dice": 1.0}}` as `{"loss.dice": "1.0"}`; what is not set is left out."""
    flat: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{key}.")
        elif value is not None:
            flat[before + key] = str(value)
    return flat


def _said(error: Exception) -> str:
    """The first line of what a library says, without its full stop."""
    return ((str(error).splitlines() or [""])[0] or type(error).__name__)[:200].rstrip(".")


NO_LOGS = Logs()
