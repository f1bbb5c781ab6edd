"""How a command speaks: bars or plain lines while it works, one JSON object at the end, one sentence where it fails."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from infra.errors import GeoloomError, PartialResult, UnusableInput
from infra.progress import Progress, Silent, Task

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

INTERRUPTED, TERMINATED = 130, 143
SHOWN = 5
"""Failed tiles that are named; the rest stand in the JSON."""
GRACE = 8.0
"""Seconds that a terminated command has to end what is under way; what it leaves then is swept by the next run."""


@dataclass(slots=True)
class Outcome:
    """What a command did, filled in as it goes."""

    outputs: dict[str, Any] = field(default_factory=dict)
    """Name to path (or value) of what it made."""
    counts: dict[str, Any] = field(default_factory=dict)
    """mpix, tiles_total, tiles_run and the like."""
    lines: list[str] = field(default_factory=list)
    """What a person reads at the end."""
    code: int = 0
    """What the process ends with where nothing is raised."""

    def holes(self, lost: Sequence[str]) -> None:
        """Tiles failed: the result is there, with holes, and the exit code says so."""
        self.code = PartialResult.exit_code
        self.counts["lost"] = list(lost)
        self.lines.append(f"{len(lost)} tiles failed and are nodata: {'; '.join(lost[:SHOWN])}; run predict again.")

    def without(self, scenes: Sequence[str]) -> None:
        """Scenes could not be read: the result is of the others, and the exit code says so."""
        if scenes:
            self.code = PartialResult.exit_code
            self.counts["left_out"] = list(scenes)
            self.lines.append(f"{len(scenes)} scenes were left out: {' '.join(scenes[:SHOWN])}")


@contextmanager
def command(name: str, *, as_json: bool, quiet: bool, debug: bool) -> Iterator[tuple[Outcome, Progress]]:
    """Run a command's body, report how it ended and exit with its code; a success returns."""
    outcome, started = Outcome(), time.monotonic()

    def tell(ending: Ending) -> None:
        if ending.message:
            print(f"geoloom {name}: {ending.message}", file=sys.stderr)
        elif not quiet and not as_json:
            print("\n".join(outcome.lines))
        if as_json:
            _print_json(name, outcome, ending, seconds=time.monotonic() - started)

    _heed_termination(tell)
    ending = Ending("done", 0)
    try:
        with _speaking(quiet=quiet) as progress:
            yield outcome, progress
        if outcome.code:
            ending = Ending("partial", outcome.code)
    except (GeneratorExit, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - the last frame: whatever it is, the user gets one sentence
        ending = _ending(error)
        if debug and ending.status == "failed":
            traceback.print_exc()
    tell(ending)
    if ending.code:
        sys.exit(ending.code)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ended."""

    status: str
    code: int
    message: str = ""


TERMINATION = Ending("interrupted", TERMINATED, "Terminated; run the same command again.")


def _ending(error: BaseException) -> Ending:
    if isinstance(error, GeoloomError):
        return Ending("failed", error.exit_code, str(error))
    if isinstance(error, ValidationError):
        return Ending("failed", UnusableInput.exit_code, explain(error))
    if isinstance(error, KeyboardInterrupt):
        return Ending("interrupted", INTERRUPTED, "Interrupted; run the same command again.")
    # Prefect turns SIGTERM into an exception of its own while a flow runs.
    if isinstance(error, _Terminated) or type(error).__name__ == "TerminationSignal":
        return TERMINATION
    said = f"A fault in geoloom: {type(error).__name__}: {error}. Run again with --debug and report what it prints."
    return Ending("failed", GeoloomError.exit_code, said)


def _print_json(name: str, outcome: Outcome, ending: Ending, *, seconds: float) -> None:
    document: Mapping[str, Any] = {
        "command": name,
        "status": ending.status,
        "wall_s": round(seconds, 3),
        "peak_rss_mb": round(_peak_rss_mb(), 1),
        "outputs": outcome.outputs,
        **outcome.counts,
        **({"message": ending.message} if ending.message else {}),
    }
    print(json.dumps(document, ensure_ascii=False, default=str))


class _Terminated(BaseException):
    """SIGTERM: unwinds like an interrupt, so that temporary files go."""


def _heed_termination(tell: Callable[[Ending], None]) -> None:
    """From now on SIGTERM unwinds what is under way, and where that takes too long the process tells it and ends."""

    def leave() -> None:
        tell(TERMINATION)
        sys.stdout.flush()
        os._exit(TERMINATED)

    def terminate(*_: object) -> None:
        last = threading.Timer(GRACE, leave)
        last.daemon = True
        last.start()
        raise _Terminated

    signal.signal(signal.SIGTERM, terminate)


def explain(error: ValidationError) -> str:
    """The first of a model's errors as one sentence: which option, what it was given, what it takes."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"]).replace("_", "-")
    return f"--{name} was {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}; see 'geoloom --help'."


def _peak_rss_mb() -> float:
    """Peak memory of this process; macOS counts in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the parent's peak too, inherited at fork
        line = next(row for row in status.read_text().splitlines() if row.startswith("VmHWM"))
        return int(line.split()[1]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


@contextmanager
def _speaking(*, quiet: bool) -> Iterator[Progress]:
    if quiet:
        yield Silent()
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield PlainLines()
        return
    from rich import progress as rich

    columns = (
        rich.TextColumn("[bold]{task.description:<9}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[unit]}"),
        rich.TextColumn("{task.fields[rate]}"),
        rich.TimeElapsedColumn(),
        rich.TextColumn("left"),
        rich.TimeRemainingColumn(),
        rich.TextColumn("{task.fields[said]}"),
    )
    with rich.Progress(*columns, console=console) as bars:
        yield RichBars(bars, console)


class RichBars:
    """Bars with rate and time left, for a person at a terminal."""

    def __init__(self, bars: Bars, console: Console) -> None:
        self.bars, self.console = bars, console

    def start(self, name: str, *, total: float, unit: str) -> Task:
        """Add a bar."""
        return _RichTask(self.bars, self.bars.add_task(name, total=total, unit=unit, rate="", said=""), unit)

    def finish(self, task: Task) -> None:
        """Stop its clock."""
        assert isinstance(task, _RichTask)
        self.bars.stop_task(task.number)

    def note(self, text: str) -> None:
        """Print above the bars."""
        self.console.print(text)


class _RichTask:
    def __init__(self, bars: Bars, number: TaskID, unit: str) -> None:
        self.bars, self.number, self.unit = bars, number, unit

    def advance(self, amount: float = 1.0) -> None:
        self.bars.advance(self.number, amount)
        speed = self.bars.tasks[self.bars.task_ids.index(self.number)].speed
        self.bars.update(self.number, rate=f"{speed:.1f}/s" if speed else "")

    def say(self, text: str) -> None:
        self.bars.update(self.number, said=text)


class PlainLines:
    """A line every few seconds, for logs."""

    every = 5.0
    """Seconds between two lines of one task."""

    def start(self, name: str, *, total: float, unit: str) -> Task:
        """Begin counting."""
        return _PlainTask(name, total, unit, self.every)

    def finish(self, task: Task) -> None:
        """Say how it ended."""
        assert isinstance(task, _PlainTask)
        task.report()

    def note(self, text: str) -> None:
        """Print a line."""
        print(text, file=sys.stderr, flush=True)


class _PlainTask:
    def __init__(self, name: str, total: float, unit: str, every: float) -> None:
        self.name, self.total, self.unit, self.every = name, total, unit, every
        self.done, self.said = 0.0, ""
        self.begun = self.last = time.monotonic()

    def advance(self, amount: float = 1.0) -> None:
        self.done += amount
        if time.monotonic() - self.last >= self.every:
            self.report()

    def say(self, text: str) -> None:
        self.said = text

    def report(self) -> None:
        self.last = time.monotonic()
        elapsed = max(self.last - self.begun, 1e-9)
        rate = self.done / elapsed
        left = f", {(self.total - self.done) / rate:.0f} s left" if rate and self.done < self.total else ""
        said = f", {self.said}" if self.said else ""
        print(
            f"{self.name}: {self.done:g} of {self.total:g} {self.unit}, {rate:.2f}/s{left}{said}",
            file=sys.stderr,
            flush=True,
        )
