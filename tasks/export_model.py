"""A model as an ONNX file, for what runs networks without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from infra.errors import UnusableInput
from infra.progress import Progress
from infra.storage import replacing
from tasks.model import find_model


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """What was written, and how near torch it came."""

    onnx: str
    difference: float
    """The largest difference of a probability, on random images."""
    equal: float
    """The share of their pixels that have the same class."""
    megabytes: float
    opset: int


def export_model(name: str, out: Path, *, progress: Progress) -> ExportedModel:
    """Write a model as one ONNX file, once onnxruntime gave what torch gives.

    Args:
        name: `default`, a shipped model's name, or a folder.
        out: the file; one that is there is replaced.
        progress: told what is under way.

    Raises:
        UnusableInput: there is no such model, `out` is no place for an ONNX file, or the network is no ONNX graph.
        UnwritableOutput: `out` cannot be written.
    """
    if out.suffix != ".onnx":
        raise UnusableInput(f"The file to write is {out}, expected a name that ends in .onnx.")
    if out.is_dir():
        raise UnusableInput(f"{out} is a folder and a file is to be written; name a file in it, such as model.onnx.")
    folder = find_model(name)
    from models.checkpoint import load_model  # torch: what cannot be used is said before it loads
    from models.onnx_export import OPSET, to_onnx

    network, card = load_model(folder)
    progress.note(f"Exporting {folder.name} and running it beside torch.")
    graph = to_onnx(network, card)
    with replacing(out) as temporary:
        temporary.write_bytes(graph.content)
    return ExportedModel(str(out), graph.difference, graph.equal, len(graph.content) / 1e6, OPSET)
