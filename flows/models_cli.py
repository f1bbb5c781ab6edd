"""The command line's `geoloom models`: what comes along, what it is, weights to fetch, and models as ONNX."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from flows.show import Show

models_app = App(name="models", help="Models that come with geoloom, weights to fetch, and models as ONNX.")


@models_app.command(name="list")
def list_models(*, show: Show = Show()) -> None:
    """List the models that come with geoloom."""
    with show.speak("models list") as (outcome, _):
        from tasks.model import DEFAULT, shipped_models

        found = shipped_models()
        outcome.outputs |= {name: str(path) for name, path in found.items()} | {"default": str(found.get(DEFAULT, ""))}
        outcome.lines += [f"{name}: {path}{' (default)' if name == DEFAULT else ''}" for name, path in found.items()]


@models_app.command(name="show")
def show_model(name: str = "default", /, *, show: Show = Show()) -> None:
    """Show what a model is, was trained on and scores."""
    with show.speak("models show") as (outcome, _):
        from tasks.model import describe_model

        outcome.outputs |= describe_model(name)
        outcome.lines += [f"{key}: {value}" for key, value in outcome.outputs.items()]


@models_app.command(name="fetch")
def fetch_model(name: str, /, *, accept_license: bool = False, show: Show = Show()) -> None:
    """Fetch weights: sam-vit-t, -b, -l, -h, sam2-tiny, -small, -base-plus, -large, sam3, efficientnet-lite0 to -lite2.

    Parameters
    ----------
    accept_license: You have read the licence of SAM 3 and accept it.
    """
    with show.speak("models fetch") as (outcome, progress):
        from tasks.fetch_model import fetch_model as step

        outcome.outputs |= step(name, progress=progress, accept_license=accept_license)
        outcome.lines.append(f"{name}: {outcome.outputs['folder']}")


@models_app.command(name="export")
def export_model(name: str = "default", /, *, out: Path, show: Show = Show()) -> None:
    """Write a model as one ONNX file, from source pixels to probabilities, checked against torch.

    Parameters
    ----------
    name: A model's folder, or a name from 'geoloom models list'.
    out: The file to write, ending in .onnx.
    """
    with show.speak("models export") as (outcome, progress):
        from tasks.export_model import export_model as step

        made = step(name, out, progress=progress)
        outcome.outputs |= {"onnx": made.onnx, "difference": made.difference, "equal": made.equal}
        outcome.counts |= {"mb": made.megabytes, "opset": made.opset}
        outcome.lines.append(
            f"{made.onnx}: {made.megabytes:.1f} MB, opset {made.opset}; against torch, probabilities differ by at most "
            f"{made.difference:.1e}, and {made.equal:.3%} of pixels have the same class"
        )
