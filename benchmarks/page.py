"""docs/benchmarks.md: each benchmark rewrites its own section from what it measured; no number there is typed by hand.

A section stands between two comments that carry the benchmark's name, so that one script replaces its own and leaves
the others'. The same numbers go as JSON into the folder of results, where `benchmarks.scale` reads them.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
ORDER = (
    "peers",
    "identity",
    "lanes",
    "memory",
    "ingest",
    "cogs",
    "vectors",
    "georeference",
    "seams",
    "chaos",
    "fixed_cost",
    "orchestration",
    "scheduler",
    "labels",
    "few_shot",
    "automatic",
    "sam_decoder",
    "label_ids",
    "label_memory",
    "evaluate",
    "training",
    "ablation",
    "rare_class",
    "transfer",
    "gpu",
)
"""The order of sections; names that are not here follow."""
HEAD = """# Benchmarks

Every section is written by the script it names; `make bench` runs all that need no GPU. A goal that was missed says so.
"""
_SECTION = re.compile(r"<!-- begin (\S+) -->\n(.*?)<!-- end \1 -->\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Goal:
    """A number that was measured, and what it should be."""

    what: str
    value: float
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        """Check that something is wanted."""
        assert self.at_least is not None or self.at_most is not None

    @property
    def met(self) -> bool:
        """Whether the value lies within its bounds."""
        low, high = self.at_least, self.at_most
        return (low is None or self.value >= low) and (high is None or self.value <= high)

    def row(self) -> list[str]:
        """Cells of the table of goals."""
        unit = f" {self.unit}" if self.unit else ""
        bounds = [f"at least {self.at_least:g}{unit}"] if self.at_least is not None else []
        bounds += [f"at most {self.at_most:g}{unit}"] if self.at_most is not None else []
        return [self.what, f"{number(self.value)}{unit}", " and ".join(bounds), "yes" if self.met else "**no**"]


@dataclass(frozen=True, slots=True)
class Result:
    """What one benchmark found."""

    name: str
    title: str
    about: str
    """What was run, in a sentence or two."""
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    data: Mapping[str, Any]
    """The numbers, for whoever computes with them."""
    goals: tuple[Goal, ...] = ()
    notes: tuple[str, ...] = ()


def parser(module: str, text: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark takes."""
    words = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{module}", description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words.add_argument("--out", type=Path, default=Path("bench"), help="where scenes, workspaces and results go")
    words.add_argument("--no-page", action="store_true", help="leave docs/benchmarks.md as it is")
    commit()  # what is measured, whatever is committed meanwhile
    return words


def _without_folder(words: Sequence[str]) -> list[str]:
    """A command's words but for `--out`: where results went on somebody's machine is nobody's business."""
    kept = [word for word in words if not word.startswith("--out=")]
    if "--out" in kept:
        place = kept.index("--out")
        del kept[place : place + 2]
    return kept


def publish(result: Result, options: argparse.Namespace) -> None:
    """Print a result, keep it as `results/NAME.json`, and rewrite its section of the page."""
    machine = describe_machine()
    command = shlex.join(["python", "-m", f"benchmarks.{result.name}", *_without_folder(sys.argv[1:])])
    record = {
        "name": result.name,
        "command": command,
        "commit": commit(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": machine,
        "goals": [{"what": g.what, "value": g.value, "met": g.met} for g in result.goals],
        **result.data,
    }
    folder = options.out / "results"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{result.name}.json").write_text(json.dumps(record, indent=1, default=str) + "\n")
    lines = [f"## {result.title}", "", result.about, "", *table(result.head, result.rows)]
    if result.goals:
        lines += ["", *table(("goal", "measured", "wanted", "met"), [g.row() for g in result.goals])]
    for note in result.notes:
        lines += ["", note]
    lines += ["", f"`{command}` at {record['commit']}, {record['date']}: {machine['said']}."]
    text = "\n".join(lines) + "\n"
    print(text)
    if not options.no_page:
        old = PAGE.read_text() if PAGE.exists() else ""
        PAGE.write_text(replace_section(old, result.name, text))


def replace_section(page: str, name: str, text: str) -> str:
    """The page with one section replaced or added, sections in their order."""
    sections = dict(_SECTION.findall(page)) | {name: text}
    places = {known: place for place, known in enumerate(ORDER)}
    names = sorted(sections, key=lambda n: (places.get(n, len(ORDER)), n))
    parts = [f"<!-- begin {n} -->\n{sections[n]}<!-- end {n} -->\n" for n in names]
    return "\n".join([HEAD, *parts])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; nothing where it has no rows."""
    if not rows:
        return []
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]


def number(value: float) -> str:
    """Three digits that count, never in scientific notation."""
    for bound, digits in ((100, 0), (10, 1), (1, 2), (0.1, 3)):
        if abs(value) >= bound:
            return f"{value:,.{digits}f}"
    return f"{value:.4f}" if abs(value) >= 10**-3 else f"{value:.2g}"


@cache
def commit() -> str:
    """The commit that is measured, with a + where files differ from it; as it was when this was first asked."""
    said = []
    for words in (
        ["rev-parse", "--short", "HEAD"],
        ["status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs"],
    ):
        done = subprocess.run(["git", *words], cwd=ROOT, check=False, stdout=subprocess.PIPE, text=True)
        said.append(done.stdout.strip())
    return f"{said[0] or 'no commit'}{'+' if said[1] else ''}"


def load_result(out: Path, name: str) -> dict[str, Any]:
    """What a benchmark measured before.

    Raises:
        SystemExit: it has not been run.
    """
    path = out / "results" / f"{name}.json"
    if not path.is_file():
        sys.exit(f"There is no {path}; run 'python -m benchmarks.{name}' first.")
    found: dict[str, Any] = json.loads(path.read_text())
    return found
